"""What a request bears of the training of its model: apart from inference, and only where it is known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from inferprint.catalogue import Catalogue, Model
from inferprint.impact.training import training_share
from inferprint.units import GRAMS_PER_KG, JOULES_PER_KWH, JOULES_PER_WH, ML_PER_L

WH_PER_KWH = JOULES_PER_KWH / JOULES_PER_WH

SPENT = {
    "usage_energy_wh": ("training_energy_kwh", WH_PER_KWH),
    "usage_emissions_gco2e": ("training_emissions_kgco2e", GRAMS_PER_KG),
    "usage_water_ml": ("training_water_l", ML_PER_L),
    "embodied_emissions_gco2e": ("training_embodied_kgco2e", GRAMS_PER_KG),
    "embodied_water_ml": ("training_embodied_water_l", ML_PER_L),
}
"""Figure of a request to the field of a model that it is a share of, and units of the figure in one of the field's."""

USE = ("use_life_days", "requests_per_day")
"""Fields that say among how many requests it is shared."""

MOST = 1e30
"""Figures from here on are none: a record that gives them is wrong, and sums of them might not be finite."""

Figures = dict[str, float | None]
"""Figure of one request by name, see `SPENT`; None where the model's record has no total of it."""


@dataclass(frozen=True, slots=True)
class Training:
    """What one request bears of what was spent before the first one; no part of its inference.

    Attributes
    ----------
    training, fine_tuning
        Figures by name [Wh, gCO2e, mL, gCO2e, mL]; None where no figure can be given at all.
    training_reason, fine_tuning_reason
        Why figures are missing; empty where none is.
    training_missing, fine_tuning_missing
        Fields of the model's record, or "base.field" of the one that it was made from, that would give them.
    """

    training: Figures | None
    fine_tuning: Figures | None
    training_reason: str = ""
    fine_tuning_reason: str = ""
    training_missing: tuple[str, ...] = ()
    fine_tuning_missing: tuple[str, ...] = ()


def tells_of_training(model: Model) -> bool:
    """Whether a model's record has anything to say of training: that of nearly all has not."""
    return model.fine_tuned_from is not None or any(getattr(model, name) is not None for name, _ in SPENT.values())


@dataclass(frozen=True, slots=True)
class _Spent:
    """Figures of one training, why some are missing, and the fields that would give them."""

    figures: Figures | None
    reason: str = ""
    missing: tuple[str, ...] = ()


def training_of(catalogue: Catalogue, model: Model) -> Training:
    """What a request to a model bears of its training, and of its fine-tuning.

    A fine-tuned model's own fields are its fine-tuning, shared among its own requests. Its training is all that was
    spent on the model that it was made from, shared among the requests of that one.

    Parameters
    ----------
    catalogue
        Where `fine_tuned_from` is looked up.
    model
        A record of it.
    """
    own, base_id = _spent(model), model.fine_tuned_from
    if base_id is None:
        return Training(own.figures, None, own.reason, "not fine-tuned, as far as is known", own.missing)
    before = _before(catalogue, base_id, {model.id})
    return Training(before.figures, own.figures, before.reason, own.reason, before.missing, own.missing)


def _before(catalogue: Catalogue, base_id: str, seen: set[str]) -> _Spent:
    """All that was spent on a base, by its own use: its fine-tuning too, where it is fine-tuned itself."""
    base = catalogue.models.get(base_id)
    if base is None or base_id in seen:
        why = "which does not exist" if base is None else "which was made from it"
        return _Spent(None, f"made from {base_id}, {why}", ("fine_tuned_from",))
    own = _spent(base)
    spent = _Spent(own.figures, own.reason, tuple(f"{base_id}.{name}" for name in own.missing))
    if base.fine_tuned_from is None:
        return spent
    return _both(_before(catalogue, base.fine_tuned_from, seen | {base_id}), spent)


def _both(first: _Spent, second: _Spent) -> _Spent:
    """The sum of two trainings; a figure that one of them lacks is missing."""
    reason = "; ".join(part for part in (first.reason, second.reason) if part)
    missing = (*first.missing, *second.missing)
    if first.figures is None or second.figures is None:
        return _Spent(None, reason, missing)
    figures = {name: _sum(first.figures[name], second.figures[name]) for name in SPENT}
    return _Spent(figures, reason, missing)


def _sum(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first + second


def _spent(model: Model) -> _Spent:
    """What a request to a model bears of what its own record says was spent."""
    totals: Mapping[str, float | None] = {field: getattr(model, field) for field, _ in SPENT.values()}
    known = [total for total in totals.values() if total is not None]
    missing = tuple(field for field, total in totals.items() if total is None)
    if not known:
        missing = (*missing, *_unknown_use(model))
        return _Spent(None, f"not known of {model.id}: {', '.join(missing)}", missing)
    days, per_day = model.use_life_days, model.requests_per_day
    if not days or not per_day:
        unknown = _unknown_use(model)
        return _Spent(None, f"shared among an unknown number of requests to {model.id}: {', '.join(unknown)}", unknown)
    figures: Figures = {
        name: None if (total := totals[field]) is None else _share(total * units, days, per_day)
        for name, (field, units) in SPENT.items()
    }
    none = tuple(field for name, (field, _) in SPENT.items() if figures[name] is None and field not in missing)
    reasons = [f"not known of {model.id}: {', '.join(missing)}"] if missing else []
    reasons += [f"no figure can be as large as that from {', '.join((*none, *USE))} of {model.id}"] if none else []
    return _Spent(figures, "; ".join(reasons), (*missing, *none))


def _share(total: float, days: float, per_day: float) -> float | None:
    """Part of a total that one request bears; None where that is no figure."""
    if not 0 < days * per_day < math.inf:
        return None
    share = float(training_share(total, days, per_day))
    return share if share < MOST else None


def _unknown_use(model: Model) -> tuple[str, ...]:
    """Fields of its use that are missing, or 0."""
    return tuple(name for name in USE if not getattr(model, name))
