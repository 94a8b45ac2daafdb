"""Results in the shapes of the API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from inferprint._version import __version__
from inferprint.catalogue import Catalogue
from inferprint.estimate import Result
from inferprint.rates.training import Training, tells_of_training, training_of
from inferprint.service.engine import Outcome
from inferprint.service.records import shown_model, shown_node
from inferprint.service.rows import passed_over
from inferprint.units import MS_PER_S

METRICS = (
    "usage_energy_wh",
    "usage_emissions_gco2e",
    "usage_water_ml",
    "embodied_emissions_gco2e",
    "embodied_water_ml",
)
"""Quantities of an ImpactMetrics."""

TOTALS = {
    "total_energy_wh": "usage_energy_wh",
    "total_gco2e": "usage_emissions_gco2e",
    "total_mlh2o": "usage_water_ml",
}
"""Sums of an answer, and what they are sums of."""

NO_FIGURES = dict.fromkeys(METRICS, 0.0)
"""Stands where the shape wants a total and there is an error."""

Data = dict[str, Any]


def answer_of(outcomes: Sequence[Outcome], debug: bool = False, extended: bool = False) -> bytes:
    """The body of an answer, encoded."""
    rows = [row_of(outcome, debug=debug, extended=extended) for outcome in outcomes]
    good = [row["total_impact"] for row in rows if "error" not in row]
    body: Data = {"rows": rows}
    body |= {name: sum(total[quantity] for total in good) for name, quantity in TOTALS.items()}
    body["has_errors"] = len(good) < len(rows)
    if extended:
        used = sorted({one.catalogue.version for one in outcomes if one.catalogue is not None})
        body["versions"] = {"inferprint": __version__, "catalogue": ", ".join(used)}
        coefficients = sorted({one.result.machine.coefficients for one in outcomes if one.result is not None})
        if coefficients:
            body["versions"]["coefficients"] = ", ".join(coefficients)
    return msgspec.json.encode(body)


def replies_of(outcomes: Sequence[Outcome]) -> bytes:
    """The body of an answer to BigQuery."""
    replies = [msgspec.json.encode(row_of(outcome)).decode() for outcome in outcomes]
    return msgspec.json.encode({"replies": replies})


def row_of(outcome: Outcome, *, debug: bool = False, extended: bool = False) -> Data:
    """The impact of one row, or its error."""
    result, catalogue = outcome.result, outcome.catalogue
    if result is None or catalogue is None:
        return {"total_impact": NO_FIGURES, "error": outcome.error}
    inference = metrics_of(result)
    row: Data = {"inference_impact": inference, "total_impact": inference}
    model = catalogue.models[result.machine.model]
    if extended or tells_of_training(model):
        training = training_of(catalogue, model)
        parts = {"training_impact": training.training, "fine_tuning_impact": training.fine_tuning}
        n = result.request.n_requests
        shares = {name: share for name, part in parts.items() if (share := share_of(part, n)) is not None}
        row |= shares
        row["total_impact"] = added([inference, *shares.values()])
        if extended:
            row |= extended_of(result, training)
            row["warnings"] = [*unknown_names(outcome.row, result, catalogue), *row["warnings"]]
    if debug:
        row["debug"] = debug_of(result, catalogue)
    return row


def metrics_of(result: Result) -> Data:
    """Central values."""
    return {name: value.value for name in METRICS if (value := result.range(name)) is not None}


def share_of(part: Mapping[str, float | None] | None, n_requests: float) -> Data | None:
    """What requests bear of a training; None where any figure is unknown, for which the shape has no place."""
    known = {name: value * n_requests for name, value in (part or {}).items() if value is not None}
    return known if len(known) == len(METRICS) else None


def added(parts: Sequence[Data]) -> Data:
    """The sum of impacts."""
    return parts[0] if len(parts) == 1 else {name: sum(part[name] for part in parts) for name in METRICS}


def unknown_names(row: Mapping[str, Any], result: Result, catalogue: Catalogue) -> list[str]:
    """A warning where another name of the model was taken than the first that is stated."""
    names = passed_over(catalogue, row)
    return (
        [f"{' and '.join(names)}: unknown; {result.machine.model} was taken by another of the names"] if names else []
    )


def extended_of(result: Result, training: Training) -> Data:
    """Everything else that is known of a row."""
    data = result.to_dict()
    kept = ("breakdown", "two_term", "operating_point", "quality", "largest_uncertainty", "assumptions", "warnings")
    return {
        "model_id": result.machine.model,
        "service_id": result.machine.service,
        "intervals": {name: data[name] for name in INTERVALS},
        **{name: data[name] for name in kept},
        "training_reason": training.training_reason or None,
        "fine_tuning_reason": training.fine_tuning_reason or None,
    }


INTERVALS = ("duration_ms", *METRICS[:2], "usage_emissions_market_gco2e", *METRICS[2:])


# --- debug ------------------------------------------------------------------------------------------------------------


def debug_of(result: Result, catalogue: Catalogue) -> Data:
    """Model, node, grid and steps of a row, as far as the shape holds them."""
    found = {
        "model": shown_model(catalogue, catalogue.models[result.machine.model]),
        "hardware_node": node_of(result, catalogue),
        "grid_mix": grid_of(result, catalogue),
        "steps": steps_of(result),
    }
    return {name: value for name, value in found.items() if value is not None}


def node_of(result: Result, catalogue: Catalogue) -> Data | None:
    """The node that was stated; None where the hardware was drawn, or is a bare accelerator."""
    entry = next((e for e in result.machine.trail.entries if e.field == "node_id" and e.value in catalogue.nodes), None)
    return shown_node(catalogue, catalogue.nodes[str(entry.value)]) if entry is not None else None


def grid_of(result: Result, catalogue: Catalogue) -> Data | None:
    """The grid that was taken; None where it is no country's, or its intensity was given."""
    entries = {entry.field: entry for entry in result.place.trail.entries}
    zone, intensity = entries.get("grid_zone"), entries.get("grid_gco2e_per_kwh")
    grid = catalogue.grids.get(str(zone.value)) if zone is not None else None
    if grid is None or not grid.country or len(grid.country) != 2 or intensity is None or intensity.how == "given":
        return None
    mix = {"country": grid.country, "gco2e_per_kwh": intensity.value}
    region = grid.subdivision or ""
    return mix | {"region": region} if len(region) == 2 and region.isalpha() else mix


def steps_of(result: Result) -> list[Data]:
    """What the duration is made of: each feature of the request, its amount and its time; they add up to it."""
    rates = result.machine.quantity("duration")[0]
    inferences = round(result.request.n_requests)
    described = zip(result.machine.modality.features, result.features.tolist(), rates.tolist(), strict=True)
    return [
        {
            "description": f"{feature.part}: {feature.name.replace('_', ' ')}, {amount:g} x {feature.unit}",
            "duration_ms": amount * rate * MS_PER_S,
            "inferences": inferences,
        }
        for feature, amount, rate in described
        if amount
    ]
