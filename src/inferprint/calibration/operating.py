"""How well the operating point is found: on measured sweeps over batch sizes, with whole models left out of the fits.

The operator of a sweep's server is taken to keep the time per output token that was measured. Whether the throughput
and the energy at the batch that the forms find under that limit are the measured ones is what is scored.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from inferprint.calibration.design import Array, Design, design_of
from inferprint.calibration.fit import TASKS, Task, learned_values
from inferprint.calibration.forms import ENERGY, SERVED
from inferprint.calibration.observations import Observation, Observations
from inferprint.calibration.validate import ML_ENERGY
from inferprint.catalogue import Catalogue, Form
from inferprint.errors import InferprintError
from inferprint.modalities.text import TEXT
from inferprint.rates import MachineCard, resolve_machine
from inferprint.rates.draws import bounds
from inferprint.rates.ideal import text_features
from inferprint.rates.situation import decode_per_token

MIN_BATCHES = 3
"""Batch sizes from which measurements of one model on one machine are a sweep."""


Found = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Point:
    """One batch size of a sweep: measured and found throughput [tokens/s] and energy per output token [J].

    Found values are (value, low, high), None where the cards refuse the point; energy is None where nobody measured it.
    """

    source: str
    model: str
    batch: float
    throughput: float
    found_throughput: Found | None
    energy: float | None
    found_energy: Found | None


@dataclass(frozen=True, slots=True)
class OperatingScore:
    """Errors of one quantity at the batches found, as factors: exp(|ln(found / measured)|).

    `refused` points do not fit by our account of the memory, or are faster than the form's error explains.
    """

    quantity: str
    rows_of: str
    rows: int
    median_factor: float
    p90_factor: float
    bias_pct: float
    coverage95_pct: float
    refused: int

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


SUBSETS: Mapping[str, Callable[[Point], bool]] = {
    "all": lambda _: True,
    "ML.ENERGY v2, v3": lambda p: p.source in ML_ENERGY,
    "batch 1 to 8": lambda p: p.batch <= 8.5,
    "batch 9 to 127": lambda p: 8.5 < p.batch < 127.5,
    "batch 128 and more": lambda p: p.batch >= 127.5,
}
"""Points that are scored apart; measured batches are means, and lie a little beside the stated ones."""


def sweeps(observations: Observations) -> dict[tuple[object, ...], list[tuple[Observation, Observation | None]]]:
    """Served times with the energies of the same rows, by sweep: all alike but the batch, which has several sizes."""
    energies = {(o.source, o.row_id): o for o in observations.of("energy_per_output_token")}
    found: dict[tuple[object, ...], list[tuple[Observation, Observation | None]]] = defaultdict(list)
    for item in observations.of("served_time_per_token"):
        if item.weight > 0:
            # Answers of a sampled set differ in length from run to run: they are no part of what a sweep is.
            alike = replace(item.setup, batch_size=None, traffic=None)
            key = (item.source, alike, item.tokens[0], item.cached, item.tokens[2], round(np.log2(item.tokens[1])))
            found[key].append((item, energies.get((item.source, item.row_id))))
    return {key: rows for key, rows in found.items() if len({item.setup.batch_size for item, _ in rows}) >= MIN_BATCHES}


def validate_operating_points(
    observations: Observations, catalogue: Catalogue, report: Callable[[int, int], None] | None = None
) -> list[OperatingScore]:
    """Score throughput and energy at the batch found under each measured time, with the row's model left out.

    Parameters
    ----------
    report
        Called with models done and models in all.
    """
    points = operating_points(observations, catalogue, report)
    scores = []
    for name, belongs in SUBSETS.items():
        rows = [p for p in points if belongs(p)]
        throughput = [(p.throughput, p.found_throughput) for p in rows]
        energy = [(p.energy, p.found_energy) for p in rows if p.energy is not None]
        for quantity, pairs in (("throughput_at_limit", throughput), ("energy_at_limit", energy)):
            known = [(measured, found) for measured, found in pairs if found is not None]
            if known:
                scores.append(_score(quantity, name, known, len(pairs) - len(known)))
    return scores


def _score(quantity: str, rows_of: str, rows: list[tuple[float, Found]], refused: int) -> OperatingScore:
    measured = np.array([row[0] for row in rows])
    value, low, high = np.array([row[1] for row in rows]).reshape(-1, 3).T
    logs = np.log(value / measured)
    factors = np.exp(np.abs(logs))
    return OperatingScore(
        quantity,
        rows_of,
        len(rows),
        float(np.median(factors)),
        float(np.quantile(factors, 0.9)),
        100.0 * float(np.expm1(np.median(logs))),
        100.0 * float(np.mean((low <= measured) & (measured <= high))),
        refused,
    )


def operating_points(
    observations: Observations, catalogue: Catalogue, report: Callable[[int, int], None] | None = None
) -> list[Point]:
    """Every batch size of every sweep, by forms that have not seen its model."""
    found: list[Point] = []
    tasks = [task for task in TASKS if task.spec in (ENERGY, SERVED)]
    designs = [(task, design_of(observations, task.quantities, catalogue)) for task in tasks]
    by_model: dict[str, list[tuple[Observation, Observation | None]]] = defaultdict(list)
    for rows in sweeps(observations).values():
        by_model[rows[0][0].setup.model_id] += rows
    for done, (model, rows) in enumerate(by_model.items(), start=1):
        unseen = catalogue.with_records(*(_form_without(task, design, model, catalogue) for task, design in designs))
        found += [_point(item, energy, unseen) for item, energy in rows]
        if report is not None:
            report(done, len(by_model))
    return found


def _form_without(task: Task, design: Design, model: str, catalogue: Catalogue) -> Form:
    """A form fitted on all other models; its residual is that of models left out anyway."""
    used = design.where(design.weight > 0)
    fitted = task.fit(task.spec, used.where(used.labels("model") != model))
    terms, effects = learned_values(fitted)
    size = len(fitted.covariance)
    triangle = tuple(float(fitted.covariance[i, j]) for i in range(size) for j in range(i + 1))
    return replace(catalogue.forms[task.spec.id], terms=terms, effects=effects, covariance=triangle)


def _point(item: Observation, energy: Observation | None, catalogue: Catalogue) -> Point:
    """What the cards say under the measured time of one row."""
    setup = replace(item.setup, batch_size=None, max_seconds_per_token=item.measured)
    batch, joules = item.setup.batch_size or 1.0, energy.measured if energy is not None else None
    try:
        card = resolve_machine(catalogue, setup)
    except InferprintError:
        return Point(item.source, item.setup.model_id, batch, batch / item.measured, None, joules, None)
    per_token = card.draws.duration @ decode_per_token(TEXT, item.tokens[:2], card.window)
    return Point(
        item.source,
        item.setup.model_id,
        batch,
        batch / item.measured,
        _bounded(card.draws.batch / per_token),
        joules,
        _bounded(_energy_per_token(card, item, catalogue)),
    )


def _energy_per_token(card: MachineCard, item: Observation, catalogue: Catalogue) -> Array:
    features = text_features(catalogue, catalogue.models[card.model], item.tokens, card.window, item.cached)
    per_token: Array = card.draws.energy @ features / item.tokens[1]
    return per_token


def _bounded(draws: Array) -> Found:
    value, low, high = bounds(draws)
    return float(value), float(low), float(high)
