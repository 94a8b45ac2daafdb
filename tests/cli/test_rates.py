"""`inferprint rates`: one model, all models, formats, filters, the schema, and what is refused."""

from __future__ import annotations

import copy
import csv
import io
import json
import sys

import duckdb
import jsonschema
import pytest

from inferprint import estimate
from inferprint.catalogue import Catalogue
from inferprint.cli import rates as command
from inferprint.estimate.rate_list import pairs_of
from inferprint.quantities import RESULTS

SERVICE = ["--service", "cohere"]
"""A service that sells models for text and for embeddings, and one that cannot be estimated."""


@pytest.fixture
def schema(call):
    code, out, _ = call("rates", "--schema")
    assert code == 0
    return json.loads(out)


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


# --- one model --------------------------------------------------------------------------------------------------------


def test_one_model_has_a_column_for_each_line_and_an_interval_in_each_cell(call):
    code, out, _ = call("rates", "gpt-oss-120b", "--service", "fireworks")
    assert code == 0
    head, *rows = out.splitlines()
    assert head.startswith("gpt-oss-120b, fireworks ")
    for part in ("1,000 fresh input tokens", "1,000 cached input tokens", "1,000 output tokens", "1 request"):
        assert part in head
    energy = next(row for row in rows if row.startswith("energy [Wh]"))
    assert energy.count("[") == 5
    assert "input_tokens=1200; cached_input_tokens=300; output_tokens=300" in out


def test_lines_of_one_model_add_up_to_an_estimate_of_the_command_line(call):
    where = ["--service", "together", "--country", "FR"]
    found = json.loads(call("rates", "llama-3.1-70b", *where, "--json")[1])["rates"][0]
    work = ["--input-tokens", "1200", "--cached-input-tokens", "300", "--output-tokens", "300"]
    whole = json.loads(call("estimate", "llama-3.1-70b", *where, *work, "--json")[1])
    total = sum(line["amount"] / line["per"] * line["usage_water_ml"]["value"] for line in found["lines"])
    assert total == pytest.approx(whole["usage_water_ml"]["value"], rel=1e-12)


def test_rates_by_feature_as_csv_have_a_head_and_positive_values(call):
    _, out, _ = call("rates", "llama-3.1-8b", "--gpu", "rtx_4090", "--by-feature", "--format", "csv")
    head, *rows = out.strip().splitlines()
    assert head == "feature,per,unit,quantity,value,low,high"
    assert all(float(row.split(",")[4]) > 0 for row in rows)


def test_rates_by_feature_as_json_are_what_they_were(call):
    data = json.loads(call("rates", "llama-3.1-8b", "--by-feature", "--json")[1])
    assert set(data) == {"model", "catalogue", "rates"}
    assert set(data["rates"][0]) == {"feature", "per", "unit", "quantity", "value", "low", "high"}


# --- all models -------------------------------------------------------------------------------------------------------


def test_the_list_is_what_the_schema_says(call, schema):
    jsonschema.Draft202012Validator.check_schema(schema)
    code, out, _ = call("rates", *SERVICE, "--country", "CA", "--json")
    data = json.loads(out)
    assert code == 0
    validator = jsonschema.Draft202012Validator(schema)
    assert not list(validator.iter_errors(data))
    assert data["stated"] == {"managed_service_id": "cohere", "country": "CA"}
    assert {item["grid_zone"] for item in data["rates"]} == {"CA"}
    # Every field that is printed is described, and every quantity that there is.
    assert set(data) == set(schema["properties"])
    assert set(data["rates"][0]) == set(schema["$defs"]["rates"]["properties"])
    line = schema["$defs"]["line"]
    assert set(data["rates"][0]["lines"][0]) == set(line["properties"]) == set(line["required"])
    assert set(line["properties"]) == {"unit", "per", "amount", *(quantity.name for quantity in RESULTS)}


@pytest.mark.parametrize(
    "break_it",
    [
        lambda data: data.pop("versions"),
        lambda data: data.update(schema="urn:inferprint:rates:0"),
        lambda data: data["rates"][0].pop("model"),
        lambda data: data["rates"][0].update(lines=[]),
        lambda data: data["rates"][0]["lines"][0].pop("usage_energy_wh"),
        lambda data: data["rates"][0]["lines"][0].update(usage_energy_wh=0.5),
        lambda data: data["rates"][0]["lines"][0].update(usage_energy_wh=None),
        lambda data: data["rates"][0]["lines"][0]["usage_energy_wh"].update(low="0.5"),
        lambda data: data["rates"][0]["lines"][0].update(unit="tokens"),
        lambda data: data["refused"][0].pop("reason"),
    ],
)
def test_the_schema_refuses_another_shape(call, schema, break_it):
    data = json.loads(call("rates", *SERVICE, "--json")[1])
    broken = copy.deepcopy(data)
    break_it(broken)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schema)


@pytest.mark.parametrize("model", ["flux.1-dev", "wan2.1-14b", "whisper-large-v3", "ace-step", "generic:image-encoder"])
def test_other_kinds_have_the_shape_too(call, schema, model):
    data = json.loads(call("rates", model, "--json")[1])
    jsonschema.validate(data, schema)
    reference = data["rates"][0]["reference"]
    whole = estimate(model, **reference)
    (line,) = data["rates"][0]["lines"]
    assert line["amount"] * line["usage_energy_wh"]["value"] == pytest.approx(whole.usage_energy_wh.value, rel=1e-12)


def test_what_is_not_estimated_is_said_in_every_format(call, tmp_path):
    for form in ("text", "csv", "json", "parquet"):
        out = tmp_path / f"rates.{form}"
        _, printed, errors = call("rates", *SERVICE, "--format", form, "--out", str(out))
        assert "1 not estimated" in printed
        # Rows alone have no place for it.
        said = errors if form in ("csv", "parquet") else out.read_text()
        assert "north-mini-code" in said
        assert "not disclosed" in said


def test_csv_parquet_and_json_hold_the_same_numbers(call, tmp_path):
    _, out, _ = call("rates", *SERVICE, "--format", "csv")
    rows = rows_of(out)
    path = tmp_path / "rates.parquet"
    assert call("rates", *SERVICE, "--out", str(path))[0] == 0
    relation = duckdb.read_parquet(str(path))
    assert relation.columns == list(rows[0])
    kinds = dict(zip(relation.columns, map(str, relation.types), strict=True))
    assert (kinds["usage_energy_wh"], kinds["default"], kinds["model"]) == ("DOUBLE", "BOOLEAN", "VARCHAR")
    energies = [row[relation.columns.index("usage_energy_wh_high")] for row in relation.fetchall()]
    assert energies == [float(row["usage_energy_wh_high"]) for row in rows]
    data = json.loads(call("rates", *SERVICE, "--json")[1])
    lines = [line for item in data["rates"] for line in item["lines"]]
    assert [line["usage_energy_wh"]["high"] for line in lines] == energies
    # Nobody publishes what Cohere's power is by contract: blank, not zero.
    assert {row["usage_emissions_market_gco2e"] for row in rows} == {""}


def test_text_has_a_row_for_each_model_and_a_table_for_each_kind(call):
    code, out, _ = call("rates", *SERVICE)
    assert code == 0
    assert "text, of a request with input_tokens=1200; cached_input_tokens=300; output_tokens=300" in out
    assert "embeddings, classes" in out
    assert sum(line.startswith("  command-r ") for line in out.splitlines()) == 1


def test_many_are_found_by_several_processes_with_the_same_numbers(call, monkeypatch):
    monkeypatch.setattr(command.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(command, "WORTH_PROCESSES", 2)
    monkeypatch.setattr(command, "AT_A_TIME", 3)
    several = call("rates", *SERVICE, "--format", "csv")
    monkeypatch.setattr(command, "WORTH_PROCESSES", 1000)
    assert call("rates", *SERVICE, "--format", "csv") == several


def test_progress_is_reported_for_every_pair():
    seen = []
    pairs = pairs_of(Catalogue.packaged(), {"managed_service_id": "cohere"})
    command.all_rates(None, pairs, {}, lambda done, total: seen.append((done, total)))
    assert seen == [(n + 1, len(pairs)) for n in range(len(pairs))]


def test_a_list_of_nothing_ends_with_1(call):
    code, out, err = call("rates", "--service", "sambanova", "--format", "csv")
    assert code == 1
    assert len(out.splitlines()) == 1
    assert "power limit" in err


# --- SQL --------------------------------------------------------------------------------------------------------------


def test_a_script_gives_a_warehouse_the_estimates_of_its_rows(call, tmp_path):
    setups, script = tmp_path / "setups.csv", tmp_path / "rates.sql"
    setups.write_text("model_id,managed_service_id\nllama-3.1-70b,together\ngpt-4o,openai\n")
    options = ["--dialect", "duckdb", "--table", "usage", "--column", "output_tokens=answer", "--keep", "team"]
    where = ["--country", "FR", "--setups", str(setups), "--view", "impacts", "--out", str(script)]
    assert call("rates", "--format", "sql", *options, *where)[0] == 0
    with duckdb.connect(":memory:") as warehouse:
        warehouse.execute(
            "CREATE TABLE usage AS SELECT * FROM (VALUES ('llama-3.1-70b', 'together', 1200.0, 300.0, 'red'), "
            "('gpt-4o', 'openai', 50.0, 20.0, 'blue')) t(model_id, managed_service_id, input_tokens, answer, team)"
        )
        warehouse.execute(script.read_text())
        found = warehouse.execute(
            "SELECT team, usage_water_ml, usage_water_ml_high FROM impacts ORDER BY team"
        ).fetchall()
    work = (("blue", "gpt-4o", "openai", 50, 20), ("red", "llama-3.1-70b", "together", 1200, 300))
    for row, (team, model, service, n_in, n_out) in zip(found, work, strict=True):
        whole = estimate(model, input_tokens=n_in, output_tokens=n_out, managed_service_id=service, country="FR")
        assert row == (team, *map(pytest.approx, (whole.usage_water_ml.value, whole.usage_water_ml.high)))


# --- where it goes ----------------------------------------------------------------------------------------------------


def test_a_file_is_replaced_whole(call, tmp_path):
    out = tmp_path / "rates.json"
    out.write_text("old")
    assert call("rates", *SERVICE, "--out", str(out))[0] == 0
    assert json.loads(out.read_text())["rates"]
    assert [path.name for path in tmp_path.iterdir()] == ["rates.json"]


def test_a_file_stays_as_it_was_where_writing_fails(call, tmp_path, monkeypatch):
    out = tmp_path / "rates.parquet"
    out.write_text("old")
    monkeypatch.setitem(sys.modules, "duckdb", None)
    code, _, err = call("rates", "llama-3.1-8b", "--out", str(out))
    assert code == 2
    assert "inferprint[run]" in err
    assert out.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["rates.parquet"]


@pytest.mark.parametrize("name", ["no/such/folder/rates.csv", "."])
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_file_that_cannot_be_written_is_refused(call, tmp_path, name, form):
    code, _, err = call("rates", "llama-3.1-8b", "--format", form, "--out", str(tmp_path / name))
    assert code == 2
    assert "cannot be written" in err
    assert not list(tmp_path.iterdir())


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--service", "coheer"], "unknown service 'coheer'"),
        (["--service", "openrouter"], "no model is known to be sold at openrouter"),
        (["--country", "ZZ"], "unknown country or grid zone 'ZZ'"),
        (["--gpu", "a100"], "unknown GPU 'a100'"),
        (["--precision", "fp7"], "unknown precision 'fp7'"),
        (["--technique", "caching"], "unknown technique 'caching'"),
        (["--technique", "prefix-caching:hit_rate=2"], "techniques: prefix-caching: hit_rate = '2'"),
        (["--batch-size", "0.5"], "batch_size: "),
        (["--pue", "0.5"], "pue: "),
        (["--total-params-b", "7"], "total_params_b: given for a list of all models"),
        (["--by-feature"], "model: is missing"),
        (["--format", "parquet"], "parquet is no text"),
        (["--format", "csv", "--json"], "csv beside --json"),
        (["--format", "parquet", "--by-feature", "gpt-4o", "--out", "x"], "parquet beside --by-feature"),
        (["--dialect", "duckdb", "gpt-4o"], "--dialect is for --format sql"),
        (["--format", "sql", "gpt-4o"], "dialect: is missing"),
        (["--format", "sql", "--dialect", "duckdb"], "setups: is missing"),
        (["--duration-ms", "900", "gpt-4o"], "is that of one request"),
        (["gpt-4p"], "unknown model 'gpt-4p'"),
        (["crouton-alpha"], "is not disclosed"),
        (["llama-3.1-70b", "--gpu", "rtx_4090", "--gpu-count", "1"], "needs"),
        (["llama-3.1-70b", "--batch-size", "0"], "batch_size"),
    ],
)
def test_nonsense_is_refused(call, arguments, message):
    code, out, err = call("rates", *arguments)
    assert code == 2
    assert message in err
    assert not out or "--json" in arguments
