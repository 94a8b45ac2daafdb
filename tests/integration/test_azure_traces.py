"""A production trace of 28,185 requests, end to end; where it is absent, the sample in examples/ is all there is."""

import csv
import math
from pathlib import Path

import duckdb
import pytest

from inferprint.batch import RunOptions, Summary, run
from inferprint.estimate import Estimator, Request
from inferprint.quantities import RESULTS

ROOT = Path(__file__).parents[2]
USAGE = ROOT.parent / "shared" / "usage"
TRACES = {USAGE / "AzureLLMInferenceTrace_conv.csv": 19_366, USAGE / "AzureLLMInferenceTrace_code.csv": 8_819}
SAMPLE = {ROOT / "examples" / "trace.csv": 200}
NODES = ("generic:hgx-h100-8", "generic:hgx-a100-80-8")
COLUMNS = {"input_tokens": "ContextTokens", "output_tokens": "GeneratedTokens", "utc_datetime": "TIMESTAMP"}


@pytest.fixture(scope="module", params=["sample", "azure"])
def traces(request):
    """Files with their numbers of rows."""
    if request.param == "sample":
        return SAMPLE
    missing = [str(path) for path in TRACES if not path.is_file()]
    if missing:
        pytest.skip(f"the Azure traces are not here: {', '.join(missing)}")
    return TRACES


@pytest.fixture(scope="module")
def runs(traces, tmp_path_factory) -> dict[str, tuple[Summary, Path]]:
    """The traces on either node."""
    estimator, found = Estimator(), {}
    for node in NODES:
        out = tmp_path_factory.mktemp("azure") / "out"
        fills = {"model_id": "llama-2-70b", "node_id": node, "country": "US"}
        options = RunOptions(columns=COLUMNS, fills=fills, estimator=estimator)
        found[node] = run(list(traces), out, options), out
    return found


def impacts_sum(out: Path, column: str) -> tuple[int, float | None]:
    """Rows, and the sum of a column."""
    rows = duckdb.sql(f"SELECT {column} FROM read_parquet('{out / 'impacts.parquet'}')").fetchall()
    known = [row[0] for row in rows if row[0] is not None]
    return len(rows), math.fsum(known) if len(known) == len(rows) else None


def test_every_request_is_estimated(runs, traces):
    if traces is TRACES:
        assert sum(traces.values()) == 28_185
    for summary, out in runs.values():
        expected = sum(traces.values())
        assert (summary.counts.records, summary.counts.estimated, summary.counts.rejected) == (expected, expected, 0)
        assert not (out / "rejects.csv").exists()
        per_file = duckdb.sql(f"SELECT file, count(*), max(row) FROM '{out / 'impacts.parquet'}' GROUP BY 1").fetchall()
        assert {Path(file): (n, last) for file, n, last in per_file} == {p: (n, n) for p, n in traces.items()}


def test_the_tokens_are_those_of_the_files(runs, traces):
    """The two-term form is linear in tokens alone: two single estimates and an independent reading give its total."""
    tokens = {"ContextTokens": 0, "GeneratedTokens": 0}
    for path in traces:
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                for name in tokens:
                    tokens[name] += int(row[name])
    for node, (summary, _) in runs.items():
        setup = {"model_id": "llama-2-70b", "node_id": node, "country": "US"}
        per_input = Estimator().estimate(Request(**setup, input_tokens=1000, output_tokens=0))
        per_output = Estimator().estimate(Request(**setup, input_tokens=0, output_tokens=1000))
        for name in ("two_term_duration_ms", "two_term_usage_energy_wh"):
            expected = (
                tokens["ContextTokens"] * per_input.two_term[name].value
                + tokens["GeneratedTokens"] * per_output.two_term[name].value
            ) / 1000
            assert summary.total.outputs[name].value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("quantity", RESULTS, ids=lambda q: q.name)
def test_totals_are_sums_of_rows_with_honest_intervals(runs, quantity):
    for summary, out in runs.values():
        total = summary.range(quantity.name)
        _, value = impacts_sum(out, quantity.name)
        if total is None:
            assert value is None
            continue
        assert total.value == pytest.approx(value, rel=1e-9)
        low, high = (impacts_sum(out, quantity.name + side)[1] for side in ("_low", "_high"))
        assert low is not None
        assert high is not None
        assert low * (1 - 1e-9) <= total.low <= total.value <= total.high <= high * (1 + 1e-9)


def test_the_parts_add_up(runs):
    def value(summary: Summary, name: str) -> float:
        found = summary.range(name)
        assert found is not None
        return found.value

    for summary, _ in runs.values():
        it = sum(value(summary, f"{part}_energy_wh") for part in ("accelerator", "host", "idle"))
        assert value(summary, "usage_energy_wh") == pytest.approx(it + value(summary, "facility_overhead_wh"), rel=1e-9)
        assert value(summary, "accelerator_energy_wh") == pytest.approx(
            value(summary, "prefill_energy_wh") + value(summary, "decode_energy_wh"), rel=1e-9
        )
        assert value(summary, "usage_water_ml") == pytest.approx(
            value(summary, "site_water_ml") + value(summary, "grid_water_ml"), rel=1e-9
        )


def test_the_older_generation_takes_more_energy(runs):
    h100, a100 = (runs[node][0].range("usage_energy_wh") for node in NODES)
    assert a100.value > h100.value
