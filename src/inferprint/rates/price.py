"""A model's size from its price, out of the catalogue."""

from __future__ import annotations

from dataclasses import replace

from inferprint.catalogue import Catalogue
from inferprint.catalogue.caching import kept
from inferprint.errors import InvalidInput
from inferprint.sizing.price import HostFit, Offer, SizePrediction, predict_size

DEFAULTS = {"total": ("both+date", "both", "partial", "pooled"), "active": ("both", "partial", "pooled")}
"""Forms of the default by target: the first for which a model has what it reads, as the validation supports.

The last serves models that are sold only at hosts without a regression of their own."""


def year_of(date: str | None) -> float | None:
    """A release date in years; None where it is not known to the month."""
    if not date or len(date) < len("2025-01"):
        return None
    day = float(date[8:10]) if len(date) >= len("2025-01-01") else 15.0
    return float(date[:4]) + (float(date[5:7]) - 1.0) / 12.0 + (day - 1.0) / 365.25


def offers_of(catalogue: Catalogue, model: str) -> tuple[Offer, ...]:
    """What hosts ask for a model; nothing where nobody sells it."""
    price = catalogue.prices.get(model)
    if price is None:
        return ()
    return tuple(
        Offer(host, price.input_usd_per_mtok[host], usd, price.since.get(host, price.origin("").date))
        for host, usd in sorted(price.output_usd_per_mtok.items())
    )


@kept(8)
def _fits(catalogue: Catalogue, form: str) -> dict[str, HostFit]:
    """Regressions of a form by host; a catalogue never changes once made."""
    return {
        fit.host: HostFit(
            fit.host,
            fit.coefficients,
            fit.covariance,
            fit.sigma,
            fit.models,
            fit.least_usd_per_mtok,
            fit.most_usd_per_mtok,
        )
        for fit in catalogue.size_fits.values()
        if fit.form == form
    }


@kept(16384)
def size_from_price(
    catalogue: Catalogue, model: str, target: str, form: str = "default", release_date: str | None = None
) -> SizePrediction | None:
    """The size of a model from what hosts ask for it; None where no host with a regression sells it.

    Parameters
    ----------
    target
        "total" or "active".
    form
        "default", "seed", or one of the catalogue's size forms, such as "output". The seed's method takes the mean of
        the sizes by output price, and its own interval.
    release_date
        ISO date, for forms that read it.

    Raises
    ------
    InvalidInput
        No such form.
    """
    if form == "seed":
        found = size_from_price(catalogue, model, target, "output", release_date)
        return None if found is None else replace(found, form=form, size_b=found.seed_b)
    names = DEFAULTS[target] if form == "default" else (form,)
    for name in names:
        key = f"{target}:{name}"
        if key not in catalogue.size_forms:
            known = sorted({record.id.partition(":")[2] for record in catalogue.size_forms.values()})
            raise InvalidInput("form", f"no size form '{name}'", hint=f"One of default, seed, {', '.join(known)}.")
        record = catalogue.size_forms[key]
        accuracy = (record.correlation, record.quantile)
        offers = offers_of(catalogue, model)
        found = predict_size(name, record.inputs, _fits(catalogue, key), offers, year_of(release_date), accuracy)
        if found is not None:
            return found
    return None
