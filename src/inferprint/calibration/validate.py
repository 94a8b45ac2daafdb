"""How good the forms are: with whole groups left out, and, as shipped, on any file of measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from inferprint.calibration import peer
from inferprint.calibration.design import Array, Design, Point, design_of
from inferprint.calibration.fit import TASKS, Task
from inferprint.calibration.forms import TWO_TERM
from inferprint.calibration.left_out import left_out
from inferprint.calibration.observations import SCORED, Observation, Observations, Quantity, Refusal
from inferprint.calibration.regression import Fitted, ordinary_least_squares, predict
from inferprint.calibration.scores import Form, Score, bounds_by_kind, inside, score
from inferprint.catalogue import Catalogue
from inferprint.errors import InferprintError
from inferprint.modalities.text import TEXT
from inferprint.rates import MachineCard, MachineSetup, resolve_machine
from inferprint.rates.draws import bounds
from inferprint.rates.ideal import IdealRequest, ideal_request
from inferprint.rates.situation import counted

LEFT_OUT = ("model", "gpu", "family")
"""What is left out whole, one table each."""


@dataclass(frozen=True, slots=True)
class Result:
    """Errors of one form on one quantity."""

    quantity: Quantity
    form: Form
    score: Score
    refused: int

    def to_dict(self) -> dict[str, Any]:
        """As plain data; a number that does not exist is None."""
        return {"quantity": self.quantity, "form": self.form, **asdict(self.score), "refused": self.refused}


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
    """The shipped coefficients on a set of measurements."""

    judged: list[Judged]
    refused: list[Refusal]

    def results(self) -> list[Result]:
        """Errors by quantity and form, for every quantity that the files hold."""
        found = []
        for quantity in SCORED:
            rows = [j for j in self.judged if j.item.quantity == quantity]
            refused = sum(r.quantity == quantity for r in self.refused)
            if rows or refused:
                found += [Result(quantity, form, s, refused) for form, s in _scores(rows).items()]
        return found


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


def validate(observations: Observations, catalogue: Catalogue, report: Callable[[int, int], None] | None = None) -> Validation:
    """Score the shipped coefficients on measurements, by the cards that every estimate uses. Nothing is fitted.

    Parameters
    ----------
    report
        Called with rows done and rows in all.
    """
    found = Validation([], list(observations.refused))
    scored = [item for item in observations.kept if item.quantity in SCORED]

    @lru_cache(maxsize=None)
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
    ideal = ideal_request(catalogue, item.setup, item.work)
    n_in, n_out, media = item.work
    features = counted(TEXT, (n_in, n_out), card.window, media=media)
    draws = card.draws
    energy = item.quantity == "energy_per_output_token"
    per = n_out if item.quantity != "single_request_duration" else 1.0

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


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Errors on rows whose whole group was left out of the fit."""

    by: str
    quantity: Quantity
    form: Form | str
    score: Score

    def to_dict(self) -> dict[str, Any]:
        """As plain data; a number that does not exist is None."""
        return {"left_out": self.by, "quantity": self.quantity, "form": self.form, **asdict(self.score)}


def validate_left_out(observations: Observations, catalogue: Catalogue) -> list[LeftOut]:
    """Fit again without each model, each GPU and each family, and score what was left out, for all forms."""
    single = design_of(observations, ("single_request_duration",), catalogue)
    found = []
    for task in TASKS:
        if task.spec is TWO_TERM:
            continue
        design = design_of(observations, task.quantities, catalogue)
        used = design.where(design.weight > 0)
        scored = np.array([p.observation.quantity == task.scored for p in used.points])
        for by in LEFT_OUT:
            found.append(LeftOut(by, task.scored, "default", _default_left_out(task, used, scored, by)))
            found.append(LeftOut(by, task.scored, "two-term", _two_term_left_out(used.where(scored), single, by)))
        rows = used.where(scored)
        found += [LeftOut("nothing", task.scored, form, s) for form, s in _peer_scores(rows.points).items()]
    return found


def _default_left_out(task: Task, used: Design, scored: Array, by: str) -> Score:
    """Errors of a default form; its intervals are those of the other groups' residuals."""

    def again(rows: Design) -> Fitted:
        return task.fit(task.spec, rows)

    unseen = left_out(again, used, by)[scored]
    rows = used.where(scored)
    scale = np.array([p.scale for p in rows.points])
    residuals = np.log(rows.target / unseen)
    kinds, models, groups = [task.kind(p) for p in rows.points], rows.labels("model"), rows.labels(by)
    covered = np.zeros(len(residuals))
    for name in np.unique(groups):
        out = groups == name
        if out.all():
            covered[:] = np.nan
            continue
        others = [k for k, o in zip(kinds, out, strict=True) if not o]
        found = bounds_by_kind(residuals[~out], others, models[~out].tolist())
        covered[out] = inside(residuals[out], [k for k, o in zip(kinds, out, strict=True) if o], found)
    plain = score(rows.target * scale, unseen * scale)
    return Score(**{**asdict(plain), "coverage95_pct": 100.0 * float(np.mean(covered))})


def _two_term_left_out(rows: Design, single: Design, by: str) -> Score:
    """Errors of the two-term form, whose betas are fitted on single requests of the other groups."""
    labels, of_single = rows.labels(by), single.labels(by)
    predicted = np.zeros(len(rows.points))
    for name in np.unique(labels):
        fitted = ordinary_least_squares(TWO_TERM, single.where(of_single != name))
        out = labels == name
        predicted[out] = _two_term_values(fitted, rows.where(out))
    return score(np.array([p.observation.measured for p in rows.points]), predicted)


def _two_term_values(fitted: Fitted, rows: Design) -> Array:
    """The two-term form in the unit of what was measured: energy is the power limit times the share of the time."""
    seconds = predict(fitted, rows)
    values = [
        s / p.ideal.batch if p.observation.quantity == "energy_per_output_token" else s
        for s, p in zip(seconds, rows.points, strict=True)
    ]
    return np.array(values) * np.array([p.scale for p in rows.points])


def _peer_scores(points: Iterable[Point]) -> Mapping[str, Score]:
    """Errors of EcoLogits with the rows' batch and devices, and with its defaults."""
    rows = [p for p in points if p.observation.work[1] > 0]
    if not peer.available() or not rows:
        return {}
    measured = np.array([p.observation.measured for p in rows])
    return {
        name: score(measured, np.array([peer.predict(p.observation, p.ideal, defaults=defaults) for p in rows]))
        for name, defaults in (("ecologits", False), ("ecologits-defaults", True))
    }
