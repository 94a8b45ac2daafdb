"""The script for a warehouse, in DuckDB: problems, keys, names, and what it says of itself."""

import csv
import math
from typing import Any

import duckdb
import pytest

from inferprint.batch import warehouse_script as module
from inferprint.batch.warehouse_script import (
    ScriptOptions,
    columns_for,
    read_setups,
    setups_named,
    statements,
    warehouse_script,
)
from inferprint.errors import FileProblem, InvalidInput, UnknownName
from inferprint.estimate import Request

LLAMA = {"model_id": "llama-3.1-70b", "country": "FR"}
TOKENS = {name: name for name in ("input_tokens", "output_tokens", "cached_input_tokens", "n_requests")}
COLUMNS = {"model_id": "model", "country": "land", **TOKENS}


def impacts(estimator, rows: list[dict[str, Any]], setups, types: str, **changes: Any) -> list[dict[str, Any]]:
    """Rows of the view over a usage table of these columns."""
    options = ScriptOptions(**{"dialect": "duckdb", "columns": COLUMNS, "keep": ["id"], **changes})
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE {options.table} ({types})")
        names = [part.split()[0].strip('"') for part in types.split(",")]
        marks = ", ".join("?" * len(names))
        connection.executemany(
            f"INSERT INTO {options.table} VALUES ({marks})", [[row.get(name) for name in names] for row in rows]
        )
        connection.execute(warehouse_script(setups, options, estimator))
        result = connection.execute(f"SELECT * FROM {options.view} ORDER BY {options.keep[0]}")
        columns = [column[0] for column in result.description]
        return [dict(zip(columns, row, strict=True)) for row in result.fetchall()]


TEXT = (
    "id INTEGER, model VARCHAR, land VARCHAR, input_tokens VARCHAR, output_tokens VARCHAR, "
    "cached_input_tokens VARCHAR, n_requests VARCHAR"
)
GOOD = {"model": "llama-3.1-70b", "land": "FR", "input_tokens": "100", "output_tokens": "50"}
SETUPS = [
    LLAMA,
    {"model_id": "bge-m3", "country": "FR"},
    {"model_id": "flux.1-dev", "country": "FR"},
    {"model_id": "nobody-knows-it", "country": "FR"},
    {"model_id": "llama-3.1-70b", "country": "XX"},
]

CASES = [
    (GOOD, None),
    (GOOD | {"input_tokens": " 1e2 ", "cached_input_tokens": "", "n_requests": "1.0"}, None),
    (GOOD | {"output_tokens": "0"}, None),
    (GOOD | {"model": "bge-m3", "output_tokens": None}, None),
    (GOOD | {"model": "bge-m3", "output_tokens": "0"}, None),
    (GOOD | {"model": "bge-m3"}, "embedding model has no output_tokens"),
    (GOOD | {"model": "flux.1-dev"}, "flux.1-dev does more than read and write text"),
    (GOOD | {"model": "nobody-knows-it"}, "unknown model 'nobody-knows-it'"),
    (GOOD | {"land": "XX"}, "unknown country or grid zone 'XX'"),
    (GOOD | {"land": "DE"}, "setup is not among those"),
    (GOOD | {"model": "Llama-3.1-70B"}, "setup is not among those"),
    (GOOD | {"model": None}, "setup is not among those"),
    (GOOD | {"input_tokens": None}, "input_tokens is missing"),
    (GOOD | {"output_tokens": " "}, "output_tokens is missing"),
    (GOOD | {"input_tokens": "0", "output_tokens": "0"}, "no tokens"),
    (GOOD | {"input_tokens": "0", "output_tokens": "0", "model": "nobody-knows-it"}, "no tokens"),
    (GOOD | {"input_tokens": "many"}, "numbers that cannot be"),
    (GOOD | {"input_tokens": "1_000"}, "numbers that cannot be"),
    (GOOD | {"input_tokens": "nan"}, "numbers that cannot be"),
    (GOOD | {"input_tokens": "inf"}, "numbers that cannot be"),
    (GOOD | {"input_tokens": "-1"}, "numbers that cannot be"),
    (GOOD | {"input_tokens": "1.5"}, "numbers that cannot be"),
    (GOOD | {"output_tokens": "1e9"}, "numbers that cannot be"),
    (GOOD | {"cached_input_tokens": "101"}, "numbers that cannot be"),
    (GOOD | {"n_requests": "0"}, "numbers that cannot be"),
    (GOOD | {"n_requests": "0.5"}, "numbers that cannot be"),
]


def test_no_row_is_lost_and_each_has_outputs_or_a_reason(estimator):
    rows = [{"id": i, **row} for i, (row, _) in enumerate(CASES)]
    found = impacts(estimator, rows, SETUPS, TEXT)
    assert [row["id"] for row in found] == list(range(len(CASES)))
    for row, (given, problem) in zip(found, CASES, strict=True):
        if problem is None:
            assert row["inferprint_problem"] is None, given
            assert row["inferprint_model"] == given["model"]
            assert row["usage_energy_wh_low"] < row["usage_energy_wh"] < row["usage_energy_wh_high"]
        else:
            assert problem in row["inferprint_problem"], given
            assert all(cell is None for name, cell in row.items() if name not in ("id", "inferprint_problem"))


def test_numbers_are_those_of_single_requests(estimator):
    rows = [
        {"id": 1, "model": "llama-3.1-70b", "land": "FR", "input_tokens": 1200, "output_tokens": 300},
        {"id": 2, "model": "bge-m3", "land": "FR", "input_tokens": 700, "n_requests": 7},
    ]
    types = (
        "id INTEGER, model VARCHAR, land VARCHAR, input_tokens INTEGER, output_tokens DECIMAL(9), "
        "cached_input_tokens DOUBLE, n_requests UTINYINT"
    )
    found = impacts(estimator, rows, SETUPS, types)
    for row, impact in zip(rows, found, strict=True):
        given = {"input_tokens": row["input_tokens"], "output_tokens": row.get("output_tokens")}
        request = Request(
            model_id=str(row["model"]), country="FR", n_requests=float(str(row.get("n_requests", 1))), **given
        )
        expected = estimator.estimate(request).usage_energy_wh
        assert math.isclose(impact["usage_energy_wh"], expected.value, rel_tol=1e-12)
        assert math.isclose(impact["usage_energy_wh_high"], expected.high, rel_tol=1e-12)


@pytest.mark.parametrize("kind, cell", [("INTEGER", 4), ("DOUBLE", 4.0), ("VARCHAR", "4.0"), ("VARCHAR", " 4")])
def test_keys_that_are_numbers_are_compared_as_numbers(estimator, kind, cell):
    setups = [{**LLAMA, "gpu_id": "h100_80gb_sxm", "gpu_count": n} for n in ("4", 8)]
    rows = [{"id": 1, **GOOD, "gpu_count": cell}, {"id": 2, **GOOD, "gpu_count": None}]
    columns = {**COLUMNS, "gpu_count": "gpu_count"}
    found = impacts(estimator, rows, setups, f"{TEXT}, gpu_count {kind}", columns=columns)
    assert [row["inferprint_problem"] for row in found] == [
        None,
        "its setup is not among those for which cards were found",
    ]


def test_a_key_that_is_no_number_is_a_problem(estimator):
    setups = [{**LLAMA, "gpu_id": "h100_80gb_sxm", "gpu_count": n} for n in ("some", 8)]
    rows = [{"id": 1, **GOOD, "gpu_count": "some"}]
    columns = {**COLUMNS, "gpu_count": "gpu_count"}
    (found,) = impacts(estimator, rows, setups, f"{TEXT}, gpu_count VARCHAR", columns=columns)
    assert found["inferprint_problem"] == "gpu_count is not a number"


def test_a_table_may_be_called_like_a_stage_and_its_columns_like_ours(estimator):
    for table in ("rated", "counted", "inferprint_usage_text", '"odd name"'):
        rows = [{'we"ird': 1, "machine": "m", **GOOD}]
        types = f'"we""ird" INTEGER, machine VARCHAR, {TEXT.removeprefix("id INTEGER, ")}'
        options = ScriptOptions(dialect="duckdb", columns=COLUMNS, keep=['we"ird', "machine", "model"], table=table)
        with duckdb.connect() as connection:
            connection.execute(f"CREATE TABLE {table} ({types})")
            connection.execute(f"INSERT INTO {table} VALUES (?, ?, ?, ?, ?, ?, NULL, NULL)", list(rows[0].values()))
            connection.execute(warehouse_script([LLAMA], options, estimator))
            found = connection.execute("SELECT * FROM inferprint_impacts").fetchall()
        assert found[0][:5] == (1, "m", "llama-3.1-70b", "llama-3.1-70b", None)


def test_pictures_and_measured_times_are_a_problem(estimator):
    rows = [{"id": 1, **GOOD, "ms": 900.0}, {"id": 2, **GOOD}]
    columns = {**COLUMNS, "request_duration_ms": "ms"}
    found = impacts(estimator, rows, SETUPS, f"{TEXT}, ms DOUBLE", columns=columns)
    assert "inferprint run" in found[0]["inferprint_problem"]
    assert found[1]["inferprint_problem"] is None


def test_what_no_column_holds_is_that_of_the_whole_table(estimator):
    columns = {"input_tokens": "input_tokens", "output_tokens": "output_tokens"}
    (found,) = impacts(estimator, [{"id": 1, **GOOD}], [LLAMA], TEXT, columns=columns)
    expected = estimator.estimate(Request(**LLAMA, input_tokens=100, output_tokens=50))
    assert math.isclose(found["usage_water_ml"], expected.usage_water_ml.value, rel_tol=1e-12)
    options = ScriptOptions(dialect="duckdb", columns=columns)
    with pytest.raises(InvalidInput, match="model_id: differs between the setups"):
        warehouse_script(SETUPS, options, estimator)
    with pytest.raises(UnknownName, match="nobody-knows-it"):
        warehouse_script([{"model_id": "nobody-knows-it"}], options, estimator)


def test_setups_that_cannot_be_leave_a_view_that_says_so(estimator):
    found = impacts(estimator, [{"id": 1, **GOOD, "model": "nobody-knows-it"}], SETUPS[3:4], TEXT)
    assert "unknown model" in found[0]["inferprint_problem"]
    assert found[0]["usage_energy_wh"] is None


def test_unknown_models_may_be_estimated(estimator):
    setups = [{"model_id": "nobody-knows-it", "country": "FR"}]
    rows = [{"id": 1, **GOOD, "model": "nobody-knows-it"}]
    (found,) = impacts(estimator, rows, setups, TEXT, unknown="estimate")
    assert found["inferprint_problem"] is None
    assert found["usage_energy_wh"] > 0
    text = warehouse_script(setups, ScriptOptions(dialect="duckdb", columns=COLUMNS, unknown="estimate"), estimator)
    assert "-- Stand-ins:\n--   'nobody-knows-it' is unknown" in text


def test_repeated_setups_do_not_repeat_rows(estimator):
    found = impacts(estimator, [{"id": 1, **GOOD}], [LLAMA, dict(LLAMA), {**LLAMA, "cloud_id": None}], TEXT)
    assert len(found) == 1


def test_without_intervals(estimator):
    (found,) = impacts(estimator, [{"id": 1, **GOOD}], [LLAMA], TEXT, intervals=False)
    assert found["usage_energy_wh"] > 0
    assert not any(name.endswith(("_low", "_high")) for name in found)


def test_the_script_says_what_it_is(estimator):
    text = warehouse_script(SETUPS, ScriptOptions(dialect="postgres", columns=COLUMNS), estimator)
    head = text.split("BEGIN;")[0]
    assert all(line.startswith("--") or not line for line in head.splitlines())
    assert f"catalogue {estimator.catalogue.version}" in head
    assert "--   country from land" in head
    assert "--   usage_energy_wh [Wh]: electricity drawn for the request" in head
    assert "Setups that cannot be (3)" in head
    assert "model_id=nobody-knows-it, country=FR" in head


def test_long_tables_are_several_inserts(estimator, monkeypatch):
    whole = statements(SETUPS, ScriptOptions(dialect="duckdb", columns=COLUMNS), estimator)
    monkeypatch.setattr(module, "STATEMENT_BYTES", 1_000)
    parts = statements(SETUPS, ScriptOptions(dialect="duckdb", columns=COLUMNS), estimator)
    assert len(parts) > len(whole)
    found = []
    for made in (whole, parts):
        with duckdb.connect() as connection:
            connection.execute(f"CREATE TABLE usage ({TEXT})")
            connection.execute(";\n".join(made))
            found.append(connection.execute("SELECT * FROM inferprint_machines ORDER BY machine").fetchall())
    assert found[0] == found[1]


def test_a_script_runs_again(estimator):
    made = warehouse_script(SETUPS, ScriptOptions(dialect="duckdb", columns=COLUMNS), estimator)
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE usage ({TEXT})")
        connection.execute(made)
        connection.execute(made)
        tables = connection.execute("SELECT count(*) FROM inferprint_setups").fetchone()
    assert tables == (len(SETUPS),)


def test_tables_are_in_the_schema_of_the_view(estimator):
    options = ScriptOptions(dialect="bigquery", columns=COLUMNS, table="logs.usage", view="ours.impacts")
    made = "".join(statements([LLAMA], options, estimator))
    assert "CREATE TABLE ours.`inferprint_setups`" in made
    assert "JOIN ours.`inferprint_machines`" in made
    assert "FROM logs.usage AS u" in made


def test_default_columns():
    setups = setups_named({"model_id": ["a", "b"], "country": ["FR"], "managed_service_id": ["x", "y"], "gpu_id": []})
    assert len(setups) == 4
    assert setups[0] == {"model_id": "a", "country": "FR", "managed_service_id": "x"}
    assert columns_for(setups, {"input_tokens": "prompt"}, "postgres") == {
        "model_id": "model_id",
        "managed_service_id": "managed_service_id",
        "input_tokens": "prompt",
        "output_tokens": "output_tokens",
    }
    assert columns_for(setups, {}, "snowflake")["model_id"] == "MODEL_ID"


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"dialect": "oracle"}, "'oracle' is unknown"),
        ({"columns": {"modell": "m"}}, "modell: is not a field"),
        ({"keep": ["usage_energy_wh"]}, "is the name of an output"),
        ({"keep": ["id", "id"]}, "names a column twice"),
        ({"table": "usage; DROP TABLE usage"}, "is not the name of a table"),
        ({"table": "usage JOIN other"}, "is not the name of a table"),
        ({"view": "(SELECT 1)"}, "is not the name of a table"),
    ],
)
def test_what_a_script_cannot_be_for(estimator, changes, message):
    options = ScriptOptions(**{"dialect": "duckdb", "columns": COLUMNS, **changes})
    with pytest.raises(InvalidInput, match=message):
        warehouse_script([LLAMA], options, estimator)


def test_setups_from_files(tmp_path):
    path = tmp_path / "setups.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["model_id", "gpu_count"], ["llama-3.1-70b", "8"], ["gpt-oss-20b", ""]])
    assert read_setups(path) == [
        {"model_id": "llama-3.1-70b", "gpu_count": "8"},
        {"model_id": "gpt-oss-20b", "gpu_count": ""},
    ]
    duckdb.execute(f"COPY (SELECT 'llama-3.1-70b' AS model_id, 8 AS gpu_count) TO '{tmp_path}/setups.parquet'")
    assert read_setups(tmp_path / "setups.parquet") == [{"model_id": "llama-3.1-70b", "gpu_count": 8}]
    path.write_text("modell_id\nx\n", encoding="utf-8")
    with pytest.raises(FileProblem, match="column 'modell_id' is not a field") as caught:
        read_setups(path)
    assert "Nearest: model_id" in str(caught.value)
    path.write_text("model_id\n", encoding="utf-8")
    with pytest.raises(FileProblem, match="holds no setup"):
        read_setups(path)
    with pytest.raises(FileProblem, match="cannot be read"):
        read_setups(tmp_path / "absent.csv")
    (tmp_path / "broken.parquet").write_bytes(b"no")
    with pytest.raises(FileProblem, match="cannot be read"):
        read_setups(tmp_path / "broken.parquet")
