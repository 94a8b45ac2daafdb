"""Measured values in the unit that the terms add up to, and groups of them left out."""

from __future__ import annotations

import numpy as np
import pytest

from inferprint import Catalogue
from inferprint.calibration.design import Design, Point, _band, design_of
from inferprint.calibration.left_out import left_out
from inferprint.calibration.observations import Observation, Observations
from inferprint.calibration.scores import MIN_ROWS
from inferprint.rates import MachineSetup

CATALOGUE = Catalogue.packaged()
H100 = MachineSetup(
    model_id="llama-3.1-8b", gpu_id="h100_80gb_sxm", gpu_count=2, replica_gpu_count=2, batch_size=8.0, engine="vllm"
)


def point(quantity, measured, work=(500.0, 200.0, 0.0), setup=H100) -> Point:
    found = Observations([Observation("r", "s", quantity, measured, work, setup, 1.0)])
    (only,) = design_of(found, (quantity,), CATALOGUE).points
    return only


@pytest.mark.parametrize(
    "quantity, measured, target",
    [
        ("single_request_duration", 3.0, 3.0),
        # 8 ms for each of 200 tokens
        ("served_time_per_token", 8e-3, 1.6),
        # 0.3 J for each of 200 tokens, over two devices of 700 W
        ("energy_per_output_token", 0.3, 60.0 / 1400.0),
        # 20 J for a prompt
        ("prompt_energy", 20.0, 20.0 / 1400.0),
    ],
)
def test_the_target_is_in_seconds_of_a_request(quantity, measured, target):
    found = point(quantity, measured)
    assert found.target == pytest.approx(target, rel=1e-12)
    assert found.scale * found.target == pytest.approx(measured, rel=1e-12)


def test_where_devices_take_turns_one_of_them_works():
    setup = MachineSetup(
        model_id="llama-3.1-8b", gpu_id="h100_80gb_sxm", gpu_count=2, replica_gpu_count=2, batch_size=1.0,
        engine="eager",
    )  # fmt: skip
    assert point("prompt_energy", 20.0, setup=setup).target == pytest.approx(20.0 / 700.0, rel=1e-12)


def test_rows_are_ideal_costs_by_term_in_the_order_asked():
    # 16.06 GB on two devices of 3.35 TB/s: one prompt pass and 200 steps, an eighth of each
    found = point("energy_per_output_token", 0.3)
    matrix = Design([found]).terms(["layers", "dense_weights", "nothing"], "share")
    read = 16.06e9 / (2 * 3.35e12)
    assert matrix.tolist() == [[pytest.approx(201 * 32 / 8), pytest.approx(201 * read / 8, rel=1e-12), 0.0]]


def test_tags_are_ones_and_zeros():
    found = Design([point("energy_per_output_token", 0.3)]).tagged(["hopper", "blackwell", "vllm"])
    assert found.tolist() == [[1.0, 0.0, 1.0]]


@pytest.mark.parametrize(
    "value, band",
    [(1, "0: <= 1"), (2, "1: 1 - 4"), (4, "1: 1 - 4"), (5, "2: 4 - 16"), (256, "4: 64 - 256"), (257, "5: > 256")],
)
def test_bands(value, band):
    assert _band(value, (1, 4, 16, 64, 256)) == band


class TestLeftOut:
    """A fit that predicts the mean target of the rows that it has seen."""

    @staticmethod
    def design(counts: dict[str, int]) -> Design:
        points = []
        for target, (model, count) in enumerate(counts.items(), start=1):
            setup = MachineSetup(
                model_id=model, gpu_id="h100_80gb_sxm", gpu_count=1, batch_size=1.0, engine="vllm", precision="bf16"
            )
            points += [point("single_request_duration", float(target), setup=setup)] * count
        return Design(points)

    @pytest.fixture
    def means(self, monkeypatch):
        monkeypatch.setattr(
            "inferprint.calibration.left_out.predict", lambda mean, rows: np.full(len(rows.points), mean)
        )
        return lambda rows: float(rows.target.mean())

    def test_every_row_is_predicted_by_the_other_groups(self, means):
        # Targets 1, 2 and 3, as many of each: without its own 2.5, 2 and 1.5
        n = MIN_ROWS
        design = self.design({"llama-3.1-8b": n, "llama-2-7b": n, "qwen3-8b": n})
        assert left_out(means, design, "model").tolist() == [2.5] * n + [2.0] * n + [1.5] * n

    def test_a_group_without_which_too_little_is_left_is_not_predicted(self, means):
        n = MIN_ROWS
        found = left_out(means, self.design({"llama-3.1-8b": n, "llama-2-7b": n - 1}), "model")
        assert np.isnan(found[:n]).all()
        assert (found[n:] == 1.0).all()
