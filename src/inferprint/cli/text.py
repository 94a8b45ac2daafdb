"""Results as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from inferprint.estimate import Result
from inferprint.estimate.explain import Explanation, Step
from inferprint.estimate.media import MEDIA_FIELDS
from inferprint.provenance.trace import Entry
from inferprint.quantities import BREAKDOWN, RESULTS, TWO_TERM, Range

LABELS = {
    "duration_ms": "duration",
    "usage_energy_wh": "energy",
    "usage_emissions_gco2e": "greenhouse gas",
    "usage_emissions_market_gco2e": "  market-based",
    "usage_water_ml": "water",
    "embodied_emissions_gco2e": "embodied gas",
    "embodied_water_ml": "embodied water",
}


def number(value: float) -> str:
    """Three significant digits, without an exponent where a person would not use one."""
    if value == 0:
        return "0"
    if 0.001 <= abs(value) < 1e6:
        digits = f"{value:.3g}"
        return f"{float(digits):,.0f}" if "e" in digits else digits
    return f"{value:.2e}"


def interval(value: Range | None, unit: str) -> str:
    """A value with its 95 % interval."""
    if value is None:
        return "unknown"
    return f"{number(value.value)} {unit}  [{number(value.low)} - {number(value.high)}]"


def table(rows: Sequence[Sequence[str]], *, indent: int = 0) -> str:
    """Rows as aligned columns; the last is not padded."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)] if rows else []
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append(" " * indent + "  ".join([*cells, row[-1]]).rstrip())
    return "\n".join(lines)


def estimate_text(result: Result) -> str:
    """The result on one screen: quantities, parts, what is uncertain, what was assumed."""
    main = [(LABELS[q.name], interval(result.range(q.name), q.unit)) for q in RESULTS if result.range(q.name)]
    parts = [(q.name, interval(result.range(q.name), q.unit)) for q in BREAKDOWN if result.range(q.name)]
    two = [(q.name, interval(result.range(q.name), q.unit)) for q in TWO_TERM]
    share = result.uncertainty.get(result.largest_uncertainty or "", 0.0)
    sections = [
        f"{result.machine.model}, 95 % intervals in brackets",
        table(main, indent=2),
        "parts",
        table(parts, indent=2),
        "two-term form, for comparison",
        table(two, indent=2),
        _point_text(result),
        f"quality: {result.quality}; largest uncertainty: {result.largest_uncertainty or 'none'} ({share:.0%})",
        assumptions_text(result.assumptions, brief=True),
        *(f"warning: {text}" for text in result.warnings),
        ", ".join(f"{what} {version}" for what, version in result.versions.items()),
    ]
    return "\n".join(filter(None, sections))


def _point_text(result: Result) -> str:
    """Devices of the replica and what shares a step of it, with their intervals where they are uncertain."""
    point = result.operating_point
    devices, batch = point["replica_gpu_count"], point["batch_size"]
    one, alone = devices.high == 1, batch.high == 1
    made = next((feature.unit for feature in result.machine.modality.features if feature.name == "outputs"), "")
    # The central value of a range from 1 up is 1 and a trace.
    single = alone or (made and round(batch.value) == 1)
    shared = f"{made or 'request'}{'' if single else 's'} in a {'pass' if made else 'step'}"
    parts = [(devices, "device" if one else "devices"), (batch, shared)]
    texts = [interval(v, unit) if v.low < v.high else f"{number(v.value)} {unit}" for v, unit in parts]
    return f"operating point: {', '.join(texts)}"


BRIEF = (
    "model_id",
    "input_tokens",
    "output_tokens",
    *MEDIA_FIELDS,
    "managed_service_id",
    "hardware",
    "host",
    "precision",
    "precision at the service",
    "replica_gpu_count",
    "batch_size",
    "active-share.public",
    "active-share.private",
    "active-share.own",
    "pue",
    "wue_l_per_kwh",
    "grid_zone",
    "grid_water_l_per_kwh",
    "total_params_b",
    "active_params_b",
)
"""Assumptions that a reader should see at once; `explain` prints all."""


def assumptions_text(entries: Iterable[Entry], *, brief: bool = False) -> str:
    """What nobody stated."""
    entries = list(entries)
    shown = [entry for entry in entries if not brief or entry.field in BRIEF]
    lines = [f"  {entry.field}: {entry_value(entry)} ({_why(entry, brief=brief)})" for entry in shown]
    more = f"\n  and {len(entries) - len(shown)} more: inferprint explain" if len(shown) < len(entries) else ""
    return "assumed\n" + "\n".join(lines) + more if lines else ""


def _why(entry: Entry, *, brief: bool) -> str:
    return entry.reason.split(";")[0] if brief else entry.reason


def entry_value(entry: Entry) -> str:
    """The value of a trail entry with its bounds."""
    if isinstance(entry.value, str):
        return entry.value
    text = f"{entry.value:,.6g} {entry.unit}".strip()
    if entry.low is None or entry.high is None:
        return text
    return f"{text} [{number(entry.low)} - {number(entry.high)}]"


def explain_text(explanation: Explanation) -> str:
    """The whole trail."""
    result = explanation.result
    sections = [estimate_text(result), "", "INPUTS: value [95 %], how, why, source (date, quality)"]
    sections += [_entry_line(entry) for entry in explanation.inputs]
    sections += ["", "WORK: what was asked, as counts", *_step_lines(explanation.features)]
    sections += [
        "",
        "TERMS: ideal seconds (or count) x coefficient x level x count",
        *_step_lines(explanation.levels),
        *_step_lines(explanation.terms),
    ]
    sections += ["", "STEPS: from the accelerators to the impacts, central values", *_step_lines(explanation.steps)]
    sections += ["", "UNCERTAINTY: share of the spread of usage_emissions_gco2e"]
    sections += [f"  {name}: {share:.1%}" for name, share in result.uncertainty.items()] or ["  none"]
    return "\n".join(sections)


def _entry_line(entry: Entry) -> str:
    origin = f"{entry.source} ({entry.date}, {entry.quality})" if entry.date else entry.source
    return f"  {entry.field} = {entry_value(entry)}: {entry.how}, {entry.reason}; {origin}"


def _step_lines(steps: Iterable[Step]) -> list[str]:
    lines = []
    for step in steps:
        equation = f"   {step.equation}" + (f" ({step.reference})" if step.reference else "") if step.equation else ""
        numbers = f"{step.numbers} = " if step.numbers else ""
        lines.append(f"  {step.name}: {numbers}{number(step.value)} {step.unit}{equation}")
    return lines


def compare_text(results: Sequence[Result], less: Sequence[float]) -> str:
    """Models side by side on the same work; `less` is the chance that each uses less energy than the first."""
    head = ["", *(result.machine.model for result in results)]
    rows = [head]
    rows += [
        [f"{LABELS[q.name]} [{q.unit}]", *(_short(result.range(q.name)) for result in results)]
        for q in RESULTS
        if any(result.range(q.name) for result in results)
    ]
    rows.append(["quality", *(result.quality for result in results)])
    rows.append(["largest uncertainty", *(result.largest_uncertainty or "none" for result in results)])
    rows.append(["uses less energy than the first", "", *(f"{share:.0%} likely" for share in less[1:])])
    notes = sorted({f"warning: {text}" for result in results for text in result.warnings})
    return "\n".join([table(rows), "value [95 % interval]; likelihoods count shared errors once", *notes])


def _short(value: Range | None) -> str:
    if value is None:
        return "unknown"
    return f"{number(value.value)} [{number(value.low)} - {number(value.high)}]"
