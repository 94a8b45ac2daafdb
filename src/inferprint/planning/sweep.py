"""One quantity over one or two axes; every cell is an ordinary estimate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from inferprint.catalogue import Catalogue, resolve_gpu, resolve_grid, resolve_node, resolve_precision, resolve_region
from inferprint.errors import DoesNotFit, InferprintError, InvalidInput, LimitNotMet, Undisclosed, UnknownName
from inferprint.estimate import Estimator, Request, Result
from inferprint.estimate.request import LIMIT_FIELDS
from inferprint.estimate.result import as_dict
from inferprint.planning.axes import (
    MAX_VALUES,
    NO_TECHNIQUE,
    known_name,
    listed,
    numbers,
    split_technique_sets,
    technique_set,
    whole_numbers,
)
from inferprint.planning.objectives import Served, columns
from inferprint.quantities import BREAKDOWN, RESULTS, TWO_TERM, Range
from inferprint.rates import OUTPUT_NAMES, total_draws
from inferprint.rates.batch import MAX_BATCH
from inferprint.rates.draws import bounds
from inferprint.rates.engines import find_engine

MAX_CELLS = 10_000
"""Cells of a sweep: each is an estimate with draws."""

SERVING = {"tokens_per_s": "tokens/s", "time_per_output_token_ms": "ms", "batch_size": "requests"}
"""Quantities of a sweep that are no output of an estimate: output tokens per second of a replica, and so on."""

UNITS = {quantity.name: quantity.unit for quantity in (*RESULTS, *BREAKDOWN, *TWO_TERM)} | SERVING
QUANTITIES = (*OUTPUT_NAMES, *SERVING)

DEFAULT_QUANTITY = "usage_energy_wh"

BRIEF = {DoesNotFit: "does not fit", LimitNotMet: "limit not met", Undisclosed: "undisclosed"}
"""How a cell says why it cannot be."""


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis: its name on the command line, the request field that it fills, and its values, in order."""

    name: str
    field: str
    values: tuple[Any, ...]

    def fill(self, value: Any) -> dict[str, Any]:
        """Request fields of one value. A count of devices is that of the replica, as in a plan."""
        if self.field == "gpu_count":
            return {"gpu_count": value, "replica_gpu_count": value}
        return {self.field: value}

    def label(self, value: Any) -> str:
        """A value as a table shows it."""
        if self.field == "techniques":
            return "+".join(value) or NO_TECHNIQUE
        return f"{value:,.10g}" if isinstance(value, (int, float)) else str(value)


@dataclass(frozen=True, slots=True)
class Cell:
    """One point of a sweep: the value of each axis, and the estimate, or the error that stands for it."""

    at: tuple[Any, ...]
    range: Range | None
    warnings: tuple[str, ...] = ()
    error: InferprintError | None = None

    @property
    def why(self) -> str:
        """Why there is no number, in few words; empty where there is one."""
        if self.error is None:
            return "" if self.range is not None else "unknown"
        return next((text for kind, text in BRIEF.items() if isinstance(self.error, kind)), "not possible")


@dataclass(frozen=True)
class Sweep:
    """A quantity over its axes: `cells` in the order of the axes' values, the last axis fastest."""

    model: str
    quantity: str
    axes: tuple[Axis, ...]
    cells: tuple[Cell, ...]
    request: Request
    versions: dict[str, str]

    @property
    def unit(self) -> str:
        """Unit of the quantity."""
        return UNITS[self.quantity]

    @property
    def common_warnings(self) -> tuple[str, ...]:
        """Warnings of every cell that has a number."""
        lists = [cell.warnings for cell in self.cells if cell.error is None]
        return tuple(text for text in lists[0] if all(text in other for other in lists)) if lists else ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data, in the shape that `--json` prints."""
        names = [axis.name for axis in self.axes]
        return {
            "model": self.model,
            "quantity": self.quantity,
            "unit": self.unit,
            "axes": {axis.name: [_plain(value) for value in axis.values] for axis in self.axes},
            "cells": [
                {
                    **{name: _plain(value) for name, value in zip(names, cell.at, strict=True)},
                    self.quantity: as_dict(cell.range),
                    "warnings": list(cell.warnings),
                    "error": cell.error.to_dict() if cell.error is not None else None,
                }
                for cell in self.cells
            ],
            "work": {
                name: value
                for name in ("input_tokens", "output_tokens", "cached_input_tokens")
                if name not in {axis.field for axis in self.axes} and (value := getattr(self.request, name)) is not None
            },
            "versions": self.versions,
        }


def _plain(value: Any) -> Any:
    return "+".join(value) or NO_TECHNIQUE if isinstance(value, tuple) else value


def sweep(
    request: Request, axes: Sequence[Axis], quantity: str = DEFAULT_QUANTITY, estimator: Estimator | None = None
) -> Sweep:
    """Estimate a request at every combination of the values of one or two axes.

    Parameters
    ----------
    request
        Everything that the axes do not say.

    Raises
    ------
    UnknownName
        A quantity, or a name of an axis, that does not exist.
    InvalidInput
        Axes that cannot be together; values that cannot be anywhere.
    InferprintError
        No cell can be: the error of the first.
    """
    known_name("quantity", quantity, QUANTITIES, "inferprint sweep --help")
    _check(axes)
    estimator = estimator or Estimator()
    cells = tuple(_cell(estimator, request, axes, at, quantity) for at in product(*(axis.values for axis in axes)))
    if all(cell.error is not None for cell in cells):
        raise next(cell.error for cell in cells if cell.error is not None)
    first = next(cell for cell in cells if cell.error is None)
    result = estimator.estimate(_at(request, axes, first.at))
    return Sweep(result.machine.model, quantity, tuple(axes), cells, request, result.versions)


def _check(axes: Sequence[Axis]) -> None:
    """One or two axes that fill different fields, and not too many cells."""
    if not 1 <= len(axes) <= 2:
        raise InvalidInput("over", f"{len(axes)} axes", hint="Give one or two: --over batch-size=1..64 --over gpu=...")
    if len({axis.field for axis in axes}) < len(axes):
        raise InvalidInput("over", f"{axes[0].name} is given twice", hint="List all its values in one.")
    for axis in axes:
        if not axis.values:
            raise InvalidInput("over", f"{axis.name} has no values", hint=f"--over {axis.name}=VALUE,VALUE")
    count = int(np.prod([len(axis.values) for axis in axes]))
    if count > MAX_CELLS:
        raise InvalidInput("over", f"{count:,} cells", hint=f"At most {MAX_CELLS:,}.")


def _at(request: Request, axes: Sequence[Axis], at: Sequence[Any]) -> Request:
    """The request of a cell."""
    filled: dict[str, Any] = {}
    for axis, value in zip(axes, at, strict=True):
        filled |= axis.fill(value)
    return replace(request, **filled)


def _cell(estimator: Estimator, request: Request, axes: Sequence[Axis], at: tuple[Any, ...], quantity: str) -> Cell:
    """The estimate of one cell; what one cell cannot be does not stop the others, a name that is wrong does."""
    try:
        result = estimator.estimate(_at(request, axes, at))
        return Cell(at, quantity_of(result, quantity), tuple(result.warnings))
    except UnknownName:
        raise
    except InferprintError as error:
        return Cell(at, None, error=error)


def quantity_of(result: Result, quantity: str) -> Range | None:
    """An output of an estimate, or one of `SERVING`, with its interval; None where it is unknown."""
    if quantity in OUTPUT_NAMES:
        return result.range(quantity)
    if quantity == "batch_size":
        draws = result.machine.draws.batch
    else:
        work = (result.request.output_tokens or 0.0) / result.request.n_requests
        outputs = total_draws(result.machine, result.place, result.features)
        draws = columns(result.machine, outputs, Served(result.features, work, 0.0, np.nan))[quantity]
    return None if np.isnan(draws[0]) else Range(*(float(bound) for bound in bounds(draws)))


Parse = Callable[[Catalogue, str], Sequence[Any]]


def _names(field: str, resolve: Callable[[Catalogue, str], Any]) -> Parse:
    """A list of names that the catalogue holds."""

    def parse(catalogue: Catalogue, text: str) -> Sequence[Any]:
        found = listed(field, [text])
        for name in found:
            resolve(catalogue, name)
        return found

    return parse


def _counts(field: str, least: int = 1) -> Parse:
    return lambda _, text: whole_numbers(field, [text], least=least)


def _numbers(field: str, least: float | None = None) -> Parse:
    return lambda _, text: numbers(field, [text], least=least)


def _batches(_: Catalogue, text: str) -> Sequence[Any]:
    found = whole_numbers("batch_size", [text]) if ".." in text else numbers("batch_size", [text], least=1)
    if max(found) > MAX_BATCH:
        raise InvalidInput("batch_size", f"{max(found):g} requests", hint=f"1 to {MAX_BATCH}.")
    return found


def _sets(_: Catalogue, text: str) -> Sequence[Any]:
    return [technique_set(part) for part in split_technique_sets("techniques", text)]


AXES: dict[str, tuple[str, Parse]] = {
    "gpu": ("gpu_id", _names("gpu_id", resolve_gpu)),
    "node": ("node_id", _names("node_id", resolve_node)),
    "gpu-count": ("gpu_count", _counts("gpu_count")),
    "precision": ("precision", _names("precision", resolve_precision)),
    "batch-size": ("batch_size", _batches),
    "technique": ("techniques", _sets),
    "region": ("cloud_region", lambda _, text: listed("cloud_region", [text])),
    "country": ("country", _names("country", resolve_grid)),
    "engine": ("engine", _names("engine", lambda _, name: find_engine(name))),
    "input-tokens": ("input_tokens", _counts("input_tokens", 0)),
    "output-tokens": ("output_tokens", _counts("output_tokens", 0)),
    "cached-input-tokens": ("cached_input_tokens", _counts("cached_input_tokens", 0)),
    "active-share": ("active_share", _numbers("active_share")),
    "pue": ("pue", _numbers("pue", 1.0)),
    "grid-gco2e-per-kwh": ("grid_gco2e_per_kwh", _numbers("grid_gco2e_per_kwh", 0.0)),
    "usual-input-tokens": ("usual_input_tokens", _counts("usual_input_tokens", 0)),
    "usual-output-tokens": ("usual_output_tokens", _counts("usual_output_tokens", 1)),
    "max-ttft-ms": ("max_ttft_ms", _numbers("max_ttft_ms")),
    "max-time-per-output-token-ms": ("max_time_per_output_token_ms", _numbers("max_time_per_output_token_ms")),
}
"""Axes by name: the request field, and how values are read."""


def axis_of(catalogue: Catalogue, text: str, *, cloud: str | None = None) -> Axis:
    """An axis from "NAME=VALUES".

    Parameters
    ----------
    cloud
        The cloud of regions that do not name theirs.

    Raises
    ------
    UnknownName
        An axis, or a name among its values, that does not exist.
    InvalidInput
        No values, or values that cannot be.
    """
    name, equals, values = text.partition("=")
    name = name.strip()
    known_name("axis", name, list(AXES), "inferprint sweep --help")
    if not equals or not values.strip():
        raise InvalidInput("over", f"{name} has no values", hint=f"--over {name}=VALUE,VALUE")
    field, parse = AXES[name]
    found = tuple(dict.fromkeys(parse(catalogue, values)))
    if len(found) > MAX_VALUES:
        raise InvalidInput("over", f"{len(found)} values of {name}", hint=f"At most {MAX_VALUES}.")
    if field == "cloud_region":
        for region in found:
            resolve_region(catalogue, region, cloud)
    return Axis(name, field, found)


def check_beside(axes: Sequence[Axis], given: dict[str, Any]) -> None:
    """Refuse an option that an axis fills too, and a limit beside an axis that says the batch.

    Raises
    ------
    InvalidInput
    """
    for axis in axes:
        for name in axis.fill(axis.values[0]) if axis.values else ():
            if name in given:
                raise InvalidInput(name, f"given beside --over {axis.name}", hint="Give one of them.")
        if axis.field == "batch_size" and (both := [name for name in LIMIT_FIELDS if name in given]):
            raise InvalidInput(both[0], "given beside --over batch-size", hint="A limit finds the batch.")
