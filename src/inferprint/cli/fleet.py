"""How many nodes a load takes, and what a day of them costs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inferprint.cli.options import CATALOG, FLEET, JSON, column_mapping, estimator_of, takes_request
from inferprint.errors import FileProblem, InvalidInput
from inferprint.estimate.estimate import request_from

if TYPE_CHECKING:
    from inferprint.catalogue import Catalogue
    from inferprint.planning import Fleet, Load

LENGTHS = ("input_tokens", "output_tokens", "cached_input_tokens")
LOG_ROWS = 100_000
"""Rows of a log that are read at a time."""

Given = dict[str, Any]
"""Options that the caller stated, by field."""


@click.command("fleet")
@click.argument("model", metavar="MODEL")
@takes_request(*FLEET)
@CATALOG
@JSON
def fleet_command(model: str, given: Given, catalog: Path | None, as_json: bool) -> None:
    """How many nodes a load takes, how busy they are, and what a day of them costs.

    The load is a mean rate with mean lengths, or a usage log. --batch-size is the most that a replica takes at a time;
    the limits bound it too.
    """
    from inferprint.planning import fleet

    estimator = estimator_of(catalog)
    headroom, price = given.pop("headroom", 0.0), given.pop("usd_per_gpu_hour", None)
    load, skipped = _load(estimator.catalogue, given)
    request = request_from(model_id=model, input_tokens=0, output_tokens=0, **given)
    found = fleet(load, request, estimator, headroom=headroom, usd_per_gpu_hour=price)
    if as_json:
        document = {**found.to_dict(), "rows_skipped": skipped}
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        return
    print(fleet_text(found))
    if skipped:
        print(f"{skipped:,} rows of the log hold no request with a time: they are left out")


def _load(catalogue: Catalogue, given: Given) -> tuple[Load, int]:
    """The load, whose options are taken out of `given`; and rows of a log that are no part of it."""
    from inferprint.planning import stated_load

    rate, peak = given.pop("requests_per_second", None), given.pop("peak_requests_per_second", None)
    logs, columns, spread = given.pop("log", ()), given.pop("columns", ()), given.pop("length_spread", 0.0)
    lengths = {name: given.pop(name) for name in LENGTHS if name in given}
    if bool(logs) == (rate is not None):
        hint = "Give --requests-per-second with --input-tokens and --output-tokens, or --log FILE."
        raise InvalidInput("requests_per_second", "a load is either a rate or a log", hint=hint)
    if logs:
        if lengths or peak is not None or spread:
            raise InvalidInput("log", "given beside lengths or a peak", hint="A log holds them itself.")
        return _logged([Path(log) for log in logs], columns)
    if "output_tokens" not in lengths:
        raise InvalidInput("output_tokens", "is missing", hint="Give the mean of the answers.")
    return stated_load(catalogue, rate, lengths, peak_requests_per_second=peak, spread=spread), 0


def _logged(logs: Sequence[Path], column: Sequence[str]) -> tuple[Load, int]:
    """The load that usage tables show, and rows without tokens or a time that can be read."""
    import numpy as np

    from inferprint.batch import RunOptions
    from inferprint.batch.rows import check
    from inferprint.planning import logged_load
    from inferprint.usage.tables import open_table

    options = RunOptions(columns=column_mapping(column), fills={"model_id": "any"})
    names = ("input_tokens", "cached_input_tokens", "output_tokens")
    parts: dict[str, list[Any]] = {name: [] for name in (*names, "seconds")}
    skipped = 0
    for path in logs:
        table = open_table(path)
        mapped = options.mapped(path, table.names)
        if "utc_datetime" not in mapped:
            hint = f"It has: {', '.join(table.names)}. Map one, as with: --column utc_datetime=TIMESTAMP"
            raise FileProblem(f"{path}: no column for utc_datetime", hint=hint)
        for chunk in table.chunks(mapped, LOG_ROWS):
            checked = check(chunk, options.fills)
            times = np.array([_seconds(cell) for cell in chunk.columns["utc_datetime"]])
            good = checked.good & np.isfinite(times)
            skipped += chunk.records - int(good.sum())
            parts["seconds"].append(times[good])
            for name in names:
                parts[name].append(checked.numbers[name][good])
    columns = {name: np.concatenate([np.zeros(0), *chunks]) for name, chunks in parts.items()}
    if not columns["seconds"].size:
        message = f"holds no request with a time: {skipped:,} rows are left out"
        raise InvalidInput("log", message, hint="Times are ISO 8601 or seconds since 1970; `inferprint run` says why.")
    return logged_load(columns.pop("seconds"), columns), skipped


def _seconds(cell: Any) -> float:
    """A date and time, or seconds since 1970, as seconds; NaN where it is neither."""
    from datetime import UTC, datetime

    if isinstance(cell, datetime):
        return cell.replace(tzinfo=cell.tzinfo or UTC).timestamp()
    text = str(cell).strip()
    try:
        return float(text)
    except ValueError:
        pass
    try:
        parsed = datetime.fromisoformat(_six_digits(text))
    except ValueError:
        return float("nan")
    return parsed.replace(tzinfo=parsed.tzinfo or UTC).timestamp()


def _six_digits(text: str) -> str:
    """A time whose fraction of a second has at most the six digits that Python reads."""
    whole, point, rest = text.partition(".")
    digits = len(rest) - len(rest.lstrip("0123456789"))
    return whole + point + rest[: min(digits, 6)] + rest[digits:] if point else text


def fleet_text(found: Fleet) -> str:
    """A fleet on one screen."""
    from inferprint.cli.text import interval, number, table

    load = found.load
    head = (
        f"{found.model}: {_count(found.nodes, 'node')} of {_count(found.devices_per_node, 'device')}, "
        f"{_count(found.replicas, 'replica')} of {found.devices_per_replica}, "
        f"at most {number(found.max_batch_size)} at a time in each"
    )
    served = (
        f"load: {number(load.requests / load.days)} requests a day, mean {number(load.mean('input_tokens'))} + "
        f"{number(load.mean('output_tokens'))} tokens, {number(float(load.requests_per_second.max()))}/s in the "
        f"busiest hour; a replica is active {found.active_share:.0%} of the time"
    )
    units = {"kwh": "kWh", "kgco2e": "kgCO2e", "l": "L"}
    rows = []
    for name, value in found.per_day.items():
        what, _, unit = name.rpartition("_")
        rows.append((what.replace("usage_", "").replace("_", " "), interval(value, units[unit])))
    if found.cost_usd_per_day is not None:
        rows.append(("cost", f"{number(found.cost_usd_per_day)} USD"))
    lines = [head, served, "a mean day, 95 % intervals in brackets", table(rows, indent=2), "levels of the load"]
    columns = ["requests/s", "hours", "batch", "active", "ms per token", "ms to first", "IT kWh given", "drawn"]
    shown = found.levels if len(found.levels) <= SHOWN else found.levels[:: -(-len(found.levels) // SHOWN)]
    cells = [
        [
            number(level.requests_per_second),
            number(level.hours),
            number(level.batch_size),
            f"{level.active_share:.0%}",
            number(level.time_per_output_token_ms),
            number(level.time_to_first_token_ms),
            number(level.attributed_kwh),
            number(level.drawn_kwh),
        ]
        for level in shown
    ]
    lines.append(table([columns, *cells], indent=2))
    return "\n".join([*lines, *(f"warning: {text}" for text in found.warnings)])


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


SHOWN = 14
"""Levels of load that are printed; --json has all."""
