"""`inferprint catalog add-node`: a folder for --catalog from measurements, and what it changes."""

from __future__ import annotations

import csv
import json

import duckdb
import numpy as np
import pytest
from fastapi.testclient import TestClient
from tests.calibration.own_rows import LOADS, loads_as_rows, measured, write

from inferprint.calibration.own import OwnForm
from inferprint.calibration.scores import score
from inferprint.catalogue import Catalogue, Form
from inferprint.cli.own import _doubts
from inferprint.estimate.estimate import CATALOGUE_VARIABLE
from inferprint.service.app import create_app
from inferprint.service.settings import Settings

MACHINE = ["--gpu", "h100_80gb_sxm", "--gpu-count", "1"]
REQUEST = ["llama-3-8b", "--input-tokens", "700", "--output-tokens", "150", "--batch-size", "12", "--country", "FR"]
ENERGY = {"energy_per_output_token_j": 1, "energy_boundary": "gpu_only"}
FRESH = [(2, 300, 100), (8, 2000, 200), (32, 700, 300), (48, 256, 64)]
"""Loads that the node was not fitted to."""


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
    fresh = loads_as_rows(FRESH * 5, {"node_id": "mine"})
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
    assert "--catalog DIR" in text


class TestValidateOnANode:
    """One folder is enough for before and after: `--node general` and `--node ID`."""

    def scored(self, call, path, *arguments):
        code, out, err = call("validate", "--observations", str(path), *arguments, "--json")
        assert code == 0, err
        return next(row for row in json.loads(out) if row["form"] == "default")

    @pytest.fixture
    def named(self, tmp_path):
        return measured(tmp_path / "named.csv", loads_as_rows(FRESH, {"node_id": "mine"}), seed=3)

    @pytest.fixture
    def nameless(self, tmp_path):
        return measured(tmp_path / "nameless.csv", loads_as_rows(FRESH), seed=3)

    def test_rows_without_one_are_scored_on_it(self, folder, call, nameless):
        catalog = ("--catalog", str(folder))
        without = self.scored(call, nameless, *catalog)
        on_it = self.scored(call, nameless, *catalog, "--node", "MINE")
        assert on_it["mdape_pct"] < 5 < without["mdape_pct"]
        assert (without["nodes"], on_it["nodes"]) == ({}, {"mine": 4})

    def test_general_is_what_no_folder_gives(self, folder, call, named):
        before = self.scored(call, named)
        assert self.scored(call, named, "--catalog", str(folder), "--node", "general") == before
        assert self.scored(call, named, "--catalog", str(folder))["nodes"] == {"mine": 4}

    def test_it_says_which_node_was_used(self, folder, call, named, nameless):
        _, text, _ = call("validate", "--observations", str(named), "--catalog", str(folder))
        assert "4 values scored on mine, with its own duration.served and energy.served" in text
        _, text, _ = call("validate", "--observations", str(nameless), "--node", "generic:hgx-h100-8")
        assert "4 values scored on generic:hgx-h100-8, which has no coefficients of its own" in text

    def test_rows_without_one_are_told_of_a_node_that_could_be_theirs(self, folder, call, nameless):
        _, text, _ = call("validate", "--observations", str(nameless), "--catalog", str(folder))
        assert "4 values on h100_80gb_sxm scored by the general coefficients" in text
        assert "--node mine" in text
        _, text, _ = call("validate", "--observations", str(nameless), "--catalog", str(folder), "--node", "general")
        assert "--node mine" not in text

    def test_an_unknown_one(self, call, named):
        code, _, err = call("validate", "--observations", str(named), "--node", "hgx-h100")
        assert code == 2
        assert "unknown node 'hgx-h100'" in err

    @pytest.mark.parametrize("arguments", [(), ("--operating-points",), ("--parameters",)])
    def test_without_measurements_it_would_do_nothing(self, call, arguments):
        code, _, err = call("validate", *arguments, "--node", "generic:hgx-h100-8")
        assert code == 2
        assert "only measurements are scored on a node" in err


class TestAgain:
    """A node that the folder holds: its coefficients are replaced, what was stated of it stays."""

    def again(self, call, folder, path, *arguments, node="mine"):
        command = ("catalog", "add-node", node, "--observations", str(path), *MACHINE[:2], "--catalog", str(folder))
        code, out, err = call(*command, *arguments)
        assert code == 0, err
        return out

    def test_what_was_stated_before_stays(self, folder, call, sweep):
        before = Catalogue.packaged().with_folder(folder).nodes["mine"]
        self.again(call, folder, sweep, "--host-active-power-w", "150")
        node = Catalogue.packaged().with_folder(folder).nodes["mine"]
        assert (node.host_idle_power_w, node.use_life_years, node.active_share) == (90, 5, 0.4)
        assert node.host_embodied_kgco2e == before.host_embodied_kgco2e
        assert node.host_active_power_w == 150

    def test_it_says_what_it_replaces(self, folder, call, sweep):
        out = self.again(call, folder, sweep, "--host-active-power-w", "150", "--json")
        assert json.loads(out)["replaces"] == {
            "date": "2026-11-30",
            "rows": {"duration.served@mine": len(LOADS), "energy.served@mine": len(LOADS)},
            "kept": {"host_idle_power_w": 90, "host_embodied_kgco2e": 800, "use_life_years": 5, "active_share": 0.4},
            "changed": {"host_active_power_w": {"from": 140, "to": 150}},
            "lost": [],
        }
        out = self.again(call, folder, sweep, "--date", "2026-12-01")
        assert (
            f"replaces mine of {json.loads(self.again(call, folder, sweep, '--json'))['replaces']['date']}" not in out
        )
        assert f", fitted to {len(LOADS)} rows; kept from it: host_idle_power_w 90, host_active_power_w 150" in out

    def test_a_new_node_replaces_nothing(self, call, tmp_path, sweep):
        out = self.again(call, tmp_path / "new", sweep, "--json")
        assert json.loads(out)["replaces"] is None

    def test_coefficients_that_are_lost_are_named(self, folder, call, tmp_path):
        times = measured(tmp_path / "times.csv", loads_as_rows(LOADS))
        assert "lost: energy.served@mine" in self.again(call, folder, times)
        assert "energy.served@mine" not in Catalogue.packaged().with_folder(folder).forms

    def test_the_number_of_accelerators_stays_too(self, folder, call, sweep):
        self.again(call, folder, sweep, "--gpu-count", "8")
        self.again(call, folder, sweep)
        assert Catalogue.packaged().with_folder(folder).nodes["mine"].gpu_count == 8

    def test_another_spelling_is_the_same_node(self, folder, call, sweep):
        assert "replaces mine" in self.again(call, folder, sweep, node="Mine")
        assert [path.name for path in (folder / "nodes").iterdir()] == ["mine.toml"]

    def test_a_record_that_was_written_by_hand_keeps_its_fields(self, folder, call, sweep):
        path = folder / "nodes" / "mine.toml"
        text = path.read_text(encoding="utf-8")
        path.write_text(text + 'names = ["the box"]\nhost_embodied_water_l = 700.0\n', encoding="utf-8")
        self.again(call, folder, sweep)
        node = Catalogue.packaged().with_folder(folder).nodes["mine"]
        assert (node.names, node.host_embodied_water_l) == (("the box",), 700)

    def test_a_name_of_another_node_is_refused(self, folder, call, sweep):
        path = folder / "nodes" / "mine.toml"
        path.write_text(path.read_text(encoding="utf-8") + 'names = ["box"]\n', encoding="utf-8")
        code, _, err = call(
            "catalog", "add-node", "box", "--observations", str(sweep), *MACHINE, "--catalog", str(folder)
        )
        assert code == 2
        assert "'box' already is the node mine" in err

    def test_a_node_in_another_file_of_the_folder_is_refused(self, folder, call, sweep):
        (folder / "nodes" / "mine.toml").rename(folder / "nodes" / "servers.toml")
        code, _, err = call(
            "catalog", "add-node", "mine", "--observations", str(sweep), *MACHINE, "--catalog", str(folder)
        )
        assert code == 2
        assert "mine is already in" in err
        assert "servers.toml" in err
        assert [path.name for path in (folder / "nodes").iterdir()] == ["servers.toml"]


def test_rows_of_fewer_accelerators_are_noted(call, tmp_path, sweep):
    command = ("catalog", "add-node", "mine", "--observations", str(sweep), "--gpu", "h100_80gb_sxm")
    folder = ("--catalog", str(tmp_path / "c"))
    _, out, _ = call(*command, "--gpu-count", "8", *folder)
    assert "all rows were measured on 1 of the 8 accelerators of mine" in out
    _, out, _ = call(*command, "--gpu-count", "1", *folder, "--json")
    assert json.loads(out)["notes"] == []


def test_without_energy_it_says_what_stands_for_it(call, tmp_path):
    path = measured(tmp_path / "times.csv", loads_as_rows(LOADS))
    code, out, _ = call(
        "catalog", "add-node", "mine", "--observations", str(path), *MACHINE, "--catalog", str(tmp_path / "c")
    )
    assert code == 0
    assert "energy.served: not fitted: no row measures it; energy is the node's own time" in out


class TestDoubts:
    """A form of the node's own that is bad, or no better than the general one, is written with a note."""

    def made(self, call, tmp_path, path, *arguments):
        command = (
            "catalog",
            "add-node",
            "mine",
            "--observations",
            str(path),
            *MACHINE,
            "--catalog",
            str(tmp_path / "c"),
        )
        code, out, err = call(*command, *arguments)
        assert code == 0, err
        return out

    def test_a_good_one_has_none(self, call, tmp_path, sweep):
        assert json.loads(self.made(call, tmp_path, sweep, "--json"))["notes"] == []

    def test_times_without_order(self, call, tmp_path):
        path = measured(tmp_path / "wild.csv", loads_as_rows(LOADS), noise=2.0)
        (note,) = json.loads(self.made(call, tmp_path, path, "--json"))["notes"]
        assert note.startswith("duration.served@mine misses its own loads, each left out in turn, by ")
        assert "check --gpu, and model, format and lengths of the rows" in note
        assert f"  {note}\n" in self.made(call, tmp_path, path)

    def test_energy_without_order_is_told_apart_from_the_times(self, call, tmp_path, sweep):
        """Powers between 8 W and 1.3 kW, in the order of no load."""
        rows = list(csv.DictReader(sweep.read_text(encoding="utf-8").splitlines()))
        for index, row in enumerate(rows):
            watts = 8.0 if index % 3 else 1300.0
            row["energy_per_output_token_j"] = watts / float(row["system_output_tokens_per_s"])
        path = write(tmp_path / "wild.csv", rows)
        (note,) = json.loads(self.made(call, tmp_path, path, "--json"))["notes"]
        assert note.startswith("energy.served@mine misses its own loads")
        assert "check --gpu and the meter, --host-active-power-w" in note

    @pytest.mark.parametrize(
        "own, general, said",
        [
            (12.0, 12.0, None),
            (12.1, 12.0, "by 12.1 % at the median, more than the 12.0 % of the general form: check"),
            (50.0, 80.0, None),
            (50.1, 80.0, "by 50.1 % at the median: check"),
        ],
    )
    def test_when_there_is_one(self, own, general, said):
        ones = np.ones(3)
        scores = (score(ones, ones * (1 + pct / 100)) for pct in (general, own))
        form = Form(id="energy.served@mine", quantity="energy", status="own", terms={}, residual={})
        notes = _doubts([OwnForm(form, 6, ("llama-3-8b",), *scores)])
        assert [said in note for note in notes] == ([] if said is None else [True])


def test_an_accelerators_id_may_be_a_nodes_and_changes_nothing_of_it(call, tmp_path, sweep):
    place = tmp_path / "c"
    command = ("catalog", "add-node", "h100_80gb_sxm", "--observations", str(sweep), *MACHINE, "--catalog", str(place))
    code, _, err = call(*command)
    assert code == 0, err
    on_gpu = ("estimate", *REQUEST, "--gpu", "h100_80gb_sxm", "--json")
    before, after = (json.loads(call(*on_gpu, *more)[1]) for more in ((), ("--catalog", str(place))))
    assert after["usage_energy_wh"] == before["usage_energy_wh"]
    on_node = json.loads(call("estimate", *REQUEST, "--node", "h100_80gb_sxm", "--json", "--catalog", str(place))[1])
    assert (before["versions"]["coefficients"], on_node["versions"]["coefficients"]) == ("fitted", "own")


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
        assert f"{tmp_path / 'c'}, does not exist" in err

    def test_an_unknown_accelerator_and_a_folder_without_records(self, call, tmp_path, sweep):
        (tmp_path / "c").mkdir()
        arguments = ("mine", "--observations", str(sweep), "--gpu", "my_card", "--catalog", str(tmp_path / "c"))
        code, _, err = call("catalog", "add-node", *arguments)
        assert code == 2
        assert "unknown GPU 'my_card'" in err
        assert f"{tmp_path / 'c'}, holds no records" in err

    def test_an_unknown_accelerator_and_a_folder_with_some(self, call, folder, sweep):
        arguments = ("mine", "--observations", str(sweep), "--gpu", "my_card", "--catalog", str(folder))
        code, _, err = call("catalog", "add-node", *arguments)
        assert code == 2
        assert "The folder of --catalog" not in err

    def test_rows_of_another_node(self, call, tmp_path):
        path = measured(tmp_path / "theirs.csv", loads_as_rows(LOADS, {"node_id": "theirs"}))
        err = self.refused(call, tmp_path, "mine", "--observations", str(path), *MACHINE)
        assert "no row is of mine: 24 rows of the node theirs" in err

    @pytest.mark.parametrize("name", ["../mine", "a b", "-mine", "x" * 65])
    def test_an_id_that_cannot_be_one(self, call, tmp_path, sweep, name):
        err = self.refused(call, tmp_path, "--observations", str(sweep), *MACHINE, "--", name)
        assert f"id: '{name}' cannot be the id of a node" in err
        assert "--node" not in err

    def test_the_word_for_the_general_coefficients_is_no_id(self, call, tmp_path, sweep):
        err = self.refused(call, tmp_path, "General", "--observations", str(sweep), *MACHINE)
        assert "It stands for the general coefficients" in err

    def test_a_host_that_draws_less_at_work(self, call, tmp_path, sweep):
        host = ["--host-idle-power-w", "90", "--host-active-power-w", "60"]
        err = self.refused(call, tmp_path, "mine", "--observations", str(sweep), *MACHINE, *host)
        assert "60 W at work is less than the 90 W without" in err

    def test_a_host_that_draws_less_at_work_than_was_stated_before(self, call, folder, sweep):
        code, _, err = call(
            "catalog", "add-node", "mine", "--observations", str(sweep), *MACHINE, "--host-active-power-w", "60",
            "--catalog", str(folder),
        )  # fmt: skip
        assert code == 2
        assert "60 W at work is less than the 90 W without" in err

    @pytest.mark.parametrize("option", ["--host-idle-power-w", "--host-embodied-kgco2e", "--use-life-years"])
    @pytest.mark.parametrize("text", ["nan", "inf", "-1"])
    def test_a_number_that_cannot_be(self, call, tmp_path, sweep, option, text):
        err = self.refused(call, tmp_path, "mine", "--observations", str(sweep), *MACHINE, option, text)
        assert f"Invalid value for '{option}'" in err

    def test_a_node_of_the_catalogue(self, call, tmp_path, sweep):
        err = self.refused(call, tmp_path, "generic:hgx-h100-8", "--observations", str(sweep), *MACHINE)
        assert "already is the node generic:hgx-h100-8" in err
        assert "Option" not in err

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
    code, _, err = call("catalog", "nodes", "hgx-h100", "more")
    assert code == 2
    assert "unexpected extra argument (more)" in err


def test_the_help_of_the_list_mentions_the_command(call):
    code, out, _ = call("catalog", "--help")
    assert code == 0
    assert "add-node ID ..." in out
    assert "catalog add-node --help" in " ".join(out.split())
