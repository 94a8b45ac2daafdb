"""Techniques as text: what exists, what their parameters may be, what two of them do together."""

from __future__ import annotations

import pytest

from inferprint.errors import InvalidInput, UnknownName
from inferprint.modalities.text import TEXT
from inferprint.rates.situation import rewritten
from inferprint.techniques.apply import available, parse, stated_precision

WORK = {
    "input_tokens": 1000.0,
    "cached_input_tokens": 0.0,
    "output_tokens": 10.0,
    "n_requests": 1.0,
    "media_prompts": 0.0,
    "measured_seconds": 0.0,
}


def test_a_technique_that_does_not_exist_names_what_does():
    with pytest.raises(UnknownName) as caught:
        parse(["prefix-cache"])
    assert "prefix-caching" in caught.value.nearest


@pytest.mark.parametrize(
    "text",
    [
        "prefix-caching:hits=0.5",
        "prefix-caching:hit_rate=1.5",
        "prefix-caching:hit_rate=-0.1",
        "prefix-caching:hit_rate=half",
        "prefix-caching:hit_rate=nan",
        "prefix-caching:hit_rate",
    ],
)
def test_a_parameter_that_cannot_be_is_an_error(text):
    with pytest.raises(InvalidInput) as caught:
        parse([text])
    assert caught.value.field == "techniques"


def test_a_technique_named_twice_is_an_error():
    with pytest.raises(InvalidInput, match="twice"):
        parse(["prefix-caching:hit_rate=0.5", "prefix-caching"])


def test_parameters_are_numbers():
    ((_, values),) = parse(["prefix-caching:hit_rate=0.25"])
    assert values == {"hit_rate": 0.25}


@pytest.mark.parametrize("name", sorted(available()))
def test_at_its_defaults_a_technique_changes_no_work(name):
    assert rewritten(TEXT, parse([name])).count(WORK, 0.0, min) == TEXT.count(WORK, 0.0, min)


@pytest.mark.parametrize("name", sorted(available()))
def test_at_its_defaults_a_technique_changes_no_format(name):
    assert stated_precision(parse([name])) is None


@pytest.mark.parametrize("name", sorted(available()))
def test_a_technique_says_what_it_does_and_by_which_source(name):
    technique = available()[name]
    assert technique.meaning
    assert technique.equation
    assert technique.reference


def test_no_technique_leaves_the_modality_as_it_is():
    assert rewritten(TEXT, ()) is TEXT
