"""`inferprint scan`: the footprint of the coding agents on this machine."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import click

from inferprint.cli.options import CATALOG, JSON, SETUP, estimator_of, takes_request
from inferprint.errors import FileProblem

if TYPE_CHECKING:
    from inferprint.batch import Summary
    from inferprint.batch.totals import Total

SHOWN = ("usage_energy_wh", "usage_emissions_gco2e", "usage_water_ml")
DIMENSIONS = {"project_id": "by project", "model": "by model", "week": "by week"}
MOST_SHOWN = 20


@click.command("scan")
@click.option(
    "--home",
    metavar="DIR",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Home folder to look in; yours by default.",
)
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path), help="Keep the impacts of every request here.")
@click.option("--overwrite", is_flag=True, help="Replace what --out holds.")
@takes_request(*SETUP)
@CATALOG
@JSON
def scan_command(
    *, given: dict[str, Any], home: Path | None, out: Path | None, overwrite: bool, catalog: Path | None, as_json: bool
) -> None:
    """Find the transcripts of coding agents (Claude Code, Codex), and print their footprint.

    Only counts, times, models and project folders are read: no prompt and no answer gets into any output.
    """
    from inferprint.batch import RunOptions, run
    from inferprint.cli.progress import steps
    from inferprint.usage.agents import transcripts

    environ = {} if home is not None else dict(os.environ)
    found = transcripts(environ, home or Path.home())
    if not found:
        places = "~/.claude/projects, ~/.config/claude/projects and ~/.codex/sessions"
        hint = "Set CLAUDE_CONFIG_DIR or CODEX_HOME where they lie elsewhere, or name a home folder: --home DIR"
        raise FileProblem(f"no transcripts of coding agents in {places} of {home or Path.home()}", hint=hint)
    with tempfile.TemporaryDirectory(prefix="inferprint-scan-") as folder, steps() as report:
        options = RunOptions(
            fills=given,
            formats={one.path: one.format_name for one in found},
            unknown="estimate",
            overwrite=overwrite,
            estimator=estimator_of(catalog),
            progress=report,
        )
        summary = run([one.path for one in found], out or Path(folder) / "out", options)
    agents = Counter(one.format_name for one in found)
    if as_json:
        data = summary.to_dict() | {"transcripts": dict(agents), "by": _as_data(summary)}
        sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    else:
        print(scan_text(summary, agents, kept=out is not None))


def scan_text(summary: Summary, agents: Counter[str], *, kept: bool) -> str:
    """What was found, for a terminal."""
    from inferprint.batch.summary import count_line, rejected_lines

    counted = ", ".join(f"{number:,} of {name}" for name, number in sorted(agents.items()))
    lines = [f"transcripts: {counted}", count_line(summary.counts), *rejected_lines(summary.counts), ""]
    lines += _table("all", [summary.total])
    for dimension, title in DIMENSIONS.items():
        totals = [total for total in summary.totals if total.dimension == dimension]
        if dimension != "week":
            totals.sort(key=_energy, reverse=True)
        left = len(totals) - MOST_SHOWN
        shown = totals[-MOST_SHOWN:] if dimension == "week" else totals[:MOST_SHOWN]
        lines += ["", *_table(title, shown)]
        lines += [f"and {left} more: --json, or --out DIR"] if left > 0 else []
    lines += ["", *(f"warning: {warning}" for warning in summary.warnings)]
    if summary.doubts:
        lines.append("doubts about these formats: inferprint scan --json")
    lines += [f"written to {summary.out}"] if kept else []
    return "\n".join(lines).rstrip()


def _energy(total: Total) -> float:
    value = total.outputs["usage_energy_wh"]
    return value.value if value is not None else 0.0


def _table(title: str, totals: Iterable[Total]) -> list[str]:
    """Totals as aligned lines: requests, energy, greenhouse gas and water with their intervals."""
    from inferprint.cli.text import number, table

    totals = list(totals)
    names = _short([total.key for total in totals])
    rows: list[list[str]] = [[title, "records", "energy [Wh]", "greenhouse gas [gCO2e]", "water [mL]"]]
    for total, name in zip(totals, names, strict=True):
        cells = []
        for output in SHOWN:
            found = total.outputs[output]
            cells.append(
                "unknown" if found is None else f"{number(found[0])} [{number(found[1])} - {number(found[2])}]"
            )
        rows.append([name, f"{total.records:,}", *cells])
    return table(rows).splitlines()


def _short(keys: list[str]) -> list[str]:
    """Folders by their last name, as far as that tells them apart."""
    last = [PurePath(key).name if "/" in key else key for key in keys]
    twice = Counter(last)
    return [key if twice[name] > 1 else name for key, name in zip(keys, last, strict=True)]


def _as_data(summary: Summary) -> dict[str, list[dict[str, Any]]]:
    """Totals by dimension as plain data."""
    from inferprint.estimate.result import as_dict

    return {
        dimension: [
            {"key": t.key, "records": t.records, **{name: as_dict(found) for name, found in t.outputs.items()}}
            for t in summary.totals
            if t.dimension == dimension
        ]
        for dimension in DIMENSIONS
    }
