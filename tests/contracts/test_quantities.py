"""Names of what comes out carry their unit, and an energy's meaning its boundary."""

from __future__ import annotations

import pytest

from inferprint.quantities import BREAKDOWN, METHODS, RESULTS, TWO_TERM

OUT = (*RESULTS, *BREAKDOWN, *TWO_TERM)
SUFFIX = {"ms": "_ms", "Wh": "_wh", "gCO2e": "_gco2e", "mL": "_ml"}
API = {
    "usage_energy_wh",
    "usage_emissions_gco2e",
    "usage_water_ml",
    "embodied_emissions_gco2e",
    "embodied_water_ml",
}
"""Result fields of the Scope3 AI API."""


@pytest.mark.parametrize("quantity", OUT, ids=lambda q: q.name)
def test_a_name_ends_with_its_unit(quantity):
    assert quantity.name.endswith(SUFFIX[quantity.unit])


@pytest.mark.parametrize("quantity", OUT, ids=lambda q: q.name)
def test_a_quantity_says_what_it_means_and_where_it_ends(quantity):
    assert quantity.meaning
    assert quantity.boundary


def test_no_name_stands_for_two_quantities():
    assert len({quantity.name for quantity in OUT}) == len(OUT)


def test_results_use_the_names_of_the_api():
    assert {quantity.name for quantity in RESULTS} >= API


def test_methods():
    assert set(METHODS) == {"default", "two-term", "seed"}
