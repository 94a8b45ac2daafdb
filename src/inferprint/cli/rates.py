"""A rate card as a price list."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np

from inferprint.cli.text import number, table
from inferprint.quantities import RESULTS
from inferprint.rates import OUTPUT_NAMES, MachineCard, PlaceCard, apply

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


def rates_text(rows: list[dict[str, Any]], *, as_csv: bool = False) -> str:
    """The list as a table or as CSV."""
    if as_csv:
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return buffer.getvalue().rstrip()
    lines = [("per", "quantity", "value", "95 % interval")]
    for row in rows:
        per = f"{row['per']:,.0f} {row['feature']}" + ("" if row["unit"] in PLAIN else f" ({row['unit']})")
        lines.append((per, row["quantity"], number(row["value"]), f"{number(row['low'])} - {number(row['high'])}"))
    return table(lines)
