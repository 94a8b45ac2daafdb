"""Serving software: which is assumed, and what that decides."""

from __future__ import annotations

import pytest

from inferprint import Catalogue
from inferprint.errors import InvalidInput
from inferprint.rates import MachineSetup, resolve_machine
from inferprint.rates.engines import ENGINES, find_engine

CATALOGUE = Catalogue.packaged()


def card(**setup):
    return resolve_machine(CATALOGUE, MachineSetup(**{"model_id": "llama-3.1-8b", **setup}))


def forms(found) -> set[str]:
    """Forms of the default method that the card uses."""
    return {detail.form for detail in found.draws.details} - {"two-term"}


def stated(found):
    return next(entry for entry in found.trail.entries if entry.field == "engine")


SERVED = {"energy.served", "duration.served"}
ALONE = {"duration.single"}
MADE = {"energy.media", "duration.media"}
DESK = {"gpu_id": "rtx_4090", "precision": "q4_k_m"}


@pytest.mark.parametrize(
    "setup, engine, used",
    [
        (DESK, "llama.cpp", ALONE),
        ({**DESK, "batch_size": 1}, "llama.cpp", ALONE),
        ({**DESK, "batch_size": 4}, "vllm", SERVED),
        ({**DESK, "managed_service_id": "together"}, "vllm", SERVED),
        ({"gpu_id": "h100_80gb_sxm"}, "vllm", SERVED),
        ({"gpu_id": "h100_80gb_sxm", "batch_size": 1}, "vllm", SERVED),
        ({"node_id": "generic:hgx-h100-8"}, "vllm", SERVED),
        ({"managed_service_id": "together"}, "vllm", SERVED),
        ({}, "vllm", SERVED),
    ],
    ids=str,
)
def test_an_engine_that_nobody_states(setup, engine, used):
    found = card(**setup)
    assert (stated(found).value, stated(found).how) == (engine, "assumed")
    assert forms(found) == used


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_a_stated_engine_is_used(engine):
    makes = engine == "diffusers"
    model = "flux.1-dev" if makes else "llama-3.1-8b"
    found = card(model_id=model, gpu_id="h100_80gb_sxm", batch_size=1, engine=engine)
    assert (stated(found).value, stated(found).how) == (engine, "given")
    assert forms(found) == (MADE if makes else ALONE if ENGINES[engine].kind == "local" else SERVED)


@pytest.mark.parametrize("model, engine", [("flux.1-dev", "vllm"), ("llama-3.1-8b", "diffusers")])
def test_software_for_other_models_is_refused(model, engine):
    with pytest.raises(InvalidInput, match=f"{engine} does not run"):
        card(model_id=model, gpu_id="h100_80gb_sxm", engine=engine)


def test_an_engine_that_does_not_exist_names_those_that_do():
    with pytest.raises(InvalidInput, match=r"llama\.cpp") as caught:
        find_engine("lama.cpp")
    assert caught.value.field == "engine"


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_an_engine_is_found_by_its_id_and_says_what_it_is(name):
    assert find_engine(name).id == name
    assert find_engine(name).meaning


def test_an_effect_of_an_engine_is_that_of_one_that_exists():
    known = {
        "peak",
        *ENGINES,
        *(p.effect for p in CATALOGUE.precisions.values()),
        *(f"{p.arithmetic}-arithmetic" for p in CATALOGUE.precisions.values()),
        *(value for g in CATALOGUE.gpus.values() for value in (g.generation, g.memory_kind, g.device_class)),
    }
    named = {effect.partition(":")[2] for form in CATALOGUE.forms.values() for effect in form.effects}
    assert named - known == set()


def test_only_an_engine_that_nobody_states_leaves_its_age_open():
    open_, given = card(gpu_id="h100_80gb_sxm"), card(gpu_id="h100_80gb_sxm", engine="vllm")
    assert ("engine age" in open_.sources, "engine age" in given.sources) == (True, False)


def test_devices_of_an_old_local_engine_share_every_layer():
    # llama.cpp of 2023 on two devices: half the read of each step, and a meeting in each of 80 layers.
    setup = {"model_id": "llama-3.1-70b", "gpu_id": "rtx_4090", "gpu_count": 2, "replica_gpu_count": 2}
    turns, shared = (
        {(d.feature, d.term): d.ideal for d in card(**setup, precision="q4_k_m", engine=engine).draws.details}
        for engine in ("llama.cpp", "llama.cpp-2023")
    )
    read = ("output_tokens", "dense_weights")
    assert turns[read] == pytest.approx(2 * shared[read], rel=1e-12)
    meetings = ("output_tokens", "layer_exchanges")
    assert (turns[meetings], shared[meetings]) == (0.0, 80.0)


def test_a_local_engine_uses_all_of_the_memory():
    # Llama-3.1-8B at 16 bit, 16.06 GB and 0.5 GB of work space, in 24 GB: the smallest is one device either way, and
    # Llama-3.1-70B in 4 bit, 43.1 GB, takes two for one request (2 x 23.5 GB) but three for a server (3 x 19.6 GB).
    desk = {"model_id": "llama-3.1-70b", "gpu_id": "rtx_4090", "gpu_count": 4, "precision": "q4_k_m"}
    assert card(**desk).draws.devices[0] == 2
    assert card(**desk, batch_size=2).draws.devices[0] == 4  # powers of two
