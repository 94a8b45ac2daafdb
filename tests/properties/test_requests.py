"""What holds for every request, whatever its model, host and place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.setups import ESTIMATOR, NAMES, SETUPS, request

from inferprint.quantities import BREAKDOWN, RESULTS, TWO_TERM
from inferprint.rates import OUTPUT_NAMES, apply, total_draws
from inferprint.rates.draws import bounds

STEADY = settings(deadline=None, derandomize=True, max_examples=40, suppress_health_check=list(HealthCheck))

SETUP = st.sampled_from(NAMES)
TOKENS = st.integers(0, 200_000)
EXTRA = st.integers(1, 50_000)
COSTS = [q.name for q in (*RESULTS, *BREAKDOWN, *TWO_TERM)]
ENERGY = [q.name for q in (*RESULTS, *TWO_TERM) if q.name not in ("duration_ms", "two_term_duration_ms")]
SHARED = [name for name in NAMES if name != "desk"]
"""Setups that serve more than one request at a time."""

EXACT = 1e-12


def values(asked) -> dict[str, float]:
    result = ESTIMATOR.estimate(asked)
    found = {name: result.range(name) for name in OUTPUT_NAMES}
    return {name: r.value for name, r in found.items() if r is not None}


def features(setup: str, rows: list[tuple[int, int, int]]):
    """Cards and feature matrix of rows of (input, cached, output) tokens."""
    machine, place = ESTIMATOR.cards(request(setup))
    n_in, cached, n_out = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    work = {
        "input_tokens": n_in,
        "cached_input_tokens": np.minimum(cached, n_in),
        "output_tokens": n_out,
        "n_requests": np.ones(len(rows)),
        "media_prompts": np.zeros(len(rows)),
        "measured_seconds": np.zeros(len(rows)),
    }
    return machine, place, np.stack(machine.modality.count(work, machine.window, np.minimum))


ROWS = st.lists(st.tuples(TOKENS, TOKENS, TOKENS), min_size=1, max_size=9)


class TestMoreWorkNeverCostsLess:
    @STEADY
    @given(setup=SETUP, n_in=TOKENS, n_out=TOKENS, extra=EXTRA)
    def test_input(self, setup, n_in, n_out, extra):
        less, more = values(request(setup, n_in, n_out)), values(request(setup, n_in + extra, n_out))
        assert {name for name in less if more[name] < less[name]} == set()

    @STEADY
    @given(setup=SETUP, n_in=TOKENS, n_out=TOKENS, extra=EXTRA)
    def test_output(self, setup, n_in, n_out, extra):
        less, more = values(request(setup, n_in, n_out)), values(request(setup, n_in, n_out + extra))
        assert {name for name in less if more[name] < less[name]} == set()

    @STEADY
    @given(setup=SETUP, n_in=st.integers(1, 200_000), n_out=TOKENS, hit=st.floats(0, 1))
    def test_fresh_instead_of_cached(self, setup, n_in, n_out, hit):
        fresh = values(request(setup, n_in, n_out))
        cached = values(request(setup, n_in, n_out, cached_input_tokens=int(hit * n_in)))
        assert {name for name in ENERGY if name in fresh and cached[name] > fresh[name] * (1 + EXACT)} == set()

    @STEADY
    @given(setup=SETUP, n_in=TOKENS, n_out=TOKENS, written=st.floats(0, 1))
    def test_tokens_written_to_a_cache_cost_what_fresh_ones_cost(self, setup, n_in, n_out, written):
        assert values(request(setup, n_in, n_out, cache_write_tokens=int(written * n_in))) == values(
            request(setup, n_in, n_out)
        )

    @STEADY
    @given(setup=SETUP, n_in=TOKENS, n_out=TOKENS, hidden=st.floats(0, 1))
    def test_reasoning_costs_what_visible_tokens_cost(self, setup, n_in, n_out, hidden):
        assert values(request(setup, n_in, n_out, reasoning_tokens=int(hidden * n_out))) == values(
            request(setup, n_in, n_out)
        )


class TestColumns:
    @STEADY
    @given(setup=SETUP, rows=ROWS)
    def test_a_column_equals_its_rows(self, setup, rows):
        machine, place, matrix = features(setup, rows)
        whole = apply(machine, place, matrix)
        single = np.concatenate([apply(machine, place, matrix[:, [i]]) for i in range(len(rows))], axis=2)
        np.testing.assert_allclose(whole, single, rtol=EXACT, atol=0)

    @STEADY
    @given(setup=SETUP, rows=ROWS)
    def test_a_column_equals_single_estimates(self, setup, rows):
        machine, place, matrix = features(setup, rows)
        n_in, cached, n_out = rows[-1]
        result = ESTIMATOR.estimate(request(setup, n_in, n_out, cached_input_tokens=min(cached, n_in)))
        one = [[getattr(result._known(name), side) for name in OUTPUT_NAMES] for side in ("value", "low", "high")]
        np.testing.assert_allclose(apply(machine, place, matrix)[:, :, -1], one, rtol=EXACT, atol=0)

    @STEADY
    @given(setup=SETUP, rows=ROWS, cut=st.integers(0, 9))
    def test_chunks_equal_the_whole(self, setup, rows, cut):
        machine, place, matrix = features(setup, rows)
        parts = [part for part in (matrix[:, :cut], matrix[:, cut:]) if part.size]
        chunks = np.concatenate([apply(machine, place, part) for part in parts], axis=2)
        np.testing.assert_allclose(chunks, apply(machine, place, matrix), rtol=EXACT, atol=0)

    @STEADY
    @given(setup=SETUP, rows=ROWS)
    def test_the_value_of_a_total_is_the_sum_of_its_rows(self, setup, rows):
        machine, place, matrix = features(setup, rows)
        total = total_draws(machine, place, matrix.sum(axis=1))
        summed = apply(machine, place, matrix)[0].sum(axis=1)
        np.testing.assert_allclose([total[name][0] for name in OUTPUT_NAMES], summed, rtol=1e-9, atol=0)

    @STEADY
    @given(setup=SETUP, n_in=TOKENS, n_out=st.integers(1, 10_000), k=st.integers(2, 1000))
    def test_errors_do_not_average_out_over_equal_rows(self, setup, n_in, n_out, k):
        machine, place, matrix = features(setup, [(n_in, 0, n_out)])
        one, many = (total_draws(machine, place, matrix[:, 0] * factor) for factor in (1, k))
        for name in ("usage_energy_wh", "usage_water_ml", "embodied_emissions_gco2e"):
            np.testing.assert_allclose(bounds(many[name]), np.multiply(bounds(one[name]), k), rtol=EXACT, atol=0)

    @STEADY
    @given(setup=SETUP, n_in=TOKENS, n_out=TOKENS, hit=st.floats(0, 1), k=st.integers(1, 1000))
    def test_a_row_of_k_alike_costs_k_times(self, setup, n_in, n_out, hit, k):
        cached = int(hit * n_in)
        one = values(request(setup, n_in, n_out, cached_input_tokens=cached))
        many = values(request(setup, n_in * k, n_out * k, cached_input_tokens=cached * k, n_requests=k))
        assert many == pytest.approx({name: k * value for name, value in one.items()}, rel=EXACT, abs=0, nan_ok=True)


class TestIntervals:
    @STEADY
    @given(setup=SETUP, n_in=TOKENS, n_out=TOKENS)
    def test_contain_the_value(self, setup, n_in, n_out):
        result = ESTIMATOR.estimate(request(setup, n_in, n_out))
        ranges = {name: r for name in COSTS if (r := result.range(name)) is not None}
        assert {name: r for name, r in ranges.items() if not r.low <= r.value <= r.high} == {}

    @STEADY
    @given(setup=SETUP, n_in=TOKENS, n_out=TOKENS)
    def test_are_not_negative_and_not_infinite(self, setup, n_in, n_out):
        result = ESTIMATOR.estimate(request(setup, n_in, n_out))
        ranges = {name: r for name in COSTS if (r := result.range(name)) is not None}
        assert {name: r for name, r in ranges.items() if r.low < 0 or not np.isfinite(r).all()} == {}

    @pytest.mark.parametrize("setup", NAMES)
    def test_energy_is_never_without_spread(self, setup):
        energy = ESTIMATOR.estimate(request(setup)).usage_energy_wh
        assert energy.low < energy.value < energy.high


class TestParts:
    @STEADY
    @given(setup=SETUP, n_in=TOKENS, n_out=TOKENS)
    def test_of_energy_add_up(self, setup, n_in, n_out):
        v = values(request(setup, n_in, n_out))
        parts = ("accelerator_energy_wh", "host_energy_wh", "idle_energy_wh", "facility_overhead_wh")
        assert sum(v[part] for part in parts) == pytest.approx(v["usage_energy_wh"], rel=EXACT, abs=0)

    @STEADY
    @given(setup=SETUP, n_in=TOKENS, n_out=TOKENS)
    def test_of_accelerator_energy_add_up(self, setup, n_in, n_out):
        v = values(request(setup, n_in, n_out))
        assert v["prefill_energy_wh"] + v["decode_energy_wh"] == pytest.approx(
            v["accelerator_energy_wh"], rel=EXACT, abs=0
        )

    @STEADY
    @given(setup=SETUP, n_in=TOKENS, n_out=TOKENS)
    def test_of_water_add_up(self, setup, n_in, n_out):
        v = values(request(setup, n_in, n_out))
        assert v["site_water_ml"] + v["grid_water_ml"] == pytest.approx(v["usage_water_ml"], rel=EXACT, abs=0)

    @pytest.mark.parametrize("setup", NAMES)
    def test_of_energy_add_up_in_every_draw(self, setup):
        machine, place, matrix = features(setup, [(1200, 100, 300)])
        d = total_draws(machine, place, matrix[:, 0])
        parts = d["accelerator_energy_wh"] + d["host_energy_wh"] + d["idle_energy_wh"] + d["facility_overhead_wh"]
        np.testing.assert_allclose(parts, d["usage_energy_wh"], rtol=EXACT, atol=0)

    @pytest.mark.parametrize("setup", NAMES)
    def test_of_water_add_up_in_every_draw(self, setup):
        machine, place, matrix = features(setup, [(1200, 100, 300)])
        d = total_draws(machine, place, matrix[:, 0])
        np.testing.assert_allclose(d["site_water_ml"] + d["grid_water_ml"], d["usage_water_ml"], rtol=EXACT, atol=0)

    @pytest.mark.parametrize("setup", NAMES)
    def test_grid_water_without_reservoirs_is_a_part_of_grid_water(self, setup):
        v = values(request(setup))
        assert v["grid_water_excluding_hydro_ml"] <= v["grid_water_ml"]

    @pytest.mark.parametrize("setup", NAMES)
    def test_an_answer_of_no_tokens_is_all_prefill(self, setup):
        v = values(request(setup, 1000, 0))
        assert v["decode_energy_wh"] == 0 < v["prefill_energy_wh"]


class TestWhatDependsOnWhat:
    @STEADY
    @given(setup=SETUP, pue=st.floats(1.0, 3.0))
    def test_without_grid_water_pue_moves_no_water(self, setup, pue):
        dry = {"grid_water_l_per_kwh": 0.0, "wue_l_per_kwh": 0.4}
        one, other = (values(request(setup, pue=p, **dry))["usage_water_ml"] for p in (1.0, pue))
        assert other == pytest.approx(one, rel=EXACT)

    @STEADY
    @given(setup=SETUP, pue=st.floats(1.0, 3.0), wue=st.floats(0, 5), grid=st.floats(0, 1000))
    def test_place_moves_nothing_embodied(self, setup, pue, wue, grid):
        result = ESTIMATOR.estimate(request(setup))
        moved = ESTIMATOR.estimate(request(setup, pue=pue, wue_l_per_kwh=wue, grid_gco2e_per_kwh=grid))
        names = ("embodied_emissions_gco2e", "embodied_water_ml")
        assert [moved.range(n) for n in names] == [result.range(n) for n in names]

    @pytest.mark.parametrize("setup", NAMES)
    @pytest.mark.parametrize("name", ["embodied_emissions_gco2e", "embodied_water_ml"])
    def test_half_the_active_share_doubles_the_embodied(self, setup, name):
        busy, quiet = (values(request(setup, active_share=a))[name] for a in (0.8, 0.4))
        assert quiet == pytest.approx(2 * busy, rel=EXACT)

    @pytest.mark.parametrize("setup", NAMES)
    @pytest.mark.parametrize("name", ["accelerator_energy_wh", "host_energy_wh", "duration_ms"])
    def test_the_active_share_moves_neither_active_energy_nor_time(self, setup, name):
        busy, quiet = (values(request(setup, active_share=a))[name] for a in (0.8, 0.4))
        assert quiet == busy

    @pytest.mark.parametrize("setup", NAMES)
    def test_idle_energy_follows_the_odds_of_idling(self, setup):
        # (1 - a) / a: 0.25 at 0.8, 1.5 at 0.4
        busy, quiet = (values(request(setup, active_share=a))["idle_energy_wh"] for a in (0.8, 0.4))
        assert quiet == pytest.approx(6 * busy, rel=EXACT)

    @STEADY
    @given(setup=SETUP, grid=st.floats(1, 1000), factor=st.floats(0.01, 3))
    def test_emissions_scale_with_the_grid(self, setup, grid, factor):
        one = values(request(setup, grid_gco2e_per_kwh=grid))["usage_emissions_gco2e"]
        other = values(request(setup, grid_gco2e_per_kwh=grid * factor))["usage_emissions_gco2e"]
        assert other == pytest.approx(factor * one, rel=EXACT)

    @STEADY
    @given(setup=SETUP, pue=st.floats(1, 3))
    def test_energy_scales_with_pue(self, setup, pue):
        one = values(request(setup, pue=1.0))["usage_energy_wh"]
        assert values(request(setup, pue=pue))["usage_energy_wh"] == pytest.approx(pue * one, rel=EXACT)

    @STEADY
    @given(setup=SETUP, grid=st.floats(0, 1000))
    def test_emissions_are_energy_times_the_grid(self, setup, grid):
        v = values(request(setup, grid_gco2e_per_kwh=grid))
        assert v["usage_emissions_gco2e"] == pytest.approx(v["usage_energy_wh"] / 1000 * grid, rel=EXACT)

    @pytest.mark.parametrize("setup", SHARED)
    def test_a_larger_batch_costs_less_energy(self, setup):
        few, many = (values(request(setup, batch_size=b))["accelerator_energy_wh"] for b in (2, 4))
        assert many < few

    @pytest.mark.parametrize("setup", SHARED)
    def test_a_larger_batch_takes_no_less_time(self, setup):
        few, many = (values(request(setup, batch_size=b))["duration_ms"] for b in (2, 4))
        assert many >= few


def test_the_setups_cover_every_kind_of_hosting():
    assert {ESTIMATOR.cards(request(name))[0].hosting for name in SETUPS} == {"own", "cloud", "service", "desk"}
