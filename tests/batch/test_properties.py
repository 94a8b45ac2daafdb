"""What holds for any table: every record has one outcome, rows are single estimates, totals lie within their rows."""

import math

import duckdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inferprint.batch import RunOptions, run
from inferprint.batch.setups import Pair
from inferprint.batch.times import work_columns
from inferprint.batch.totals import bounds_of_rows
from inferprint.errors import InferprintError
from inferprint.estimate import Request
from inferprint.estimate.estimate import machine_setup, place_setup
from inferprint.quantities import RESULTS
from inferprint.rates import OUTPUT_NAMES, apply
from inferprint.usage.tables import NUMERIC_FIELDS

FILLS = {"node_id": "generic:hgx-h100-8", "country": "US", "batch_size": 8}
NUMBERS = ("input_tokens", "cached_input_tokens", "output_tokens", "n_requests", "request_duration_ms")

CELLS = st.one_of(
    st.integers(0, 3000).map(str), st.sampled_from(["", "-1", "1.5", "x", "nan", "1e9", "0", "inf", "7.0", " 8 ", "+9"])
)
ROWS = st.fixed_dictionaries(
    {
        "request_id": st.sampled_from(["", "a", "b", "c"]),
        "project_id": st.sampled_from(["", "p", "q"]),
        "model_id": st.sampled_from(["llama-2-70b", "llama-3.1-8b", "bge-m3", "no-such-model", ""]),
        "input_tokens": CELLS,
        "cached_input_tokens": st.sampled_from(["", "0", "5", "4000", "y"]),
        "output_tokens": CELLS,
        "n_requests": st.sampled_from(["", "1", "2", "0"]),
        "request_duration_ms": st.sampled_from(["", "", "", "900", "-3"]),
    }
)


def outcome_of(row, estimator):
    """ "idle", the reason for which a single request is refused, or its estimate."""
    given = {name: row[name] for name in NUMBERS if row[name]}
    try:
        numbers = {name: float(text) for name, text in given.items() if "_" not in text}
    except ValueError:
        return "no number"
    tokens = [numbers.get(name, 0.0) for name in ("input_tokens", "cached_input_tokens", "output_tokens")]
    stated = {"input_tokens", "output_tokens"} <= set(numbers)
    if stated and not any(tokens) and numbers.get("n_requests", 1.0) >= 1 and "request_duration_ms" not in numbers:
        return "idle"
    try:
        return estimator.estimate(Request(model_id=row["model_id"] or None, **numbers, **FILLS))
    except InferprintError as error:
        return error.message


def expected_of(tables, estimator):
    """The estimates that count, by file and row, and how many rows end otherwise."""
    expected, seen = {}, set()
    outcomes = {"idle": 0, "refused": 0, "merged": 0}
    for path, rows in tables:
        for number, row in enumerate(rows, 1):
            outcome = outcome_of(row, estimator)
            if isinstance(outcome, str):
                outcomes["idle" if outcome == "idle" else "refused"] += 1
            elif row["request_id"] in seen:
                outcomes["merged"] += 1
            else:
                seen |= {row["request_id"]} - {""}
                expected[str(path), str(number)] = outcome
    return expected, outcomes


def assert_as_single(impact, single):
    """All results of a row are those of its single estimate."""
    for quantity in RESULTS:
        cells = [impact[quantity.name + side] for side in ("", "_low", "_high")]
        found = single.range(quantity.name)
        if found is None:
            assert cells == ["", "", ""]
        else:
            assert [float(cell) for cell in cells] == pytest.approx(list(found), rel=1e-12, abs=1e-300)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    first=st.lists(ROWS, min_size=1, max_size=6),
    second=st.lists(ROWS, min_size=1, max_size=6),
    chunk_rows=st.integers(1, 5),
)
def test_any_two_tables(first, second, chunk_rows, table, read, tmp_path_factory, estimator):
    """A Parquet file and a text, rows of which share request ids: the first good one of them all counts."""
    folder = tmp_path_factory.mktemp("any")
    text, plain = table(second, "second.csv"), table(first, "first.csv")
    typed = folder / "first.parquet"
    duckdb.sql(f"COPY (FROM read_csv('{plain}', all_varchar = true)) TO '{typed}'")
    options = RunOptions(estimator=estimator, output_format="csv", fills=FILLS, chunk_rows=chunk_rows)
    summary = run([typed, text], folder / "out", options)
    counts = summary.counts
    assert counts.records == len(first) + len(second)
    assert counts.records == counts.estimated + counts.merged + sum(counts.skipped.values()) + counts.rejected

    expected, outcomes = expected_of(((typed, first), (text, second)), estimator)
    impacts = {(row["file"], row["row"]): row for row in read(folder / "out" / "impacts.csv")}
    assert set(impacts) == set(expected)
    assert (counts.skipped["no-tokens"], counts.rejected, counts.merged) == (
        outcomes["idle"], outcomes["refused"], outcomes["merged"],
    )  # fmt: skip
    for place, single in expected.items():
        assert_as_single(impacts[place], single)
    for quantity in RESULTS:
        total = summary.range(quantity.name)
        if total is not None:
            sums = [
                math.fsum(float(row[quantity.name + side]) for row in impacts.values())
                for side in ("", "_low", "_high")
            ]
            assert total.value == pytest.approx(sums[0], rel=1e-12)
            assert sums[1] * (1 - 1e-9) <= total.low <= total.value <= total.high <= sums[2] * (1 + 1e-9)
    for dimension in {total.dimension for total in summary.totals}:
        assert sum(total.records for total in summary.totals if total.dimension == dimension) == len(expected)


HOSTINGS = {
    "unstated": {"model_id": "llama-2-70b"},
    "priced": {"model_id": "gpt-4o"},
    "kind": {"model_id": "generic:text-generator", "country": "IS"},
    "service": {"model_id": "llama-3.1-405b", "managed_service_id": "together"},
    "own": {"model_id": "llama-2-70b", "node_id": "generic:hgx-h100-8", "country": "US"},
    "desk": {"model_id": "llama-3.1-8b", "gpu_id": "rtx_4090", "gpu_count": 1, "country": "NO"},
    "two-term": {"model_id": "gpt-4o", "method": "two-term"},
}
SIZES = st.one_of(st.just(0), st.integers(0, 3), st.floats(0, 7).map(lambda x: int(10**x)))


@pytest.fixture(scope="module")
def pairs(estimator):
    def pair(stated):
        request = Request(input_tokens=1, output_tokens=1, **stated)
        machine = estimator.machine(machine_setup(request))
        where = place_setup(request, machine)
        return Pair(0, 0, 0, machine, estimator.place(where), where)

    return {name: pair(stated) for name, stated in HOSTINGS.items()}


def features_of(pair, rows):
    """Features of rows of input, output and cached tokens, and requests."""
    columns = {name: np.zeros(len(rows)) for name in NUMERIC_FIELDS}
    n_in, n_out, cached, n = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    columns |= {"input_tokens": n_in * n, "output_tokens": n_out * n, "n_requests": n}
    columns["cached_input_tokens"] = np.floor(n_in * cached) * n
    columns["request_duration_ms"] = columns["time_per_output_token_ms"] = np.full(len(rows), np.nan)
    machine = pair.machine
    return np.array(machine.modality.count(work_columns(columns), machine.window, np.minimum), dtype=float)


@pytest.mark.parametrize("hosting", HOSTINGS)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(SIZES, SIZES, st.sampled_from([0, 0, 0.5, 1]), st.sampled_from([1, 1, 900])), min_size=1, max_size=5
    )
)
def test_totals_are_never_wider_than_their_rows(hosting, rows, pairs):
    """Prompts without answers beside answers without prompts, at the widest intervals there are."""
    pair = pairs[hosting]
    features = features_of(pair, rows)
    _, low, high = apply(pair.machine, pair.place, features)
    total_low, total_high = bounds_of_rows(pair, features.sum(axis=1)[:, None])
    for i, name in enumerate(OUTPUT_NAMES):
        if not np.isnan(total_high[i, 0]):
            assert low[i].sum() <= total_low[i, 0] * (1 + 1e-12), name
            assert total_high[i, 0] <= high[i].sum() * (1 + 1e-12), name


def test_a_wide_card_is_wide(pairs):
    """The cards above do reach the widths at which bounds of rows stop being convex."""
    table = pairs["priced"].machine.table
    with np.errstate(divide="ignore", invalid="ignore"):
        assert np.nanmax(np.log(table[2] / table[0])) > 2
    assert pairs["desk"].place.factors.high_of_zero is not None


def test_the_bound_is_met_by_rows_that_are_alike(pairs):
    """Where the intervals are narrow, rows of one kind have their bounds together, and no less."""
    pair = pairs["own"]
    features = features_of(pair, [(1000, 100, 0, 1)] * 50)
    _, low, high = apply(pair.machine, pair.place, features)
    total_low, total_high = bounds_of_rows(pair, features.sum(axis=1)[:, None])
    i = OUTPUT_NAMES.index("duration_ms")
    assert total_low[i, 0] == pytest.approx(low[i].sum(), rel=1e-8)
    assert total_high[i, 0] == pytest.approx(high[i].sum(), rel=1e-8)
