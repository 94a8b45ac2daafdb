"""Operating points against measured sweeps whose model no form has seen, and the shapes that measurements have."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from tests.setups import ESTIMATOR

from inferprint import Catalogue, Request
from inferprint.calibration.operating import sweeps, validate_operating_points
from inferprint.errors import DoesNotFit
from inferprint.rates import MachineSetup, resolve_machine
from inferprint.rates.by_batch import rates_by_batch
from inferprint.rates.situation import counted

CATALOGUE = Catalogue.packaged()


@pytest.fixture(scope="module")
def scores(observations):
    """Takes a minute: every form is fitted again without each model."""
    return {(s.quantity, s.rows_of): s for s in validate_operating_points(observations, CATALOGUE)}


WORK = {
    "input_tokens": 500.0,
    "cached_input_tokens": 0.0,
    "output_tokens": 500.0,
    "n_requests": 1.0,
    "media_prompts": 0.0,
    "measured_seconds": 0.0,
}

QUANTITIES = ("throughput_at_limit", "energy_at_limit")
ROWS = ("all", "ML.ENERGY v2, v3")


@pytest.mark.parametrize("rows_of", ROWS)
@pytest.mark.parametrize("quantity", QUANTITIES)
def test_the_batch_behind_a_measured_time_is_found_within_a_factor(scores, quantity, rows_of):
    assert scores[quantity, rows_of].rows > 900
    assert scores[quantity, rows_of].median_factor < 1.6


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_the_interval_holds_what_was_measured(scores, quantity):
    assert 90 <= scores[quantity, "all"].coverage95_pct <= 98


@pytest.fixture(scope="module")
def predicted(observations):
    """Sweeps with energies: batches and predicted joules per output token, of mean lengths."""
    found = []
    for rows in sweeps(observations).values():
        metered = [item for item, energy in rows if energy is not None]
        if len(metered) < 3:
            continue
        first = metered[0]
        n_out = float(np.mean([item.work[1] for item in metered]))
        batches = sorted({item.setup.batch_size or 1.0 for item in metered})
        with suppress(DoesNotFit):
            joules = [_joules_per_token(first.setup, batch, (first.work[0], n_out, first.work[2])) for batch in batches]
            found.append((batches, joules))
    return found


def _joules_per_token(setup: MachineSetup, batch: float, work: tuple[float, float, float]) -> float:
    card = resolve_machine(CATALOGUE, replace(setup, batch_size=batch, traffic=work))
    features = counted(card.modality, work[:2], card.window, media=work[2])
    return float(card.draws.energy[0] @ features) / work[1]


def test_joules_per_token_fall_with_the_batch_on_every_measured_sweep(predicted):
    assert len(predicted) > 100
    for _, joules in predicted:
        assert np.all(np.diff(joules) < 0)


@pytest.fixture(scope="module")
def pairs(observations):
    """Runs that differ in the format alone: batch, then fp8 over bf16, measured and predicted."""
    runs = defaultdict(dict)
    for item in observations.of("energy_per_output_token"):
        setup = item.setup
        if item.source == "mlenergy-v3" and item.weight > 0:
            band, answer = round(np.log2(setup.batch_size or 1.0)), round(np.log(item.work[1]))
            runs[setup.model_id, setup.gpu_id, setup.gpu_count, band, answer, item.work[0]][setup.precision] = item
    found = []
    for key, run in runs.items():
        if {"fp8", "bf16"} <= set(run):
            of = {name: _joules_per_token(run[name].setup, run[name].setup.batch_size, run[name].work) for name in run}
            found.append((2 ** key[3], run["fp8"].measured / run["bf16"].measured, of["fp8"] / of["bf16"]))
    return np.array(found)


@pytest.mark.parametrize("low, high", [(1, 8), (9, 16), (17, 64), (65, 256)])
def test_8_bit_never_costs_more_than_was_measured(pairs, low, high):
    band = pairs[(pairs[:, 0] >= low) & (pairs[:, 0] <= high)]
    assert len(band) >= 5
    # Repeats of one run differ by some percent.
    assert band[:, 2].max() <= 1.02 * band[:, 1].max()


@pytest.mark.parametrize("model", ["llama-3.1-8b", "llama-3.3-70b", "qwen3-32b"])
@pytest.mark.parametrize("gpu", ["h100_80gb_sxm", "b200_180gb_sxm", "l40s"])
def test_8_bit_copies_of_dense_models_cost_no_more_at_any_batch(model, gpu):
    ratios = {}
    for precision in ("fp8", "bf16"):
        setup = MachineSetup(
            model_id=model, gpu_id=gpu, gpu_count=8, replica_gpu_count=4, precision=precision, engine="vllm"
        )
        found = rates_by_batch(CATALOGUE, setup, np.geomspace(1.0, 256.0, 9))
        ratios[precision] = found.per_request("accelerator_energy", found.features(WORK))[:9]
    assert np.all(ratios["fp8"] <= ratios["bf16"] * (1 + 1e-9))


@pytest.mark.parametrize("gpu", ["h100_80gb_sxm", "rtx_4090", "apple_m3_ultra"])
def test_a_long_prompt_costs_energy_even_when_the_answer_is_short(gpu):
    precision = {"h100_80gb_sxm": "bf16"}.get(gpu, "q4_k_m")

    def joules(n_in: int) -> float:
        request = Request(
            model_id="llama-3.1-8b", input_tokens=n_in, output_tokens=1, gpu_id=gpu, precision=precision, batch_size=1
        )
        return ESTIMATOR.estimate(request).usage_energy_wh.value

    short, long, longer = joules(100), joules(10_000), joules(100_000)
    assert long > 5 * short
    # Attention grows with the square.
    assert longer > 10 * long
