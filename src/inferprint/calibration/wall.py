"""From the GPUs to the wall: what the rest of a server draws, from systems whose power was measured at the plug.

    wall = GPUs + server

The power of the GPUs is the measured one; saturated systems whose GPUs were not read draw `SATURATED` of their limits.
Processors, memory and fans draw much the same for one device as for eight: a second part that grows with the limits of
the devices was tried, and is nothing within its error.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inferprint.calibration.cells import number
from inferprint.calibration.design import Array
from inferprint.calibration.observations import Refusal, data_folder, rows_of
from inferprint.calibration.regression import ROBUST_SCALE
from inferprint.calibration.scores import Score, conformal_bounds, score
from inferprint.catalogue import Catalogue, resolve_gpu
from inferprint.errors import InferprintError
from inferprint.quantities import Z95, Range

SATURATED = 0.9
"""Power of saturated GPUs over their limit, 0.83 to 1.0 where it was measured."""

MEAN_BOUNDARIES = ("gpu_only", "system_wall_ac")


@dataclass(frozen=True, slots=True)
class WallPoint:
    """A system's mean power at the plug [W], the limits of its GPUs together [W] and their power [W]."""

    row_id: str
    source: str
    system: str
    wall_w: float
    limit_w: float
    gpu_w: float


@dataclass(frozen=True, slots=True)
class Wall:
    """The fitted step, with errors on systems left out.

    `server_w` is what a server draws beside its GPUs [W], `variance` that of its logarithm.
    """

    server_w: Range
    variance: float
    residual: Range
    unseen: Score
    rows: int
    systems: int
    refused: list[Refusal]


def wall_points(catalogue: Catalogue, paths: Iterable[Path]) -> tuple[list[WallPoint], list[Refusal]]:
    """Rows that state a system's mean power, by system: GPU, count and source."""
    points, refused = [], []
    for path in paths:
        for row in rows_of(path):
            if not row.get("avg_system_power_w") or row.get("energy_boundary") not in MEAN_BOUNDARIES:
                continue
            try:
                gpu = resolve_gpu(catalogue, row["gpu"])
                if gpu.power_boundary != "board" or not gpu.max_power_w:
                    continue
                limit = gpu.max_power_w * (number(row, "gpu_count") or 0.0)
                measured = number(row, "avg_gpu_power_w_all_gpus")
            except (InferprintError, ValueError) as error:
                refused.append(Refusal(row["row_id"], row["source"], "wall_power", str(error)))
                continue
            system = f"{row['source']} {row.get('gpu_count')} x {gpu.id}"
            power = float(row["avg_system_power_w"])
            points.append(WallPoint(row["row_id"], row["source"], system, power, limit, measured or SATURATED * limit))
    return points, refused


def learn_wall(catalogue: Catalogue) -> Wall:
    """Fit the step on the measurements of this package, then again without each system."""
    points, refused = wall_points(catalogue, sorted(data_folder().glob("*/*.csv")))
    log, deviation = _fit(points)
    measured = np.array([p.wall_w for p in points])
    unseen = np.zeros(len(points))
    systems = [p.system for p in points]
    for system in set(systems):
        out = np.array([s == system for s in systems])
        again, _ = _fit([p for p, o in zip(points, out, strict=True) if not o])
        unseen[out] = _watts(again, [p for p, o in zip(points, out, strict=True) if o])
    return Wall(
        Range(*np.exp([log, log - Z95 * deviation, log + Z95 * deviation]).tolist()),
        deviation**2,
        conformal_bounds(np.log(measured / unseen)),
        score(measured, unseen),
        len(points),
        len(set(systems)),
        refused,
    )


def _watts(log: float, points: list[WallPoint]) -> Array:
    return np.array([p.gpu_w + np.exp(log) for p in points])


def _fit(points: list[WallPoint]) -> tuple[float, float]:
    """Logarithm of a server's watts and its standard deviation, on relative errors; each system counts once."""
    from scipy.optimize import least_squares

    systems = [p.system for p in points]
    weight = np.sqrt([1.0 / systems.count(s) for s in systems])
    measured = np.log([p.wall_w for p in points])

    def residuals(log: Array) -> Array:
        return np.asarray(weight * (np.log(_watts(log[0], points)) - measured))

    found = least_squares(residuals, [np.log(200.0)], loss="soft_l1", f_scale=ROBUST_SCALE)
    spread = float(np.sum(found.fun**2)) / max(len(set(systems)) - 1, 1)
    return float(found.x[0]), float(np.sqrt(spread / np.sum(found.jac**2)))
