"""Machine cards: methods beside each other, manufacture and idle time, names of what is uncertain."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import pytest
from tests.setups import ESTIMATOR, NAMES, request

from inferprint import Request
from inferprint.estimate.explain import explain
from inferprint.modalities.text import TEXT
from inferprint.quantities import METHODS
from inferprint.rates.situation import counted, usual_lengths

EIGHT_H100 = {"model_id": "llama-2-70b", "node_id": "generic:hgx-h100-8", "replica_gpu_count": 8, "batch_size": 16}


def estimate(n_in=1000, n_out=200, **changes):
    return ESTIMATOR.estimate(Request(input_tokens=n_in, output_tokens=n_out, **{**EIGHT_H100, **changes}))


TWO_4090 = {
    "model_id": "llama-3.1-70b", "precision": "q4_k_m", "node_id": None, "gpu_id": "rtx_4090", "gpu_count": 2,
    "replica_gpu_count": 2, "batch_size": None,
}  # fmt: skip
"""43.1 GB of weights on twice 24 GB: one request at a time."""

FORMS = ESTIMATOR.catalogue.forms


def coefficients(form: str) -> dict[str, float]:
    """Fitted coefficients by term, without effects."""
    return {term: value.value for term, value in FORMS[form].terms.items()}


class TestTwoTerm:
    """Llama-2-70B, 68.98 billion at 16 bit, on eight H100: beta_in x prefill + beta_out x decode, no intercept."""

    # 2 x 68.98e9 x 1000 / (8 x 989.4e12) = 0.0174298 s; 137.96e9 x 200 / (8 x 3.35e12) = 1.0295522 s
    BETAS = coefficients("two-term")
    SECONDS = BETAS["prefill"] * 0.01742976 + BETAS["decode"] * 1.02955224

    def test_duration(self):
        assert estimate(method="two-term").duration_ms.value == pytest.approx(1000 * self.SECONDS, rel=1e-6)

    def test_duration_does_not_know_the_batch(self):
        one, other = (estimate(method="two-term", batch_size=b).duration_ms.value for b in (1, 64))
        assert one == other

    def test_energy_is_board_power_times_time_over_the_batch(self):
        # 8 x 700 W x seconds / 16 requests
        found = estimate(method="two-term").breakdown["accelerator_energy_wh"]
        assert found.value == pytest.approx(8 * 700 * self.SECONDS / 16 / 3600, rel=1e-6)

    def test_stands_beside_the_default(self):
        assert estimate().two_term["two_term_duration_ms"].value == pytest.approx(1000 * self.SECONDS, rel=1e-6)

    def test_beside_the_default_is_what_the_method_gives(self):
        beside = estimate().two_term["two_term_usage_energy_wh"]
        assert estimate(method="two-term").usage_energy_wh.value == pytest.approx(beside.value, rel=1e-12)

    def test_the_executed_format_computes(self):
        # fp8 on H100, 1978.9 TFLOP/s: 2 x 68.98e9 x 1000 / (8 x 1978.9e12) = 8.714438 ms
        found = estimate(n_out=0, method="two-term", precision="fp8").duration_ms.value
        assert found == pytest.approx(self.BETAS["prefill"] * 8.714438, rel=1e-6)

    def test_devices_that_take_turns_are_as_fast_as_one(self):
        # Llama-3.1-70B in 4 bit on two RTX 4090, one request: 70.6e9 x 0.61 bytes / 1008 GB/s a token, 165.2 TFLOP/s
        found = estimate(1000, 200, **TWO_4090, method="two-term").duration_ms.value
        seconds = (
            self.BETAS["prefill"] * 1000 * 2 * 70.6e9 / 165.2e12 + self.BETAS["decode"] * 200 * 70.6e9 * 0.61 / 1008e9
        )
        assert found == pytest.approx(1000 * seconds, rel=1e-9)

    def test_no_token_no_time(self):
        assert estimate(0, 0, method="two-term").duration_ms.value == 0


SERVICE = {"model_id": "llama-3.1-70b", "managed_service_id": "together"}


class TestMethods:
    def idle(self, method: str) -> float:
        found = ESTIMATOR.estimate(Request(input_tokens=1000, output_tokens=200, method=method, **SERVICE))
        return found.breakdown["idle_energy_wh"].value

    @pytest.mark.parametrize("method", ["default", "two-term"])
    def test_idle_time_is_charged(self, method):
        assert self.idle(method) > 0

    def test_the_seed_charges_no_idle_time(self):
        assert self.idle("seed") == 0

    def test_the_seed_takes_the_two_term_duration(self):
        assert estimate(method="seed").duration_ms == estimate(method="two-term").duration_ms

    def test_the_seed_amortises_over_all_of_the_life(self):
        # Active share 1 against 0.7 of a public service
        seed, two = (
            ESTIMATOR.estimate(
                Request(input_tokens=1000, output_tokens=200, method=m, gpu_id="h100_80gb_sxm", **SERVICE)
            )
            for m in ("seed", "two-term")
        )
        ratio = two.embodied_emissions_gco2e.value / seed.embodied_emissions_gco2e.value
        assert ratio == pytest.approx(1 / 0.7, rel=1e-9)

    @pytest.mark.parametrize("method", METHODS)
    def test_the_method_is_named_among_the_versions(self, method):
        assert estimate(method=method).versions["method"] == method


ONE_H100 = {"model_id": "llama-3.1-8b", "node_id": None, "gpu_id": "h100_80gb_sxm", "replica_gpu_count": 1}


class Llama8b:
    """Ideal costs of Llama-3.1-8B, 8.03 billion at 16 bit, on one H100, by hand."""

    WEIGHTS = 16.06e9 / 3.35e12  # 4.794030 ms
    TOKEN = 2 * 8.03e9 / 989.4e12  # 16.23206 us
    PAIR = 4 * 32 * 32 * 128 / 989.4e12
    READ = 131072 / 3.35e12


def test_default_energy_by_hand():
    # Batch 16, 100 tokens in, 10 out: at 16 bit on Hopper no effect holds.
    c, m = coefficients("energy.served"), Llama8b
    shared = c["dense_weights"] * m.WEIGHTS + c["layers"] * 32
    step = shared / 16 + c["dense_arithmetic"] * m.TOKEN + c["sequences"]
    prompt = shared / 16 + c["prompt_linear"] * 100 * m.TOKEN + c["prompt_attention"] * 5050 * m.PAIR
    cache = c["kv_reads"] * m.READ * 10 * (100 + 5)
    joules = 700 * (prompt + 10 * step + cache)
    assert estimate(100, 10, **ONE_H100).breakdown["accelerator_energy_wh"].value == pytest.approx(
        joules / 3600, rel=1e-9
    )


def test_effects_multiply_what_their_group_names():
    # An engine of 2024: an effect on the fixed costs, layers and sequences, beside one on all terms.
    form, c, m = FORMS["energy.served"], coefficients("energy.served"), Llama8b
    fixed, level = (math.exp(form.effects[f"{group}:vllm-2024"]) for group in ("fixed", "all"))
    shared = c["dense_weights"] * m.WEIGHTS + fixed * c["layers"] * 32
    step = shared / 16 + c["dense_arithmetic"] * m.TOKEN + fixed * c["sequences"]
    prompt = shared / 16 + c["prompt_linear"] * 100 * m.TOKEN + c["prompt_attention"] * 5050 * m.PAIR
    joules = 700 * level * (prompt + 10 * step + c["kv_reads"] * m.READ * 10 * 105)
    found = estimate(100, 10, **{**ONE_H100, "engine": "vllm-2024"}).breakdown["accelerator_energy_wh"].value
    assert found == pytest.approx(joules / 3600, rel=1e-9)


def test_effects_on_all_multiply_every_term():
    # The same at 16 bit on a B200: 1000 W, 7700 GB/s, 2250 TFLOP/s.
    gpu = ESTIMATOR.catalogue.gpus["b200_180gb_sxm"]
    form, c = FORMS["energy.served"], coefficients("energy.served")
    bandwidth, flops = 1e9 * gpu.memory_bandwidth_gb_per_s, 1e12 * gpu.fp16_dense_tflops
    shared = c["dense_weights"] * 16.06e9 / bandwidth + c["layers"] * 32
    token, pair = 2 * 8.03e9 / flops, 4 * 32 * 32 * 128 / flops
    step = shared / 16 + c["dense_arithmetic"] * token + c["sequences"]
    prompt = shared / 16 + c["prompt_linear"] * 100 * token + c["prompt_attention"] * 5050 * pair
    seconds = prompt + 10 * step + c["kv_reads"] * 131072 / bandwidth * 10 * 105
    joules = math.exp(form.effects["all:blackwell"]) * gpu.max_power_w * seconds
    found = estimate(100, 10, **{**ONE_H100, "gpu_id": gpu.id}).breakdown["accelerator_energy_wh"].value
    assert found == pytest.approx(joules / 3600, rel=1e-9)


def test_default_duration_by_hand():
    # Batch 2: the other request takes 1200 tokens in and 300 out.
    c, m = coefficients("duration.served"), Llama8b
    shared = c["dense_weights"] * m.WEIGHTS + c["layers"] * 32
    own = c["dense_arithmetic"] * m.TOKEN + c["sequences"]
    fresh, pair = c["prompt_linear"] * m.TOKEN, c["prompt_attention"] * m.PAIR
    other = c["kv_reads"] * m.READ * 1350 + (1200 * fresh + 720_600 * pair) / 300
    prompt = shared + 100 * fresh + 5050 * pair
    seconds = prompt + 10 * (shared + 2 * own + other) + c["kv_reads"] * m.READ * 10 * 105
    assert estimate(100, 10, **ONE_H100, batch_size=2).duration_ms.value == pytest.approx(1000 * seconds, rel=1e-9)


def test_links_are_published_in_both_directions_together():
    # 2 x 80 layers x 8192 values x 2 bytes x 7/8 / 450 GB/s, half of 900: 5.0972444 us a token; 16 requests, 200 steps
    name = "duration.served all_reduce"
    exchange = next(step for step in explain(estimate()).terms if step.name.startswith(name))
    expected = 5.0972444e-6 * 16 * 200 * coefficients("duration.served")["all_reduce"]
    assert exchange.value == pytest.approx(expected, rel=1e-6)


def device_seconds() -> float:
    """Device time of 1000 tokens in and 200 out of Llama-2-70B on eight H100 at batch 16, by hand [s]."""
    c = coefficients("duration.served")
    weights, token = 2 * 68.98e9 / (8 * 3.35e12), 2 * 68.98e9 / (8 * 989.4e12)
    pair, read = 4 * 80 * 64 * 128 / (8 * 989.4e12), 2 * 8 * 128 * 80 * 2 / (8 * 3.35e12)
    shared = (c["dense_weights"] * weights + c["layers"] * 80) / 16
    own = c["dense_arithmetic"] * token + c["all_reduce"] * 5.0972444e-6 + c["sequences"]
    prompt = shared + c["prompt_linear"] * 1000 * token + c["prompt_attention"] * 500_500 * pair
    return prompt + 200 * (shared + own) + c["kv_reads"] * read * 200 * 1100


def test_host_power_follows_device_time():
    # 1520 W of the whole node
    found = estimate().breakdown["host_energy_wh"].value
    assert found == pytest.approx(1520 * device_seconds() / 3600, rel=1e-7)


def test_idle_power_of_a_cloud_instance():
    # (8 x 108 W + 776 W) x 0.8 / 0.2
    found = estimate(node_id=None, cloud_id="aws", cloud_instance_id="p5.48xlarge").breakdown["idle_energy_wh"].value
    assert found == pytest.approx((8 * 108 + 776) * 4 * device_seconds() / 3600, rel=1e-7)


def test_manufacture_follows_device_time():
    # (8 x 164 + 4720) kg / 157,788,000 s, busy all of its life
    found = estimate().embodied_emissions_gco2e.value
    assert found == pytest.approx(device_seconds() * 6032e3 / 157_788_000, rel=1e-7)


class TestOneRequestAlone:
    """On a desk one request runs at a time: time by the form of single requests, energy as power times that time."""

    FORM = FORMS["duration.single"]
    C = coefficients("duration.single")
    PROMPT = math.exp(FORM.effects["prompt:consumer"] + FORM.effects["prompt:gguf"])
    DESK: ClassVar = {
        "node_id": None, "gpu_id": "rtx_4090", "replica_gpu_count": 1, "batch_size": None, "precision": "q4_k_m",
        "model_id": "llama-3.1-8b",
    }  # fmt: skip

    def parts(self) -> tuple[float, float]:
        """Prompt and answer of 1000 tokens in and 200 out of Llama-3.1-8B in 4 bit on one RTX 4090, by hand [s]."""
        # 1008 GB/s, 165.2 TFLOP/s; the prompt passes no other device, so both of its terms are 1000 token times
        c = self.C
        weights, token = 8.03e9 * 0.61 / 1008e9, 2 * 8.03e9 / 165.2e12
        pair, read = 4 * 32 * 32 * 128 / 165.2e12, 131072 / 1008e9
        step = c["dense_weights"] * weights + c["layers"] * 32
        linear = (c["prompt_linear"] + c["prompt_pipelined"]) * 1000 * token
        prompt = step + self.PROMPT * (linear + c["prompt_attention"] * 500_500 * pair)
        return prompt, 200 * step + c["kv_reads"] * read * 200 * 1100

    def test_duration_by_hand(self):
        assert estimate(**self.DESK).duration_ms.value == pytest.approx(1000 * sum(self.parts()), rel=1e-9)

    def test_energy_by_hand(self):
        # Of 450 W, 0.85 in the prompt and 0.62 in the answer
        prompt, answer = self.parts()
        joules = 450 * (0.85 * prompt + 0.62 * answer)
        found = estimate(**self.DESK).breakdown
        assert found["accelerator_energy_wh"].value == pytest.approx(joules / 3600, rel=1e-9)
        assert found["prefill_energy_wh"].value == pytest.approx(450 * 0.85 * prompt / 3600, rel=1e-9)

    def two_parts(self) -> tuple[float, float]:
        """The same of Llama-3.1-70B on two RTX 4090: layers on one after the other [s]."""
        # The part of a prompt that follows itself: (1000 + 512) / 2 token times; attention half; an answer as on one
        c = self.C
        weights, token = 70.6e9 * 0.61 / 1008e9, 2 * 70.6e9 / 165.2e12
        pair, read = 4 * 80 * 64 * 128 / 165.2e12, 327_680 / 1008e9
        step = c["dense_weights"] * weights + c["layers"] * 80
        linear = (c["prompt_linear"] * 1000 + c["prompt_pipelined"] * 756) * token
        prompt = step + self.PROMPT * (linear + c["prompt_attention"] * 500_500 * pair / 2)
        return prompt, 200 * step + c["kv_reads"] * read * 200 * 1100

    def test_two_devices_take_turns(self):
        assert estimate(**TWO_4090).duration_ms.value == pytest.approx(1000 * sum(self.two_parts()), rel=1e-9)

    def test_the_device_that_waits_draws_its_idle_power(self):
        # 16 W each, whichever works
        prompt, answer = self.two_parts()
        joules = prompt * (0.85 * 450 + 16) + answer * (0.62 * 450 + 16)
        found = estimate(**TWO_4090).breakdown["accelerator_energy_wh"].value
        assert found == pytest.approx(joules / 3600, rel=1e-9)

    def test_of_a_chip_that_shares_its_memory_the_limit_is_shared_too(self):
        # 0.4 of 270 W, prompt and answer alike
        found = estimate(**{**self.DESK, "gpu_id": "apple_m3_ultra"})
        joules = 0.4 * 270 * found.duration_ms.value / 1000
        assert found.breakdown["accelerator_energy_wh"].value == pytest.approx(joules / 3600, rel=1e-9)

    def test_with_more_than_one_request_it_is_a_server(self):
        found = estimate(**{**self.DESK, "batch_size": 4})
        assert {step.name.split()[0] for step in explain(found).terms} == {
            "energy.served",
            "duration.served",
            "two-term",
        }


@pytest.mark.parametrize("setup", NAMES)
def test_every_rate_is_a_number_and_none_is_negative(setup):
    table = ESTIMATOR.cards(request(setup))[0].table
    assert np.isfinite(table).all()
    assert (table >= 0).all()


@pytest.mark.parametrize("setup", NAMES)
def test_central_rates_lie_within_their_bounds(setup):
    value, low, high = ESTIMATOR.cards(request(setup))[0].table
    assert ((low <= value) & (value <= high)).all()


@pytest.mark.parametrize("setup", NAMES)
def test_every_number_has_an_origin_and_a_reason(setup):
    entries = ESTIMATOR.cards(request(setup))[0].trail.entries
    assert [e.field for e in entries if not (e.source and e.reason)] == []


def test_the_value_of_a_service_is_the_median_of_its_draws():
    card = ESTIMATOR.cards(request("service, windowed attention"))[0]
    energy = card.draws.energy
    reference = counted(TEXT, usual_lengths(ESTIMATOR.catalogue), card.window)
    assert energy[0] @ reference == pytest.approx(np.median(energy[1:] @ reference), rel=1e-12)
    # Each feature has its median, all scaled alike.
    medians = np.median(energy[1:], axis=0)
    ratios = energy[0][medians > 0] / medians[medians > 0]
    assert np.allclose(ratios, ratios[0], rtol=1e-9)


def test_hardware_of_a_service_is_a_source_of_uncertainty():
    card = ESTIMATOR.cards(request("service, windowed attention"))[0]
    assert "hardware:together" in card.sources


def test_two_models_on_one_gpu_share_its_manufacture():
    one, other = (ESTIMATOR.cards(request("own GPU, dense", model_id=m))[0] for m in ("llama-3.1-8b", "llama-2-7b"))
    assert np.array_equal(one.draws.embodied_g, other.draws.embodied_g)


def test_fewer_bits_cost_less_memory_traffic():
    table = [
        ESTIMATOR.estimate(request("own GPU, dense", 0, 300, batch_size=1, precision=p)).duration_ms.value
        for p in ("q4_k_m", "bf16")
    ]
    assert table[0] < table[1]


def test_prefix_caching_at_its_default_changes_nothing():
    plain, cached = (
        ESTIMATOR.estimate(request("node, dense", techniques=t)).usage_energy_wh for t in ((), ("prefix-caching",))
    )
    assert plain == cached


def test_prefix_caching_is_the_same_as_cached_tokens():
    by_rate = ESTIMATOR.estimate(request("node, dense", 1000, techniques=("prefix-caching:hit_rate=0.5",)))
    by_log = ESTIMATOR.estimate(request("node, dense", 1000, cached_input_tokens=500))
    assert by_rate.usage_energy_wh.value == pytest.approx(by_log.usage_energy_wh.value, rel=1e-12)
