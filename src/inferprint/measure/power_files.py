"""Files of recorded power: a wall meter's, or the answer of Prometheus to a query."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from inferprint.errors import FileProblem, MeterProblem
from inferprint.measure.meters.base import Boundary, Reading
from inferprint.measure.meters.dcgm import DCGM_POWER, device_of
from inferprint.measure.meters.integrated import Power, checked, energy_of
from inferprint.measure.meters.wall_csv import powers_of
from inferprint.measure.meters.windows import Window, energy_between
from inferprint.usage.prometheus import Series

BOARD = "UUID"
"""Label of series that are each about one accelerator."""


def readings_of(path: Path, unit_w: float = 1.0) -> tuple[list[list[Reading]], Boundary]:
    """Energy by time since 1970, from a wall meter's CSV file or the answer of Prometheus to a query of power.

    Parameters
    ----------
    unit_w
        What one of the query's unit is in [W].

    Returns
    -------
    tuple
        Readings of each device or series, which add up; and the boundary, by the metric's name where the answer has
        one. Series of one accelerator are that one several times, as exporters repeat it for each of its users.

    Raises
    ------
    FileProblem, MeterProblem
        It cannot be read, or is neither.
    """
    if path.suffix.lower() != ".json":
        return [energy_of(powers_of(path))], "system_wall_ac"
    try:
        answer = json.loads(path.read_text(encoding="utf-8"))
        found = [
            (_series(result.get("metric", {})), [(float(at), float(value)) for at, value in result["values"]])
            for result in answer["data"]["result"]
        ]
    except OSError as error:
        raise FileProblem(f"cannot read {path}: {error.strerror}", hint="Name a file with --power.") from error
    except (ValueError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        hint = "Save the answer of /api/v1/query_range as it is."
        raise FileProblem(f"{path} is no answer of Prometheus to a range query: {error!r}", hint=hint) from error
    if not any(values for _, values in found):
        raise MeterProblem(f"{path} holds no series", hint="Ask for the time of the span.")
    devices: dict[str, dict[float, float]] = {}
    for series, values in found:
        watts = devices.setdefault(_device(series), {})
        for at, value in values:
            watts[at] = max(watts.get(at, -math.inf), checked(value * unit_w, path.name))
    powers = [[Power(at, watts[at]) for at in sorted(watts)] for watts in devices.values() if watts]
    boundary: Boundary = "gpu_only" if any(series.name == DCGM_POWER for series, _ in found) else "system_wall_ac"
    return [energy_of(device) for device in powers], boundary


def _series(metric: Mapping[str, str]) -> Series:
    labels = {str(name): str(value) for name, value in metric.items()}
    return Series(labels.pop("__name__", ""), tuple(sorted(labels.items())))


def _device(series: Series) -> str:
    """What a series is about: an accelerator, or only itself."""
    of_board = series.name == DCGM_POWER or BOARD in dict(series.labels)
    return f"{series.name} {device_of(series) if of_board else series.labels}"


def energy_of_span(series: Sequence[Sequence[Reading]], start_s: float, end_s: float, name: str) -> Window:
    """Energy of several series together between two moments.

    Raises
    ------
    MeterProblem
        See `energy_between`.
    """
    windows = [energy_between(readings, start_s, end_s, name=name) for readings in series]
    return Window(start_s, end_s, math.fsum(w.joules for w in windows), max(w.resolution_s for w in windows))
