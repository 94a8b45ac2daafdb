"""Learns the size of a model from its price, and says how good that is on families that were left out."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from inferprint.catalogue import Catalogue, Model, resolve_model
from inferprint.errors import FileProblem, InferprintError
from inferprint.quantities import Range
from inferprint.rates.price import DEFAULTS, offers_of, size_from_price, year_of
from inferprint.sizing.price import ANY_HOST, HostFit, Offer, predict_size, row

Target = Literal["total", "active"]
TARGETS: tuple[Target, ...] = ("total", "active")

FORMS: dict[str, tuple[str, ...]] = {
    "output": ("output",),
    "input": ("input",),
    "both": ("output", "input"),
    "output+date": ("output", "date"),
    "both+date": ("output", "input", "date"),
    "partial": ("output", "input"),
    "pooled": ("output", "input"),
}
"""What each form's regressions read. "pooled" makes no difference between hosts; "partial" draws each host's regression
towards that of all, so that both serve hosts with few models.
"""

POOLED_WEIGHT = 10.0
"""Models that the regression of all hosts counts for in a host's own, in partial pooling."""

MIN_MODELS, MODELS_PER_COEFFICIENT = 8, 5
"""Fewest models of known size at a host with a regression, and for each coefficient of it."""

TAIL = 0.95


@dataclass(frozen=True, slots=True)
class Known:
    """A model of known size that is sold."""

    model: str
    family: str
    sizes: dict[Target, float]
    offers: tuple[Offer, ...]
    year: float | None


@dataclass(frozen=True, slots=True)
class Learned:
    """The regressions of one form for one target, with rho and q."""

    target: Target
    form: str
    fits: dict[str, HostFit]
    correlation: float
    quantile: float
    models: int


def known_models(catalogue: Catalogue) -> list[Known]:
    """Models for text of known size that are sold."""
    found = []
    for key in sorted(catalogue.prices):
        model = catalogue.models.get(key)
        if model is not None and model.total_params_b and model.text_generation and not catalogue.prices[key].rule:
            found.append(_known(model, offers_of(catalogue, key)))
    return found


def _known(model: Model, offers: tuple[Offer, ...]) -> Known:
    total = model.total_params_b or 0.0
    sizes: dict[Target, float] = {"total": total, "active": model.active_params_b or total}
    family = model.base_family or model.family or model.id
    return Known(model.id, family, sizes, offers, year_of(model.release_date))


Point = tuple[str, Offer, list[float], float]
"""Model, offer, row of the regression, and ln(size)."""


def fit_hosts(
    form: str, target: Target, known: Iterable[Known]
) -> tuple[dict[str, HostFit], dict[str, dict[str, float]]]:
    """The OLS regression of every host with enough models; and the residuals over s, by model and host."""
    import statsmodels.api as sm

    inputs = FORMS[form]
    rows: dict[str, list[Point]] = defaultdict(list)
    for model in known:
        for offer in model.offers:
            x = row(inputs, offer, model.year)
            if x is not None:
                host = ANY_HOST if form == "pooled" else offer.host
                rows[host].append((model.model, offer, x, math.log(model.sizes[target])))
    if form == "partial":
        return _partial(rows)
    fits: dict[str, HostFit] = {}
    residuals: dict[str, dict[str, float]] = defaultdict(dict)
    for host, points in sorted(rows.items()):
        design, y = np.array([p[2] for p in points]), np.array([p[3] for p in points])
        needed = max(MIN_MODELS, MODELS_PER_COEFFICIENT * design.shape[1])
        if len(points) < needed or np.linalg.matrix_rank(design) < design.shape[1]:
            continue
        result = sm.OLS(y, design).fit()
        sigma = math.sqrt(float(result.scale))
        fits[host] = _host_fit(host, result, sigma, points)
        for point, residual in zip(points, np.asarray(result.resid), strict=True):
            residuals[point[0]][point[1].host] = float(residual) / sigma
    return fits, residuals


def _host_fit(host: str, result: Any, sigma: float, points: Sequence[Point]) -> HostFit:
    """A regression of statsmodels as what the package ships of it."""
    inverse = np.asarray(result.normalized_cov_params)
    prices = [offer.output_usd for _, offer, _, _ in points]
    triangle = [float(inverse[i, j]) for i in range(len(inverse)) for j in range(i + 1)]
    coefficients = np.asarray(result.params).tolist()
    return HostFit(host, coefficients, triangle, sigma, len(points), min(prices), max(prices))


def _partial(rows: dict[str, list[Point]]) -> tuple[dict[str, HostFit], dict[str, dict[str, float]]]:
    """Every host's regression on its own models, and on those of all hosts at a weight of `POOLED_WEIGHT` together."""
    import statsmodels.api as sm

    everyone = [point for points in rows.values() for point in points]
    fits: dict[str, HostFit] = {}
    residuals: dict[str, dict[str, float]] = defaultdict(dict)
    for host, points in sorted(rows.items()):
        design = np.array([p[2] for p in [*points, *everyone]])
        y = np.array([p[3] for p in [*points, *everyone]])
        weights = np.array([1.0] * len(points) + [POOLED_WEIGHT / len(everyone)] * len(everyone))
        result = sm.WLS(y, design, weights=weights).fit()
        errors = np.asarray(result.resid)
        sigma = math.sqrt(float(np.sum(weights * errors**2) / np.sum(weights)))
        fits[host] = _host_fit(host, result, sigma, points)
        for point, error in zip(points, errors, strict=False):
            residuals[point[0]][host] = float(error) / sigma
    return fits, residuals


def correlation_of(residuals: dict[str, dict[str, float]]) -> float:
    """Mean product of two hosts' standardised errors about one model, at least 0."""
    total, pairs = 0.0, 0
    for values in residuals.values():
        errors = list(values.values())
        total += (sum(errors) ** 2 - sum(e * e for e in errors)) / 2
        pairs += len(errors) * (len(errors) - 1) // 2
    return max(total / pairs, 0.0) if pairs else 0.0


def learn(form: str, target: Target, known: Sequence[Known]) -> tuple[Learned, list[Unseen]]:
    """One form with its quantile, and its predictions of every model by fits without the model's family."""
    fits, residuals = fit_hosts(form, target, known)
    rho = correlation_of(residuals)
    unseen = list(left_out(form, target, known, rho, "family"))
    ratios = [abs(u.error) / u.width for u in unseen]
    return Learned(target, form, fits, rho, conformal(ratios), len(unseen)), unseen


@dataclass(frozen=True, slots=True)
class Unseen:
    """A prediction by fits that did not see the model's group.

    `error` is ln(predicted / true), `width` the standard error of the combination, `seed` what the seed's method says.
    """

    known: Known
    group: str
    hosts: int
    error: float
    width: float
    seed: Range


def left_out(form: str, target: Target, known: Sequence[Known], rho: float, by: str) -> Iterator[Unseen]:
    """Predict every model by fits without its group: "family" or "model"."""
    groups: dict[str, list[Known]] = defaultdict(list)
    for model in known:
        groups[model.family if by == "family" else model.model].append(model)
    for name, members in sorted(groups.items()):
        names = {m.model for m in members}
        fits, _ = fit_hosts(form, target, [m for m in known if m.model not in names])
        for member in members:
            found = predict_size(form, FORMS[form], fits, member.offers, member.year, (rho, 1.0))
            if found is not None:
                error = math.log(found.size_b.value / member.sizes[target])
                width = math.log(found.size_b.high / found.size_b.value)
                yield Unseen(member, name, len(found.hosts), error, width, found.seed_b)


def conformal(ratios: Sequence[float]) -> float:
    """95 % conformal quantile of |error| over the standard error."""
    ordered = sorted(ratios)
    return ordered[min(math.ceil((len(ordered) + 1) * TAIL), len(ordered)) - 1]


def score(target: Target, form: str, left: str, unseen: Sequence[Unseen]) -> dict[str, Any]:
    """Errors of a form on groups left out; each group's interval has the quantile of the other groups."""
    inside, upper, over = [], [], []
    for item in unseen:
        if form == "seed":
            low, high = (math.log(v / item.known.sizes[target]) for v in item.seed[1:])
        else:
            quantile = conformal([abs(u.error) / u.width for u in unseen if u.group != item.group])
            low, high = item.error - quantile * item.width, item.error + quantile * item.width
        inside.append(low <= 0.0 <= high)
        upper.append(high >= 0.0)
        over.append(math.exp(high))
    seeds = [math.log(u.seed.value / u.known.sizes[target]) for u in unseen]
    errors = seeds if form == "seed" else [u.error for u in unseen]
    many = [ok for ok, u in zip(inside, unseen, strict=True) if u.hosts >= MANY_HOSTS]
    return {
        "target": target,
        "form": form,
        "left_out": left,
        **summary(errors, inside, upper, over),
        "coverage95_three_hosts_pct": 100.0 * float(np.mean(many)) if many else None,
    }


MANY_HOSTS = 3


def summary(
    errors: Sequence[float], inside: Sequence[bool], upper: Sequence[bool], over: Sequence[float]
) -> dict[str, Any]:
    """What is said of predictions: log errors, whether interval and upper bound held, and upper over true."""
    if not errors:
        names = ("median_factor", "within2x_pct", "coverage95_pct", "upper_coverage_pct", "upper_over_true")
        return {"models": 0, **dict.fromkeys(names)}
    sizes = np.abs(errors)
    return {
        "models": len(errors),
        "median_factor": float(np.exp(np.median(sizes))),
        "within2x_pct": 100.0 * float(np.mean(sizes <= math.log(2.0))),
        "coverage95_pct": 100.0 * float(np.mean(inside)),
        "upper_coverage_pct": 100.0 * float(np.mean(upper)),
        "upper_over_true": float(np.median(over)),
    }


def validate_sizes(catalogue: Catalogue) -> list[dict[str, Any]]:
    """Every form, with each family and each model left out; the seed's method on the same rows as "output"."""
    known = known_models(catalogue)
    found = []
    for target in TARGETS:
        for form in FORMS:
            _, residuals = fit_hosts(form, target, known)
            rho = correlation_of(residuals)
            for by in ("family", "model"):
                unseen = list(left_out(form, target, known, rho, by))
                names = ["default"] if form == DEFAULTS[target][0] else []
                names += [form, "seed"] if form == "output" else [form]
                found += [score(target, name, by, unseen) for name in names]
    return found


def validate_sizes_on(path: Path, catalogue: Catalogue) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The shipped predictions on a file with the columns of a list of known parameters: model_id, total_params_b ...

    Models whose size the shipped fits have seen are predicted as the package would predict them without their size.
    Beside the scores: rows that were refused, with the reason.

    Raises
    ------
    FileProblem
        The file cannot be read, or lacks a column.
    """
    rows, refused = [], {}
    for number, item in enumerate(_parameter_rows(path), 1):
        model, reason = _model_of(catalogue, item)
        sizes = {target: _billions(item[f"{target}_params_b"]) for target in TARGETS}
        if model is None or not all(sizes.values()):
            refused[f"{number}: {item['model_id']}"] = reason or "no size above zero is stated"
        else:
            rows.append((model, sizes, item.get("release_date") or model.release_date))
    found = []
    for target in TARGETS:
        for form in ("default", "seed", *FORMS):
            errors, inside, upper, over = [], [], [], []
            for model, sizes, date in rows:
                true = sizes[target]
                size = size_from_price(catalogue, model.id, target, form, date)
                if size is None:
                    continue
                value = size.size_b
                errors.append(math.log(value.value / true))
                inside.append(value.low <= true <= value.high)
                upper.append(value.high >= true)
                over.append(value.high / true)
            found.append({"target": target, "form": form, **summary(errors, inside, upper, over)})
    return found, refused


def _model_of(catalogue: Catalogue, item: dict[str, str]) -> tuple[Model | None, str]:
    """The model of a row, by the first of its names that is sold; else why there is none."""
    reason = ""
    for name in filter(None, (item.get(column) for column in NAME_COLUMNS)):
        try:
            model = resolve_model(catalogue, name).model
        except InferprintError as error:
            reason = reason or error.message
            continue
        if model.id in catalogue.prices:
            return model, ""
        reason = "no host lists a price for it"
    return None, reason or "the row names no model"


NAME_COLUMNS = ("model_id", "hugging_face_path")
"""Columns of a list of known parameters that name a model, in the order in which they are tried."""


def _billions(cell: str | None) -> float:
    """A size in a cell; 0 where it is none."""
    try:
        value = float(cell or 0.0)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) and value > 0 else 0.0


def _parameter_rows(path: Path) -> list[dict[str, str]]:
    needed = ("model_id", "total_params_b", "active_params_b")
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in needed if name not in (reader.fieldnames or ())]
            if missing:
                raise FileProblem(f"{path.name} has no column {' and no '.join(missing)}", hint=f"Needed: {needed}.")
            return list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FileProblem(f"cannot read {path}: {error}", hint="Give a CSV file in UTF-8.") from error


def size_texts(learned: Sequence[Learned], date: str) -> tuple[str, str]:
    """The data files of the size forms and of their fits by host."""
    head = [
        "# Size of a model from its price: ln(billions). Written by tools/fit_sizes.py.",
        "",
        'source = "calibration"',
        f'date = "{date}"',
        'quality = "medium"',
    ]
    forms, fits = list(head), list(head)
    for item in learned:
        key = f"{item.target}:{item.form}"
        inputs = ", ".join(f'"{name}"' for name in FORMS[item.form])
        forms += ["", "[[size_form]]", f'id = "{key}"', f'target = "{item.target}"', f"inputs = [{inputs}]"]
        forms += [f"correlation = {item.correlation:.6g}", f"quantile = {item.quantile:.6g}", f"models = {item.models}"]
        for host, fit in sorted(item.fits.items()):
            fits += ["", "[[size_fit]]", f'id = "{key}:{host}"', f'form = "{key}"', f'host = "{host}"']
            fits += [f"coefficients = [{_numbers(fit.coefficients)}]", f"covariance = [{_numbers(fit.covariance)}]"]
            fits += [f"sigma = {fit.sigma:.6g}", f"models = {fit.models}"]
            fits += [f"least_usd_per_mtok = {fit.least_usd:.6g}", f"most_usd_per_mtok = {fit.most_usd:.6g}"]
    return "\n".join(forms) + "\n", "\n".join(fits) + "\n"


def _numbers(values: Iterable[float]) -> str:
    return ", ".join(f"{value:.6g}" for value in values)
