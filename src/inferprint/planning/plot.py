"""Pictures of a plan and of a sweep, where Matplotlib is installed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from inferprint.errors import FileProblem
from inferprint.planning.objectives import OBJECTIVES, Objective

if TYPE_CHECKING:
    from inferprint.planning.plan import Plan
    from inferprint.planning.sweep import Sweep

SUFFIXES = (".png", ".svg", ".pdf")
PALE, GREY, FRONT = "#e0e0e0", "#9a9a9a", "#c0392b"


def check_plot(path: Path) -> None:
    """Refuse a picture that could not be written, before anything is computed.

    Raises
    ------
    FileProblem
        Matplotlib is missing, or the name or its folder cannot be.
    """
    if find_spec("matplotlib") is None:
        raise FileProblem("matplotlib not installed", hint="pip install 'inferprint[fit]'")
    if path.suffix.lower() not in SUFFIXES:
        raise FileProblem(f"{path}: not a picture that can be written", hint=f"End it with {', '.join(SUFFIXES)}.")
    if not path.parent.is_dir():
        raise FileProblem(f"{path.parent} is no folder", hint="Name a file in a folder that exists.")


def _draw(path: Path, content: Callable[[Any], None]) -> None:
    """Draw into one pair of axes and write the picture."""
    check_plot(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    content(figure.add_subplot())
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise FileProblem(f"cannot write {path}: {error}", hint="Name a file in a folder that exists.") from error


def plot_plan(found: Plan, path: Path) -> None:
    """Every configuration in grey, darker where it keeps the limits, and the front, over the first two objectives.

    Raises
    ------
    FileProblem
        As `check_plot`.
    """
    objectives = found.objectives
    across = objectives[0]
    up = objectives[1] if len(objectives) > 1 else OBJECTIVES["time-per-output-token"]
    values = found.found.values

    def content(axes: Any) -> None:
        feasible, front = found.feasible_rows, found.front_rows
        axes.scatter(values[across.column], values[up.column], s=4, c=PALE, label="fits")
        axes.scatter(
            values[across.column][feasible], values[up.column][feasible], s=6, c=GREY, label="keeps the limits"
        )
        axes.scatter(values[across.column][front], values[up.column][front], s=18, c=FRONT, label="Pareto front")
        axes.set(xscale="log", yscale="log", xlabel=_label(across), ylabel=_label(up))
        axes.set_title(f"{found.front[0].result.machine.model}: {found.feasible:,} configurations")
        axes.legend()

    _draw(path, content)


def _label(objective: Objective) -> str:
    return objective.head + (f" [{objective.unit}]" if objective.unit else "")


def plot_sweep(found: Sweep, path: Path) -> None:
    """The quantity over the first axis with its 95 % band; one line for each value of the second.

    Raises
    ------
    FileProblem
        As `check_plot`.
    """
    first, *rest = found.axes
    numeric = all(isinstance(value, (int, float)) for value in first.values)
    x = np.array(first.values, dtype=float) if numeric else np.arange(len(first.values), dtype=float)
    table = np.full((len(first.values), len(rest[0].values) if rest else 1, 3), np.nan)
    for index, cell in enumerate(found.cells):
        if cell.range is not None:
            table[divmod(index, table.shape[1])] = cell.range
    names = [rest[0].label(value) for value in rest[0].values] if rest else [found.model]

    def content(axes: Any) -> None:
        for line, name in enumerate(names):
            axes.plot(x, table[:, line, 0], marker="o", markersize=3, label=name)
            axes.fill_between(x, table[:, line, 1], table[:, line, 2], alpha=0.2)
        _scales(axes, first.values if numeric else (), table)
        if not numeric:
            axes.set_xticks(x, [first.label(value) for value in first.values], rotation=20)
        axes.set(xlabel=first.name, ylabel=f"{found.quantity} [{found.unit}]", title=found.model)
        axes.legend()

    _draw(path, content)


def _scales(axes: Any, values: Sequence[float], table: Any) -> None:
    """Logarithmic where everything is positive and spans a factor of ten."""
    known = table[~np.isnan(table)]
    if len(values) and min(values) > 0 and max(values) / min(values) > 10:
        axes.set_xscale("log")
    if known.min() > 0 and known.max() / known.min() > 10:
        axes.set_yscale("log")
