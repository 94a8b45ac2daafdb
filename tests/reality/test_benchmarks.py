"""The packaged forms, through the cards that every estimate uses, against the measurements of `data/benchmarks`."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from inferprint.calibration.scores import Score, score

ENERGY_SOURCES = ("mlenergy-v2", "mlenergy-v3")
"""Serving engines with batches."""


@pytest.fixture(scope="module")
def judged(validation):
    """Rows by the name of what they show."""
    rows = validation.judged
    return {
        "single requests": [j for j in rows if j.item.quantity == "single_request_duration"],
        "served, fitted": [j for j in rows if j.item.quantity == "served_time_per_token" and j.item.weight > 0],
        "energy": [j for j in rows if j.item.quantity == "energy_per_output_token" and j.item.source in ENERGY_SOURCES],
    }


def scored(rows, form: str) -> Score:
    measured = np.array([j.item.measured for j in rows])
    return score(measured, *np.array([getattr(j, form) for j in rows]).T)


KINDS = ("single requests", "served, fitted", "energy")


@pytest.mark.parametrize("kind, least", [("single requests", 800), ("served, fitted", 3000), ("energy", 950)])
def test_there_are_enough_rows(judged, kind, least):
    assert len(judged[kind]) >= least


def test_nearly_every_observation_is_estimated(validation, observations):
    assert len(validation.judged) >= 0.98 * sum(item.quantity != "prompt_energy" for item in observations.kept)


@pytest.mark.parametrize(
    "kind, median, decile",
    [("single requests", 12, 40), ("served, fitted", 15, 45), ("energy", 13, 42)],
)
def test_errors_of_the_default_form(judged, kind, median, decile):
    found = scored(judged[kind], "default")
    assert found.mdape_pct < median
    assert found.p90_ape_pct < decile


@pytest.mark.parametrize("kind", KINDS)
def test_bias_of_the_default_form(judged, kind):
    assert abs(scored(judged[kind], "default").bias_pct) <= 5


@pytest.mark.parametrize("kind", KINDS)
def test_intervals_hold_what_was_measured_as_often_as_they_say(judged, kind):
    assert 92 <= scored(judged[kind], "default").coverage95_pct <= 98


@pytest.mark.parametrize("kind", KINDS)
def test_the_default_form_is_better_than_the_two_term_form(judged, kind):
    default, two_term = (scored(judged[kind], form) for form in ("default", "two_term"))
    assert default.mdape_pct < two_term.mdape_pct
    assert default.p90_ape_pct < two_term.p90_ape_pct
    assert default.r2_log > two_term.r2_log


def test_measured_energy_orders_configurations_as_predicted(judged):
    # Rank correlation over all rows: the order of configurations is what a choice between them rests on.
    rows = judged["energy"]
    ranks = [np.argsort(np.argsort(v)) for v in ([j.item.measured for j in rows], [j.default[0] for j in rows])]
    assert np.corrcoef(*ranks)[0, 1] > 0.97


@pytest.mark.parametrize("quantity", ["single_request_duration", "served_time_per_token", "energy_per_output_token"])
def test_results_are_the_scores_of_the_rows(validation, quantity):
    rows = [j for j in validation.judged if j.item.quantity == quantity]
    found = next(r for r in validation.results() if (r.quantity, r.form) == (quantity, "default"))
    assert dataclasses.asdict(found.score) == pytest.approx(dataclasses.asdict(scored(rows, "default")), rel=1e-12)
    assert found.refused == sum(r.quantity == quantity for r in validation.refused)


@pytest.mark.parametrize("low, high", [(4, 16), (16, 64), (64, 256)])
def test_fp8_against_bf16_comes_out_as_measured(judged, low, high):
    # Runs that differ in the format alone: fp8 costs more at small batch and less at large, with no factor for it.
    runs: dict[tuple[object, ...], dict[str, object]] = {}
    for j in judged["energy"]:
        if j.item.source == "mlenergy-v3" and j.item.weight > 0:
            band, answer = round(np.log2(j.ideal.batch)), round(np.log(j.item.work[1]))
            key = (j.ideal.model, j.item.setup.gpu_id, j.item.setup.gpu_count, band, answer)
            runs.setdefault(key, {})[j.item.setup.precision] = j
    pairs = [r for r in runs.values() if {"fp8", "bf16"} <= set(r) and low < r["bf16"].ideal.batch <= high]
    measured = np.median([r["fp8"].item.measured / r["bf16"].item.measured for r in pairs])
    predicted = np.median([r["fp8"].default[0] / r["bf16"].default[0] for r in pairs])
    assert len(pairs) >= 8
    assert predicted == pytest.approx(measured, abs=0.15)
