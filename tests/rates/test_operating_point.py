"""The batch: given, solved from a measured time, or a prior of the host."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from tests.setups import ESTIMATOR

from inferprint import Estimator, Request
from inferprint.errors import DoesNotFit, InvalidInput, LimitNotMet
from inferprint.quantities import Range
from inferprint.rates import MachineSetup
from inferprint.rates.by_batch import rates_by_batch
from inferprint.rates.hosting import why_not
from inferprint.rates.situation import decode_per_token

H100 = {"gpu_id": "h100_80gb_sxm", "gpu_count": 1}
WORK = {"input_tokens": 1200, "output_tokens": 300}


def card(model_id: str = "llama-3.1-8b", **setup):
    return ESTIMATOR.cards(Request(model_id=model_id, **{**WORK, **setup}))[0]


def estimate(model_id: str = "llama-3.1-8b", **setup):
    return ESTIMATOR.estimate(Request(model_id=model_id, **{**WORK, **setup}))


def entry(found, field: str):
    return next(e for e in found.trail.entries if e.field == field)


def test_a_given_batch_is_used():
    assert set(card(batch_size=32, **H100).draws.batch) == {32.0}


def test_a_given_batch_is_recorded_as_given():
    assert entry(card(batch_size=32, **H100), "batch_size").how == "given"


def test_a_given_replica_is_recorded_as_given():
    assert entry(card(replica_gpu_count=1, **H100), "replica_gpu_count").how == "given"


def test_a_batch_beyond_the_memory_is_a_warning():
    # (72 - 16.5 - 2) GB / (1,500 tokens x 131,072 bytes) = 272 requests
    assert any("exceed the memory" in text for text in card(batch_size=1000, **H100).trail.warnings)


@pytest.mark.parametrize(
    "setup, batch",
    [
        ({"gpu_id": "h100_80gb_sxm"}, 8),
        ({"node_id": "generic:hgx-h100-8"}, 8),
        ({"cloud_id": "aws", "cloud_instance_id": "p5.48xlarge"}, 8),
        ({"gpu_id": "rtx_4090", "precision": "q4_k_m"}, 1),
        ({"managed_service_id": "deepinfra", "method": "two-term"}, 64),
        ({"managed_service_id": "together", "method": "two-term"}, 16),
        ({"managed_service_id": "mistral", "method": "two-term"}, 48),
    ],
    ids=str,
)
def test_the_prior_of_a_host(setup, batch):
    # Self-hosted 8, local 1, economy host 64, speed host 16, closed service with a small model 48; the two-term form
    # knows no time that depends on the batch, so the usual speed of a service says nothing of it.
    # The value of several likely accelerators is the median of draws, which the strata meet to their width.
    assert card(**setup).draws.batch[0] == pytest.approx(batch, rel=0.01)


def test_the_prior_of_a_closed_service_with_a_large_model():
    sizes = {"total_params_b": 400.0, "active_params_b": 40.0}
    assert card("claude-opus-4-5", method="two-term", **sizes).draws.batch[0] == pytest.approx(64, rel=0.01)


class TestServices:
    def batch(self, speed: float, model: str = "llama-3.3-70b") -> float:
        """The central batch at an economy host whose usual speed is `speed` [tokens/s]."""
        host = ESTIMATOR.catalogue.services["deepinfra"]
        origin = {"": host.origin("name")}
        known = replace(host, output_tokens_per_s=Range(speed, speed / 1.5, speed * 1.5), provenance=origin)
        estimator = Estimator(ESTIMATOR.catalogue.with_records(known))
        found = estimator.cards(Request(model_id=model, managed_service_id="deepinfra", **WORK))[0]
        return float(found.draws.batch[0])

    def test_a_slow_service_has_larger_batches_than_a_fast_one(self):
        assert self.batch(10.0) > 1.3 * self.batch(30.0) > 1.3 * 1.3 * self.batch(90.0)

    def test_a_speed_moves_the_batch_less_than_a_measurement_would(self):
        measured = card("llama-3.3-70b", managed_service_id="deepinfra", time_per_output_token_ms=100.0)
        assert self.batch(10.0) < measured.draws.batch[0]

    def test_where_the_speed_comes_from_is_written_down(self):
        found = card("llama-3.1-70b", managed_service_id="together")
        assert "llama-3.1-70b" in entry(found, "output_tokens_per_s").reason
        assert entry(found, "output_tokens_per_s").how == "catalogue"

    def test_a_class_stands_in_for_a_service_without_a_measured_speed(self):
        assert entry(card("llama-3.3-70b", managed_service_id="deepinfra"), "output_tokens_per_s").how == "assumed"

    def test_an_old_speed_is_not_used(self):
        record = ESTIMATOR.catalogue.speeds["together:llama-3.1-70b"]
        old = ESTIMATOR.catalogue.with_records(replace(record, measured="2024-05-01"))
        found = Estimator(old).cards(Request(model_id="llama-3.1-70b", managed_service_id="together", **WORK))[0]
        assert "measured" not in entry(found, "output_tokens_per_s").reason

    def test_a_token_of_a_usual_answer_takes_its_usual_time(self):
        found = card("llama-3.1-70b", managed_service_id="together")
        speed = ESTIMATOR.catalogue.speeds["together:llama-3.1-70b"].output_tokens_per_s
        per_token = found.draws.duration @ decode_per_token(found.modality, found.usual_lengths, found.window)
        assert 1 / per_token[0] == pytest.approx(speed.value, rel=0.02)
        low, high = np.quantile(1 / per_token[1:], [0.025, 0.975])
        assert (low, high) == pytest.approx((speed.low, speed.high), rel=0.1)

    def test_a_measured_time_as_usual_gives_about_the_usual_batch(self):
        usual = estimate("llama-3.1-70b", managed_service_id="together")
        same = {"request_duration_ms": usual.duration_ms.value}
        measured = estimate("llama-3.1-70b", managed_service_id="together", **same)
        assert measured.usage_energy_wh.value == pytest.approx(usual.usage_energy_wh.value, rel=0.5)

    def test_stated_drafts_are_not_assumed_again(self):
        drafts = card(
            "llama-3.1-70b", managed_service_id="together", techniques=("speculative-decoding:draft_tokens=3",)
        )
        assert not [e for e in drafts.trail.entries if e.field == "tokens per step"]

    @pytest.mark.parametrize("service", sorted(ESTIMATOR.catalogue.services))
    def test_every_service_whose_hardware_the_forms_describe_gives_a_batch(self, service):
        gpus = [ESTIMATOR.catalogue.gpus[name] for name in ESTIMATOR.catalogue.services[service].hardware_mix]
        if any(why_not(gpu) is None for gpu in gpus):
            assert card("llama-3.1-8b", managed_service_id=service).draws.batch.min() >= 1


def test_a_prior_never_exceeds_the_memory():
    # (72 - 16.5 - 2) GB / (1,500 tokens x 131,072 bytes) = 272 requests
    assert card(managed_service_id="deepinfra", precision="bf16", **H100).draws.batch.max() <= 273


def test_a_prior_is_an_assumption():
    assert entry(card(**H100), "batch_size").how == "assumed"


@pytest.mark.parametrize("batch", [4, 32, 200])
def test_a_measured_duration_gives_its_batch_back(batch):
    duration = estimate(batch_size=batch, **H100).duration_ms.value
    solved = card(request_duration_ms=duration, **H100)
    assert solved.draws.batch[0] == pytest.approx(batch, rel=0.02)


@pytest.mark.parametrize("batch", [4, 32, 200])
def test_a_measured_time_per_token_gives_its_batch_back(batch):
    # Decode alone: one more output token than 299, at the usual context.
    at = {"batch_size": batch, **H100}
    whole, prompt = (estimate(**{**at, "output_tokens": n}).duration_ms.value for n in (300, 0))
    solved = card(time_per_output_token_ms=(whole - prompt) / 300, **H100)
    assert solved.draws.batch[0] == pytest.approx(batch, rel=0.02)


def test_a_measured_duration_gives_its_energy_back():
    known = estimate(batch_size=32, **H100)
    solved = estimate(request_duration_ms=known.duration_ms.value, **H100)
    assert solved.usage_energy_wh.value == pytest.approx(known.usage_energy_wh.value, rel=0.02)


def test_a_solved_batch_is_recorded_as_derived():
    assert entry(card(time_per_output_token_ms=12.0, **H100), "batch_size").how == "derived"


def test_slower_answers_mean_a_larger_batch():
    fast, slow = (card(time_per_output_token_ms=t, **H100).draws.batch[0] for t in (10.0, 20.0))
    assert slow > fast


def test_a_time_that_one_request_alone_does_not_reach_is_a_warning():
    assert any("one request alone takes" in w for w in card(time_per_output_token_ms=0.5, **H100).trail.warnings)


def test_a_time_that_one_request_alone_does_not_reach_gives_a_batch_near_one():
    assert 1 <= card(time_per_output_token_ms=0.5, **H100).draws.batch[0] < 3


class TestDeviceTime:
    """A measured duration with a known batch is device time itself."""

    def test_energy_is_power_times_time_over_the_batch(self):
        # 0.7 x 700 W x 10 s / 8 = 612.5 J = 0.170139 Wh
        found = estimate(batch_size=8, request_duration_ms=10_000, **H100)
        assert found.breakdown["accelerator_energy_wh"].value == pytest.approx(0.170139, rel=1e-5)

    def test_host_energy_is_its_share_of_the_time(self):
        # 1/8 x 1520 W x 10 s / 8 = 237.5 J = 0.0659722 Wh
        found = estimate(batch_size=8, request_duration_ms=10_000, **H100)
        assert found.breakdown["host_energy_wh"].value == pytest.approx(0.0659722, rel=1e-5)

    def test_embodied_is_its_share_of_the_life(self):
        # (164 + 4720 / 8) kg x 1000 x 10 s / 8 / 157,788,000 s = 0.00597321 g
        found = estimate(batch_size=8, request_duration_ms=10_000, **H100)
        assert found.embodied_emissions_gco2e.value == pytest.approx(0.00597321, rel=1e-5)

    def test_duration_is_the_measured_one(self):
        found = estimate(batch_size=8, request_duration_ms=10_000, **H100)
        assert found.duration_ms == pytest.approx((10_000, 10_000, 10_000), rel=1e-9)

    def test_prompt_and_answer_are_not_told_apart(self):
        found = estimate(batch_size=8, request_duration_ms=10_000, **H100)
        assert (found.breakdown["prefill_energy_wh"], found.breakdown["decode_energy_wh"]) == (None, None)

    def test_quality_is_measured(self):
        assert estimate(batch_size=8, request_duration_ms=10_000, **H100).quality == "measured"

    def test_a_desk_needs_no_batch(self):
        # 0.7 x 450 W x 10 s = 3150 J = 0.875 Wh
        found = estimate(gpu_id="rtx_4090", precision="q4_k_m", request_duration_ms=10_000)
        assert found.breakdown["accelerator_energy_wh"].value == pytest.approx(0.875, rel=1e-6)


@pytest.mark.parametrize(
    "setup, quality",
    [
        ({**H100, "batch_size": 8}, "specified"),
        ({**H100, "time_per_output_token_ms": 12.0}, "specified"),
        (H100, "assumed"),
        ({"gpu_id": "rtx_4090", "precision": "q4_k_m", "gpu_count": 1}, "specified"),
        ({"gpu_id": "rtx_4090", "precision": "q4_k_m"}, "assumed"),  # how many there are, nobody said
        ({"managed_service_id": "together"}, "assumed"),
    ],
    ids=str,
)
def test_quality(setup, quality):
    assert estimate(**setup).quality == quality


class TestLimits:
    """The most requests that keep a limit."""

    SETUP: ClassVar = {"gpu_id": "h100_80gb_sxm", "gpu_count": 4, "replica_gpu_count": 4}

    def per_token_ms(self, **setup) -> float:
        """Central time per output token [ms] at a stated batch."""
        result = estimate("llama-3.3-70b", **self.SETUP, **setup)
        return (result.duration_ms.value - self.prompt_ms(**setup)) / WORK["output_tokens"]

    def prompt_ms(self, **setup) -> float:
        asked = Request(model_id="llama-3.3-70b", **{**WORK, "output_tokens": 0, **self.SETUP, **setup})
        return ESTIMATOR.estimate(asked).duration_ms.value

    @pytest.mark.parametrize("batch", [2, 8, 32, 128])
    def test_the_time_of_a_batch_as_the_limit_gives_that_batch(self, batch):
        limit = self.per_token_ms(batch_size=batch)
        found = card("llama-3.3-70b", max_time_per_output_token_ms=limit, **self.SETUP)
        assert found.draws.batch[0] == pytest.approx(batch, rel=0.02)

    def test_its_energy_is_that_of_the_batch(self):
        given = estimate("llama-3.3-70b", batch_size=32, **self.SETUP).usage_energy_wh.value
        limit = self.per_token_ms(batch_size=32)
        found = estimate("llama-3.3-70b", max_time_per_output_token_ms=limit, **self.SETUP)
        assert found.usage_energy_wh.value == pytest.approx(given, rel=0.02)

    def test_the_answer_takes_no_longer_than_the_limit(self):
        found = card("llama-3.3-70b", max_time_per_output_token_ms=40.0, **self.SETUP)
        position = [f.name for f in found.modality.features].index("output_tokens")
        assert found.draws.duration[:, position].max() <= 0.040 * (1 + 1e-9)

    def test_a_limit_that_all_that_fit_keep_fills_the_memory(self):
        found = card("llama-3.3-70b", max_time_per_output_token_ms=60000.0, **self.SETUP)
        # (0.9 x 80e9 x 4 - 141.2e9 x 1.025 - 4 x 2e9) / (327,680 x (1,200 + 150 + 7.5)) = 304 requests
        assert found.draws.batch[0] == pytest.approx(304, rel=0.02)
        low, high = np.quantile(found.draws.batch[1:], [0.025, 0.975])
        assert 0.7 < low / found.draws.batch[0] < 0.9
        assert 1.1 < high / found.draws.batch[0] < 1.4

    def test_a_tighter_limit_means_fewer_requests(self):
        loose, tight = (
            card("llama-3.3-70b", max_time_per_output_token_ms=ms, **self.SETUP).draws.batch[0] for ms in (80, 30)
        )
        assert tight < loose

    def test_the_interval_is_wide_where_latency_is_flat(self):
        def width(batch: int) -> float:
            limit = self.per_token_ms(batch_size=batch)
            draws = card("llama-3.3-70b", max_time_per_output_token_ms=limit, **self.SETUP).draws.batch[1:]
            low, high = np.quantile(draws, [0.025, 0.975])
            return high / low

        assert width(4) > 2 * width(128)

    def test_a_limit_on_the_first_token_counts_a_step_and_the_prompt(self):
        by_batch = rates_by_batch(
            ESTIMATOR.catalogue, MachineSetup(model_id="llama-3.3-70b", **self.SETUP), np.array([1.0, 64.0])
        )
        first_ms = by_batch.time_to_first_token_s[1] * 1000
        expected = self.prompt_ms(batch_size=64) + self.per_token_ms(batch_size=64)
        assert first_ms == pytest.approx(expected, rel=0.02)
        found = card("llama-3.3-70b", max_ttft_ms=float(first_ms), **self.SETUP)
        assert found.draws.batch[0] == pytest.approx(64, rel=0.05)

    def test_the_tightest_of_two_limits_decides(self):
        both = card("llama-3.3-70b", max_time_per_output_token_ms=40.0, max_ttft_ms=60000.0, **self.SETUP)
        one = card("llama-3.3-70b", max_time_per_output_token_ms=40.0, **self.SETUP)
        assert both.draws.batch[0] == pytest.approx(one.draws.batch[0])

    def test_a_limit_that_nothing_keeps_names_the_nearest(self):
        with pytest.raises(LimitNotMet) as caught:
            card("llama-3.3-70b", max_time_per_output_token_ms=1.0, **self.SETUP)
        assert caught.value.field == "max_time_per_output_token_ms"
        # 141.2e9 bytes / (4 x 3.35e12) = 10.5 ms, and the layers
        assert 10.5 < caught.value.nearest_ms < 20
        assert f"{caught.value.nearest_ms:.3g}" in str(caught.value)

    def test_the_limit_that_binds_is_the_one_named(self):
        with pytest.raises(LimitNotMet) as caught:
            card("llama-3.3-70b", max_time_per_output_token_ms=1000.0, max_ttft_ms=1.0, **self.SETUP)
        assert caught.value.field == "max_ttft_ms"

    def test_a_limit_just_below_what_one_request_takes_is_a_warning(self):
        limit = 0.9 * self.per_token_ms(batch_size=1)
        found = card("llama-3.3-70b", max_time_per_output_token_ms=limit, **self.SETUP)
        assert any("may not be kept" in text for text in found.trail.warnings)
        assert found.draws.batch[0] == 1

    def test_more_devices_are_taken_for_a_limit_that_the_fewest_miss(self):
        pool = {"gpu_id": "h100_80gb_sxm", "gpu_count": 8}
        devices = [
            card("llama-3.3-70b", max_time_per_output_token_ms=ms, **pool).draws.devices[0] for ms in (200.0, 17.0, 9.0)
        ]
        assert devices == sorted(devices)
        assert devices[0] < devices[-1] == 8

    def test_a_looser_limit_never_costs_more(self):
        # Where nobody states the replica, it is the one with the most throughput for each device.
        limits = [11, 12, 13, 15, 17, 20, 22, 25, 30, 40, 60, 100, 200]
        pool = {"gpu_id": "h200_141gb_sxm", "gpu_count": 8}
        joules = [
            estimate("llama-3.1-70b", max_time_per_output_token_ms=ms, **pool).usage_energy_wh.value for ms in limits
        ]
        assert all(later <= before * 1.02 for before, later in itertools.pairwise(joules))

    def test_a_limit_that_one_request_misses_does_not_bound_the_duration(self):
        missed = estimate("llama-3.3-70b", max_time_per_output_token_ms=13.0, **self.SETUP)
        alone = estimate("llama-3.3-70b", batch_size=1, **self.SETUP)
        assert missed.duration_ms.value == pytest.approx(alone.duration_ms.value, rel=1e-6)
        assert missed.duration_ms.high > alone.duration_ms.value

    def test_cached_prompts_wait_for_their_own_passes_only(self):
        chunks, hits = "chunked-prefill:chunk_tokens=512", "prefix-caching:hit_rate=0.95"
        setup = MachineSetup(model_id="llama-3.1-8b", gpu_id="h100_80gb_sxm", traffic=(8000.0, 300.0, 0.0))
        both, alone = (
            rates_by_batch(ESTIMATOR.catalogue, replace(setup, techniques=t)) for t in ((hits, chunks), (hits,))
        )
        # 400 fresh tokens are one pass.
        assert both.first_token_steps == alone.first_token_steps == 1

    def test_a_prompt_is_computed_by_one_rank(self):
        node = {"gpu_id": "h200_141gb_sxm", "model_id": "llama-3.1-8b", "traffic": (8000.0, 300.0, 0.0)}
        ranks = MachineSetup(**node, gpu_count=8, replica_gpu_count=8, techniques=("data-parallel:ranks=8",))
        one = MachineSetup(**node, gpu_count=1, replica_gpu_count=1)
        first = [rates_by_batch(ESTIMATOR.catalogue, setup).time_to_first_token_s[0] for setup in (ranks, one)]
        assert first[0] == pytest.approx(first[1], rel=0.1)

    def test_a_desk_that_serves_one_at_a_time_misses_a_limit_too(self):
        desk = {"gpu_id": "rtx_4090", "precision": "int4"}
        with pytest.raises(LimitNotMet):
            card("llama-3.1-8b", max_time_per_output_token_ms=1.0, **desk)
        assert card("llama-3.1-8b", max_time_per_output_token_ms=500.0, **desk).draws.batch[0] == 1
        assert card("llama-3.1-8b", max_time_per_output_token_ms=60.0, engine="vllm", **desk).draws.batch[0] > 4

    @pytest.mark.parametrize("known", [{"batch_size": 4}, {"time_per_output_token_ms": 20}, {"request_duration_ms": 9}])
    def test_a_limit_beside_what_it_would_find_is_refused(self, known):
        with pytest.raises(InvalidInput) as caught:
            estimate("llama-3.3-70b", max_ttft_ms=100.0, **known, **self.SETUP)
        assert caught.value.field == "max_ttft_ms"

    @pytest.mark.parametrize("value", [0, -5, float("nan"), True, "fast", 1e12])
    @pytest.mark.parametrize("field", ["max_ttft_ms", "max_time_per_output_token_ms"])
    def test_what_is_no_time_is_refused(self, field, value):
        with pytest.raises(InvalidInput) as caught:
            estimate("llama-3.3-70b", **self.SETUP, **{field: value})
        assert caught.value.field == field


def test_a_model_that_does_not_fit_names_the_fewest_devices_that_hold_it():
    with pytest.raises(DoesNotFit, match="Fewest that hold it: 16"):
        card("llama-3.1-405b", precision="bf16", gpu_id="h100_80gb_sxm", gpu_count=8)
