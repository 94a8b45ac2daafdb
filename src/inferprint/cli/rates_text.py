"""Rates as text, as rows and as Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inferprint.cli.text import LABELS, interval, number, table
from inferprint.errors import FileProblem
from inferprint.estimate.rate_list import Rates, Refusal
from inferprint.quantities import RESULTS, Range
from inferprint.rates import OUTPUT_NAMES, MachineCard, PlaceCard, apply

# --- by feature -------------------------------------------------------------------------------------------------------

PER = {"token": 1_000.0, "pair": 1_000_000.0, "token read": 1_000_000.0, "GFLOP": 1_000.0}
"""Units of a feature that a line of the list is for, where it is not for one."""

PLAIN = ("token", "pair", "request", "prompt", "evaluation", "image", "video", "clip", "s")
"""Units that the name of their feature says."""


def rate_rows(machine: MachineCard, place: PlaceCard) -> list[dict[str, Any]]:
    """One row per feature and quantity: value, low and high per `per` units of the feature."""
    features = machine.modality.features
    scale = np.diag([PER.get(feature.unit, 1.0) for feature in features])
    outputs = apply(machine, place, scale)
    rows = []
    for i, feature in enumerate(features):
        for quantity in RESULTS:
            value, low, high = (float(x) for x in outputs[:, OUTPUT_NAMES.index(quantity.name), i])
            if value > 0:
                rows.append(
                    {
                        "feature": feature.name,
                        "per": PER.get(feature.unit, 1.0),
                        "unit": feature.unit,
                        "quantity": quantity.name,
                        "value": value,
                        "low": low,
                        "high": high,
                    }
                )
    return rows


def features_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rates by feature as a table."""
    lines = [("per", "quantity", "value", "95 % interval")]
    for row in rows:
        per = f"{row['per']:,.0f} {row['feature']}" + ("" if row["unit"] in PLAIN else f" ({row['unit']})")
        lines.append((per, row["quantity"], number(row["value"]), f"{number(row['low'])} - {number(row['high'])}"))
    return table(lines)


# --- as text ----------------------------------------------------------------------------------------------------------

UNITS = {
    "fresh_input_tokens": "fresh input tokens",
    "cached_input_tokens": "cached input tokens",
    "output_tokens": "output tokens",
    "input_tokens": "input tokens",
    "requests": "request",
    "output_images": "picture",
    "input_images": "picture given",
    "output_video_seconds": "second of video",
    "output_audio_seconds": "second of sound",
    "input_audio_seconds": "second of sound heard",
}
"""What a line is for, in words."""

SHOWN = ("usage_energy_wh", "usage_emissions_gco2e", "usage_water_ml")
"""Quantities of the list of all models; `csv`, `json` and `parquet` have the others."""

HEADINGS = {
    "text": "text",
    "embedding": "embeddings, classes",
    "image": "pictures",
    "video": "video",
    "sound": "sound and speech that is made",
    "speech": "sound and speech that is heard",
}


def rates_text(rates: Rates, named: Mapping[str, str]) -> str:
    """The rates of one model at one host: a column for each line, a row for each quantity."""
    heads = [f"{line.per:,.0f} {UNITS[line.unit]}" for line in rates.lines]
    rows = [[f"{rates.model}, {_host(rates)}", *heads]]
    for quantity in RESULTS:
        values = [line.values[quantity.name] for line in rates.lines]
        if any(value is not None for value in values):
            rows.append([f"{LABELS[quantity.name]} [{quantity.unit}]", *map(_short, values)])
    whole = " + ".join(f"{line.amount:,.6g} {UNITS[line.unit]}" for line in rates.lines)
    notes = [
        f"95 % intervals in brackets; electricity of {rates.grid_zone}",
        f"for a request with {reference_text(rates.reference)}: {whole}",
        f"quality: {rates.quality}",
        *(f"warning: {text}" for text in rates.warnings),
        f"{_versions(named)}, coefficients {rates.coefficients}",
    ]
    return "\n".join([table(rows), *notes])


def list_text(found: Sequence[Rates | Refusal], named: Mapping[str, str]) -> str:
    """The list of all models: a table for each kind of work, a row for each model and host."""
    rates = [item for item in found if isinstance(item, Rates)]
    sections = []
    for kind, heading in HEADINGS.items():
        of_kind = [item for item in rates if item.kind == kind]
        if of_kind:
            rows = _text_rows(of_kind) if kind == "text" else _rows(of_kind)
            of = f", of a request with {reference_text(of_kind[0].reference)}" if kind == "text" else ""
            sections += [f"{heading}{of}", table(rows, indent=2), ""]
    refused = [item for item in found if isinstance(item, Refusal)]
    models = len({item.model for item in rates})
    sections += [f"not estimated: {refusal_text(item)}" for item in refused]
    sections.append(
        f"{models:,} models, {len(rates):,} rows; {len(refused):,} not estimated; 95 % intervals in brackets"
    )
    return "\n".join([*sections, _versions(named)])


def refusal_text(item: Refusal) -> str:
    """A model without rates, in a line."""
    return f"{item.model}{f' at {item.service}' if item.service else ''}: {item.reason}"


def _text_rows(rates: Sequence[Rates]) -> list[list[str]]:
    """Models for text: the energy of each line, and all three impacts of the answer."""
    usage = [f"{name} of 1,000 output tokens" for name in ("Wh", "gCO2e", "mL")]
    rows = [["model", "service", "Wh of 1,000 fresh input", "cached", "request", *usage]]
    for item in rates:
        lines = {line.unit: line.values for line in item.lines}
        energy = [lines[unit]["usage_energy_wh"] if unit in lines else None for unit in _BESIDE_OUTPUT]
        values = [lines["output_tokens"][name] for name in SHOWN]
        rows.append([item.model, _host(item), *(number(v.value) if v else "-" for v in energy), *map(_short, values)])
    return rows


_BESIDE_OUTPUT = ("fresh_input_tokens", "cached_input_tokens", "requests")


def _rows(rates: Sequence[Rates]) -> list[list[str]]:
    """Other models: the impacts of the first line, and what it is for."""
    rows = [["model", "service", "per", "Wh", "gCO2e", "mL", "of a request with"]]
    for item in rates:
        line = item.lines[0]
        values = [_short(line.values[name]) for name in SHOWN]
        per = f"{line.per:,.0f} {UNITS[line.unit]}"
        rows.append([item.model, _host(item), per, *values, reference_text(item.reference)])
    return rows


def _host(rates: Rates) -> str:
    return rates.service or "stated hardware"


def _short(value: Range | None) -> str:
    return interval(value, "").replace("   [", " [").replace("  [", " [")


def reference_text(reference: Mapping[str, Any]) -> str:
    """The fields of a reference request, in a line."""
    return "; ".join(f"{name}={_field(value)}" for name, value in reference.items())


def _field(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return ",".join(map(str, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _versions(named: Mapping[str, str]) -> str:
    return ", ".join(f"{what} {version}" for what, version in named.items())


# --- as rows ----------------------------------------------------------------------------------------------------------

HEAD = ("model", "service", "default", "grid_zone", "kind", "unit", "per", "amount", "reference")
TAIL = ("quality", "coefficients", "inferprint", "catalogue", "method")
NUMBERS = tuple(f"{quantity.name}{end}" for quantity in RESULTS for end in ("", "_low", "_high"))
COLUMNS = (*HEAD, *NUMBERS, *TAIL)
"""Columns of the list as CSV and Parquet: one row per line."""

_KINDS = {"default": "BOOLEAN", "per": "DOUBLE", "amount": "DOUBLE", **dict.fromkeys(NUMBERS, "DOUBLE")}


def flat_rows(rates: Sequence[Rates], named: Mapping[str, str]) -> Iterator[list[Any]]:
    """The lines of a list, with the columns `COLUMNS`; None where something is unknown."""
    for item in rates:
        own = (item.model, item.service, str(item.default).lower(), item.grid_zone, item.kind)
        for line in item.lines:
            values = [line.values[quantity.name] or (None, None, None) for quantity in RESULTS]
            reference = reference_text(item.reference)
            yield [
                *(*own, line.unit, line.per, line.amount, reference),
                *(bound for value in values for bound in value),
                *(item.quality, item.coefficients, *named.values()),
            ]


def csv_text(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Rows as CSV; what is unknown is blank."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return buffer.getvalue().rstrip("\n")


def write_parquet(path: Path, text: str) -> None:
    """Write CSV with the columns `COLUMNS` as Parquet.

    Raises
    ------
    FileProblem
        DuckDB is not installed, or the file cannot be written.
    """
    from inferprint.usage.engine import connected, duckdb_error, literal

    kinds = ", ".join(f"{literal(name)}: {literal(_KINDS.get(name, 'VARCHAR'))}" for name in COLUMNS)
    with connected() as connection:
        source = path.with_name(f"{path.name}.csv")
        try:
            source.write_text(text + "\n", encoding="utf-8")
            read = f"read_csv({literal(str(source))}, header = true, columns = {{{kinds}}})"
            connection.execute(f"COPY (FROM {read}) TO {literal(str(path))} (FORMAT parquet)")
        except duckdb_error() as error:
            raise FileProblem(f"{path}: cannot be written: {str(error).splitlines()[0]}") from error
        finally:
            source.unlink(missing_ok=True)


def json_text(data: Any) -> str:
    """Plain data as JSON."""
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)
