"""What a calibration fits is what the cards say: terms times coefficients equal the card, row by row. No second way."""

from __future__ import annotations

import math

import numpy as np
import pytest

from inferprint import Catalogue
from inferprint.calibration.observations import MEDIA
from inferprint.errors import InvalidInput
from inferprint.rates import MachineSetup, resolve_machine
from inferprint.rates.ideal import ideal_request, text_features

CATALOGUE = Catalogue.packaged()

ARITHMETIC = ("dense_arithmetic", "expert_arithmetic", "prompt_linear")
FIXED = ("layers", "expert_layers", "quantised_expert_layers", "state_space_layers", "sequences", "media_prompts")
PROMPT = ("prompt_linear", "prompt_pipelined", "prompt_attention")
READS = ("dense_weights", "expert_weights", "kv_reads")
MEMBERS = {"arithmetic": ARITHMETIC, "fixed": FIXED, "prompt": PROMPT, "reads": READS, "layers": ("layers",)}


def by_hand(form_id: str, terms, tags) -> float:
    """Sum of ideal cost x coefficient x effects of the form."""
    form = CATALOGUE.forms[form_id]
    total = 0.0
    for term, coefficient in form.terms.items():
        effects = [
            effect
            for name, effect in form.effects.items()
            if name.partition(":")[2] in tags
            and (name.startswith("all:") or term in MEMBERS.get(name.partition(":")[0], ()))
        ]
        total += terms.get(term, 0.0) * coefficient.value * math.exp(sum(effects))
    return total


def rows_of(observations) -> dict[str, object]:
    """One measured row of every kind that the forms tell apart."""
    wanted = {
        "server, dense": lambda o: o.source == "mlenergy-v3" and o.setup.model_id.startswith("qwen3-14b"),
        "server, mixture": lambda o: o.source == "mlenergy-v3" and "30b-a3b" in o.setup.model_id,
        "server, 8 bit": lambda o: o.source == "mlenergy-v3" and o.setup.precision == "fp8",
        "server, 4 bit": lambda o: o.setup.precision in ("mxfp4", "nvfp4"),
        "server, Blackwell": lambda o: o.source == "mlenergy-v3" and "b200" in o.setup.gpu_id,
        "server, pictures": lambda o: o.work[2] == 1.0,
        "server, several devices": lambda o: o.setup.replica_gpu_count == 8 and o.source == "mlenergy-v3",
        "server, ranks": lambda o: o.setup.techniques != (),
        "server of 2024": lambda o: o.setup.engine == "vllm-2024",
        "served time, latent attention": lambda o: "deepseek" in o.setup.model_id,
        "plain PyTorch": lambda o: o.setup.engine == "eager" and o.setup.gpu_count == 1,
        "prompt alone": lambda o: o.quantity == "prompt_energy" and o.setup.gpu_count == 1,
        "local, one device": lambda o: o.setup.engine == "llama.cpp" and o.setup.gpu_count == 1,
        "local, devices in turns": lambda o: o.setup.engine == "llama.cpp" and o.setup.gpu_count >= 2,
        "local of 2023": lambda o: o.setup.engine == "llama.cpp-2023" and o.setup.gpu_count >= 2,
        "local, unified memory": lambda o: o.setup.engine.startswith("llama") and o.setup.gpu_id.startswith("apple"),
    }
    texts = [o for o in observations.kept if o.setup.engine and o.quantity not in MEDIA]
    return {name: next(o for o in texts if holds(o)) for name, holds in wanted.items()}


KINDS = (
    *("server, dense", "server, mixture", "server, 8 bit", "server, 4 bit", "server, Blackwell", "server, pictures"),
    *("server, several devices", "server, ranks", "server of 2024", "served time, latent attention", "plain PyTorch"),
    *("prompt alone", "local, one device", "local, devices in turns", "local of 2023", "local, unified memory"),
)


@pytest.fixture(scope="module")
def rows(observations):
    return rows_of(observations)


@pytest.fixture(params=KINDS)
def case(request, rows):
    """Ideal cost, card and features of a measured row."""
    item = rows[request.param]
    card = resolve_machine(CATALOGUE, item.setup)
    features = text_features(CATALOGUE, CATALOGUE.models[card.model], item.work, card.window)
    return ideal_request(CATALOGUE, item.setup, item.work), card, features, item.setup.engine


def test_duration_is_that_of_the_card(case):
    ideal, card, features, engine = case
    form = "duration.single" if engine.startswith("llama.cpp") else "duration.served"
    assert by_hand(form, ideal.seen, ideal.tags) == pytest.approx(card.draws.duration[0] @ features, rel=1e-9)


def test_device_time_is_that_of_the_card(case):
    ideal, card, features, engine = case
    form = "duration.single" if engine.startswith("llama.cpp") else "duration.served"
    expected, found = by_hand(form, ideal.share, ideal.tags), float(card.draws.seconds[0] @ features)
    if form == "duration.single":
        assert found == pytest.approx(expected, rel=1e-9)
        return
    # No part is shorter than its energy takes at the limit of the devices.
    watts = ideal.max_power_w * card.draws.devices[0]
    seconds = card.draws.seconds[0] * features
    assert np.all(seconds >= card.draws.energy[0] * features / watts * (1 - 1e-9))
    assert expected * (1 - 1e-9) <= found <= expected + float(card.draws.energy[0] @ features) / watts


def test_energy_of_a_server_is_that_of_the_card(case):
    ideal, card, features, engine = case
    if engine.startswith("llama.cpp"):
        return
    # Where layers lie one after the other, one device works at a time.
    watts = ideal.max_power_w * (1.0 if engine == "eager" else ideal.devices)
    joules = watts * by_hand("energy.served", ideal.share, ideal.tags)
    assert joules == pytest.approx(card.draws.energy[0] @ features, rel=1e-9)


def test_the_two_term_form_is_that_of_the_card(case):
    ideal, card, features, _ = case
    seconds = by_hand("two-term", ideal.two_term, frozenset())
    assert seconds == pytest.approx(card.draws.two_term_duration[0] @ features, rel=1e-9)


def test_devices_and_batch_are_those_of_the_card(case):
    ideal, card, _, _ = case
    assert (ideal.devices, ideal.batch) == (card.draws.devices[0], card.draws.batch[0])


def test_features_are_taken_in_the_order_of_the_modality(rows):
    # Twice the prompt of a row of pictures moves what the prompt costs and nothing else.
    item = rows["server, pictures"]
    n_in, n_out, media = item.work
    once, twice = (ideal_request(CATALOGUE, item.setup, (n, n_out, media)).share for n in (n_in, 2 * n_in))
    assert once["media_prompts"] == twice["media_prompts"] == 1.0
    assert twice["prompt_linear"] == pytest.approx(2 * once["prompt_linear"], rel=1e-12)
    assert twice["layers"] == once["layers"]


@pytest.mark.parametrize("setup", [{"batch_size": 4.0}, {"gpu_id": "h100_80gb_sxm"}], ids=str)
def test_a_measurement_needs_one_accelerator_and_a_batch(setup):
    with pytest.raises(InvalidInput, match="one stated accelerator and batch"):
        ideal_request(CATALOGUE, MachineSetup(model_id="llama-3.1-8b", **setup), (100.0, 10.0, 0.0))


def test_nothing_is_drawn(rows):
    ideal = ideal_request(CATALOGUE, rows["server, mixture"].setup, rows["server, mixture"].work)
    assert all(
        isinstance(value, float) and np.isfinite(value) for value in (*ideal.share.values(), *ideal.seen.values())
    )
