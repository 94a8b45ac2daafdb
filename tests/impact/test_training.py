"""BLOOM-176B: 433,196 kWh of training electricity (Luccioni et al. 2023), shared among the requests of its use."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from inferprint import Catalogue
from inferprint.catalogue import Model
from inferprint.impact.training import training_share
from inferprint.provenance.source import Provenance, Source
from inferprint.rates.training import SPENT, USE, training_of

TOTALS = {
    "training_energy_kwh": 433_196.0,
    "training_emissions_kgco2e": 24_690.0,
    "training_water_l": 1_000_000.0,
    "training_embodied_kgco2e": 11_200.0,
    "training_embodied_water_l": 50_000.0,
}
MODEL = Model(
    id="bloom-like",
    developer="",
    total_params_b=176.0,
    provenance={"": Provenance("here", "2023-01-01", "high")},
    **TOTALS,
    use_life_days=730.0,
    requests_per_day=1_000_000.0,
)
TUNED = replace(
    MODEL, id="tuned", fine_tuned_from="bloom-like", training_energy_kwh=730.0, use_life_days=73.0, requests_per_day=1e4
)


def catalogue(*models: Model) -> Catalogue:
    return Catalogue.packaged().with_records(Source(id="here", title="", url="", licence=""), *models)


def test_worked_check():
    # 433,196 kWh / (730 d x 1e6 requests/d) = 5.934e-4 kWh
    assert training_share(433_196.0, 730.0, 1e6) == pytest.approx(5.934192e-4, rel=1e-6)


def test_all_requests_of_a_life_bear_the_whole():
    totals = np.array([1.0, 20.0, 300.0])
    assert training_share(totals, 100.0, 50.0) * 100.0 * 50.0 == pytest.approx(totals, rel=1e-15)


def test_each_figure_is_the_share_of_its_total_in_its_unit():
    found = training_of(catalogue(MODEL), MODEL)
    per_request = 730.0 * 1e6
    assert found.training == pytest.approx(
        {
            "usage_energy_wh": 433_196e3 / per_request,
            "usage_emissions_gco2e": 24_690e3 / per_request,
            "usage_water_ml": 1e9 / per_request,
            "embodied_emissions_gco2e": 11_200e3 / per_request,
            "embodied_water_ml": 50e6 / per_request,
        },
        rel=1e-12,
    )
    assert (found.training_reason, found.training_missing) == ("", ())
    assert found.fine_tuning is None
    assert "not fine-tuned" in found.fine_tuning_reason


@pytest.mark.parametrize("name", sorted(SPENT))
def test_a_total_that_is_missing_leaves_its_figure_out_and_is_named(name):
    field = SPENT[name][0]
    found = training_of(catalogue(MODEL), replace(MODEL, **{field: None}))
    assert found.training is not None
    assert [figure for figure, value in found.training.items() if value is None] == [name]
    assert found.training_missing == (field,)
    assert field in found.training_reason


@pytest.mark.parametrize("field", USE)
@pytest.mark.parametrize("value", [None, 0.0])
def test_without_its_use_there_is_no_figure(field, value):
    found = training_of(catalogue(MODEL), replace(MODEL, **{field: value}))
    assert found.training is None
    assert found.training_missing == (field,)
    assert field in found.training_reason


def test_a_total_of_zero_is_a_figure():
    found = training_of(catalogue(MODEL), replace(MODEL, training_water_l=0.0))
    assert found.training is not None
    assert found.training["usage_water_ml"] == 0.0


def test_packaged_models_say_what_is_missing():
    packaged = Catalogue.packaged()
    found = training_of(packaged, packaged.models["llama-3.1-8b"])
    assert found.training is None
    assert set(found.training_missing) == {*TOTALS, *USE}


def test_a_fine_tuned_model_bears_its_own_and_its_base_s_share_by_the_use_of_each():
    found = training_of(catalogue(MODEL, TUNED), TUNED)
    assert found.training is not None
    assert found.fine_tuning is not None
    assert found.training["usage_energy_wh"] == pytest.approx(433_196e3 / (730.0 * 1e6), rel=1e-12)
    assert found.fine_tuning["usage_energy_wh"] == pytest.approx(730e3 / (73.0 * 1e4), rel=1e-12)  # 1 Wh


def test_what_is_missing_of_the_base_is_named_with_it():
    base = replace(MODEL, training_water_l=None)
    found = training_of(catalogue(base, TUNED), TUNED)
    assert found.training_missing == ("bloom-like.training_water_l",)
    assert found.fine_tuning_missing == ()


def test_a_chain_of_fine_tunings_adds_up():
    third = replace(TUNED, id="third", fine_tuned_from="tuned")
    chain = catalogue(MODEL, TUNED, third)
    second, found = training_of(chain, TUNED), training_of(chain, third)
    assert found.training is not None
    assert second.training is not None
    assert second.fine_tuning is not None
    for name in SPENT:
        assert found.training[name] == pytest.approx(second.training[name] + second.fine_tuning[name], rel=1e-12)


@pytest.mark.parametrize("base", ["nowhere", "tuned"])
def test_a_base_that_is_not_there_or_is_the_model_itself_gives_a_reason(base):
    model = replace(TUNED, fine_tuned_from=base)
    found = training_of(catalogue(MODEL, model), model)
    assert found.training is None
    assert base in found.training_reason
    assert found.fine_tuning is not None


@pytest.mark.parametrize(
    "change",
    [
        {"use_life_days": 1e-150, "requests_per_day": 1e-160},
        {"use_life_days": 1e-200, "requests_per_day": 1e-200},
        {"use_life_days": 1e200, "requests_per_day": 1e200},
        {"use_life_days": 1e-20, "requests_per_day": 1e-20},
    ],
)
def test_a_figure_that_cannot_be_is_none_and_says_of_what(change):
    model = replace(MODEL, **change)
    found = training_of(catalogue(model, TUNED), model)
    assert found.training == dict.fromkeys(SPENT)
    assert "use_life_days, requests_per_day of bloom-like" in found.training_reason
    assert set(found.training_missing) == set(TOTALS)
    third = replace(TUNED, id="third", fine_tuned_from="tuned")
    assert training_of(catalogue(model, TUNED, third), third).training == dict.fromkeys(SPENT)


def test_one_figure_that_cannot_be_leaves_the_others():
    found = training_of(catalogue(MODEL), replace(MODEL, training_water_l=1e308, training_embodied_water_l=None))
    assert found.training is not None
    assert [name for name, value in found.training.items() if value is None] == ["usage_water_ml", "embodied_water_ml"]
    assert found.training_missing == ("training_embodied_water_l", "training_water_l")
