"""A node with forms of its own: where they stand for the general ones, and where nothing changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from inferprint import Catalogue, Estimator, Request
from inferprint.catalogue import Node
from inferprint.errors import CatalogueError
from inferprint.provenance.source import Provenance, Source
from inferprint.quantities import Range
from inferprint.rates import MachineSetup, resolve_machine
from inferprint.rates.by_batch import rates_by_batch

BASE = Catalogue.packaged()
ORIGIN = Provenance("calibration", "2026-11-30", "medium", "")
MODEL = "llama-3.1-8b"


def node(**more):
    fields = {
        "id": "mine", "cloud": "generic", "instance": "mine", "gpu": "h100_80gb_sxm", "gpu_count": 1, "engine": "vllm",
        "host_idle_power_w": 100.0, "host_active_power_w": 150.0, "provenance": {"": ORIGIN},
    }  # fmt: skip
    return Node(**{**fields, **more})


def form(name, factor=1.0, model=MODEL, **more):
    """The general form times a factor, known to 5 %."""
    general = BASE.forms[name]
    size = len(general.terms)
    covariance = 0.0004 * np.eye(size)
    fields = {
        "id": f"{name}@mine",
        "status": "own",
        "rows": 40,
        "terms": {key: Range(*(factor * x for x in value)) for key, value in general.terms.items()},
        "effects": {},
        "covariance": tuple(covariance[np.tril_indices(size)].tolist()),
        "residual": {**general.residual, f"model:{model}": Range(0.0, -0.05, 0.05)},
        "provenance": {"": ORIGIN},
    }
    return replace(general, **{**fields, **more})


def catalogue(*forms, **more):
    return BASE.with_records(node(**more), *forms)


PLAIN = catalogue()
BOTH = catalogue(form("duration.served"), form("energy.served"))
REQUEST = Request(model_id=MODEL, input_tokens=500, output_tokens=200, node_id="mine", batch_size=8)
HERE = {"model_id": MODEL, "node_id": "mine", "batch_size": 8.0}


def estimate(where, **request):
    return Estimator(where).estimate(
        Request(
            **{
                "model_id": MODEL,
                "input_tokens": 500,
                "output_tokens": 200,
                "node_id": "mine",
                "batch_size": 8,
                **request,
            }
        )
    )


def width(value):
    return np.log(value.high / value.low)


def test_intervals_of_time_and_energy_shrink_about_the_same_value():
    general, own = estimate(PLAIN), estimate(BOTH)
    for name in ("duration_ms", "usage_energy_wh"):
        before, after = getattr(general, name), getattr(own, name)
        assert after.value == pytest.approx(before.value, rel=1e-12)
        assert width(after) < width(before) * 0.6


def test_each_form_stands_for_its_own_alone():
    general = estimate(PLAIN)
    time, energy = estimate(catalogue(form("duration.served", 2.0))), estimate(catalogue(form("energy.served", 2.0)))
    assert time.duration_ms.value == pytest.approx(2 * general.duration_ms.value, rel=1e-12)
    assert energy.duration_ms.value == general.duration_ms.value
    assert time.breakdown["accelerator_energy_wh"].value == pytest.approx(
        2 * general.breakdown["accelerator_energy_wh"].value, rel=1e-12
    )
    assert energy.breakdown["accelerator_energy_wh"].value == pytest.approx(
        2 * general.breakdown["accelerator_energy_wh"].value, rel=1e-12
    )


@pytest.mark.parametrize("factor", [0.01, 1.0, 100.0])
def test_energy_of_a_node_of_times_alone_is_between_idle_and_full_power(factor):
    result = estimate(catalogue(form("duration.served", factor)))
    draws = Estimator(catalogue(form("duration.served", factor))).estimate(REQUEST).machine.draws
    used = draws.seconds > 0
    watts = draws.energy[used] / draws.seconds[used]
    gpu = BASE.gpus["h100_80gb_sxm"]
    assert watts.max() <= gpu.max_power_w * (1 + 1e-12)
    assert watts.min() > 0.5 * gpu.idle_power_w
    assert any("only times were measured on mine" in warning for warning in result.warnings)
    assert any(entry.field.startswith("power over the node's own time, output_tokens") for entry in result.trail)
    assert not any(entry.field == "engine-age" for entry in result.trail)


def test_energy_of_a_node_with_energy_needs_no_power_over_time():
    assert not any("own time" in entry.field for entry in estimate(BOTH).trail)


@pytest.mark.parametrize(
    "forms, status",
    [
        ((), "fitted"),
        (("duration.served",), "fitted, time own"),
        (("energy.served",), "own, time fitted"),
        (("duration.served", "energy.served"), "own"),
    ],
)
def test_versions_say_whose_the_coefficients_are(forms, status):
    assert estimate(catalogue(*map(form, forms))).versions["coefficients"] == status


def test_the_trail_names_the_measurements():
    entries = {entry.field: entry for entry in estimate(BOTH).trail}
    entry = entries["duration.served@mine coefficients"]
    assert entry.value == "own"
    assert entry.reason == "the node's own: fitted to 40 measurements on it, 2026-11-30"
    assert "duration.served@mine layers" in entries
    assert "engine-age" not in entries
    assert "duration.served layers" not in entries


SETUPS = [
    {"gpu_id": "h100_80gb_sxm", "gpu_count": 1, "batch_size": 8},
    {"node_id": "generic:hgx-h100-8"},
    {"managed_service_id": "fireworks"},
    {"gpu_id": "rtx_4090", "gpu_count": 1},
    {},
]


@pytest.mark.parametrize("setup", SETUPS, ids=str)
def test_elsewhere_nothing_changes_to_the_last_bit(setup):
    request = Request(model_id=MODEL, input_tokens=500, output_tokens=200, **setup)
    first, second = (Estimator(where).estimate(request).to_dict() for where in (BASE, BOTH))
    for result in (first, second):
        result.pop("versions")
    assert first == second


def test_another_model_on_the_node_keeps_the_general_error_and_is_warned_of():
    general, own = (estimate(where, model_id="qwen3-8b") for where in (PLAIN, BOTH))
    assert width(own.duration_ms) > width(estimate(BOTH).duration_ms) * 1.5
    assert width(own.duration_ms) < width(general.duration_ms)
    assert any("qwen3-8b was not measured on mine, only llama-3.1-8b" in text for text in own.warnings)
    assert not [text for text in estimate(BOTH).warnings if "was not measured" in text]


def test_a_kind_of_model_that_was_not_measured_stays_uncertain():
    embedding = next(m.id for m in BASE.models.values() if m.modality == "embedding" and m.total_params_b)
    request = Request(model_id=embedding, input_tokens=500, output_tokens=0, node_id="mine", batch_size=8)
    entries = [entry.field for entry in Estimator(BOTH).estimate(request).trail]
    assert "physics-only" in entries


class TestEngine:
    def test_it_is_that_of_the_measurements(self):
        entries = {entry.field: entry for entry in estimate(BOTH).trail}
        assert (entries["engine"].value, entries["engine"].how) == ("vllm", "catalogue")

    @pytest.mark.parametrize("name", ["vlm", "diffusers"])
    def test_one_that_is_none_is_refused(self, name):
        with pytest.raises(CatalogueError, match=f"node 'mine': field 'engine' is '{name}'") as caught:
            resolve_machine(catalogue(engine=name), MachineSetup(**HERE))
        assert "vllm" in caught.value.hint

    def test_another_one_is_warned_of(self):
        card = resolve_machine(BOTH, MachineSetup(**HERE, engine="sglang"))
        assert any("sglang" in text and "measured with vllm" in text for text in card.trail.warnings)

    @pytest.mark.parametrize("stated", [None, "llama.cpp"])
    @pytest.mark.parametrize("batch", [1.0, 4.0])
    def test_llama_cpp_that_serves_several_uses_the_form_of_a_server(self, stated, batch):
        where = catalogue(form("duration.served", 2.0), gpu="rtx_4090", cloud="local", engine="llama.cpp-server")
        setup = MachineSetup(model_id=MODEL, node_id="mine", batch_size=batch, precision="q4_k_m", engine=stated)
        used = {detail.form for detail in resolve_machine(where, setup).draws.details}
        assert used == {"duration.served@mine", "two-term"}

    def test_one_request_at_a_time_has_its_form_and_its_energy(self):
        where = catalogue(
            form("duration.single"), form("energy.served"), gpu="rtx_4090", cloud="local", engine="llama.cpp"
        )
        card = resolve_machine(where, MachineSetup(model_id=MODEL, node_id="mine", precision="q4_k_m"))
        assert {detail.form for detail in card.draws.details} == {
            "duration.single@mine",
            "energy.served@mine",
            "two-term",
        }
        assert card.coefficients == "own"


def test_a_sweep_over_batches_uses_the_forms():
    setup = MachineSetup(model_id=MODEL, node_id="mine")
    once, twice = (rates_by_batch(catalogue(form("duration.served", f)), setup) for f in (1.0, 2.0))
    assert twice.time_per_output_token_s == pytest.approx(2 * once.time_per_output_token_s, rel=1e-12)


BAD = [
    ({"id": "duration.served@mein"}, r"field 'id' names 'mein', which does not exist", "mine"),
    ({"id": "duration.served@mine", "quantity": "energy"}, "field 'quantity' is 'energy'", ""),
    ({"id": "duration.serve@mine"}, "there is no form 'duration.serve'", "duration.served"),
    ({"id": "energy.media@mine", "quantity": "media-energy"}, "there is no form 'energy.media'", ""),
    ({"covariance": (1.0, 2.0)}, "field 'covariance' has 2 numbers", ""),
    ({"covariance": (-1.0, *[0.0] * 104)}, "negative variance, -1, in row 1", ""),
    ({"covariance": (1.0, 3.0, 1.0, *[0.0] * 102)}, "correlation above 1 in row 2", ""),
    ({"effects": {"all:int5": 0.1}}, "field 'effects.all:int5' is not in the general form", "all:int4"),
    ({"residual": {"dense": Range(0.0, -1.0, 1.0)}}, "field 'residual' has no bounds called 'all'", ""),
    ({"residual": {"all": Range(0.5, -1.0, 1.0)}}, "field 'residual.all' must have the value 0", ""),
]


@pytest.mark.parametrize("change, message, hint", BAD, ids=[message for _, message, _ in BAD])
def test_nonsense_is_refused_with_record_and_field(change, message, hint):
    with pytest.raises(CatalogueError, match=message) as caught:
        catalogue(form("duration.served", **change))
    assert "form '" in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda terms: terms.pop("layers"), "field 'terms' lacks layers"),
        (lambda terms: terms.update(layer=terms["layers"]), "field 'terms.layer' is not in the general form"),
        (lambda terms: terms.update(layers=Range(0.0, 0.0, 1.0)), "field 'terms.layers' must be positive"),
    ],
)
def test_terms_are_those_of_the_general_form(change, message):
    terms = dict(form("duration.served").terms)
    change(terms)
    with pytest.raises(CatalogueError, match=message):
        catalogue(form("duration.served", terms=terms, covariance=()))


def test_the_power_of_a_host_is_as_its_owner_states_it():
    mine = Provenance("own:mine", "2026-11-30", "medium", "")
    source = Source(id="own:mine", title="Measured here", url="", licence="")
    forms = form("duration.served"), form("energy.served")
    stated = BASE.with_records(source, node(provenance={"": mine}), *forms)
    assert width(estimate(stated).breakdown["host_energy_wh"]) < width(estimate(BOTH).breakdown["host_energy_wh"])
    assert estimate(stated).breakdown["host_energy_wh"].value == estimate(BOTH).breakdown["host_energy_wh"].value
    assert not any(entry.field == "host-power.spread" for entry in estimate(stated).trail)
