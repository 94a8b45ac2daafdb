"""`inferprint catalog add-node`: a folder for --catalog from measurements, and what it changes."""

from __future__ import annotations

import json

import duckdb
import pytest
from fastapi.testclient import TestClient
from tests.calibration.own_rows import LOADS, loads_as_rows, measured, write

from inferprint.catalogue import Catalogue
from inferprint.estimate.estimate import CATALOGUE_VARIABLE
from inferprint.service.app import create_app
from inferprint.service.settings import Settings

MACHINE = ["--gpu", "h100_80gb_sxm", "--gpu-count", "1"]
REQUEST = ["llama-3-8b", "--input-tokens", "700", "--output-tokens", "150", "--batch-size", "12", "--country", "FR"]
ENERGY = {"energy_per_output_token_j": 1, "energy_boundary": "gpu_only"}


@pytest.fixture
def sweep(tmp_path):
    return measured(tmp_path / "sweep.csv", loads_as_rows(LOADS, ENERGY))


@pytest.fixture
def folder(tmp_path, call, sweep):
    """A folder with the node."""
    place = tmp_path / "catalogue"
    host = ["--host-idle-power-w", "90", "--host-active-power-w", "140", "--host-embodied-kgco2e", "800"]
    shares = ["--use-life-years", "5", "--active-share", "0.4", "--date", "2026-11-30"]
    code, _, err = call(
        "catalog", "add-node", "mine", "--observations", str(sweep), *MACHINE, *host, *shares, "--catalog", str(place)
    )
    assert code == 0, err
    return place


def test_the_folder_is_a_catalogue(folder):
    found = Catalogue.packaged().with_folder(folder)
    node = found.nodes["mine"]
    assert (node.gpu, node.gpu_count, node.engine) == ("h100_80gb_sxm", 1, "vllm")
    assert (node.host_idle_power_w, node.host_active_power_w, node.use_life_years) == (90, 140, 5)
    assert (node.host_embodied_kgco2e.value, node.active_share) == (800, 0.4)
    form = found.forms["duration.served@mine"]
    assert (form.status, form.rows, form.origin("terms").date) == ("own", len(LOADS), "2026-11-30")
    assert found.sources[form.origin("terms").source].title == "Measured on mine: sweep.csv"


def test_the_same_files_give_the_same_folder(folder, call, sweep, tmp_path):
    again = tmp_path / "again"
    code, out, _ = call(
        "catalog", "add-node", "mine", "--observations", str(sweep), *MACHINE, "--date", "2026-11-30",
        "--catalog", str(again), "--json",
    )  # fmt: skip
    assert code == 0
    assert (again / "forms" / "mine.toml").read_bytes() == (folder / "forms" / "mine.toml").read_bytes()
    found = json.loads(out)
    assert [form["form"] for form in found["forms"]] == ["duration.served@mine", "energy.served@mine"]
    assert found["forms"][0]["own_mdape_pct"] < found["forms"][0]["general_mdape_pct"] / 3


def test_estimate_and_run_use_it_and_give_the_same_number(folder, call, tmp_path):
    code, out, _ = call("estimate", *REQUEST, "--node", "mine", "--catalog", str(folder), "--json")
    assert code == 0
    single = json.loads(out)
    assert single["versions"]["coefficients"] == "own"
    table = tmp_path / "rows.csv"
    table.write_text(
        "model_id,input_tokens,output_tokens,node_id,batch_size,country\nllama-3-8b,700,150,mine,12,FR\n",
        encoding="utf-8",
    )
    code, _, err = call(
        "run", str(table), "--out", str(tmp_path / "out"), "--catalog", str(folder), "--format", "parquet"
    )
    assert code == 0, err
    impacts = next((tmp_path / "out").glob("**/*.parquet"))
    columns = ("usage_energy_wh", "duration_ms", "usage_emissions_gco2e", "embodied_emissions_gco2e")
    rows = duckdb.sql(f"select * from '{impacts}'").fetchdf().to_dict("records")
    for name in columns:
        assert rows[0][name] == pytest.approx(single[name]["value"], rel=1e-12)
        assert rows[0][f"{name}_low"] == pytest.approx(single[name]["low"], rel=1e-12)


def test_the_service_uses_it_and_gives_the_same_number(folder, call, tmp_path):
    _code, out, _ = call("estimate", *REQUEST, "--node", "mine", "--catalog", str(folder), "--json")
    single = json.loads(out)
    row = {"model_id": "llama-3-8b", "input_tokens": 700, "output_tokens": 150, "node_id": "mine", "batch_size": 12}
    settings = Settings(database_url=f"sqlite:///{tmp_path}/service.db", catalog=folder)
    with TestClient(create_app(settings), base_url="http://127.0.0.1", client=("127.0.0.1", 50000)) as client:
        answer = client.post("/v1/impact", json={"rows": [{**row, "country": "FR"}]})
    assert answer.status_code == 200, answer.text
    found = answer.json()["rows"][0]["total_impact"]
    assert found["usage_energy_wh"] == pytest.approx(single["usage_energy_wh"]["value"], rel=1e-12)


def test_the_folder_may_be_named_by_the_environment(folder, call, monkeypatch):
    monkeypatch.setenv(CATALOGUE_VARIABLE, str(folder))
    code, out, _ = call("estimate", *REQUEST, "--node", "mine", "--json")
    assert code == 0
    assert json.loads(out)["versions"]["coefficients"] == "own"


def test_validate_before_and_after(folder, call, tmp_path):
    fresh = loads_as_rows([(2, 300, 100), (8, 2000, 200), (32, 700, 300), (48, 256, 64)] * 5, {"node_id": "mine"})
    path = measured(tmp_path / "fresh.csv", fresh, seed=3)
    code, before, _ = call("validate", "--observations", str(path), "--json")
    assert code == 0
    code, after, _ = call("validate", "--observations", str(path), "--catalog", str(folder), "--json")
    assert code == 0
    scores = [
        next(row for row in json.loads(text) if row["form"] == "default" and row["rows"]) for text in (before, after)
    ]
    assert scores[1]["mdape_pct"] < 5 < scores[0]["mdape_pct"]
    assert scores[1]["rows"] == scores[0]["rows"] == 20
    code, text, _ = call("validate", "--observations", str(path))
    assert "20 rows of the node mine, which this catalogue does not hold" in text


def test_without_energy_it_says_that_the_general_form_stays(call, tmp_path):
    path = measured(tmp_path / "times.csv", loads_as_rows(LOADS))
    code, out, _ = call(
        "catalog", "add-node", "mine", "--observations", str(path), *MACHINE, "--catalog", str(tmp_path / "c")
    )
    assert code == 0
    assert "energy.served: the general form stays" in out
    assert "no row measures it" in out


class TestRefusals:
    def refused(self, call, tmp_path, *arguments):
        code, _, err = call("catalog", "add-node", "--catalog", str(tmp_path / "c"), *arguments)
        assert code == 2
        assert not (tmp_path / "c").exists()
        return err

    def test_few_rows(self, call, tmp_path):
        path = measured(tmp_path / "few.csv", loads_as_rows(LOADS[:5]))
        err = self.refused(call, tmp_path, "mine", "--observations", str(path), *MACHINE)
        assert "too few measured times for mine: 5 of the 8 rows that it needs" in err

    def test_rows_that_are_refused_are_named(self, call, tmp_path):
        path = write(tmp_path / "bad.csv", loads_as_rows(LOADS, {"concurrency": "many"}))
        err = self.refused(call, tmp_path, "mine", "--observations", str(path), *MACHINE)
        assert "no row measures it" in err
        assert "row r0: concurrency is 'many', not a number" in err

    def test_no_measurements(self, call, tmp_path):
        assert "no measurements of mine" in self.refused(call, tmp_path, "mine", *MACHINE)

    def test_a_file_that_is_not_there(self, call, tmp_path):
        err = self.refused(call, tmp_path, "mine", "--observations", str(tmp_path / "none.csv"), *MACHINE)
        assert "cannot read" in err

    def test_an_unknown_accelerator(self, call, tmp_path, sweep):
        err = self.refused(call, tmp_path, "mine", "--observations", str(sweep), "--gpu", "h100_80gb_sxn")
        assert "h100_80gb_sxm" in err

    @pytest.mark.parametrize("name", ["../mine", "a b", "-mine", "x" * 65])
    def test_an_id_that_cannot_be_one(self, call, tmp_path, sweep, name):
        err = self.refused(call, tmp_path, "--observations", str(sweep), *MACHINE, "--", name)
        assert "cannot be the id of a node" in err

    def test_a_node_of_the_catalogue(self, call, tmp_path, sweep):
        err = self.refused(call, tmp_path, "generic:hgx-h100-8", "--observations", str(sweep), *MACHINE)
        assert "already is the node generic:hgx-h100-8" in err

    def test_a_folder_with_nonsense(self, call, folder, sweep):
        (folder / "forms" / "mine.toml").write_text("[[form]]\nid = 3\n", encoding="utf-8")
        code, _, err = call("estimate", *REQUEST, "--node", "mine", "--catalog", str(folder))
        assert code == 2
        assert "forms/mine.toml: a [[form]] has no field 'id'" in err


def test_the_list_of_records_stays(call):
    code, out, _ = call("catalog", "nodes", "hgx-h100", "--json")
    assert code == 0
    assert json.loads(out)
    code, _, err = call("catalog", "nodess")
    assert code == 2
    assert "One of models" in err
