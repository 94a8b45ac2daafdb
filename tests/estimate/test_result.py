"""What comes out: names of the API, plain data, what it rests on."""

from __future__ import annotations

import json

import pytest
from tests.setups import ESTIMATOR, NAMES, request

from inferprint.quantities import BREAKDOWN, RESULTS, TWO_TERM


def result(setup: str = "node, dense", *args, **changes):
    return ESTIMATOR.estimate(request(setup, *args, **changes))


KEYS = {
    *(q.name for q in RESULTS),
    *("request", "model", "breakdown", "two_term", "quality", "largest_uncertainty", "uncertainty", "assumptions"),
    *("warnings", "versions"),
}


@pytest.mark.parametrize("setup", NAMES)
def test_a_result_is_plain_data(setup):
    found = result(setup).to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_result_has_the_names_of_the_api():
    assert set(result().to_dict()) >= KEYS


def test_a_quantity_is_a_value_with_bounds():
    assert set(result().to_dict()["usage_energy_wh"]) == {"value", "low", "high"}


def test_the_breakdown_has_every_part():
    assert set(result().to_dict()["breakdown"]) == {q.name for q in BREAKDOWN}


def test_the_two_term_form_stands_beside():
    assert set(result().to_dict()["two_term"]) == {q.name for q in TWO_TERM}


def test_what_is_unknown_is_null_and_not_zero():
    assert result().to_dict()["usage_emissions_market_gco2e"] is None


def test_a_known_market_factor_has_a_result():
    assert result("residual mix").usage_emissions_market_gco2e is not None


def test_the_request_is_given_back_without_what_was_not_said():
    stated = result().to_dict()["request"]
    assert ("gpu_id" in stated, stated["node_id"]) == (False, "generic:hgx-h100-8")


def test_attributes_and_plain_data_agree():
    found = result()
    assert found.to_dict()["usage_water_ml"]["high"] == found.usage_water_ml.high


def test_an_assumption_has_field_value_range_reason_and_source():
    found = next(a for a in result().to_dict()["assumptions"] if a["field"] == "batch_size")
    assert (found["low"] < found["value"] < found["high"], bool(found["reason"]), bool(found["source"])) == (
        True,
        True,
        True,
    )


def test_what_is_given_is_no_assumption():
    fields = [a.field for a in result(batch_size=16).assumptions]
    assert "batch_size" not in fields


@pytest.mark.parametrize("part", ["inferprint", "catalogue", "method"])
def test_versions_are_named(part):
    assert result().versions[part]


def test_the_catalogues_version_has_date_and_hash():
    date, _, digest = result().versions["catalogue"].partition("+")
    assert (len(date), len(digest)) == (10, 8)


def test_an_unknown_batch_is_the_largest_uncertainty_of_a_node():
    assert result().largest_uncertainty == "batch size"


def test_a_given_batch_is_no_uncertainty():
    assert "batch size" not in result(batch_size=16).uncertainty


@pytest.mark.parametrize("setup", NAMES)
def test_uncertainty_is_ranked(setup):
    shares = list(result(setup).uncertainty.values())
    assert shares == sorted(shares, reverse=True)


@pytest.mark.parametrize("setup", NAMES)
def test_shares_of_uncertainty_are_shares(setup):
    # First-order shares of independent inputs sum to at most 1, but for what 512 draws leave to chance.
    shares = result(setup).uncertainty.values()
    assert 0.5 < sum(shares) < 1.15


def test_a_context_beyond_the_model_is_a_warning():
    assert any("exceed the context length" in text for text in result("own GPU, dense", 200_000, 300).warnings)


def test_a_row_of_several_says_that_it_uses_means():
    assert any("mean lengths" in text for text in result(n_requests=3).warnings)


def test_an_ordinary_request_has_no_warnings():
    assert result("own GPU, dense").warnings == []


def test_shown_in_a_console():
    assert repr(result()).startswith("Result(llama-3.1-70b: ")


def test_the_same_request_gives_the_same_numbers_again():
    from inferprint.estimate import Estimator

    assert Estimator().estimate(request("unstated")).to_dict() == result("unstated").to_dict()


def test_the_package_estimates_in_one_line():
    from inferprint import estimate

    found = estimate("llama-3.1-70b", input_tokens=1200, output_tokens=300, node_id="generic:hgx-h100-8", country="US")
    assert found.usage_energy_wh == result().usage_energy_wh
