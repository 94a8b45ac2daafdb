"""One usage table through every engine: each number is the one that a single request has."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import sqlglot
from tests.postgres_here import postgres
from tests.setups import ESTIMATOR, SETUPS
from tests.spark_here import TWO_EXECUTORS, spark

from inferprint import Request
from inferprint.batch import RunOptions, run
from inferprint.batch.spark import run_spark
from inferprint.batch.warehouse import DIALECTS
from inferprint.batch.warehouse_script import ScriptOptions, statements, warehouse_script
from inferprint.quantities import BREAKDOWN, RESULTS

ELSEWHERE: list[dict[str, object]] = [
    {"model_id": "gemma-3-27b", "country": "AU", "managed_service_id": "deepinfra"},
    {"model_id": "gpt-oss-120b", "country": "AU"},
    {"model_id": "gpt-oss-20b", "node_id": "generic:hgx-h100-8", "country": "PL", "grid_market_gco2e_per_kwh": 12.5},
    {"model_id": "mistral-7b", "gpu_id": "l40s_48gb", "gpu_count": 1, "country": "CH"},
    {"model_id": "qwen3-30b-a3b", "country": "BR", "grid_zone": "BR"},
    {"model_id": "llama-3.1-70b", "cloud_id": "aws", "cloud_region": "eu-west-1", "cloud_instance_id": "p5.48xlarge"},
    {"model_id": "llama-3.1-70b", "cloud_id": "azure", "cloud_region": "swedencentral"},
    {"model_id": "llama-3.1-8b", "gpu_id": "a100_80gb_sxm", "gpu_count": 2, "pue": 1.1, "wue_l_per_kwh": 0.0},
    {"model_id": "llama-3.1-8b", "node_id": "generic:hgx-h100-8", "batch_size": 3.5, "country": "IN"},
    {"model_id": "deepseek-v3", "country": "CN"},
    {"model_id": "claude-opus-4-5", "managed_service_id": "anthropic", "country": "US"},
    {"model_id": "gpt-4o", "managed_service_id": "openai", "country": "NL", "conservative": True},
]
ALL_SETUPS = [*SETUPS.values(), *ELSEWHERE]

WORK: list[dict[str, float | None]] = [
    {"input_tokens": input_tokens, "output_tokens": output_tokens, "cached_input_tokens": cached, "n_requests": n}
    for input_tokens, output_tokens, cached, n in (
        (1, 1, 0, 1), (1200, 300, 0, 1), (1200, 300, 1000, 1), (1200, 0, None, 1), (1200, 0, 1200, 1), (0, 40, 0, 1),
        (129, 3000, 1, 1), (30_000, 12, 0, 1), (90_000, 2_000, 65_536, None), (9_000, 70, 512, 7),
        (4_000_000, 900_000, 1_234_567, 1_000), (3, 2, 0, 2), (700_001, 33_331, 99_999, 113), (511, 513, 128, 1),
    )
]  # fmt: skip
ROWS = [{"request_id": f"r{i}", **setup, **work} for i, (setup, work) in enumerate(itertools.product(ALL_SETUPS, WORK))]
FIELDS = list(dict.fromkeys(name for row in ROWS for name in row))
NUMBERS = ("input_tokens", "output_tokens", "cached_input_tokens", "n_requests", "gpu_count")
REALS = (
    "batch_size",
    "pue",
    "wue_l_per_kwh",
    "grid_market_gco2e_per_kwh",
    "total_params_b",
    "active_params_b",
)
TYPES = {
    name: "BIGINT"
    if name in NUMBERS
    else "FLOAT8"
    if name in REALS
    else "BOOLEAN"
    if name == "conservative"
    else "TEXT"
    for name in FIELDS
}
SETUP_FIELDS = [name for setup in ALL_SETUPS for name in setup]
COLUMNS = {name: name for name in FIELDS if name != "request_id"}

BOUNDED = [q.name + suffix for q in RESULTS for suffix in ("", "_low", "_high")]
OUTPUTS = [*BOUNDED, *(q.name for q in BREAKDOWN)]

Impacts = dict[str, dict[str, float | None]]
"""Outputs by request."""


@pytest.fixture(scope="module")
def singles() -> Impacts:
    """What each request gives on its own."""
    found: Impacts = {}
    for row in ROWS:
        given = {name: cell for name, cell in row.items() if name != "request_id" and cell is not None}
        single = ESTIMATOR.estimate(Request(**given))  # type: ignore[arg-type]
        outputs: dict[str, float | None] = {}
        for quantity in RESULTS:
            cells = single.range(quantity.name) or (None, None, None)
            for suffix, cell in zip(("", "_low", "_high"), cells, strict=True):
                outputs[quantity.name + suffix] = cell
        for quantity in BREAKDOWN:
            part = single.breakdown[quantity.name]
            outputs[quantity.name] = None if part is None else part.value
        found[str(row["request_id"])] = outputs
    return found


@pytest.fixture(scope="module")
def usage(tmp_path_factory) -> Path:
    """The rows as Parquet."""
    path = tmp_path_factory.mktemp("usage") / "usage.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE usage ({', '.join(f'{name} {kind}' for name, kind in TYPES.items())})")
        marks = ", ".join("?" * len(FIELDS))
        connection.executemany(f"INSERT INTO usage VALUES ({marks})", [[row.get(n) for n in FIELDS] for row in ROWS])
        connection.execute(f"COPY usage TO '{path}' (FORMAT parquet)")
    return path


@pytest.fixture(scope="module")
def session(tmp_path_factory) -> Iterator[Any]:
    """Spark with two executors that are processes of their own."""
    with spark(tmp_path_factory.mktemp("spark"), TWO_EXECUTORS) as session:
        yield session


def script(dialect: str, **changes: Any) -> list[str]:
    options = ScriptOptions(dialect=dialect, columns=COLUMNS, keep=["request_id"], **changes)
    return statements(ALL_SETUPS, options, ESTIMATOR)


def parquet(path: Path | str) -> Impacts:
    with duckdb.connect() as connection:
        files = f"{path}/*.parquet" if Path(path).is_dir() else path
        return _impacts(connection.execute(f"SELECT * FROM read_parquet('{files}')"))


def _impacts(result: Any) -> Impacts:
    names = [column[0] for column in result.description]
    rows = [dict(zip(names, row, strict=True)) for row in result.fetchall()]
    assert all(row.get("inferprint_problem") is None for row in rows)
    return {row["request_id"]: {name: row[name] for name in OUTPUTS} for row in rows}


def assert_same(found: Impacts, expected: Impacts) -> None:
    """All numbers, to within 1e-12 of each; unknown where the single one is unknown."""
    assert found.keys() == expected.keys()
    for request, outputs in expected.items():
        for name, value in outputs.items():
            cell = found[request][name]
            assert (cell is None) == (value is None), (request, name)
            if value is not None and cell is not None:
                assert math.isclose(cell, value, rel_tol=1e-12, abs_tol=1e-300), (request, name, cell, value)


def test_rows_are_of_every_kind(singles):
    assert len(ROWS) >= 300
    assert len({tuple(sorted(setup.items(), key=str)) for setup in ALL_SETUPS}) >= 20
    market = [outputs["usage_emissions_market_gco2e"] for outputs in singles.values()]
    assert None in market
    assert any(market)
    windows = {
        ESTIMATOR.estimate(Request(**setup, input_tokens=9, output_tokens=9)).machine.window for setup in ELSEWHERE
    }
    assert len(windows) >= 3


def test_duckdb_run(usage, singles, tmp_path):
    run(usage, tmp_path / "out", RunOptions(estimator=ESTIMATOR))
    assert_same(parquet(tmp_path / "out" / "impacts.parquet"), singles)


def test_spark_on_two_executors(session, usage, singles, tmp_path):
    summary = run_spark(session, usage, tmp_path / "out", RunOptions(estimator=ESTIMATOR))
    executors = session.sparkContext._jsc.sc().getExecutorMemoryStatus().size() - 1
    assert executors == 2
    assert summary.counts.estimated == len(ROWS)
    assert_same(parquet(summary.impacts), singles)


def test_script_in_duckdb(usage, singles):
    with duckdb.connect() as connection:
        connection.execute(f"CREATE VIEW usage AS FROM read_parquet('{usage}')")
        connection.execute(";\n".join(script("duckdb")))
        assert_same(_impacts(connection.execute("SELECT * FROM inferprint_impacts")), singles)


def test_script_in_spark(session, usage, singles, tmp_path):
    session.read.parquet(str(usage)).write.saveAsTable("usage")
    for statement in script("spark"):
        session.sql(statement)
    session.table("inferprint_impacts").write.parquet(str(tmp_path / "impacts"))
    assert_same(parquet(tmp_path / "impacts"), singles)


def test_script_in_postgres(usage, singles, tmp_path):
    with duckdb.connect() as connection:
        connection.execute(f"COPY (FROM read_parquet('{usage}')) TO '{tmp_path / 'usage.csv'}' (FORMAT csv, HEADER)")
    lines = (tmp_path / "usage.csv").read_text(encoding="utf-8")
    columns = ", ".join(f"{name} {kind}" for name, kind in TYPES.items())
    with postgres() as server:
        server.sql(f"CREATE TABLE usage ({columns});\nCOPY usage FROM STDIN WITH (FORMAT csv, HEADER);\n{lines}\\.\n")
        server.sql(";\n".join(script("postgres")) + ";")
        rows = server.sql("SELECT * FROM inferprint_impacts;")
    assert {row["inferprint_problem"] for row in rows} == {None}
    found = {
        str(row["request_id"]): {name: None if (cell := row[name]) is None else float(cell) for name in OUTPUTS}
        for row in rows
    }
    assert_same(found, singles)


# Functions that the references of BigQuery and Snowflake list, among them all that a script may use.
FUNCTIONS = {
    "bigquery": {
        "CAST", "COALESCE", "EXP", "FLOOR", "GREATEST", "IEEE_DIVIDE", "IF", "LEAST", "LN", "LOWER", "SAFE_CAST",
        "SQRT", "TRIM",
    },
    "snowflake": {
        "CAST", "COALESCE", "EXP", "FLOOR", "GREATEST", "IFF", "LEAST", "LN", "LOWER", "SQRT", "TRIM", "TRY_TO_DOUBLE",
    },
}  # fmt: skip
_WORDS = {"AND", "AS", "BY", "DOUBLE", "IN", "NOT", "OR", "ON", "THEN", "VALUES", "WHEN", "ELSE", "BIGINT", "VARCHAR"}


@pytest.mark.parametrize("dialect", FUNCTIONS)
def test_scripts_for_warehouses_that_are_not_here(dialect, usage, singles):
    """Each statement is one of the dialect, uses functions that it has, and means the same to DuckDB."""
    made = script(dialect, view="ours.inferprint_impacts", table="usage")
    for statement in made:
        tree = sqlglot.parse_one(statement, dialect=dialect)
        assert type(tree).__name__ in ("Drop", "Create", "Insert")
    bare = re.sub(r"'[^']*'|--[^\n]*", "", made[-1])
    called = {name.upper() for name in re.findall(r"\b([A-Za-z_0-9]+)\s*\(", bare)} - _WORDS
    assert called <= FUNCTIONS[dialect]
    with duckdb.connect() as connection:
        connection.execute(f"CREATE SCHEMA ours; CREATE VIEW usage AS FROM read_parquet('{usage}')")
        connection.execute("CREATE MACRO ieee_divide(x, y) AS x / y")
        for statement in made:
            connection.execute(sqlglot.transpile(statement, read=dialect, write="duckdb")[0])
        assert_same(_impacts(connection.execute("SELECT * FROM ours.inferprint_impacts")), singles)


def test_a_script_is_its_statements():
    options = ScriptOptions(dialect="bigquery", columns=COLUMNS, keep=["request_id"], view="ours.impacts")
    whole = warehouse_script(ALL_SETUPS, options, ESTIMATOR)
    assert len(sqlglot.parse(whole, dialect=DIALECTS["bigquery"].sql)) == len(
        statements(ALL_SETUPS, options, ESTIMATOR)
    )
