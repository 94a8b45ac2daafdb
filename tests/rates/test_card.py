"""Two cards and features make outputs: the worked check of the method from end to end."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from tests.setups import ESTIMATOR, request

from inferprint.quantities import BREAKDOWN, RESULTS, TWO_TERM
from inferprint.rates import OUTPUT_NAMES, OUTPUTS, PlaceCard, apply, total_draws
from inferprint.rates.draws import SIZE, bounds, full

WORKED = {"pue": 1.2, "wue": 0.5, "intensity": 400.0, "market_intensity": np.nan, "water": 3.0,
          "water_excluding_hydro": 1.0}  # fmt: skip


def place(**changes) -> PlaceCard:
    from inferprint.provenance.trace import Trail

    return PlaceCard(**{name: full(v) for name, v in {**WORKED, **changes}.items()}, sources={}, trail=Trail())


def machine_of_one_watt_hour():
    """A card whose requests each draw 3600 J of IT energy and nothing else."""
    card = ESTIMATOR.cards(request("desk"))[0]
    zeros, empty = np.zeros_like(card.draws.energy), np.zeros(SIZE)
    energy = zeros.copy()
    energy[:, 0] = 3600.0
    draws = dataclasses.replace(
        card.draws, energy=energy, seconds=zeros, duration=zeros, host_w=empty, idle_w=empty, embodied_g=empty,
        embodied_ml=empty,
    )  # fmt: skip
    return dataclasses.replace(card, draws=draws)


def outputs(place_card: PlaceCard) -> dict[str, list[float]]:
    machine = machine_of_one_watt_hour()
    features = np.zeros((len(machine.modality.features), 1))
    features[0] = 1.0
    found = apply(machine, place_card, features)[:, :, 0].T.tolist()
    return dict(zip(OUTPUT_NAMES, found, strict=True))


@pytest.mark.parametrize(
    "name, expected",
    [
        ("usage_energy_wh", 1.2),
        ("facility_overhead_wh", 0.2),
        ("usage_emissions_gco2e", 0.48),
        ("usage_water_ml", 4.1),
        ("site_water_ml", 0.5),
        ("grid_water_ml", 3.6),
        ("grid_water_excluding_hydro_ml", 1.2),
        ("accelerator_energy_wh", 1.0),
        ("host_energy_wh", 0.0),
        ("idle_energy_wh", 0.0),
    ],
)
def test_worked_check(name, expected):
    assert outputs(place())[name][0] == pytest.approx(expected, rel=1e-4, abs=1e-15)


def test_an_unknown_market_factor_gives_no_number():
    assert np.isnan(outputs(place())["usage_emissions_market_gco2e"]).all()


def test_a_market_factor():
    # 1.2 Wh x 50 g/kWh
    assert outputs(place(market_intensity=50.0))["usage_emissions_market_gco2e"][0] == pytest.approx(0.06, rel=1e-9)


def test_a_place_without_water_has_none():
    assert outputs(place(wue=0.0, water=0.0))["usage_water_ml"] == [0.0, 0.0, 0.0]


def test_no_pue_no_overhead():
    assert outputs(place(pue=1.0))["facility_overhead_wh"] == [0.0, 0.0, 0.0]


def test_a_factor_whose_value_is_zero_keeps_its_upper_bound():
    # Overhead 0, at most 0.1 of 1 Wh: a desk in an office.
    pue = np.concatenate([[1.0], np.linspace(1.0, 1.1, SIZE - 1)])
    value, low, high = outputs(place(pue=pue))["facility_overhead_wh"]
    # The 97.5 % quantile of 0 to 0.1
    assert (value, low, high) == (0.0, 0.0, pytest.approx(0.0975, rel=1e-3))


def test_every_published_quantity_is_an_output():
    assert set(OUTPUT_NAMES) == {q.name for q in (*RESULTS, *BREAKDOWN, *TWO_TERM)}


def test_widths_of_machine_and_place_combine_as_a_root_of_squares():
    # Energy within a factor exp(0.3), grid within exp(0.4): together exp(0.5).
    machine = machine_of_one_watt_hour()
    steps = np.concatenate([[0.0], np.linspace(-1.0, 1.0, SIZE - 1) / 0.95])
    energy = machine.draws.energy * np.exp(0.3 * steps)[:, None]
    machine = dataclasses.replace(machine, draws=dataclasses.replace(machine.draws, energy=energy))
    features = np.zeros((len(machine.modality.features), 1))
    features[0] = 1.0
    found = apply(machine, place(intensity=400.0 * np.exp(0.4 * steps)), features)
    value, low, high = found[:, OUTPUT_NAMES.index("usage_emissions_gco2e"), 0]
    assert np.log([value / low, high / value]) == pytest.approx([0.5, 0.5], rel=1e-3)


@pytest.mark.parametrize("name", ["usage_energy_wh", "usage_water_ml", "embodied_emissions_gco2e", "duration_ms"])
def test_the_interval_of_a_row_agrees_with_that_of_its_draws(name):
    # Rates that all move together are wider than rates drawn one by one, and a root of squares is an approximation:
    # within a factor of 1.4 (0.35 in logs) on either side.
    machine, place_card = ESTIMATOR.cards(request("node, dense"))
    result = ESTIMATOR.estimate(request("node, dense"))
    drawn = bounds(total_draws(machine, place_card, result.features)[name])
    assert np.log(result.range(name)) == pytest.approx(np.log(drawn), abs=0.35)


def test_each_output_has_its_unit_factor():
    factors = {name.rsplit("_", 1)[1]: unit for name, (_, place_name, unit) in OUTPUTS.items() if place_name is None}
    # s to ms, J to Wh, g, mL
    assert factors == pytest.approx({"ms": 1000.0, "wh": 1 / 3600, "gco2e": 1.0, "ml": 1.0})
