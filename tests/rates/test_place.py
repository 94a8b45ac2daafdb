"""Where it ran: given beats known, region beats country, and what is unstated is assumed and says so."""

from __future__ import annotations

import numpy as np
import pytest

from inferprint import Catalogue
from inferprint.errors import InvalidInput, UnknownName
from inferprint.rates import PlaceSetup, resolve_place
from inferprint.rates.draws import bounds

CATALOGUE = Catalogue.packaged()


def place(**setup):
    return resolve_place(CATALOGUE, PlaceSetup(**setup))


def entry(card, field: str):
    return next(e for e in card.trail.entries if e.field == field)


def value(card, field: str):
    return entry(card, field).value


# Ember 2024, lifecycle: France 44.18, United States 383.55, world 472.94 g/kWh.
FRANCE, WORLD = 44.18, 472.94


class TestGrid:
    def test_of_a_country(self):
        assert value(place(country="FR"), "grid_gco2e_per_kwh") == FRANCE

    @pytest.mark.parametrize("name", ["FR", "fr", "FRA", "France"])
    def test_a_country_has_several_names(self, name):
        assert value(place(country=name), "grid_zone") == "FR"

    def test_unstated_is_the_world(self):
        assert value(place(), "grid_zone") == "WORLD"

    def test_unstated_is_an_assumption(self):
        assert {entry(place(), name).how for name in ("grid_zone", "grid_gco2e_per_kwh")} == {"assumed"}

    def test_unstated_is_the_world_average(self):
        assert value(place(), "grid_gco2e_per_kwh") == WORLD

    def test_unstated_is_wider_than_stated(self):
        def width(card):
            _, low, high = bounds(card.draws["emissions"])
            return float(high / low)

        assert width(place()) > 2 * width(place(country="FR"))

    def test_a_region_beats_a_country(self):
        # Northern Virginia is in the eGRID subregion SRVC.
        assert value(place(cloud_id="aws", cloud_region="us-east-1", country="US"), "grid_zone") == "US-EGRID-SRVC"

    def test_a_region_in_another_country_is_a_contradiction(self):
        with pytest.raises(InvalidInput):
            place(cloud_id="aws", cloud_region="us-east-1", country="FR")

    def test_a_region_of_another_cloud_is_a_contradiction(self):
        with pytest.raises(InvalidInput):
            place(cloud_id="azure", cloud_region="aws:us-east-1")

    def test_a_zone_beats_a_region(self):
        assert value(place(cloud_id="aws", cloud_region="us-east-1", grid_zone="FR"), "grid_zone") == "FR"

    def test_a_given_intensity_beats_all(self):
        card = place(cloud_id="gcp", cloud_region="us-central1", grid_gco2e_per_kwh=100.0, pue=1.5)
        # 1.5 kWh at the meter x 100 g
        assert set(card.draws["emissions"]) == {150.0}

    def test_a_given_intensity_is_recorded_as_given(self):
        assert entry(place(grid_gco2e_per_kwh=100.0), "grid_gco2e_per_kwh").how == "given"

    def test_google_publishes_its_own_figure(self):
        # Iowa, 2024: 412.72 g/kWh, location-based, hourly
        assert value(place(cloud_id="gcp", cloud_region="us-central1"), "grid_gco2e_per_kwh") == 412.72

    def test_a_stated_zone_beats_googles_figure(self):
        card = place(cloud_id="gcp", cloud_region="us-central1", grid_zone="FR")
        assert value(card, "grid_gco2e_per_kwh") == FRANCE

    def test_a_bare_region_name_of_two_clouds_is_an_error(self):
        with pytest.raises(InvalidInput, match="more than one cloud"):
            place(cloud_region="ap-southeast-1")

    def test_direct_factors_have_a_wider_upper_bound_than_their_countrys(self):
        found = entry(place(cloud_id="aws", cloud_region="us-east-1"), "grid_gco2e_per_kwh")
        assert found.high / found.value > 1.1 * (1 - 1e-9)

    @pytest.mark.parametrize("name", ["Frence", "XX", "US-XX"])
    def test_an_unknown_place_is_never_guessed(self, name):
        with pytest.raises(UnknownName):
            place(country=name)

    @pytest.mark.parametrize("field", ["country", "grid_zone"])
    def test_an_unknown_place_is_told_by_its_field(self, field):
        with pytest.raises(UnknownName) as caught:
            place(**{field: "XX"})
        assert caught.value.field == field

    def test_an_unknown_cloud_is_told_before_its_region(self):
        with pytest.raises(UnknownName, match="unknown cloud 'awss'") as caught:
            place(cloud_id="awss", cloud_region="us-east-1")
        assert caught.value.field == "cloud_id"

    def test_a_services_country_is_an_assumption(self):
        assert (
            value(place(managed_service_id="mistral"), "grid_zone"),
            entry(place(managed_service_id="mistral"), "grid_zone").how,
        ) == ("FR", "assumed")

    def test_a_country_beats_a_services(self):
        assert value(place(managed_service_id="mistral", country="SE"), "grid_zone") == "SE"


class TestMarket:
    def test_is_unknown_where_no_residual_mix_is_known(self):
        assert np.isnan(place(country="FR").draws["emissions_market"]).all()

    def test_is_never_filled_with_the_location_based(self):
        assert np.isnan(place(grid_gco2e_per_kwh=50.0).draws["emissions_market"]).all()

    def test_residual_mix_of_australia(self):
        # National residual mix factor: 0.81 kg/kWh
        card = place(country="AU", pue=1.0)
        assert card.draws["emissions_market"][0] == pytest.approx(810.0, rel=1e-9)

    def test_a_state_has_its_countrys_residual_mix(self):
        card = place(cloud_id="aws", cloud_region="ap-southeast-2", pue=1.0)
        assert card.draws["emissions_market"][0] == pytest.approx(810.0, rel=1e-9)

    def test_given(self):
        # 1.25 x 20
        card = place(country="FR", pue=1.25, grid_market_gco2e_per_kwh=20.0)
        assert set(card.draws["emissions_market"]) == {25.0}

    def test_leaves_the_location_based_alone(self):
        one, other = place(country="FR"), place(country="FR", grid_market_gco2e_per_kwh=0.0)
        assert np.array_equal(one.draws["emissions"], other.draws["emissions"])


class TestWater:
    def test_of_the_grid(self):
        # France 3.03 L/kWh x PUE 1.2
        card = place(country="FR", pue=1.2)
        assert card.draws["grid_water"][0] == pytest.approx(3.636, rel=1e-9)

    def test_of_the_site_does_not_know_pue(self):
        card = place(country="FR", pue=2.0, wue_l_per_kwh=0.5)
        assert set(card.draws["site_water"]) == {0.5}

    def test_a_us_region_has_its_countrys_water(self):
        # United States 1.9 L/kWh
        card = place(cloud_id="aws", cloud_region="us-east-1", pue=1.0)
        assert card.draws["grid_water"][0] == pytest.approx(1.9, rel=1e-9)

    def test_a_us_region_says_that_it_borrows_its_countrys_water(self):
        found = entry(place(cloud_id="aws", cloud_region="us-east-1"), "grid_water_l_per_kwh")
        assert (found.how, "United States" in found.reason) == ("assumed", True)

    def test_given(self):
        card = place(country="FR", pue=1.2, grid_water_l_per_kwh=2.0)
        assert card.draws["grid_water"][0] == pytest.approx(2.4, rel=1e-12)

    def test_without_reservoirs(self):
        # France 1.27 L/kWh x PUE 1.2
        card = place(country="FR", pue=1.2)
        assert card.draws["grid_water_excluding_hydro"][0] == pytest.approx(1.524, rel=1e-9)


class TestFacility:
    @pytest.mark.parametrize(
        "setup, pue, how",
        [
            ({"pue": 1.33, "cloud_id": "aws", "cloud_region": "us-east-1"}, 1.33, "given"),
            ({"cloud_id": "gcp", "cloud_region": "us-west1"}, 1.07, "catalogue"),  # Oregon, published
            ({"managed_service_id": "google-gemini"}, 1.09, "assumed"),  # fleet average
            ({}, 1.2, "assumed"),
            ({"hosting": "own"}, 1.2, "assumed"),
            ({"hosting": "desk"}, 1.0, "assumed"),
        ],
        ids=str,
    )
    def test_pue(self, setup, pue, how):
        found = entry(place(**setup), "pue")
        assert (found.value, found.how) == (pue, how)

    def test_an_unknown_data_centre_has_its_range(self):
        found = entry(place(), "pue")
        assert (found.low, found.high) == (1.08, 1.5)

    def test_pue_is_never_below_one(self):
        assert place(cloud_id="gcp", cloud_region="us-west1").draws["energy"].min() >= 1.0

    @pytest.mark.parametrize(
        "setup, wue",
        [
            ({"wue_l_per_kwh": 1.1}, 1.1),
            ({"cloud_id": "aws", "cloud_region": "us-east-1"}, 0.12),  # fleet, 2025
            ({"hosting": "desk"}, 0.0),
        ],
        ids=str,
    )
    def test_wue(self, setup, wue):
        assert value(place(**setup), "wue_l_per_kwh") == wue


@pytest.mark.parametrize(
    "field, wrong",
    [
        ("pue", 0.99),
        ("pue", 12.0),
        ("wue_l_per_kwh", -0.1),
        ("wue_l_per_kwh", 500.0),
        ("grid_gco2e_per_kwh", -1.0),
        ("grid_gco2e_per_kwh", 0.4e6),
        ("grid_market_gco2e_per_kwh", -1.0),
        ("grid_water_l_per_kwh", 1e4),
        ("grid_water_l_per_kwh", float("nan")),
    ],
)
def test_a_factor_that_cannot_be_names_its_field(field, wrong):
    with pytest.raises(InvalidInput) as caught:
        place(**{field: wrong})
    assert caught.value.field == field


def test_two_places_with_one_operator_share_its_pue():
    one, other = (place(managed_service_id="mistral", country=c) for c in ("FR", "SE"))
    assert np.array_equal(one.draws["energy"], other.draws["energy"])


def test_every_number_of_a_place_has_an_origin():
    assert [e.field for e in place(cloud_id="aws", cloud_region="us-east-1").trail.entries if not e.source] == []
