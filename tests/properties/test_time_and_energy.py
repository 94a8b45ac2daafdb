"""Duration, device time and energy of one request come from different fits: they have to agree all the same."""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
import pytest

from inferprint import Catalogue
from inferprint.modalities.text import TEXT
from inferprint.rates import MachineCard, MachineSetup, resolve_machine
from inferprint.rates.situation import counted

CATALOGUE = Catalogue.packaged()

MODELS = ("llama-3.1-8b", "llama-3.1-70b", "mixtral-8x7b", "qwen3-30b-a3b", "gpt-oss-120b", "deepseek-v3")
GPUS = ("h100_80gb_sxm", "b200_180gb_sxm", "a100_80gb_sxm")
BATCHES = (1, 8, 64, 256)
REQUESTS = {
    "long prompt, short answer": (20_000, 0, 50),
    "short prompt, long answer": (50, 0, 4000),
    "cached prompt": (20_000, 18_000, 300),
    "reasoning": (500, 0, 16_000),
    "a very long prompt alone": (120_000, 0, 1),
}
"""Prompt, cached part of it, answer [tokens]."""

LEAST_SHARE, MOST_SHARE = 0.25, 1.0 + 1e-9
"""Mean power of working devices over their limit: idle ones draw a tenth, and none draws more than its limit."""


@cache
def card(model: str, gpu: str, batch: float, traffic: tuple[float, float, float] | None = None) -> MachineCard:
    return resolve_machine(CATALOGUE, MachineSetup(model_id=model, gpu_id=gpu, batch_size=batch, traffic=traffic))


def features(machine: MachineCard, n_in: float, cached: float, n_out: float) -> np.ndarray:
    return counted(TEXT, (n_in, n_out), machine.window, cached=cached)


def seconds(machine: MachineCard, request: tuple[float, float, float]) -> float:
    return float(machine.draws.seconds[0] @ features(machine, *request))


def joules(machine: MachineCard, request: tuple[float, float, float]) -> float:
    return float(machine.draws.energy[0] @ features(machine, *request))


def power_share(model: str, gpu: str, batch: float, request: tuple[float, float, float]) -> float:
    machine = card(model, gpu, batch)
    limit = CATALOGUE.gpus[gpu].max_power_w * machine.draws.devices[0]
    return joules(machine, request) / (seconds(machine, request) * limit)


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("model, gpu", list(product(MODELS, GPUS)))
def test_devices_draw_no_more_than_they_can_and_no_less_than_idle(model, gpu, batch, request_):
    assert LEAST_SHARE <= power_share(model, gpu, batch, request_) <= MOST_SHARE


@pytest.mark.parametrize("name", [name for name in REQUESTS if name != "cached prompt"])
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("model, gpu", list(product(MODELS, GPUS)))
def test_shares_of_a_batch_of_its_like_add_up_to_what_a_request_sees(model, gpu, batch, name):
    n_in, cached, n_out = REQUESTS[name]
    machine = card(model, gpu, batch, (n_in, n_out, 0.0))
    seen = float(machine.draws.duration[0] @ features(machine, n_in, cached, n_out))
    # They are one form on one batch of work; a window makes others' caches differ a little. A share is no shorter than
    # its energy takes at the limit.
    limit = CATALOGUE.gpus[gpu].max_power_w * machine.draws.devices[0]
    shortest = batch * joules(machine, (n_in, cached, n_out)) / limit
    share = batch * seconds(machine, (n_in, cached, n_out))
    assert 0.98 * seen <= share <= 1.02 * max(seen, seen + shortest)
    if model.startswith("llama") and not gpu.startswith("b200"):
        assert share == pytest.approx(seen, rel=0.02)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("model, gpu", list(product(MODELS, GPUS)))
def test_shares_of_a_usual_request_are_near_what_it_sees(model, gpu, batch):
    # The other requests have 1200 tokens in and 300 out; one of half or twice that is within a factor of three.
    machine = card(model, gpu, batch)
    for scale in (0.5, 1.0, 2.0):
        request = (1200 * scale, 0.0, 300 * scale)
        seen = float(machine.draws.duration[0] @ features(machine, *request))
        assert 1 / 3 <= batch * seconds(machine, request) / seen <= 3


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("model, gpu", list(product(MODELS, GPUS)))
def test_the_share_of_the_prompt_rises_with_its_length(model, gpu, batch):
    machine = card(model, gpu, batch)
    prefill = np.array([feature.part == "prefill" for feature in TEXT.features])
    for rates in (machine.draws.energy[0], machine.draws.seconds[0]):
        shares = []
        for n_in in (100, 1000, 10_000, 100_000):
            costs = rates * features(machine, n_in, 0, 300)
            shares.append(costs[prefill].sum() / costs.sum())
        assert shares == sorted(shares)
        assert shares[-1] > shares[0]


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("model, gpu", list(product(MODELS, GPUS)))
def test_a_cached_prompt_costs_less_than_a_fresh_one(model, gpu, batch):
    machine = card(model, gpu, batch)
    for cost in (seconds, joules):
        fresh, half, cached = (cost(machine, (20_000, hit, 300)) for hit in (0, 10_000, 18_000))
        assert cached < half < fresh
