"""A run against single estimates, its counts, and what it writes."""

import gzip
import json
import math
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inferprint.batch import RunOptions, run
from inferprint.errors import FileProblem, InvalidInput, UnknownName
from inferprint.estimate import Request
from inferprint.estimate.request import FIELDS
from inferprint.quantities import BREAKDOWN, RESULTS

EXAMPLES = Path(__file__).parents[2] / "examples"
H100 = {"model_id": "llama-2-70b", "node_id": "generic:hgx-h100-8", "country": "US"}
TRACE = {"input_tokens": "ContextTokens", "output_tokens": "GeneratedTokens", "utc_datetime": "TIMESTAMP"}
OUTPUT_COLUMNS = {q.name + suffix for q in RESULTS for suffix in ("", "_low", "_high")} | {q.name for q in BREAKDOWN}


@pytest.fixture
def options(estimator):
    return RunOptions(estimator=estimator, output_format="csv", fills=H100)


def request_of(row: dict[str, str], fills: dict[str, object]) -> Request:
    whole = {"gpu_count"}
    numeric = {
        "input_tokens",
        "output_tokens",
        "cached_input_tokens",
        "n_requests",
        "batch_size",
        "request_duration_ms",
    }
    given = {name: text for name, text in row.items() if name in FIELDS and text}
    typed = {n: int(t) if n in whole else float(t) if n in numeric else t for n, t in given.items()}
    return Request(**(fills | typed))


def assert_same_as_single(rows, impacts, fills, estimator, tolerance=1e-12):
    assert len(rows) == len(impacts)
    for row, impact in zip(rows, impacts, strict=True):
        single = estimator.estimate(request_of(row, fills))
        assert impact["model"] == single.machine.model
        for quantity in RESULTS:
            expected = single.range(quantity.name)
            cells = [impact[quantity.name + suffix] for suffix in ("", "_low", "_high")]
            if expected is None:
                assert cells == ["", "", ""]
            else:
                assert [float(cell) for cell in cells] == pytest.approx(list(expected), rel=tolerance, abs=1e-300)
        for quantity in BREAKDOWN:
            part = single.breakdown[quantity.name]
            if part is None:
                assert impact[quantity.name] == ""
            else:
                assert float(impact[quantity.name]) == pytest.approx(part.value, rel=tolerance, abs=1e-300)


def test_a_column_is_its_rows_one_by_one(read, tmp_path, estimator):
    summary = run(EXAMPLES / "usage.csv", tmp_path / "out", RunOptions(estimator=estimator, output_format="csv"))
    rows, impacts = read(EXAMPLES / "usage.csv"), read(tmp_path / "out" / "impacts.csv")
    assert_same_as_single(rows, impacts, {}, estimator)
    assert summary.counts.estimated == len(rows) == summary.counts.records
    assert [impact["request_id"] for impact in impacts] == [row["request_id"] for row in rows]
    assert [int(impact["row"]) for impact in impacts] == list(range(1, len(rows) + 1))


def test_chunks_are_the_whole(read, tmp_path, estimator):
    options = RunOptions(estimator=estimator, output_format="csv")
    whole = run(EXAMPLES / "usage.csv", tmp_path / "whole", options)
    parts = run(EXAMPLES / "usage.csv", tmp_path / "parts", replace(options, chunk_rows=3))
    for one, other in zip(*(read(tmp_path / name / "impacts.csv") for name in ("whole", "parts")), strict=True):
        assert one.keys() == other.keys()
        for name, cell in one.items():
            if name in OUTPUT_COLUMNS and cell:
                assert float(other[name]) == pytest.approx(float(cell), rel=1e-12)
            else:
                assert other[name] == cell
    for name, total in whole.total.outputs.items():
        other = parts.range(name)
        assert (total is None) == (other is None)
        if total is not None and other is not None:
            assert list(other) == pytest.approx(list(total), rel=1e-12)
    assert [(t.dimension, t.key, t.records) for t in whole.totals] == [
        (t.dimension, t.key, t.records) for t in parts.totals
    ]


def test_formats_and_compression_agree(table, read, tmp_path, options):
    text = (EXAMPLES / "trace.csv").read_bytes()
    mapped = replace(options, columns=TRACE)
    run(table(text, "plain.csv"), tmp_path / "plain", mapped)
    run(table(gzip.compress(text), "packed.csv.gz"), tmp_path / "packed", mapped)
    run(
        table(b"\xef\xbb\xbf" + text.replace(b",", b";").replace(b"\n", b"\r\n"), "semi.csv"), tmp_path / "semi", mapped
    )
    connection = duckdb.connect()
    connection.execute(f"COPY (FROM '{EXAMPLES / 'trace.csv'}') TO '{tmp_path / 'typed.parquet'}'")
    run(tmp_path / "typed.parquet", tmp_path / "typed", replace(mapped, output_format="parquet", chunk_rows=64))
    expected = [float(row["usage_energy_wh"]) for row in read(tmp_path / "plain" / "impacts.csv")]
    for name in ("packed", "semi"):
        assert [float(row["usage_energy_wh"]) for row in read(tmp_path / name / "impacts.csv")] == expected
    stored = connection.execute(
        f"SELECT row, usage_energy_wh, utc_datetime FROM '{tmp_path / 'typed' / 'impacts.parquet'}'"
    ).fetchall()
    assert [row[1] for row in stored] == pytest.approx(expected, rel=1e-15)
    assert [row[0] for row in stored] == list(range(1, 201))
    assert stored[0][2].startswith("2026-09-01 18:15:0")
    days = [t for t in (read(tmp_path / "typed" / "totals.csv")) if t["dimension"] == "day"]
    assert [(t["key"], t["records"]) for t in days] == [("2026-09-01", "200")]


def test_totals_are_sums_within_the_sum_of_bounds(read, tmp_path, options):
    summary = run(EXAMPLES / "trace.csv", tmp_path / "out", replace(options, columns=TRACE))
    impacts = read(tmp_path / "out" / "impacts.csv")
    for quantity in RESULTS:
        total = summary.range(quantity.name)
        if total is None:
            assert all(impact[quantity.name] == "" for impact in impacts)
            continue
        value, low, high = (math.fsum(float(i[quantity.name + s]) for i in impacts) for s in ("", "_low", "_high"))
        assert total.value == pytest.approx(value, rel=1e-12)
        assert low * (1 - 1e-12) <= total.low <= total.value <= total.high <= high * (1 + 1e-12)
    energy = summary.range("usage_energy_wh")
    assert energy is not None
    # Errors that rows share do not average out.
    assert energy.high / energy.low > 2


def test_totals_by_project_add_up(read, tmp_path, estimator):
    summary = run(EXAMPLES / "usage.csv", tmp_path / "out", RunOptions(estimator=estimator))
    for dimension in ("project_id", "application_id", "model", "service", "day"):
        found = [total for total in summary.totals if total.dimension == dimension]
        assert sum(total.records for total in found) == summary.counts.estimated
        assert sum(total.outputs["usage_energy_wh"].value for total in found) == pytest.approx(
            summary.total.outputs["usage_energy_wh"].value, rel=1e-12
        )
    services = {total.key for total in summary.totals if total.dimension == "service"}
    assert {"deepinfra", "(unstated)", "(own machine)", "(desk)"} == services


def test_summary_tells_what_it_rests_on(tmp_path, options):
    summary = run(EXAMPLES / "trace.csv", tmp_path / "out", replace(options, columns=TRACE))
    stored = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert stored == json.loads(json.dumps(summary.to_dict()))
    assert stored["counts"] == {
        "records": 200, "estimated": 200, "merged": 0, "skipped": {"no-tokens": 0}, "rejected": 0, "requests": 200.0,
        "reasons": {},
    }  # fmt: skip
    assert stored["largest_uncertainty"] == "batch size"
    assert "batch_size" in {entry["field"] for entry in stored["assumptions"]}
    text = summary.text()
    assert "200 records: 200 estimated" in text
    assert "usage_energy_wh [Wh]" in text
    assert "two_term_usage_energy_wh" in text
    assert "batch size" in text


def test_warns_of_long_contexts_and_unread_columns(table, tmp_path, options):
    rows = [{"input_tokens": n, "output_tokens": 1, "colour": "red"} for n in (10, 5000, 6000)]
    summary = run(table(rows), tmp_path / "out", options)
    assert any("2 records exceed the context length of llama-2-70b (4096)" in w for w in summary.warnings)
    assert any("columns that nothing reads: colour" in w for w in summary.warnings)


def test_duplicates_merge_into_the_first_across_files(table, read, tmp_path, options):
    first = table([{"request_id": i, "input_tokens": 10, "output_tokens": 5} for i in ("a", "b", "a", "", "")], "1.csv")
    second = table(
        [{"request_id": i, "input_tokens": n, "output_tokens": 5} for i, n in (("b", 99), ("c", -1), ("c", 7))], "2.csv"
    )
    summary = run([first, second], tmp_path / "out", replace(options, chunk_rows=2))
    counts = summary.counts
    assert (counts.records, counts.estimated, counts.merged, counts.rejected) == (8, 5, 2, 1)
    impacts = read(tmp_path / "out" / "impacts.csv")
    assert [(Path(i["file"]).name, i["row"], i["request_id"]) for i in impacts] == [
        ("1.csv", "1", "a"), ("1.csv", "2", "b"), ("1.csv", "4", ""), ("1.csv", "5", ""), ("2.csv", "3", "c"),
    ]  # fmt: skip


def test_rows_without_tokens_are_skipped(table, tmp_path, options):
    rows = [{"input_tokens": n, "output_tokens": m} for n, m in ((0, 0), (0, 1), (1, 0), (0, 0))]
    counts = run(table(rows), tmp_path / "out", options).counts
    assert (counts.estimated, counts.skipped, counts.rejected) == (2, {"no-tokens": 2}, 0)
    assert not (tmp_path / "out" / "rejects.csv").exists()


def test_a_table_without_rows(table, read, tmp_path, options):
    for kind in ("csv", "parquet"):
        made = replace(options, output_format=kind)
        summary = run(table("input_tokens,output_tokens,project_id\n"), tmp_path / kind, made)
        assert summary.counts.records == 0
        assert summary.range("usage_energy_wh") == (0, 0, 0)
    assert "project_id" in (tmp_path / "csv" / "impacts.csv").read_text()
    assert read(tmp_path / "csv" / "impacts.csv") == []


def test_blank_cells_take_the_fill_and_columns_win(table, read, tmp_path, options, estimator):
    rows = [{"input_tokens": 10, "output_tokens": 5, "model_id": m} for m in ("llama-3.1-8b", "")]
    run(table(rows), tmp_path / "out", options)
    assert [row["model"] for row in read(tmp_path / "out" / "impacts.csv")] == ["llama-3.1-8b", "llama-2-70b"]


def test_numbers_and_text_fill_what_the_table_lacks(table, read, tmp_path, options, estimator):
    fills = H100 | {"output_tokens": 50, "batch_size": 4, "cached_input_tokens": 2, "project_id": "p"}
    rows = [{"input_tokens": n} for n in (10, 20)]
    run(table(rows), tmp_path / "out", replace(options, fills=fills))
    impacts = read(tmp_path / "out" / "impacts.csv")
    assert_same_as_single([{k: str(v) for k, v in r.items()} for r in rows], impacts,
                          {k: v for k, v in fills.items() if k != "project_id"}, estimator)  # fmt: skip
    assert {impact["project_id"] for impact in impacts} == {"p"}


def test_what_was_stated_for_the_whole_table_fails_at_once(table, tmp_path, options):
    path = table([{"input_tokens": 1, "output_tokens": 1}])
    with pytest.raises(UnknownName, match="llama-2-70bb"):
        run(path, tmp_path / "out", replace(options, fills=H100 | {"model_id": "llama-2-70bb"}))
    assert not (tmp_path / "out").exists()
    with pytest.raises(InvalidInput, match=r"(?s)input_token: is not a field.*Nearest: input_tokens"):
        RunOptions(columns={"input_token": "x"})


def test_unmapped_columns_are_explained(table, tmp_path, options):
    path = table("TIMESTAMP,ContextTokens,GeneratedTokens\nx,1,2\n")
    with pytest.raises(FileProblem) as caught:
        run(path, tmp_path / "out", options)
    assert "TIMESTAMP, ContextTokens, GeneratedTokens" in caught.value.hint
    assert "--column input_tokens=ContextTokens" in caught.value.hint
    with pytest.raises(FileProblem) as caught:
        run(path, tmp_path / "out", replace(options, columns={"input_tokens": "contexttoken"}))
    assert "Nearest: ContextTokens" in caught.value.hint
    assert str(path) in caught.value.message


CELLS = st.one_of(
    st.integers(0, 5000).map(str), st.sampled_from(["", "-1", "1.5", "x", "nan", "1e9", "0", "inf", "7.0", '"', "é,"])
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {
                "request_id": st.sampled_from(["", "a", "b", "c"]),
                "model_id": st.sampled_from(["llama-2-70b", "llama-3.1-8b", "no-such-model", ""]),
                "input_tokens": CELLS,
                "cached_input_tokens": CELLS,
                "output_tokens": CELLS,
                "n_requests": st.sampled_from(["", "1", "2", "0"]),
                "request_duration_ms": st.sampled_from(["", "", "900", "-3", "z"]),
            }
        ),
        max_size=12,
    ),
    chunk_rows=st.integers(1, 5),
)
def test_no_record_is_lost(rows, chunk_rows, table, read, tmp_path_factory, estimator):
    """Whatever is in a table, each record ends in one place, and what is kept is what a single estimate keeps."""
    out = tmp_path_factory.mktemp("run") / "out"
    fills = {"node_id": "generic:hgx-h100-8", "country": "US", "batch_size": 8}
    path = table(rows or "model_id,input_tokens,output_tokens\n")
    options = RunOptions(estimator=estimator, output_format="csv", fills=fills, chunk_rows=chunk_rows)
    counts = run(path, out, options).counts
    assert counts.records == len(rows)
    kept = read(out / "impacts.csv")
    rejected = read(out / "rejects.csv") if counts.rejected else []
    assert (len(kept), len(rejected)) == (counts.estimated, counts.rejected)
    assert counts.estimated + counts.rejected + counts.merged + counts.skipped["no-tokens"] == len(rows)
    kept_rows = [rows[int(impact["row"]) - 1] for impact in kept]
    assert_same_as_single(kept_rows, kept, fills, estimator)
    assert not {r["row"] for r in rejected} & {impact["row"] for impact in kept}
