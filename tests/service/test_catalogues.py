"""What each owner sees, when a change is seen, and that estimates are those of the library with the same records."""

from __future__ import annotations

import importlib
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest
from tests.service.records_here import GPU, MODEL, NODE, Asker, Here, records_here

from inferprint import Catalogue, Request
from inferprint.catalogue import resolve_node
from inferprint.errors import InvalidInput, UnknownName
from inferprint.estimate import Estimator
from inferprint.provenance.source import Provenance, Source
from inferprint.quantities import RESULTS, Range
from inferprint.rates.training import training_of
from inferprint.service.caller import GLOBAL_OWNER
from inferprint.service.catalogues import Catalogues, dashed, layered, rows_of
from inferprint.service.database import Database
from inferprint.service.own_records import own_of
from inferprint.service.problems import Away
from inferprint.service.records import shown_gpu, shown_model, shown_node

WORK = {"input_tokens": 1200, "output_tokens": 300, "country": "FR"}
PACKAGED = Catalogue.packaged()


@pytest.fixture
def here(tmp_path) -> Here:
    return records_here(tmp_path)


@pytest.fixture
def acme(here) -> Asker:
    return here.asker("acme")


def values(estimator: Estimator, **request: object) -> dict[str, Range | None]:
    result = estimator.estimate(Request(**{**WORK, **request}))  # type: ignore[arg-type]
    return {quantity.name: result.range(quantity.name) for quantity in RESULTS}


def same(found: dict[str, Range | None], expected: dict[str, Range | None]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == (pytest.approx(value, rel=1e-12) if value is not None else None), name


# --- nodes by other names ---------------------------------------------------------------------------------------------


def test_every_packaged_node_has_a_name_of_its_own_in_the_letters_of_the_api(here):
    names = [dashed(key) for key in PACKAGED.nodes]
    assert len(set(names)) == len(names)
    for key, name in zip(PACKAGED.nodes, names, strict=True):
        assert resolve_node(here.catalogues.base, name).id == key
        assert 3 <= len(name) <= 64
        assert all(letter.isdigit() or letter == "-" or "a" <= letter <= "z" for letter in name)


def test_further_names_change_neither_records_nor_version(here):
    base = here.catalogues.base
    assert base.version == PACKAGED.version
    assert base.nodes is PACKAGED.nodes
    estimator = here.catalogues.estimator(GLOBAL_OWNER)
    same(
        values(estimator, model_id="llama-3.1-70b", node_id="aws-p5-48xlarge"),
        values(Estimator(PACKAGED), model_id="llama-3.1-70b", node_id="aws:p5.48xlarge"),
    )


# --- the numbers of the library ---------------------------------------------------------------------------------------


def test_a_gpu_as_fast_as_the_h200_is_the_h200(here, acme):
    h200 = PACKAGED.gpus["h200_141gb_sxm"]
    acme.made(
        "gpu",
        performance_ratio_to_h200=1,
        max_power_w=h200.max_power_w,
        embodied_emissions_kgco2e=h200.embodied_kgco2e.value,
        embodied_water_mlh2o=h200.embodied_water_l.value * 1000,
    )
    own = here.catalogues.estimator(here.owner_id(acme))
    gpu = own.catalogue.gpus["chip-one"]
    for name in ("memory_gb", "memory_bandwidth_gb_per_s", "fp16_dense_tflops", "fp8_dense_tflops", "link_gb_per_s"):
        assert getattr(gpu, name) == getattr(h200, name)
    asked = {"model_id": "llama-3.1-70b", "gpu_count": 4, "active_share": 1.0}
    # Idle power and bounds of the manufacture are unknown of the one and known of the other.
    mine = values(own, gpu_id="chip-one", **asked)
    for name, theirs in values(Estimator(PACKAGED), gpu_id="h200_141gb_sxm", **asked).items():
        if theirs is not None:
            assert mine[name].value == pytest.approx(theirs.value, rel=0.25 if "embodied" in name else 1e-9), name


def test_an_own_gpu_counts_as_the_library_counts_the_same_record(here, acme):
    acme.made("gpu", memory_gb=96)
    own = here.catalogues.estimator(here.owner_id(acme))
    h200 = PACKAGED.gpus["h200_141gb_sxm"]
    record = replace(
        h200,
        id="chip-one",
        name="Chip One",
        names=(),
        memory_gb=96,
        memory_bandwidth_gb_per_s=2400.0,
        fp16_dense_tflops=494.7,
        fp8_dense_tflops=989.45,
        int8_dense_tops=989.45,
        max_power_w=500.0,
        idle_power_w=None,
        idle_loaded_power_w=None,
        embodied_kgco2e=Range.exact(100.0),
        embodied_water_l=Range.exact(500.0),
    )
    library = Estimator(PACKAGED.with_records(record))
    asked = {"model_id": "llama-3.1-70b", "gpu_id": "chip-one", "gpu_count": 2}
    same(values(own, **asked), values(library, **asked))


def test_own_nodes_and_models_count_as_the_library_counts_the_same_records(here, acme):
    acme.made(
        "node",
        idle_power_w_ex_gpu=700,
        average_utilization_rate=0.4,
        embodied_emissions_kgco2e_ex_gpu=3000,
        embodied_water_l_ex_gpu=9000,
        use_life_years=4,
    )
    acme.made("model", aliases=["ours"])
    own = here.catalogues.estimator(here.owner_id(acme))
    reference = PACKAGED.nodes[PACKAGED.gpus["h100_80gb_sxm"].reference_node]
    source, stated = Source(id="here", title="", url="", licence=""), {"": Provenance("here", "2026-01-01", "medium")}
    node = replace(
        reference,
        id="my-node",
        cloud="generic",
        names=(),
        host_idle_power_w=700,
        host_active_power_w=700 + reference.host_active_power_w - reference.host_idle_power_w,
        host_embodied_kgco2e=Range.exact(3000.0),
        host_embodied_water_l=9000,
        use_life_years=4,
        provenance=stated,
    )
    model = replace(PACKAGED.models["llama-3.1-8b"], id="acme/llm", names=(), provenance=stated)
    blank = dict.fromkeys(("layers", "hidden_size", "attention_heads", "kv_heads", "head_size"))
    blank |= dict.fromkeys(("full_attention_layers", "kv_elements_per_token", "hugging_face_path"))
    blank |= dict.fromkeys(("native_precision", "context_length", "release_date"))
    model = replace(model, developer="", family="", base_family="", architecture="unknown", **blank)
    model = replace(model, total_params_b=12.5, active_params_b=None)
    library = Estimator(PACKAGED.with_records(source, node, model))
    expected = values(library, model_id="acme/llm", node_id="my-node", active_share=0.4)
    same(values(own, model_id="ours", node_id="my-node"), expected)


def test_the_utilisation_of_a_node_is_its_active_share_unless_the_request_states_one(here, acme):
    acme.made("node", average_utilization_rate=0.2)
    own = here.catalogues.estimator(here.owner_id(acme))
    result = own.estimate(Request(model_id="llama-3.1-8b", node_id="my-node", **WORK))
    entry = next(entry for entry in result.machine.trail.entries if entry.field == "active_share")
    assert (entry.value, entry.how, entry.source) == (0.2, "catalogue", f"owner:{here.owner_id(acme)}")
    stated = values(own, model_id="llama-3.1-8b", node_id="my-node", active_share=0.8)
    acme("PUT", "/node/my-node", {"average_utilization_rate": 0.8})
    again = here.catalogues.estimator(here.owner_id(acme))
    same(values(again, model_id="llama-3.1-8b", node_id="my-node"), stated)
    assert result.range("embodied_emissions_gco2e").value == pytest.approx(
        4 * stated["embodied_emissions_gco2e"].value, rel=1e-9
    )


def test_a_node_without_accelerators_is_kept_and_estimates_say_why_not(here, acme):
    acme.made("node", gpu_count=0)
    own = here.catalogues.estimator(here.owner_id(acme))
    with pytest.raises(InvalidInput, match="no accelerator"):
        values(own, model_id="llama-3.1-8b", node_id="my-node")


@pytest.mark.parametrize("base", ["llama-3.1-70b", "deepseek-v3", "gpt-4o", "flux.1-dev", "whisper-large-v3", "bge-m3"])
def test_a_model_that_only_names_another_costs_what_that_one_costs(here, acme, base):
    acme.made("model", total_params_billions=None, benchmark_model_id=base)
    own = here.catalogues.estimator(here.owner_id(acme))
    asked = {
        "flux.1-dev": {"output_images": "1024x1024", "input_tokens": None, "output_tokens": None},
        "whisper-large-v3": {"input_audio_seconds": 60, "input_tokens": None, "output_tokens": None},
        "bge-m3": {"output_tokens": None},
    }.get(base, {})
    # Errors are drawn by model: on stated hardware the middle is the same, and the bounds are alike.
    asked |= {"gpu_id": "h200_141gb_sxm", "gpu_count": 32}
    mine, theirs = values(own, model_id="acme/llm", **asked), values(own, model_id=base, **asked)
    for name, value in theirs.items():
        if value is not None:
            assert mine[name].value == pytest.approx(value.value, rel=1e-9), name


def test_a_picture_in_the_prompt_of_a_tuned_model_is_read_like_that_of_its_base(here, acme):
    acme.made("model", total_params_billions=None, fine_tuned_from_model_id="qwen2.5-vl-7b")
    own = here.catalogues.estimator(here.owner_id(acme))
    picture = {"input_images": "1024x768", "batch_size": 8, "gpu_id": "h100_80gb_sxm", "gpu_count": 1}
    mine, theirs = (values(own, model_id=name, **picture) for name in ("acme/llm", "qwen2.5-vl-7b"))
    assert mine["usage_energy_wh"].value == pytest.approx(theirs["usage_energy_wh"].value, rel=1e-9)


def test_own_sizes_go_before_those_of_the_model_it_resembles(here, acme):
    acme.made("model", total_params_billions=140, benchmark_model_id="mixtral-8x7b")
    model = here.catalogues.estimator(here.owner_id(acme)).catalogue.models["acme/llm"]
    base = PACKAGED.models["mixtral-8x7b"]
    assert model.total_params_b == 140
    assert model.active_params_b == pytest.approx(140 * base.active_params_b / base.total_params_b)
    assert (model.layers, model.native_precision, model.experts) == (base.layers, base.native_precision, base.experts)


def test_experts_that_are_left_out_are_not_active(here, acme):
    acme.made(
        "model",
        total_params_billions=46.7,
        number_of_experts=8,
        params_per_expert_billions=5.63,
        experts_per_token=2,
    )
    model = here.catalogues.estimator(here.owner_id(acme)).catalogue.models["acme/llm"]
    # Mixtral 8x7B: 12.9 of 46.7 billion are active.
    assert model.active_params_b == pytest.approx(12.9, abs=0.05)
    assert model.params_per_expert_b == pytest.approx(5.63, rel=1e-9)
    assert model.architecture == "moe"


def test_training_of_own_models(here, acme):
    acme.made("model", training_usage_energy_kwh=1000, estimated_use_life_days=100, estimated_requests_per_day=1000)
    own = here.catalogues.estimator(here.owner_id(acme)).catalogue
    found = training_of(own, own.models["acme/llm"])
    assert found.training is not None
    assert found.training["usage_energy_wh"] == pytest.approx(10.0)


# --- owners apart -----------------------------------------------------------------------------------------------------


KEEPER = ("customer_id", "created_at", "updated_at", "created_by")


@pytest.mark.parametrize("of", [{}, {"benchmark_model_id": "llama-3.1-8b"}, {"fine_tuned_from_model_id": "gpt-4o"}])
def test_a_model_of_a_catalogue_shows_who_keeps_it_as_it_is_looked_up(here, acme, of):
    acme.made("model", **of)
    acme("PUT", "/model/acme/llm", {"name": "New"})
    sent = acme("GET", "/model/acme/llm").json()
    own = here.catalogues.estimator(here.owner_id(acme)).catalogue
    shown = shown_model(own, own.models["acme/llm"])
    assert {name: shown[name] for name in KEEPER} == {name: sent[name] for name in KEEPER}
    assert shown["customer_id"] == here.owner_id(acme)
    assert shown_model(own, own.models["llama-3.1-8b"])["created_by"] == "inferprint"


def test_own_hardware_and_records_of_all_show_who_keeps_them(here, acme):
    admin = here.asker("operator", "admin")
    assert admin("POST", "/gpu", GPU, **{"global": "true"}).status_code == 201
    acme.made("node", gpu_id="chip-one")
    own = here.catalogues.estimator(here.owner_id(acme)).catalogue
    for shown, path in (
        (shown_node(own, own.nodes["my-node"]), "/node/my-node"),
        (shown_gpu(own, own.gpus["chip-one"]), "/gpu/chip-one"),
    ):
        sent = acme("GET", path).json()
        assert {name: shown[name] for name in KEEPER} == {name: sent[name] for name in KEEPER}


def test_owners_use_the_same_id_without_seeing_each_other(here, acme):
    other = here.asker("other")
    acme.made("model", total_params_billions=8)
    other.made("model", total_params_billions=80)
    mine, theirs = (here.catalogues.estimator(here.owner_id(asker)) for asker in (acme, other))
    assert mine.catalogue.models["acme/llm"].total_params_b == 8
    assert theirs.catalogue.models["acme/llm"].total_params_b == 80
    with pytest.raises(UnknownName):
        values(here.catalogues.estimator(GLOBAL_OWNER), model_id="acme/llm")


def test_owners_without_records_share_one_estimator(here, acme):
    acme.made("model")
    assert acme("DELETE", "/model/acme/llm").status_code == 204
    shared = here.catalogues.estimator(GLOBAL_OWNER)
    assert here.catalogues.estimator(12345) is shared
    assert here.catalogues.estimator(here.owner_id(acme)) is shared


def test_a_record_of_all_is_seen_by_all_and_owners_rest_on_it(here, acme):
    admin = here.asker("operator", "admin")
    assert admin("POST", "/gpu", GPU, **{"global": "true"}).status_code == 201
    acme.made("node", gpu_id="Chip One")
    own = here.catalogues.estimator(here.owner_id(acme)).catalogue
    assert own.nodes["my-node"].gpu == "chip-one"
    assert own.gpus["chip-one"].provenance["max_power_w"].source == f"owner:{GLOBAL_OWNER}"


@pytest.mark.parametrize(
    "body",
    [
        {**MODEL, "total_params_billions": 99},
        {"id": "elsewhere", "aliases": ["acme/llm"], "total_params_billions": 99},
        {"id": "ours", "total_params_billions": 99},
        {"id": "elsewhere", "aliases": ["ours"], "total_params_billions": 99},
    ],
)
def test_an_own_record_goes_before_a_later_one_of_all_that_has_its_name(here, acme, body):
    acme.made("model", aliases=["ours"])
    admin = here.asker("operator", "admin")
    assert admin("POST", "/model", body, **{"global": "true"}).status_code == 201
    own = here.catalogues.estimator(here.owner_id(acme)).catalogue
    for name in ("acme/llm", "ours"):
        assert own.models[own.names("models")[name]].total_params_b == 12.5
    assert values(here.catalogues.estimator(here.owner_id(acme)), model_id="ours")["usage_energy_wh"].value > 0
    assert acme("GET", "/model/ours").json()["total_params_billions"] == 12.5
    assert acme("PUT", "/model/acme/llm", {"name": "still ours"}).status_code == 200
    others = here.catalogues.estimator(GLOBAL_OWNER).catalogue
    assert others.models[body["id"]].total_params_b == 99


def test_a_release_that_brings_the_id_of_a_record_breaks_nothing(tmp_path, here, acme):
    acme.made("model")
    acme.made("gpu")
    acme.made("node", gpu_id="chip-one")
    stated = {"": Provenance("here", "2026-01-01", "medium")}
    newer = PACKAGED.with_records(
        Source(id="here", title="", url="", licence=""),
        replace(PACKAGED.models["llama-3.1-8b"], id="acme/llm", names=("chip",), provenance=stated),
        replace(PACKAGED.gpus["h100_80gb_sxm"], id="chip-one", name="Chip One", names=(), provenance=stated),
        replace(PACKAGED.nodes["generic:hgx-h100-8"], id="my:node", names=(), provenance=stated),
    )
    later = Catalogues(newer, here.database)
    own = later.estimator(here.owner_id(acme)).catalogue
    assert own.models["acme/llm"].total_params_b == 12.5
    assert "chip" not in own.names("models")
    assert own.gpus["chip-one"].max_power_w == 500
    assert own.nodes[own.names("nodes")["my-node"]].gpu == "chip-one"


def test_a_record_whose_ground_is_gone_is_left_out_and_the_others_stay(here, acme):
    acme.made("model", id="kept")
    acme.made("node")
    with here.database.begin(write=False) as connection:
        kept = rows_of(connection, here.owner_id(acme))
    broken = [replace(row, body={**row.body, "gpu_id": "gone"}) if row.kind == "node" else row for row in kept]
    own = own_of(PACKAGED, here.owner_id(acme), broken)
    assert [key for _, key in own.problems] == ["my-node"]
    found = layered(PACKAGED, own)
    assert found.models[found.names("models")["kept"]].total_params_b == 12.5
    assert "my-node" not in found.nodes


# --- changes ----------------------------------------------------------------------------------------------------------


def test_a_change_is_seen_at_once_here_and_soon_elsewhere(here, acme):
    owner = here.owner_id(acme)
    database = Database(f"sqlite:///{here.database._engine.url.database}")
    elsewhere = Catalogues(PACKAGED, database)
    for catalogues in (here.catalogues, elsewhere):
        assert "acme/llm" not in catalogues.estimator(owner).catalogue.models
    acme.made("model")
    assert "acme/llm" in here.catalogues.estimator(owner).catalogue.models
    time.sleep(1.5)
    assert "acme/llm" in elsewhere.estimator(owner).catalogue.models
    acme("PUT", "/model/acme/llm", {"total_params_billions": 50})
    assert here.catalogues.estimator(owner).catalogue.models["acme/llm"].total_params_b == 50
    until = time.monotonic() + 1.5
    while time.monotonic() < until and elsewhere.estimator(owner).catalogue.models["acme/llm"].total_params_b != 50:
        time.sleep(0.02)
    assert elsewhere.estimator(owner).catalogue.models["acme/llm"].total_params_b == 50
    acme("DELETE", "/model/acme/llm")
    assert "acme/llm" not in here.catalogues.estimator(owner).catalogue.models
    database.close()


def test_revisions_are_read_once_a_second_at_most(here, acme, monkeypatch):
    acme.made("model")
    owner, began = here.owner_id(acme), []
    begin = here.database.begin

    @contextmanager
    def counted(**options):
        began.append(options)
        with begin(**options) as connection:
            yield connection

    here.catalogues.estimator(owner)
    monkeypatch.setattr(here.database, "begin", counted)
    until, asked = time.monotonic() + 2.1, 0
    while time.monotonic() < until:
        here.catalogues.estimator(owner)
        asked += 1
    assert asked > 1000
    assert 1 <= len(began) <= 3


def test_the_last_known_records_are_used_while_the_database_is_away(here, acme, monkeypatch):
    acme.made("model")
    owner = here.owner_id(acme)
    before = here.catalogues.estimator(owner)
    away = threading.Event()
    begin = here.database.begin

    @contextmanager
    def broken(**options):
        if away.is_set():
            raise Away("the database cannot be reached")
        with begin(**options) as connection:
            yield connection

    monkeypatch.setattr(here.database, "begin", broken)
    away.set()
    for _ in range(2):
        time.sleep(1.05)
        assert here.catalogues.estimator(owner) is before
        assert here.catalogues.estimator(987) is here.catalogues.estimator(GLOBAL_OWNER)
    here.catalogues.changed(owner, 99)
    assert here.catalogues.estimator(owner) is before  # it cannot be made new
    here.catalogues.reload()
    with pytest.raises(Away):
        here.catalogues.estimator(owner)
    away.clear()
    assert "acme/llm" in here.catalogues.estimator(owner).catalogue.models


def test_it_comes_to_know_of_changes_again_when_the_database_is_back(here, acme, monkeypatch):
    owner = here.owner_id(acme)
    other = Catalogues(PACKAGED, here.database)
    other.estimator(owner)
    with monkeypatch.context() as patch:

        def gone(**options):
            raise Away("the database cannot be reached")

        patch.setattr(here.database, "begin", gone)
        time.sleep(1.05)
        other.estimator(owner)
    acme.made("model")
    until = time.monotonic() + 5
    while time.monotonic() < until and "acme/llm" not in other.estimator(owner).catalogue.models:
        time.sleep(0.05)
    assert "acme/llm" in other.estimator(owner).catalogue.models


def test_few_estimators_are_kept_and_those_asked_last_stay(here, monkeypatch):
    monkeypatch.setattr("inferprint.service.catalogues.MAX_OWNERS", 2)
    askers = [here.asker(f"owner-{index}") for index in range(3)]
    for asker in askers:
        asker.made("model")
    ids = [here.owner_id(asker) for asker in askers]
    first, second = (here.catalogues.estimator(owner) for owner in ids[:2])
    assert here.catalogues.estimator(ids[0]) is first
    here.catalogues.estimator(ids[2])
    assert here.catalogues.estimator(ids[0]) is first
    assert here.catalogues.estimator(ids[1]) is not second


def test_too_many_cards_let_go_of_estimators(here, monkeypatch):
    monkeypatch.setattr("inferprint.service.catalogues.MAX_CARDS", 3)
    askers = [here.asker(f"owner-{index}") for index in range(2)]
    for asker in askers:
        asker.made("model")
    first = here.catalogues.estimator(here.owner_id(askers[0]))
    for batch in (1, 2, 4):
        values(first, model_id="acme/llm", batch_size=batch)
    second = here.catalogues.estimator(here.owner_id(askers[1]))
    assert here.catalogues.estimator(here.owner_id(askers[1])) is second
    assert here.catalogues.estimator(here.owner_id(askers[0])) is not first


def test_making_an_owners_catalogue_is_quick(here, acme):
    for index in range(20):
        acme.made("model", id=f"model-{index}")
    owner, best = here.owner_id(acme), float("inf")
    for _ in range(5):
        here.catalogues.reload()
        here.catalogues.estimator(GLOBAL_OWNER)
        began = time.perf_counter()
        here.catalogues.estimator(owner)
        best = min(best, time.perf_counter() - began)
    assert best < 0.05


def test_many_threads_get_one_estimator(here, acme):
    acme.made("node", **NODE)
    owner, found = here.owner_id(acme), []
    here.catalogues.reload()
    threads = [threading.Thread(target=lambda: found.append(here.catalogues.estimator(owner))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({id(estimator) for estimator in found}) == 1


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_owners_whose_records_are_gone_do_not_weigh(here, monkeypatch):
    monkeypatch.setattr("inferprint.service.catalogues.MAX_CARDS", 3)
    askers = [here.asker(f"owner-{index}") for index in range(3)]
    for asker in askers:
        asker.made("model")
    first = here.catalogues.estimator(here.owner_id(askers[0]))
    shared = here.catalogues.estimator(GLOBAL_OWNER)
    values(shared, model_id="llama-3.1-8b")
    for asker in askers[1:]:
        asker("DELETE", "/model/acme/llm")
        assert here.catalogues.estimator(here.owner_id(asker)) is shared
    # Two cards of the one of all, for each of two owners, would be four.
    assert shared.weight == 2
    assert here.catalogues.estimator(here.owner_id(askers[0])) is first


def test_one_at_a_time_waits_for_a_database_that_hangs(here, acme, monkeypatch):
    owner, hanging, asked = here.owner_id(acme), threading.Event(), []
    here.catalogues.estimator(owner)

    @contextmanager
    def hang(**options):
        asked.append(1)
        hanging.wait(20)
        raise Away("the database cannot be reached")
        yield

    monkeypatch.setattr("inferprint.service.catalogues.POLL_S", 0.01)
    monkeypatch.setattr(here.database, "begin", hang)
    here.catalogues._away = True
    try:
        for _ in range(20):
            time.sleep(0.02)
            here.catalogues.estimator(owner)
        assert len(asked) == 1
        assert sum(thread.name == "revisions" for thread in threading.enumerate()) == 1
    finally:
        hanging.set()


def test_an_estimator_apart_pushes_out_no_cards(here, acme, monkeypatch):
    acme.made("model")
    owner = here.owner_id(acme)
    kept = here.catalogues.estimator(owner)
    before = values(kept, model_id="acme/llm")
    apart = here.catalogues.apart(owner)
    assert apart is not kept
    assert apart.catalogue is kept.catalogue
    monkeypatch.setattr(importlib.import_module("inferprint.estimate.estimate"), "MAX_CARDS", 2)
    for batch in (1, 2, 4):
        values(apart, model_id="acme/llm", batch_size=batch)
    assert kept.weight == 2
    assert kept.is_ready_for(Request(**WORK, model_id="acme/llm"))
    same(values(apart, model_id="acme/llm"), before)
    assert here.catalogues.estimator(owner) is kept


def test_a_layer_changes_the_version_and_shares_the_rest(here, acme):
    acme.made("model")
    own = here.catalogues.estimator(here.owner_id(acme)).catalogue
    assert own.version != PACKAGED.version
    assert own.grids is here.catalogues.base.grids
    assert own.models is not here.catalogues.base.models
    assert Catalogue.layered(PACKAGED, {}, {}).version == PACKAGED.version
