"""Operating points on measured sweeps: what a sweep is, and how they are scored."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from inferprint import Catalogue
from inferprint.calibration.observations import Observations
from inferprint.calibration.operating import MIN_BATCHES, operating_points, sweeps, validate_operating_points

CATALOGUE = Catalogue.packaged()


@pytest.fixture(scope="module")
def one_model(observations):
    """All rows that forms are fitted on, but sweeps of one model alone."""
    wanted = "llama-3.1-405b"
    kept = [o for o in observations.kept if o.quantity != "served_time_per_token" or o.setup.model_id == wanted]
    others = [o for o in observations.kept if o.quantity == "served_time_per_token" and o.setup.model_id != wanted]
    # Others with a batch of one size each are no sweep, and still teach the forms.
    seen: dict[object, object] = {}
    for item in others:
        seen.setdefault((item.setup.model_id, item.setup.gpu_id, item.source), item)
    return Observations(kept=[*kept, *seen.values()])


def test_a_sweep_differs_in_the_batch_alone(observations):
    found = sweeps(observations)
    assert len(found) > 200
    for rows in found.values():
        assert len({item.setup.batch_size for item, _ in rows}) >= MIN_BATCHES
        for name in ("model_id", "gpu_id", "gpu_count", "precision", "engine"):
            assert len({getattr(item.setup, name) for item, _ in rows}) == 1
        lengths = [item.work[1] for item, _ in rows]
        assert max(lengths) <= 2.01 * min(lengths)


def test_energies_are_those_of_the_same_row(observations):
    for rows in sweeps(observations).values():
        assert all(energy is None or energy.row_id == item.row_id for item, energy in rows)


def test_measured_joules_per_token_fall_with_the_batch(observations):
    """Measured sweeps themselves: to within noise, a larger batch costs less energy per token."""
    rising = total = 0
    for rows in sweeps(observations).values():
        metered = sorted((item.setup.batch_size, energy.measured) for item, energy in rows if energy is not None)
        for (smaller, before), (larger, after) in itertools.pairwise(metered):
            if larger >= 1.5 * smaller:
                total += 1
                rising += after > 1.05 * before
    assert total > 500
    assert rising / total < 0.06


def test_points_are_measured_and_found(one_model):
    points = [p for p in operating_points(one_model, CATALOGUE) if p.model == "llama-3.1-405b"]
    assert len(points) >= 10
    points = [point for point in points if point.found_throughput is not None]
    for point in points:
        value, low, high = point.found_throughput
        assert 0 < low <= value <= high
    ratios = [p.found_throughput[0] / p.throughput for p in points]
    assert 0.5 < np.median(ratios) < 2


def test_scores_are_factors(one_model):
    scores = validate_operating_points(one_model, CATALOGUE)
    assert {s.quantity for s in scores} == {"throughput_at_limit", "energy_at_limit"}
    for found in scores:
        assert 1 <= found.median_factor <= found.p90_factor
        assert 0 <= found.coverage95_pct <= 100
        assert found.to_dict()["rows"] == found.rows


def test_points_that_cannot_be_are_counted(one_model):
    total = sum(len(rows) for rows in sweeps(one_model).values())
    for found in validate_operating_points(one_model, CATALOGUE):
        if (found.quantity, found.rows_of) == ("throughput_at_limit", "all"):
            assert found.rows + found.refused == total


def test_without_a_sweep_there_is_no_score():
    assert validate_operating_points(Observations(), CATALOGUE) == []
