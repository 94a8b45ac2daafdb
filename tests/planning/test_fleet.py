"""A fleet: nodes for a load, how busy they are, and that what is attributed is what they draw."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.setups import ESTIMATOR

from inferprint import Request
from inferprint.errors import DoesNotFit, InvalidInput, LimitNotMet
from inferprint.planning import Load, fleet, logged_load, stated_load

CATALOGUE = ESTIMATOR.catalogue
NODE = {"node_id": "generic:hgx-h100-8", "precision": "fp8", "replica_gpu_count": 4, "country": "US"}


def served(rate: float = 20.0, *, peak: float | None = None, n_in: float = 1200.0, n_out: float = 300.0, **setup):
    load = stated_load(CATALOGUE, rate, {"input_tokens": n_in, "output_tokens": n_out}, peak_requests_per_second=peak)
    options = {name: setup.pop(name) for name in ("headroom", "usd_per_gpu_hour") if name in setup}
    request = Request(model_id="llama-3.3-70b", input_tokens=0, output_tokens=0, **{**NODE, **setup})
    return fleet(load, request, ESTIMATOR, **options)


class TestEnergy:
    @pytest.mark.parametrize("rate", [0.01, 0.5, 5.0, 20.0, 300.0])
    def test_what_is_attributed_is_what_the_nodes_draw(self, rate):
        for level in served(rate).levels:
            assert level.attributed_kwh == pytest.approx(level.drawn_kwh, rel=1e-9)

    def test_the_day_is_the_sum_of_its_hours_and_the_facility(self):
        found = served(pue=1.25)
        assert found.per_day["usage_energy_kwh"].value == pytest.approx(
            1.25 * sum(level.drawn_kwh for level in found.levels), rel=1e-9
        )

    def test_an_idle_fleet_draws_its_idle_power(self):
        # One request an hour: two replicas of 4 idle H100 and the idle host, from the catalogue.
        found = served(1 / 3600, peak=1 / 3600)
        node = CATALOGUE.nodes["generic:hgx-h100-8"]
        gpu = CATALOGUE.gpus[node.gpu]
        idle_w = 8 * (gpu.idle_loaded_power_w or gpu.idle_power_w) + node.host_idle_power_w
        assert sum(level.drawn_kwh for level in found.levels) == pytest.approx(24 * idle_w / 1000, rel=0.02)

    def test_a_busy_fleet_draws_no_more_than_its_limit(self):
        found = served(rate := 200.0, peak=rate)
        node = CATALOGUE.nodes["generic:hgx-h100-8"]
        most_w = found.nodes * (8 * CATALOGUE.gpus[node.gpu].max_power_w + node.host_active_power_w)
        assert sum(level.drawn_kwh for level in found.levels) <= 24 * most_w / 1000

    def test_energy_per_request_falls_with_the_load(self):
        def per_request(rate):
            found = served(rate)
            return found.per_day["usage_energy_kwh"].value / found.load.requests

        assert per_request(20.0) < 0.5 * per_request(1.0) < 0.25 * per_request(0.05)

    def test_intervals_contain_their_values(self):
        for value in served().per_day.values():
            assert value.low < value.value < value.high

    def test_stages_of_a_pipeline_work_at_the_same_time(self):
        # Two stages of four devices at batch B each draw what a replica of four draws at B/2.
        stages = {"replica_gpu_count": 8, "techniques": ("pipeline-parallel:stages=2",)}
        piped, plain = served(40.0, peak=40.0, **stages), served(40.0, peak=40.0, replica_gpu_count=4)
        assert (piped.nodes, piped.replicas) == (plain.nodes, plain.replicas / 2)
        for level in piped.levels:
            assert level.attributed_kwh == pytest.approx(level.drawn_kwh, rel=1e-9)
        assert sum(p.drawn_kwh for p in piped.levels) == pytest.approx(sum(p.drawn_kwh for p in plain.levels), rel=0.02)
        in_flight = [f.replicas * f.levels[0].batch_size * f.levels[0].active_share for f in (piped, plain)]
        assert in_flight[0] == pytest.approx(in_flight[1], rel=0.05)


class TestSize:
    def test_a_cap_on_the_batch_never_takes_fewer_nodes(self):
        load = stated_load(CATALOGUE, 2.0, {"input_tokens": 1200.0, "output_tokens": 300.0})

        def nodes(**setup):
            asked = {"model_id": "llama-3.1-8b", "gpu_id": "rtx_4090", "precision": "int4", **setup}
            return fleet(load, Request(input_tokens=0, output_tokens=0, **asked), ESTIMATOR).nodes

        assert nodes() <= nodes(batch_size=8) <= nodes(batch_size=2) <= nodes(batch_size=1)

    def test_a_looser_limit_never_takes_more_devices(self):
        devices = []
        for limit in (12.0, 17.0, 20.0, 25.0, 40.0, 100.0):
            found = served(20.0, replica_gpu_count=None, precision="bf16", max_time_per_output_token_ms=limit)
            devices.append(found.nodes)
        assert devices == sorted(devices, reverse=True)

    def test_devices_without_a_replica_are_paid_and_named(self):
        found = served(2.0, replica_gpu_count=3, usd_per_gpu_hour=1.0)
        assert any("hold no replica" in text for text in found.warnings)
        assert found.cost_usd_per_day == found.nodes * 8 * 24

    @pytest.mark.parametrize("hardware", [{"gpu_id": "rtx_4090"}, {"node_id": "local:workstation-rtx4090"}])
    def test_a_desk_named_by_its_node_is_one_named_by_its_gpu(self, hardware):
        load = stated_load(CATALOGUE, 20.0, {"input_tokens": 1200.0, "output_tokens": 300.0})
        request = Request(model_id="llama-3.1-8b", input_tokens=0, output_tokens=0, country="FR", **hardware)
        found = fleet(load, request, ESTIMATOR)
        assert (found.nodes, any("vllm is assumed" in text for text in found.warnings)) == (16, True)

    @pytest.mark.parametrize("engine", [None, "llama.cpp"])
    def test_one_request_at_a_time_on_desks(self, engine):
        load = stated_load(CATALOGUE, 20.0, {"input_tokens": 1200.0, "output_tokens": 300.0})
        request = Request(
            model_id="llama-3.1-8b", input_tokens=0, output_tokens=0, gpu_id="rtx_4090", batch_size=1, engine=engine
        )
        found = fleet(load, request, ESTIMATOR)
        assert {level.batch_size for level in found.levels} == {1.0}
        # Each request keeps one device busy for as long as it takes.
        one = Request(model_id="llama-3.1-8b", input_tokens=1200, output_tokens=300, gpu_id="rtx_4090")
        seconds = ESTIMATOR.estimate(one).duration_ms.value / 1000
        assert found.nodes == pytest.approx(found.load.requests_per_second.max() * seconds, rel=0.02)

    def test_no_level_exceeds_the_largest_batch(self):
        for found in (served(3.0, batch_size=2), served(3.0, max_time_per_output_token_ms=16.2)):
            assert max(level.batch_size for level in found.levels) <= found.max_batch_size

    def test_two_kinds_of_replica_are_refused(self):
        with pytest.raises(InvalidInput, match="disaggregation"):
            served(techniques=("disaggregation:prefill_devices=4",))

    def test_a_short_log_says_what_it_is_taken_for(self):
        load = logged_load(np.linspace(0, 1800, 50), {n: np.full(50, 100.0) for n in TestLoad.LENGTHS})
        found = fleet(load, Request(model_id="llama-3.3-70b", input_tokens=0, output_tokens=0, **NODE), ESTIMATOR)
        assert any("0.5 hours" in text for text in found.warnings)

    def test_ten_times_the_load_takes_about_ten_times_the_nodes(self):
        assert served(2000.0).nodes == pytest.approx(10 * served(200.0).nodes, rel=0.1)

    def test_headroom_takes_more_nodes(self):
        assert served(200.0, headroom=0.5).nodes == pytest.approx(2 * served(200.0).nodes, rel=0.1)

    def test_a_tighter_limit_takes_more_nodes_and_smaller_batches(self):
        loose, tight = (served(200.0, max_time_per_output_token_ms=ms) for ms in (80.0, 25.0))
        assert tight.nodes > loose.nodes
        assert tight.max_batch_size < loose.max_batch_size

    def test_the_busiest_hour_keeps_the_limit(self):
        found = served(200.0, max_time_per_output_token_ms=30.0)
        assert max(level.time_per_output_token_ms for level in found.levels) <= 30.0 * 1.01

    def test_a_batch_size_is_the_most_that_a_replica_takes(self):
        found = served(200.0, batch_size=8)
        assert found.max_batch_size <= 8
        assert max(level.batch_size for level in found.levels) <= 8 * 1.01

    def test_replicas_fill_whole_nodes(self):
        found = served(200.0)
        assert found.replicas == 2 * found.nodes

    def test_a_replica_over_several_nodes_counts_them_all(self):
        request = Request(
            model_id="llama-3.1-405b", input_tokens=0, output_tokens=0, gpu_id="h100_80gb_sxm", gpu_count=16,
            precision="bf16", country="US",
        )  # fmt: skip
        load = stated_load(CATALOGUE, 0.1, {"input_tokens": 100.0, "output_tokens": 100.0})
        found = fleet(load, request, ESTIMATOR)
        assert (found.devices_per_replica, found.devices_per_node, found.nodes) == (16, 8, 2)

    def test_little_s_law(self):
        # Requests in flight = rate x residence; residence from the estimate of one request at that batch.
        found = served(peak=20.0)
        level = found.levels[0]
        one = Request(
            model_id="llama-3.3-70b", input_tokens=1200, output_tokens=300, batch_size=level.batch_size, **NODE
        )
        residence = ESTIMATOR.estimate(one).duration_ms.value / 1000
        in_flight = found.replicas * level.batch_size * level.active_share
        assert in_flight == pytest.approx(20.0 * residence, rel=0.05)

    def test_cost_is_the_price_of_all_devices_all_day(self):
        found = served(usd_per_gpu_hour=2.0)
        assert found.cost_usd_per_day == found.nodes * 8 * 24 * 2.0

    def test_without_a_price_there_is_no_cost(self):
        assert served().cost_usd_per_day is None


@settings(max_examples=25, deadline=None)
@given(
    rate=st.floats(0.001, 2000.0),
    n_in=st.floats(0.0, 20_000.0),
    n_out=st.floats(1.0, 2000.0),
    gpu=st.sampled_from(["h100_80gb_sxm", "b200_180gb_sxm", "l40s", "mi300x_192gb"]),
)
def test_attributed_is_drawn_whatever_the_load(rate, n_in, n_out, gpu):
    load = stated_load(CATALOGUE, rate, {"input_tokens": n_in, "output_tokens": n_out})
    request = Request(model_id="llama-3.1-8b", input_tokens=0, output_tokens=0, gpu_id=gpu, country="FR")
    found = fleet(load, request, ESTIMATOR)
    for level in found.levels:
        assert 0 < level.active_share < 1
        assert 1 <= level.batch_size <= found.max_batch_size * (1 + 1e-9)
        assert level.attributed_kwh == pytest.approx(level.drawn_kwh, rel=1e-6)


class TestLoad:
    LENGTHS: ClassVar = {"input_tokens": 1000.0, "output_tokens": 200.0, "cached_input_tokens": 250.0}

    def test_the_mean_of_a_day_is_the_stated_rate(self):
        load = stated_load(CATALOGUE, 7.0, self.LENGTHS)
        assert load.requests == pytest.approx(7.0 * 86400, rel=1e-9)
        assert load.days == 1

    def test_the_busiest_hour_is_the_stated_peak(self):
        load = stated_load(CATALOGUE, 7.0, self.LENGTHS, peak_requests_per_second=10.0)
        assert load.requests_per_second.max() == pytest.approx(10.0)
        assert not load.peak_assumed

    def test_lengths_have_the_stated_means_and_spread(self):
        load = stated_load(CATALOGUE, 7.0, self.LENGTHS, spread=1.0)
        for name, value in self.LENGTHS.items():
            assert load.mean(name) == pytest.approx(value, rel=1e-9)
        lengths = load.lengths["output_tokens"]
        # Strata leave out the farthest tail of the log-normal distribution.
        assert lengths.std() / lengths.mean() == pytest.approx(1.0, abs=0.12)
        assert abs(np.corrcoef(load.lengths["input_tokens"], lengths)[0, 1]) < 0.1

    def test_long_prompts_cost_more_than_their_mean(self):
        even, uneven = (
            fleet(
                stated_load(CATALOGUE, 5.0, {"input_tokens": 20_000.0, "output_tokens": 100.0}, spread=s),
                Request(model_id="llama-3.3-70b", input_tokens=0, output_tokens=0, **NODE),
                ESTIMATOR,
            ).levels[-1].active_share
            for s in (0.0, 1.5)
        )  # fmt: skip
        assert uneven >= even

    def test_a_log_is_counted_by_the_hour(self):
        seconds = np.concatenate([np.linspace(0, 3599, 100), np.linspace(3600, 7199, 300)])
        lengths = {name: np.full(400, 10.0) for name in self.LENGTHS}
        load = logged_load(seconds, lengths)
        assert load.requests == pytest.approx(400)
        assert load.requests_per_second.tolist() == pytest.approx([100 / 3600, 300 / 3599], rel=1e-3)

    def test_hours_without_a_request_join_the_quietest_level(self):
        load = logged_load(np.array([0.0, 1800.0, 7800.0]), {name: np.ones(3) for name in self.LENGTHS})
        assert load.requests_per_second.min() > 0
        assert load.requests == pytest.approx(3)
        assert load.hours.sum() == pytest.approx(7800 / 3600, rel=1e-6)

    def test_many_hours_are_gathered_into_levels(self):
        generator = np.random.default_rng(1)
        seconds = np.sort(generator.uniform(0, 40 * 86400, 20_000))
        load = logged_load(seconds, {name: np.ones(20_000) for name in self.LENGTHS})
        assert len(load.hours) <= 48
        assert load.requests == pytest.approx(20_000, rel=1e-6)
        assert load.days == pytest.approx(40, rel=0.01)

    @pytest.mark.parametrize(
        "change, field",
        [
            ({"requests_per_second": 0.0}, "requests_per_second"),
            ({"requests_per_second": -1.0}, "requests_per_second"),
            ({"requests_per_second": math.nan}, "requests_per_second"),
            ({"peak_requests_per_second": 3.0}, "peak_requests_per_second"),
            ({"peak_requests_per_second": 100.0}, "peak_requests_per_second"),
            ({"peak_requests_per_second": 0.0}, "peak_requests_per_second"),
            ({"spread": -1.0}, "length_spread"),
            ({"lengths": {"input_tokens": 0.0, "output_tokens": 0.0}}, "input_tokens"),
            ({"lengths": {"input_tokens": -5.0, "output_tokens": 10.0}}, "input_tokens"),
            ({"lengths": {"input_tokens": 5.0, "cached_input_tokens": 9.0}}, "cached_input_tokens"),
        ],
    )  # fmt: skip
    def test_a_load_that_cannot_be_names_its_field(self, change, field):
        asked = {"requests_per_second": 7.0, "lengths": self.LENGTHS, **change}
        with pytest.raises(InvalidInput) as caught:
            stated_load(CATALOGUE, **asked)
        assert caught.value.field == field

    def test_an_empty_log_is_an_error(self):
        with pytest.raises(InvalidInput, match="no request"):
            logged_load(np.zeros(0), {name: np.zeros(0) for name in self.LENGTHS})


class TestErrors:
    def test_a_limit_that_one_request_exceeds_names_the_nearest(self):
        with pytest.raises(LimitNotMet) as caught:
            served(max_ttft_ms=1.0)
        assert caught.value.nearest_ms > 1

    def test_a_model_that_does_not_fit(self):
        with pytest.raises(DoesNotFit):
            served(precision="bf16", replica_gpu_count=1)

    def test_prompts_that_leave_no_room(self):
        with pytest.raises(DoesNotFit):
            served(n_in=5e6, replica_gpu_count=2)

    @pytest.mark.parametrize("headroom", [-0.1, 1.0, math.nan])
    def test_headroom_is_a_share(self, headroom):
        with pytest.raises(InvalidInput) as caught:
            served(headroom=headroom)
        assert caught.value.field == "headroom"

    @pytest.mark.parametrize("price", [0.0, -2.0, math.inf])
    def test_a_price_is_above_zero(self, price):
        with pytest.raises(InvalidInput):
            served(usd_per_gpu_hour=price)

    def test_the_active_share_follows_from_the_load(self):
        with pytest.raises(InvalidInput) as caught:
            served(active_share=0.5)
        assert caught.value.field == "active_share"

    def test_a_load_without_answers(self):
        with pytest.raises(InvalidInput) as caught:
            served(n_out=0.0)
        assert caught.value.field == "output_tokens"


def test_the_result_is_plain_data():
    found = served(usd_per_gpu_hour=2.0).to_dict()
    assert found["per_day"]["usage_energy_kwh"]["low"] < found["per_day"]["usage_energy_kwh"]["value"]
    assert found["requests_per_day"] == pytest.approx(20.0 * 86400, rel=1e-9)
    assert isinstance(served().load, Load)
