"""The step from the GPUs to the plug, against systems that are made up."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from inferprint import Catalogue
from inferprint.calibration.wall import SATURATED, WallPoint, _fit, learn_wall, wall_points

CATALOGUE = Catalogue.packaged()

SYSTEM = {
    "row_id": "w1", "source": "s", "gpu": "H100-SXM-80GB", "gpu_count": "8", "avg_system_power_w": "6000",
    "avg_gpu_power_w_all_gpus": "5000", "energy_boundary": "system_wall_ac",
}  # fmt: skip


def points_of(tmp_path, *rows):
    path = tmp_path / "w.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(SYSTEM))
        writer.writeheader()
        writer.writerows(rows)
    return wall_points(CATALOGUE, [path])


def test_a_system_is_its_power_the_limits_of_its_gpus_and_their_power(tmp_path):
    (point,), refused = points_of(tmp_path, SYSTEM)
    assert (point.wall_w, point.limit_w, point.gpu_w, refused) == (6000.0, 5600.0, 5000.0, [])


def test_gpus_that_were_not_read_draw_what_saturated_ones_do(tmp_path):
    (point,), _ = points_of(tmp_path, {**SYSTEM, "avg_gpu_power_w_all_gpus": ""})
    assert point.gpu_w == pytest.approx(SATURATED * 5600.0, rel=1e-12)


@pytest.mark.parametrize(
    "fields",
    [
        {"energy_boundary": "system_wall_ac_peak"},  # the highest reading is no mean
        {"energy_boundary": "gpu_cpu_ram_codecarbon"},
        {"avg_system_power_w": ""},
        {"gpu": "apple_m3_ultra"},  # one chip is the whole machine
    ],
    ids=str,
)
def test_what_is_no_mean_at_the_plug_is_left_out(tmp_path, fields):
    assert points_of(tmp_path, {**SYSTEM, **fields}) == ([], [])


def test_an_unknown_gpu_is_refused(tmp_path):
    points, (refusal,) = points_of(tmp_path, {**SYSTEM, "gpu": "H1000"})
    assert points == []
    assert (refusal.row_id, refusal.quantity) == ("w1", "wall_power")


class TestFit:
    @staticmethod
    def points(server_w: float, counts: tuple[int, ...]) -> list[WallPoint]:
        """Systems of 1 ... n GPUs of 600 W that each stand with one more row or fewer."""
        return [
            WallPoint("r", "s", f"system {n}", 600.0 * (n + 1) + server_w, 700.0 * (n + 1), 600.0 * (n + 1))
            for n, count in enumerate(counts)
            for _ in range(count)
        ]

    def test_a_known_server_comes_back(self):
        log, _ = _fit(self.points(240.0, (1, 1, 1, 1)))
        assert np.exp(log) == pytest.approx(240.0, rel=1e-4)

    def test_each_system_counts_once_however_many_rows_it_has(self):
        # One of 200 W and one of 400 W, behind 600 and 1200 W of GPUs: 243 W; by rows it would be 201 W.
        few, many = (self.points(200.0, (n,)) + self.points(400.0, (0, 1)) for n in (1, 50))
        assert np.exp(_fit(many)[0]) == pytest.approx(np.exp(_fit(few)[0]), rel=0.01)


def test_the_shipped_step_is_what_the_measurements_give():
    wall, shipped = learn_wall(CATALOGUE), CATALOGUE.forms["wall"]
    assert tuple(shipped.terms["server"]) == pytest.approx(tuple(wall.server_w), rel=1e-4)
    assert shipped.residual["all"].low == pytest.approx(wall.residual.low, rel=1e-4)
    assert shipped.residual["all"].high == pytest.approx(wall.residual.high, rel=1e-4)
    assert shipped.rows == wall.rows
