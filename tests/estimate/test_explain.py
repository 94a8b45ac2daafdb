"""The trail: every number with its equation and its source, and the steps lead to the result."""

from __future__ import annotations

import json
import math

import pytest
from tests.setups import ESTIMATOR, NAMES, request

from inferprint.estimate.explain import explain
from inferprint.quantities import EQUATIONS


def explained(setup: str = "node, dense", **changes):
    return explain(ESTIMATOR.estimate(request(setup, **changes)))


@pytest.mark.parametrize("setup", [name for name in NAMES if name != "desk"])
def test_energy_terms_add_up_to_the_energy(setup):
    found = explained(setup)
    terms = sum(step.value for step in found.terms if step.name.startswith("energy.served"))
    assert terms == pytest.approx(step_value(found, "energy by the terms"), rel=1e-9)
    if not found.result.machine.mixed:
        assert terms / 3600 == pytest.approx(found.result.breakdown["accelerator_energy_wh"].value, rel=1e-9)


def test_energy_of_one_request_alone_is_power_times_time_and_has_no_terms():
    found = explained("desk")
    assert {step.name.split()[0] for step in found.terms} == {"duration.single", "two-term"}
    assert "energy by the terms" not in {step.name for step in found.steps}


@pytest.mark.parametrize("setup", NAMES)
def test_terms_of_energy_are_joules_and_all_others_seconds(setup):
    units = {(step.name.startswith("energy."), step.unit) for step in explained(setup).terms}
    assert units <= {(True, "J"), (False, "s")}


def test_a_level_of_seconds_shows_its_effects():
    # gpt-oss in int4 on one H100: the level of the duration is exp(effect), and nothing of the hardware
    found = explained("own GPU, dense", model_id="gpt-oss-20b", precision="int4")
    effect = ESTIMATOR.catalogue.forms["duration.served"].effects["all:int4"]
    level = next(step for step in found.levels if step.name == "duration.served level")
    assert level.numbers == f"exp({effect:g}) x engine (1)"
    assert level.value == pytest.approx(math.exp(effect), rel=1e-12)


@pytest.mark.parametrize(
    "changes, equation",
    [
        ({}, "t_s = the duration form on the request's share of the batch"),
        ({"method": "two-term"}, "t_s = duration / B"),
        ({"request_duration_ms": 9000.0}, "t_s = measured time / B"),
    ],
    ids=str,
)
def test_device_time_says_how_it_came_about(changes, equation):
    steps = explained("own GPU, dense", **changes).steps
    assert next(step.equation for step in steps if step.name == "device time") == equation


def step_value(found, name):
    return next(step.value for step in found.steps if step.name == name)


@pytest.mark.parametrize("setup", NAMES)
def test_duration_terms_add_up_to_the_duration(setup):
    found = explained(setup)
    terms = sum(step.value for step in found.terms if step.name.startswith("duration."))
    # Of several likely accelerators the value is the median, and the terms are those of one.
    if not found.result.machine.mixed:
        assert 1000 * terms == pytest.approx(found.result.duration_ms.value, rel=1e-9)


@pytest.mark.parametrize("setup", NAMES)
def test_two_term_terms_add_up_to_its_duration(setup):
    found = explained(setup)
    terms = sum(step.value for step in found.terms if step.name.startswith("two-term"))
    if not found.result.machine.mixed:
        assert 1000 * terms == pytest.approx(found.result.two_term["two_term_duration_ms"].value, rel=1e-9)


@pytest.mark.parametrize("setup", NAMES)
def test_every_term_has_an_equation(setup):
    assert [step.name for step in explained(setup).terms if not step.equation] == []


def test_every_step_has_an_equation():
    assert [step.name for step in explained().steps if not step.equation] == []


def test_equations_are_those_that_are_evaluated():
    emissions = next(step for step in explained().steps if step.name.startswith("greenhouse"))
    assert emissions.equation == EQUATIONS["emissions"][0]


def test_features_are_those_of_the_request():
    counted = {step.name: step.value for step in explained(cached_input_tokens=200).features}
    # 1000 fresh after 200 cached: 1000 x 200 + 1000 x 1001 / 2
    assert (counted["fresh_input_tokens"], counted["prompt_pairs"]) == (1000, 700_500)


@pytest.mark.parametrize("setup", NAMES)
def test_every_input_has_a_source_in_the_catalogue_or_says_who_stated_it(setup):
    known = {*ESTIMATOR.catalogue.sources, "caller", "derived", "assumed", "catalogue"}
    assert [e.field for e in explained(setup).inputs if e.source not in known] == []


def test_an_explanation_is_plain_data():
    found = explained().to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
