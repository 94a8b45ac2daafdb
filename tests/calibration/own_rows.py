"""Observations of a machine whose coefficients are known: what a fit of its own forms has to find again."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inferprint import Catalogue
from inferprint.calibration.design import design_of
from inferprint.calibration.observations import read_files

CATALOGUE = Catalogue.packaged()

Load = tuple[int, int, int]
"""Requests at a time, prompt and answer length [tokens]."""

LOADS: list[Load] = list(itertools.product((1, 4, 16, 64), (128, 1024, 4096), (64, 512)))

FACTORS = {"dense_weights": 1.4, "layers": 1.8, "prompt_linear": 1.6, "sequences": 0.7, "kv_reads": 1.2}
"""True coefficients over those of the general form."""

ROW = {
    "source": "my-lab", "model_key": "llama-3-8b", "precision_name": "bf16", "gpu": "H100-SXM-80GB", "gpu_count": "1",
    "engine": "vllm", "date": "2026-11-30",
}  # fmt: skip


def loads_as_rows(loads: Sequence[Load], more: Mapping[str, Any] | None = None, tag: str = "r") -> list[dict[str, Any]]:
    """Rows of some loads whose measured values are still to be filled in."""
    return [
        {
            **ROW,
            "row_id": f"{tag}{index}",
            "serving_mode": "aggregated",
            "concurrency": batch,
            "n_in_tokens": n_in,
            "n_out_tokens": n_out,
            "system_output_tokens_per_s": 200,
            **(more or {}),
        }
        for index, (batch, n_in, n_out) in enumerate(loads)
    ]


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path


def true_values(form: str, factors: Mapping[str, float]) -> dict[str, float]:
    """Coefficients of the machine."""
    return {name: value.value * factors.get(name, 1.0) for name, value in CATALOGUE.forms[form].terms.items()}


def measured(
    path: Path,
    rows: list[dict[str, Any]],
    factors: Mapping[str, float] = FACTORS,
    *,
    noise: float = 0.03,
    seed: int = 1,
    catalogue: Catalogue = CATALOGUE,
) -> Path:
    """A file of rows of a machine with these coefficients: times, and energies where the rows have their column."""
    rng = np.random.default_rng(seed)
    found = read_files([write(path, rows)], catalogue)
    assert not found.refused, found.refused[:3]
    design = design_of(found, ("served_time_per_token",), catalogue)
    values = true_values("duration.served", factors)
    seconds = design.terms(list(values), "seen") @ np.array(list(values.values()))
    for row, point, time in zip(rows, design.points, seconds, strict=True):
        per_token = time * np.exp(noise * rng.standard_normal()) / point.observation.tokens[1]
        row["system_output_tokens_per_s"] = float(row["concurrency"]) / per_token
    if "energy_per_output_token_j" in rows[0]:
        design = design_of(found, ("energy_per_output_token",), catalogue)
        values = true_values("energy.served", factors)
        seconds = design.terms(list(values), "share") @ np.array(list(values.values()))
        for row, point, time in zip(rows, design.points, seconds, strict=True):
            joules = time * np.exp(noise * rng.standard_normal()) * point.ideal.max_power_w * point.ideal.devices
            row["energy_per_output_token_j"] = joules / point.observation.tokens[1]
    return write(path, rows)
