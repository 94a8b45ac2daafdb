"""Learns the coefficients of all forms from measurements, with the errors that they make on models left out."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from inferprint.calibration.design import Array, Design, Point, design_of
from inferprint.calibration.forms import ENERGY, MEDIA_DURATION, MEDIA_ENERGY, SERVED, SINGLE, TWO_TERM
from inferprint.calibration.left_out import left_out
from inferprint.calibration.observations import Observations, Quantity, Refusal
from inferprint.calibration.regression import Fitted, Spec, fit, ordinary_least_squares, predict
from inferprint.calibration.scores import FEW_MODELS_TAIL, TAIL, bounds_by_kind
from inferprint.calibration.wall import Wall
from inferprint.catalogue import Catalogue, Form
from inferprint.quantities import Z95, Range


@dataclass(frozen=True, slots=True)
class Task:
    """One form, the quantities that it is fitted on, those that it is judged by, and how.

    Attributes
    ----------
    kind
        Point -> kind of case, for which a residual of its own is looked for.
    tail
        Share of the residuals that is left out on each side of an interval.
    """

    spec: Spec
    quantities: tuple[Quantity, ...]
    scored: tuple[Quantity, ...]
    fit: Callable[[Spec, Design], Fitted]
    kind: Callable[[Point], str]
    tail: float = TAIL


def _part(point: Point) -> str:
    """Whether a request is a prompt alone or an answer alone: prompts are harder to predict."""
    n_in, n_out, _ = point.observation.tokens
    return "prefill" if n_out == 0 else "decode" if n_in == 0 else "both"


def _kind(point: Point) -> str:
    return point.ideal.kind


SINGLE_DURATION: tuple[Quantity, ...] = ("single_request_duration",)

TASKS = (
    Task(ENERGY, ("energy_per_output_token", "prompt_energy"), ("energy_per_output_token",), fit, _kind),
    Task(SERVED, ("served_time_per_token",), ("served_time_per_token",), fit, _kind),
    Task(SINGLE, SINGLE_DURATION, SINGLE_DURATION, fit, _part),
    Task(MEDIA_ENERGY, ("image_energy", "video_energy"), ("image_energy", "video_energy"), fit, _kind, FEW_MODELS_TAIL),
    Task(MEDIA_DURATION, ("image_time", "video_time"), ("image_time", "video_time"), fit, _kind, FEW_MODELS_TAIL),
    Task(TWO_TERM, SINGLE_DURATION, SINGLE_DURATION, ordinary_least_squares, lambda _: "local"),
)


@dataclass(frozen=True, slots=True)
class Learned:
    """A fitted form with its rows and its errors.

    Attributes
    ----------
    predicted, unseen
        What the fit says of each row of the design, and what a fit without the row's model says [s].
    residual
        95 % bounds of ln(measured / predicted) on models left out, by kind of case.
    """

    task: Task
    fitted: Fitted
    design: Design
    predicted: Array
    unseen: Array
    residual: Mapping[str, Range]

    @property
    def terms(self) -> dict[str, Range]:
        """Coefficients by term with the bounds of their 95 % interval."""
        return learned_values(self.fitted)[0]

    @property
    def effects(self) -> dict[str, float]:
        """Effects in logs."""
        return learned_values(self.fitted)[1]


def learned_values(fitted: Fitted) -> tuple[dict[str, Range], dict[str, float]]:
    """Coefficients by term with the bounds of their 95 % interval, and effects in logs."""
    count = len(fitted.spec.terms)
    logs, widths = fitted.values[:count], Z95 * fitted.deviations[:count]
    names = fitted.spec.names
    terms = {
        name: Range(*np.exp([value, value - width, value + width]).tolist())
        for name, value, width in zip(names[:count], logs, widths, strict=True)
    }
    return terms, dict(zip(names[count:], fitted.values[count:].tolist(), strict=True))


CHANGED = 0.005
"""Least change of a coefficient that is told, in logs: they are kept to four digits."""


@dataclass(frozen=True, slots=True)
class Change:
    """A coefficient before a fit and after it; of an effect its factor, exp(effect)."""

    form: str
    name: str
    before: float
    after: float


def changes(learned: Iterable[Learned], catalogue: Catalogue) -> list[Change]:
    """What a fit changes of the coefficients in use, form by form, the largest change first."""
    found = []
    for item in learned:
        old, of_form = catalogue.forms[item.task.spec.id], []
        for name, value in item.terms.items():
            if name in old.terms:
                of_form.append(Change(old.id, name, old.terms[name].value, value.value))
        for name, effect in item.effects.items():
            if name in old.effects:
                of_form.append(Change(old.id, name, float(np.exp(old.effects[name])), float(np.exp(effect))))
        found += sorted(of_form, key=lambda change: -abs(np.log(change.after / change.before)))
    return [change for change in found if abs(np.log(change.after / change.before)) > CHANGED]


def fingerprint(paths: Iterable[Path]) -> str:
    """SHA-256 over the files' contents, in the order of their names."""
    total = hashlib.sha256()
    for path in sorted(paths):
        total.update(path.read_bytes())
    return total.hexdigest()


def learn(task: Task, observations: Observations, catalogue: Catalogue) -> Learned:
    """Fit one form, then again without each model."""
    design = design_of(observations, task.quantities, catalogue)
    used = design.where(design.weight > 0)
    fitted = task.fit(task.spec, design)

    def again(rows: Design) -> Fitted:
        return task.fit(task.spec, rows)

    unseen = left_out(again, used, "model")
    scored = np.array([p.observation.quantity in task.scored for p in used.points])
    residuals = np.log(used.target / unseen)[scored]
    rows = used.where(scored)
    kinds = [task.kind(p) for p in rows.points]
    bounds = bounds_by_kind(residuals, kinds, rows.labels("model").tolist(), task.tail)
    return Learned(task, fitted, used, predict(fitted, used), unseen, bounds)


def learn_all(observations: Observations, catalogue: Catalogue) -> list[Learned]:
    """All forms. The two-term form is judged on served requests too, whose answers it was not fitted on."""
    learned = [learn(task, observations, catalogue) for task in TASKS]
    served = next(item for item in learned if item.task.spec is SERVED)
    two_term = next(item for item in learned if item.task.spec is TWO_TERM)
    guessed = predict(two_term.fitted, served.design)
    residuals = np.log(served.design.target / guessed)
    models = served.design.labels("model").tolist()
    bounds = bounds_by_kind(residuals, ["server"] * len(models), models)
    both = {"local": two_term.residual["all"], "server": bounds["all"], **_two_term_of_media(learned)}
    pooled = Range(0.0, min(b.low for b in both.values()), max(b.high for b in both.values()))
    widened = Learned(
        two_term.task,
        two_term.fitted,
        two_term.design,
        two_term.predicted,
        two_term.unseen,
        {"all": pooled, **both},
    )
    return [widened if item is two_term else item for item in learned]


def _two_term_of_media(learned: Iterable[Learned]) -> dict[str, Range]:
    """Residuals of the two-term form on the energy of pictures and clips, for which it has no coefficient."""
    design = next(item for item in learned if item.task.spec is MEDIA_ENERGY).design
    residuals = np.log(design.target / design.terms(["prefill"], "two_term")[:, 0])
    found = bounds_by_kind(residuals, design.labels("kind").tolist(), design.labels("model").tolist())
    return {kind: bound for kind, bound in found.items() if kind != "all"}


def refusals(observations: Observations, learned: Iterable[Learned]) -> list[Refusal]:
    """Every row that could not be used, once for each quantity."""
    found = {(r.row_id, r.quantity): r for r in observations.refused}
    for item in learned:
        found |= {(r.row_id, r.quantity): r for r in item.design.refused}
    return list(found.values())


def coefficients_text(learned: Iterable[Learned], wall: Wall, print_of_data: str, date: datetime.date) -> str:
    """The coefficient file: what `data/forms` holds, and what a folder for --catalog may hold under forms/."""
    head = (
        "# Written by `inferprint fit`: do not edit. `terms` multiply ideal seconds, or counts, then in seconds each;\n"
        "# `effects` are added in logs; `covariance` is that of the logs; `residual` bounds ln(measured / predicted).\n"
    )
    texts = [
        _form_text(
            item.task.spec.id,
            item.task.spec.quantity,
            (len(item.design.points), print_of_data, date),
            _Content(item.terms, item.effects, item.fitted.covariance, item.residual),
        )
        for item in learned
    ]
    step = _Content({"server": wall.server_w}, {}, np.array([[wall.variance]]), {"all": wall.residual})
    return head + "".join([*texts, _form_text("wall", "wall-power", (wall.rows, print_of_data, date), step)])


class _Content(NamedTuple):
    """What a form holds: see `inferprint.catalogue.Form`."""

    terms: Mapping[str, Range]
    effects: Mapping[str, float]
    covariance: Array
    residual: Mapping[str, Range]


def _digits(value: float, digits: int = 6) -> str:
    return f"{value:.{digits}g}"


def form_text(form: Form) -> str:
    """A form as a TOML table."""
    size = len(form.terms) + len(form.effects)
    matrix = np.zeros((size, size))
    matrix[np.tril_indices(size)] = form.covariance
    of = form.rows, form.fingerprint, datetime.date.fromisoformat(form.origin("terms").date)
    content = _Content(form.terms, form.effects, matrix, form.residual)
    return _form_text(form.id, form.quantity, of, content, (form.status, form.origin("terms").source))


def _form_text(
    form: str,
    quantity: str,
    of: tuple[int, str, datetime.date],
    content: _Content,
    whose: tuple[str, str] = ("fitted", "calibration"),
) -> str:
    """A form as a TOML table.

    `of` holds the number of rows, the fingerprint of the data and the date; `whose` the status and the source.
    """
    (rows, print_of_data, date), (status, source) = of, whose
    matrix = content.covariance
    triangle = ", ".join(_digits(matrix[i, j], 4) for i in range(len(matrix)) for j in range(i + 1))
    lines = [
        "",
        "[[form]]",
        f'id = "{form}"',
        f'quantity = "{quantity}"',
        f'status = "{status}"',
        f"rows = {rows}",
        f'fingerprint = "{print_of_data}"',
        f"covariance = [{triangle}]",
        f'source = "{source}"',
        f'date = "{date.isoformat()}"',
        'quality = "medium"',
        "",
        "[form.terms]",
        *(f"{name} = {_range_text(value)}" for name, value in content.terms.items()),
    ]
    if content.effects:
        lines += ["", "[form.effects]", *(f'"{name}" = {_digits(value)}' for name, value in content.effects.items())]
    lines += ["", "[form.residual]", *(f'"{name}" = {_range_text(value)}' for name, value in content.residual.items())]
    return "\n".join(lines) + "\n"


def _range_text(value: Range) -> str:
    names = ("value", "low", "high")
    return "{ " + ", ".join(f"{name} = {_digits(number)}" for name, number in zip(names, value, strict=True)) + " }"
