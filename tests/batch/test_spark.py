"""A run on Spark: counts, totals, what it refuses and why, and what it leaves behind."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from tests.spark_here import spark

from inferprint.batch import RunOptions, run
from inferprint.batch.spark import SparkSummary, has_java, run_spark, spark_session
from inferprint.errors import FileProblem, InvalidInput, UnknownName
from inferprint.estimate import Request

LLAMA = {"model_id": "llama-3.1-70b", "country": "FR", "input_tokens": 1200, "output_tokens": 300}
NAMES = ("request_id", "model_id", "country", "input_tokens", "output_tokens", "project_id", "utc_datetime", "team")
SCHEMA = (
    "request_id string, model_id string, country string, input_tokens bigint, output_tokens bigint, "
    "project_id string, utc_datetime string, team string"
)


@pytest.fixture(scope="module")
def session(tmp_path_factory) -> Iterator[Any]:
    # A few rows are done long before code for them would be compiled.
    interpreted = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}
    with spark(tmp_path_factory.mktemp("spark"), **interpreted) as session:
        yield session


@pytest.fixture
def options(estimator):
    return RunOptions(estimator=estimator)


def frame(session, rows: list[dict[str, Any]]) -> Any:
    return session.createDataFrame([tuple(row.get(name) for name in NAMES) for row in rows], SCHEMA)


def read(folder: str) -> list[dict[str, Any]]:
    """Rows that Spark wrote, as another engine reads them."""
    result = duckdb.execute(f"SELECT * FROM read_parquet('{folder}/*.parquet')")
    names = [column[0] for column in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


ROWS = [
    {**LLAMA, "request_id": "a", "project_id": "p1", "utc_datetime": "2026-11-02T01:00:00Z", "team": "x"},
    {**LLAMA, "request_id": "a", "project_id": "p1", "utc_datetime": "2026-11-01T23:00:00Z", "team": "y"},
    {**LLAMA, "request_id": "b", "project_id": "p2", "utc_datetime": "yesterday"},
    {**LLAMA, "request_id": None, "project_id": "p2"},
    {**LLAMA, "request_id": "", "project_id": ""},
    {**LLAMA, "request_id": "c", "model_id": "bge-m3", "output_tokens": None, "project_id": "p1"},
    {**LLAMA, "request_id": "d", "input_tokens": 0, "output_tokens": 0},
    {**LLAMA, "request_id": "e", "model_id": "nobody-knows-it", "project_id": "p1"},
    {**LLAMA, "request_id": "f", "input_tokens": -1},
    {**LLAMA, "request_id": "b", "output_tokens": None},
]


@pytest.fixture(scope="module")
def left(session) -> list[str]:
    """What the session holds before anything is run."""
    return _held(session)


def _held(session) -> list[str]:
    tables = [table.name for table in session.catalog.listTables()]
    return [*tables, f"{session.sparkContext._jsc.getPersistentRDDs().size()} cached"]


@pytest.fixture(scope="module")
def summary(session, left, estimator, tmp_path_factory) -> SparkSummary:
    """A run over `ROWS`."""
    out = tmp_path_factory.mktemp("run") / "out"
    return run_spark(session, frame(session, ROWS), out, RunOptions(estimator=estimator), keep=["team"])


def test_every_record_has_an_outcome(summary):
    counts = summary.counts
    assert (counts.records, counts.estimated, counts.merged, counts.rejected) == (10, 5, 1, 3)
    assert counts.skipped == {"no-tokens": 1}
    assert counts.requests == 5
    assert sum(summary.reasons.values()) == 3
    assert summary.merged_by == "of the records of one request, the first by utc_datetime counts"
    impacts = read(summary.impacts)
    assert sorted(str(row["request_id"]) for row in impacts) == ["", "None", "a", "b", "c"]
    assert [row["team"] for row in impacts if row["request_id"] == "a"] == ["y"]
    rejects = {row["request_id"]: row for row in read(summary.rejects)}
    assert "unknown model 'nobody-knows-it'" in rejects["e"]["reason"]
    assert "numbers that cannot be" in rejects["f"]["reason"]
    assert rejects["b"]["reason"] == "output_tokens is missing"
    assert rejects["f"]["input_tokens"] == -1
    projects = {total.key: total.records for total in summary.totals if total.dimension == "project_id"}
    assert projects == {"(none)": 1, "p1": 2, "p2": 2}
    days = {total.key: total.records for total in summary.totals if total.dimension == "day"}
    assert days == {"(none)": 3, "(unreadable)": 1, "2026-11-01": 1}


def test_one_of_each_request_by_the_column_that_is_named(session, options, tmp_path):
    summary = run_spark(session, frame(session, ROWS), tmp_path / "out", options, keep=["team"], order_by="team")
    assert [row["team"] for row in read(summary.impacts) if row["request_id"] == "a"] == ["x"]
    assert summary.merged_by == "of the records of one request, the first by team and utc_datetime counts"


def test_totals_are_those_of_a_run_elsewhere(session, options, tmp_path):
    rows = [
        {**LLAMA, "model_id": model, "input_tokens": 100 * i, "output_tokens": 7 * i, "project_id": f"p{i % 3}"}
        for i in range(1, 60)
        for model in ("llama-3.1-70b", "gpt-oss-20b", "gemma-3-27b")
    ]
    path = tmp_path / "usage"
    frame(session, rows).drop("request_id", "utc_datetime", "team").write.parquet(str(path))
    there = run_spark(session, path, tmp_path / "spark", options)
    here = run(sorted(path.glob("*.parquet")), tmp_path / "here", options)
    assert there.counts.estimated == here.counts.estimated == len(rows)
    expected = {(total.dimension, total.key): total for total in (here.total, *here.totals)}
    found = {(total.dimension, total.key): total for total in (there.total, *there.totals)}
    assert found.keys() == expected.keys()
    for key, total in expected.items():
        assert found[key].records == total.records
        for name, cells in total.outputs.items():
            others = found[key].outputs[name]
            assert (cells is None) == (others is None)
            for one, other in zip(cells or (), others or (), strict=True):
                assert math.isclose(one, other, rel_tol=1e-12), (key, name)


def test_types_and_columns_of_all_kinds(session, estimator, tmp_path):
    data = [("llama-3.1-70b", "1200", Decimal(300), 2.0), ("llama-3.1-70b", "many", Decimal(300), 2.0)]
    usage = session.createDataFrame(data, "model string, `in.put` string, output decimal(20, 0), n double")
    columns = {"model_id": "model", "input_tokens": "in.put", "output_tokens": "output", "n_requests": "n"}
    options = RunOptions(columns=columns, fills={"country": "FR", "project_id": "q"}, estimator=estimator)
    summary = run_spark(session, usage, tmp_path / "out", options)
    assert (summary.counts.estimated, summary.counts.rejected, summary.counts.requests) == (1, 1, 2)
    (impact,) = read(summary.impacts)
    assert impact["project_id"] == "q"
    expected = estimator.estimate(Request(**LLAMA, n_requests=2)).usage_energy_wh
    assert math.isclose(impact["usage_energy_wh"], expected.value, rel_tol=1e-12)
    assert {total.key for total in summary.totals if total.dimension == "place"} == {"FR"}


def test_all_rejected(session, options, tmp_path):
    summary = run_spark(session, frame(session, ROWS[7:8]), tmp_path / "out", options)
    assert (summary.counts.estimated, summary.counts.rejected) == (0, 1)
    assert read(summary.impacts) == []


def test_an_empty_table(session, options, tmp_path):
    summary = run_spark(session, frame(session, []), tmp_path / "out", options)
    assert summary.counts.records == 0
    assert read(summary.rejects) == []


def test_what_cannot_be_run(session, options, estimator, tmp_path):
    usage = frame(session, ROWS[:1])
    with pytest.raises(FileProblem, match="no column for output_tokens"):
        run_spark(session, usage.drop("output_tokens"), tmp_path / "out", options)
    with pytest.raises(FileProblem, match="no column 'squad'"):
        run_spark(session, usage, tmp_path / "out", options, keep=["squad"])
    with pytest.raises(InvalidInput, match="'country' is the name of a column that there is already"):
        run_spark(session, usage, tmp_path / "out", options, keep=["country"])
    with pytest.raises(FileProblem, match="cannot be read"):
        run_spark(session, tmp_path / "absent", tmp_path / "out", options)
    whole = RunOptions(estimator=estimator, fills={"model_id": "nobody-knows-it"})
    with pytest.raises(UnknownName, match="nobody-knows-it"):
        run_spark(session, usage.drop("model_id", "country"), tmp_path / "out", whole)
    assert not (tmp_path / "out").exists()


def test_an_earlier_output_stays_unless_told_otherwise(session, summary, options, estimator):
    out = Path(summary.impacts).parent
    with pytest.raises(FileProblem, match="cannot be written") as caught:
        run_spark(session, frame(session, ROWS[:1]), out, options)
    assert "overwrite=True" in str(caught.value)
    assert len(read(summary.rejects)) == 3
    again = run_spark(session, frame(session, ROWS[:1]), out, RunOptions(estimator=estimator, overwrite=True))
    assert again.counts.records == 1
    assert len(read(again.impacts)) == 1
    assert read(again.rejects) == []


def test_nothing_is_left_in_the_session(session, left, summary):
    assert _held(session) == left


def test_pyspark_is_missing(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "pyspark"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyspark", None)
    with pytest.raises(FileProblem, match="needs PySpark") as caught:
        spark_session()
    assert "pip install 'inferprint[spark]'" in str(caught.value)


def test_java_is_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(FileProblem, match="needs Java 17 or 21"):
        spark_session()
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileProblem, match="no `java`"):
        spark_session()
    (Path(tmp_path) / "java").touch(mode=0o755)
    assert has_java()
