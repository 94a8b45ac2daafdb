"""Plans and sweeps as text and as rows of CSV."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inferprint.cli.options import flag_of
from inferprint.cli.text import number, table
from inferprint.planning import Cell, Configuration, Plan, Sweep, WhatIf
from inferprint.planning.objectives import OBJECTIVES, Objective
from inferprint.planning.plan import RANGES
from inferprint.planning.what_if import COMPARED
from inferprint.quantities import Range

NOTES = 4
"""Warnings, and reasons why a cell cannot be, that are printed below a table."""


def plan_text(found: Plan) -> str:
    """The front as a table, and what was looked at."""
    objectives = _columns(found)
    work, model = found.work, found.front[0].result.machine.model
    assumed = " (the usual lengths)" if len(work["assumed"]) == 2 else ""
    asked = f"{work['input_tokens']:,.0f} + {work['output_tokens']:,.0f} tokens{assumed}"
    lines = [
        f"{model}, per request of {asked}, 95 % intervals in brackets",
        table([_heads(found, objectives), *(_row(found, c, objectives) for c in found.front)], indent=2),
        *_counts(found),
        *(f"warning: {text}" for text in found.warnings[:NOTES]),
        ", ".join(f"{what} {version}" for what, version in found.front[0].result.versions.items()),
    ]
    return "\n".join(lines)


def _columns(found: Plan) -> list[Objective]:
    """The objectives, and the cost wherever a price was given."""
    priced = bool(found.space.search.usd_per_gpu_hour) and "cost" not in found.space.search.objectives
    return [*found.objectives, OBJECTIVES["cost"]] if priced else found.objectives


def _shown(found: Plan, name: str) -> bool:
    """Whether a column says anything: some configuration of the front has it."""
    return any(_place(c) if name == "place" else c.replica.techniques for c in found.front)


def _heads(found: Plan, objectives: Sequence[Objective]) -> list[str]:
    heads = ["replica", "format", "batch"]
    heads += [name for name in ("techniques", "place") if _shown(found, name)]
    heads += [o.head + (f" [{o.unit}]" if o.unit else "") for o in objectives]
    return heads if "throughput" in found.space.search.objectives else [*heads, "replica [tokens/s]"]


def _row(found: Plan, c: Configuration, objectives: Sequence[Objective]) -> list[str]:
    prompts = f" + {number(c.prompt_devices)} for prompts" if c.prompt_devices > 0 else ""
    row = [f"{c.devices} x {c.replica.hardware}{prompts}", c.precision, f"{c.batch_size:,g}"]
    row += [" + ".join(c.replica.techniques) or "none"] if _shown(found, "techniques") else []
    row += [_place(c) or "unstated"] if _shown(found, "place") else []
    row += [_objective(c, o) for o in objectives]
    tokens = c.ranges["tokens_per_s"]
    return row if "throughput" in found.space.search.objectives else [*row, number(tokens.value) if tokens else "-"]


def _place(c: Configuration) -> str:
    return c.place.name or ""


def _objective(c: Configuration, objective: Objective) -> str:
    if objective.column == "devices":
        return number(c.all_devices)
    if objective.column == "memory_gb":
        return number(c.memory_gb)
    return _range(c.ranges[objective.column])


def _range(value: Range | None) -> str:
    if value is None:
        return "unknown"
    return f"{number(value.value)} [{number(value.low)} - {number(value.high)}]"


def _counts(found: Plan) -> list[str]:
    """How many configurations there were, and what excluded the others."""
    counts = f"{found.configurations:,} configurations looked at, {found.fitting:,} fit"
    lines = [f"{counts}, {found.feasible:,} keep the limits, {found.on_front:,} on the front"]
    if found.on_front > len(found.front):
        lines.append(
            f"shown: {len(found.front)} of {found.on_front:,}, by {found.objectives[0].name}; --top shows more"
        )
    for name, count in found.excluded.items():
        limit = found.space.search.limits.get(name)
        text = "does not fit" if name == "memory" else flag_of(name) or name
        lines.append(f"  {text}{f' {limit:g}' if limit is not None else ''} excludes {count:,}")
    return lines


def what_if_text(found: WhatIf) -> str:
    """One row for each change, least carbon first."""
    base = found.base
    place = f", {base.place.name}" if base.place.name else ""
    techniques = "".join(f", {text}" for text in base.replica.techniques)
    where = f"{base.devices} x {base.replica.hardware}, {base.precision}, batch {base.batch_size:,g}"
    head = f"from {where}{techniques}{place}, one change at a time; ratios, 95 % intervals in brackets"
    rows = [["change", "", *(name.replace("_", " ") for name in COMPARED)]]
    for change in found.changes:
        cells = [change.reason, *[""] * (len(COMPARED) - 1)]
        if change.ratios is not None:
            cells = [_ratio(change.ratios[name]) for name in COMPARED]
        rows.append([change.axis, change.to, *cells])
    return head + "\n" + table(rows, indent=2)


def _ratio(value: Range) -> str:
    middle, low, high = (f"{ratio:.3g}" for ratio in value)
    return f"x{middle}" if low == middle == high else f"x{middle} [{low} - {high}]"


def csv_rows(found: Plan) -> list[dict[str, Any]]:
    """One flat row for each configuration of the front."""
    rows = []
    for c in found.front:
        plain = c.to_dict()
        row = {name: value for name, value in plain.items() if name not in RANGES}
        row["techniques"] = "+".join(c.replica.techniques)
        for name in RANGES:
            value = c.ranges[name]
            row |= {name: value.value if value else "", f"{name}_low": value.low if value else ""}
            row[f"{name}_high"] = value.high if value else ""
        rows.append(row)
    return rows


def sweep_text(found: Sweep) -> str:
    """One row for each value of the first axis, one column for each of the second."""
    first, *rest = found.axes
    columns = [rest[0].label(value) for value in rest[0].values] if rest else [f"{found.quantity} [{found.unit}]"]
    width = len(columns)
    common = found.common_warnings
    rows = [[f"{first.name} \\ {rest[0].name}" if rest else first.name, *columns]]
    for index, value in enumerate(first.values):
        cells = found.cells[index * width : (index + 1) * width]
        rows.append([first.label(value), *(_cell(cell, common) for cell in cells)])
    notes = [f"! {text}" for text in sorted({text for cell in found.cells for text in cell.warnings} - set(common))]
    notes += dict.fromkeys(f"{cell.why}: {cell.error.message}" for cell in found.cells if cell.error is not None)
    what = f"{found.model}: {found.quantity} [{found.unit}], 95 % intervals in brackets"
    lines = [what, table(rows, indent=2)]
    lines += [f"warning: {text}" for text in common]
    lines += notes[:NOTES]
    lines += [f"and {len(notes) - NOTES} more: --json has them by cell"] if len(notes) > NOTES else []
    return "\n".join([*lines, ", ".join(f"{what} {version}" for what, version in found.versions.items())])


def _cell(cell: Cell, common: Sequence[str]) -> str:
    if cell.range is None:
        return cell.why
    return _range(cell.range) + (" !" if set(cell.warnings) - set(common) else "")


def sweep_csv_rows(found: Sweep) -> list[dict[str, Any]]:
    """One flat row for each cell."""
    rows = []
    for cell in found.cells:
        row = {axis.name: axis.label(value).replace(",", "") if isinstance(value, (int, float)) else axis.label(value)
               for axis, value in zip(found.axes, cell.at, strict=True)}  # fmt: skip
        bounds: Sequence[Any] = cell.range or ("", "", "")
        row |= dict(zip((found.quantity, f"{found.quantity}_low", f"{found.quantity}_high"), bounds, strict=True))
        rows.append(row | {"error": cell.error.message if cell.error is not None else ""})
    return rows
