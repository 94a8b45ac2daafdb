"""How good the forms are: with whole groups left out, and, as shipped, on any file of measurements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np

from inferprint.calibration import peer
from inferprint.calibration.design import Array, Design, Point, design_of
from inferprint.calibration.fit import TASKS, Task
from inferprint.calibration.forms import TWO_TERM
from inferprint.calibration.left_out import left_out
from inferprint.calibration.observations import MEDIA, SCORED, Observation, Observations, Quantity, Refusal
from inferprint.calibration.regression import Fitted, ordinary_least_squares, predict
from inferprint.calibration.scores import MIN_ROWS, Form, Score, bounds_by_kind, inside, score
from inferprint.catalogue import Catalogue
from inferprint.errors import InferprintError
from inferprint.modalities.media import MediaWork
from inferprint.rates import MachineCard, MachineSetup, resolve_machine
from inferprint.rates.draws import bounds
from inferprint.rates.ideal import IdealRequest, ideal_request, text_features

LEFT_OUT = ("model", "gpu", "family")
"""What is left out whole, one table each."""


@dataclass(frozen=True, slots=True)
class Result:
    """Errors of one form on one quantity; `nodes` counts the values that were scored on a node, by node."""

    quantity: Quantity
    form: Form
    score: Score
    refused: int
    nodes: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As plain data; a number that does not exist is None."""
        names = {"quantity": self.quantity, "form": self.form}
        return {**names, **asdict(self.score), "refused": self.refused, "nodes": dict(self.nodes)}


@dataclass(frozen=True, slots=True)
class Judged:
    """One measured value and what the forms say of it, as (value, low, high); a form that has no interval, alone."""

    item: Observation
    ideal: IdealRequest
    default: tuple[float, float, float]
    two_term: tuple[float, float, float]
    ecologits: float | None
    ecologits_defaults: float | None


@dataclass(slots=True)
class Validation:
    """The shipped coefficients on a set of measurements; `silent` rows measure nothing that is known here."""

    judged: list[Judged]
    refused: list[Refusal]
    silent: int = 0

    @property
    def assumed(self) -> Counter[str]:
        """How many values rest on something that their row did not state, by what was filled in."""
        return Counter(name for judged in self.judged for name in judged.item.assumed)

    @property
    def nodes(self) -> Counter[str]:
        """How many values were scored on a node, by node."""
        return _nodes(self.judged)

    def without_node(self, gpu: str) -> int:
        """How many values on this accelerator were scored by it alone."""
        return sum(j.item.setup.node_id is None and j.item.setup.gpu_id == gpu for j in self.judged)

    def results(self) -> list[Result]:
        """Errors by quantity and form, for every quantity that the files hold."""
        found = []
        for quantity in SCORED:
            rows = [j for j in self.judged if j.item.quantity == quantity]
            refused = sum(r.quantity == quantity for r in self.refused)
            if rows or refused:
                found += [Result(quantity, form, s, refused, _nodes(rows)) for form, s in _scores(rows).items()]
        return found


def _nodes(rows: Sequence[Judged]) -> Counter[str]:
    return Counter(j.item.setup.node_id for j in rows if j.item.setup.node_id is not None)


def _scores(rows: Sequence[Judged]) -> dict[Form, Score]:
    """Errors by form; EcoLogits only where it is installed."""
    measured = np.array([j.item.measured for j in rows])
    found: dict[Form, Score] = {}
    for form, values in (("default", [j.default for j in rows]), ("two-term", [j.two_term for j in rows])):
        value, low, high = np.array(values).reshape(-1, 3).T
        found[form] = score(measured, value, low, high)  # type: ignore[index]
    if peer.available():
        known = [j for j in rows if j.ecologits]
        found["ecologits"] = score(
            np.array([j.item.measured for j in known]), np.array([j.ecologits for j in known], dtype=float)
        )
    return found


def validate(
    observations: Observations, catalogue: Catalogue, report: Callable[[int, int], None] | None = None
) -> Validation:
    """Score the shipped coefficients on measurements, by the cards that every estimate uses. Nothing is fitted.

    Parameters
    ----------
    report
        Called with rows done and rows in all.
    """
    found = Validation([], list(observations.refused), observations.silent)
    scored = [item for item in observations.kept if item.quantity in SCORED]

    @cache
    def card_of(setup: MachineSetup) -> MachineCard:
        return resolve_machine(catalogue, setup)

    for done, item in enumerate(scored, start=1):
        try:
            found.judged.append(_judged(item, card_of(item.setup), catalogue))
        except InferprintError as error:
            found.refused.append(Refusal(item.row_id, item.source, item.quantity, error.message))
        if report is not None:
            report(done, len(scored))
    return found


def _judged(item: Observation, card: MachineCard, catalogue: Catalogue) -> Judged:
    ideal = ideal_request(catalogue, item.setup, item.work, cached=item.cached)
    if isinstance(item.work, MediaWork):
        return _judged_media(item, item.work, card, ideal)
    _, n_out, _ = item.tokens
    features = text_features(catalogue, catalogue.models[card.model], item.tokens, card.window, item.cached)
    draws = card.draws
    energy = item.quantity in ("energy_per_output_token", "prompt_energy")
    per = n_out if item.quantity in ("served_time_per_token", "energy_per_output_token") else 1.0

    def bounded(rates: Array) -> tuple[float, float, float]:
        value, low, high = bounds(rates @ features / per)
        return float(value), float(low), float(high)

    known = peer.available() and n_out > 0
    return Judged(
        item,
        ideal,
        bounded(draws.energy if energy else draws.duration),
        bounded(draws.two_term_energy if energy else draws.two_term_duration),
        peer.predict(item, ideal) if known else None,
        peer.predict(item, ideal, defaults=True) if known else None,
    )


def _judged_media(item: Observation, work: MediaWork, card: MachineCard, ideal: IdealRequest) -> Judged:
    """What the cards say of a picture or clip: its energy, or the time of the pass that it is part of."""
    columns = card.media.columns(work) | {"n_requests": 1.0, "measured_seconds": 0.0}
    features = np.array(card.modality.count(columns, card.window, min))
    draws = card.draws
    energy = item.quantity.endswith("energy")
    default, two_term = (draws.energy, draws.two_term_energy) if energy else (draws.duration, draws.two_term_duration)

    def bounded(rates: Array) -> tuple[float, float, float]:
        value, low, high = bounds(rates @ features)
        return float(value), float(low), float(high)

    return Judged(item, ideal, bounded(default), bounded(two_term), None, None)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Errors on rows whose whole group was left out of the fit."""

    by: str
    quantity: Quantity
    rows_of: str
    form: Form | str
    score: Score

    def to_dict(self) -> dict[str, Any]:
        """As plain data; a number that does not exist is None."""
        names = {"left_out": self.by, "quantity": self.quantity, "rows_of": self.rows_of, "form": self.form}
        return {**names, **asdict(self.score)}


ML_ENERGY = ("mlenergy-v2", "mlenergy-v3")
"""Sources that measured the energy of serving engines over many batches."""

SUBSETS: Mapping[str, Callable[[Point], bool]] = {
    "all": lambda _: True,
    "ML.ENERGY v2, v3": lambda p: p.observation.source in ML_ENERGY,
}
"""Rows that are scored apart: engines with batches, without the single requests in plain PyTorch."""


def validate_left_out(observations: Observations, catalogue: Catalogue) -> list[LeftOut]:
    """Fit again without each model, each GPU and each family, and score what was left out, for all forms.

    A group after which fewer than `scores.MIN_ROWS` rows would be left cannot be left out: its rows are not scored.
    """
    single = design_of(observations, ("single_request_duration",), catalogue)
    found: list[LeftOut] = []
    for task in TASKS:
        if task.spec is TWO_TERM:
            continue
        design = design_of(observations, task.quantities, catalogue)
        used = design.where(design.weight > 0)
        scored = np.array([p.observation.quantity in task.scored for p in used.points])
        rows = used.where(scored)
        subsets = SUBSETS if task.scored == ("energy_per_output_token",) else {"all": SUBSETS["all"]}
        for by in LEFT_OUT:
            columns = {
                "default": _default_left_out(task, used, scored, by),
                "two-term": _two_term_left_out(rows, single, by),
            }
            found += _by_quantity(by, task, rows, columns, subsets)
        if task.scored[0] not in MEDIA:
            found += _by_quantity("nothing", task, rows, _peer(rows.points), subsets)
    return found


Columns = Mapping[str, tuple[Array, Array | None]]
"""Predictions by form, and whether the interval held what was measured."""


def _by_quantity(
    by: str, task: Task, rows: Design, columns: Columns, subsets: Mapping[str, Callable[[Point], bool]]
) -> list[LeftOut]:
    """Errors by quantity, subset and form."""
    found: list[LeftOut] = []
    for quantity in task.scored:
        mask = np.array([p.observation.quantity == quantity for p in rows.points])
        own = {form: (values[mask], None if held is None else held[mask]) for form, (values, held) in columns.items()}
        found += _scored(by, quantity, rows.where(mask), own, subsets)
    return found


def _scored(
    by: str, quantity: Quantity, rows: Design, columns: Columns, subsets: Mapping[str, Callable[[Point], bool]]
) -> list[LeftOut]:
    """Errors by subset and form, on rows that have a prediction."""
    found = []
    measured = np.array([p.observation.measured for p in rows.points])
    for name, belongs in subsets.items():
        inside_subset = np.array([belongs(p) for p in rows.points])
        for form, (predicted, held) in columns.items():
            mask = inside_subset & np.isfinite(predicted)
            plain = score(measured[mask], predicted[mask])
            share = 100.0 * float(np.mean(held[mask])) if held is not None and mask.any() else None
            found.append(LeftOut(by, quantity, name, form, replace(plain, coverage95_pct=share)))
    return found


def _default_left_out(task: Task, used: Design, scored: Array, by: str) -> tuple[Array, Array]:
    """Predictions of a default form by fits without the row's group; its intervals are from other groups."""

    def again(rows: Design) -> Fitted:
        return task.fit(task.spec, rows)

    unseen = left_out(again, used, by)[scored]
    rows = used.where(scored)
    residuals = np.log(rows.target / unseen)
    kinds, models, groups = [task.kind(p) for p in rows.points], rows.labels("model"), rows.labels(by)
    held = np.zeros(len(residuals))
    for name in np.unique(groups):
        out = groups == name
        others = ~out & np.isfinite(residuals)
        if np.isfinite(residuals[out]).all() and others.any():
            found = bounds_by_kind(residuals[others], _picked(kinds, others), models[others].tolist(), task.tail)
            held[out] = inside(residuals[out], _picked(kinds, out), found)
    return unseen * np.array([p.scale for p in rows.points]), held


def _picked(names: Sequence[str], mask: Array) -> list[str]:
    return [name for name, keep in zip(names, mask, strict=True) if keep]


def _two_term_left_out(rows: Design, single: Design, by: str) -> tuple[Array, None]:
    """Predictions of the two-term form, whose betas are fitted on single requests of the other groups."""
    if rows.points and rows.points[0].observation.quantity in MEDIA:
        return _two_term_media(rows), None
    labels, of_single = rows.labels(by), single.labels(by)
    predicted = np.full(len(rows.points), np.nan)
    for name in np.unique(labels):
        left = single.where(of_single != name)
        if len(left.points) >= MIN_ROWS:
            out = labels == name
            predicted[out] = _two_term_values(ordinary_least_squares(TWO_TERM, left), rows.where(out))
    return predicted, None


def _two_term_media(rows: Design) -> Array:
    """The two-term form of what a denoiser makes, which has no coefficient to learn: of one picture, or of its pass."""
    passes = np.array([p.ideal.batch if p.observation.quantity.endswith("time") else 1.0 for p in rows.points])
    seconds = rows.terms(["prefill"], "two_term")[:, 0] * passes
    scaled: Array = seconds * np.array([p.scale for p in rows.points])
    return scaled


def _two_term_values(fitted: Fitted, rows: Design) -> Array:
    """The two-term form in the unit of what was measured: energy is the power limit times the share of the time."""
    seconds = predict(fitted, rows)
    values = [
        s / p.ideal.batch if p.observation.quantity == "energy_per_output_token" else s
        for s, p in zip(seconds, rows.points, strict=True)
    ]
    scaled: Array = np.array(values) * np.array([p.scale for p in rows.points])
    return scaled


def _peer(points: Sequence[Point]) -> Columns:
    """What EcoLogits says with the rows' batch and devices, and with its defaults; nothing where it is missing."""
    if not peer.available():
        return {}

    def column(*, defaults: bool) -> tuple[Array, None]:
        # It estimates no prompt alone.
        values = [
            peer.predict(p.observation, p.ideal, defaults=defaults) if p.observation.tokens[1] > 0 else np.nan
            for p in points
        ]
        return np.array(values), None

    return {"ecologits": column(defaults=False), "ecologits-defaults": column(defaults=True)}
