"""The packaged forms against public measurements.

The measurements are not part of the package: they lie beside the repository, in `../shared/benchmarks`. Where they are
missing these tests say so and are skipped.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from inferprint import Catalogue
from inferprint.errors import DoesNotFit, UnknownName
from inferprint.modalities.text import TEXT
from inferprint.rates import MachineCard, MachineSetup, resolve_machine
from inferprint.rates.draws import bounds
from inferprint.rates.situation import Situation, counted

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "benchmarks"
FILE, SPEED_FILE = FOLDER / "llm_energy.csv", FOLDER / "llm_speed.csv"
README = Path(__file__).resolve().parents[2] / "README.md"
SOURCE = "mlenergy-v3"
CATALOGUE = Catalogue.packaged()

PROMPTS = (("image", 900.0), ("video", 4000.0), ("chat", 90.0), ("sourcegraph", 700.0), ("gpqa", 250.0))
"""Assumed prompt lengths [tokens] by a word in the task: the source does not publish them."""

pytestmark = pytest.mark.skipif(not FILE.exists(), reason=f"NOT RUN: no measurements at {FILE.parent}")


@dataclass(frozen=True)
class Row:
    """One measured configuration: energy per output token [J] as measured, by both forms, and the card's interval."""

    measured: float
    default: float
    low: float
    high: float
    two_term: float


def prompt_tokens(task: str) -> float:
    return next(tokens for word, tokens in PROMPTS if word in task)


@cache
def card(model: str, gpu: str, count: int, replica: int, batch: float, precision: str) -> MachineCard:
    setup = MachineSetup(
        model_id=model,
        gpu_id=gpu,
        gpu_count=count,
        replica_gpu_count=replica,
        batch_size=batch,
        precision=precision,
    )
    return resolve_machine(CATALOGUE, setup)


def predicted(row: dict[str, str]) -> Row:
    count = int(float(row["gpu_count"]))
    # Experts spread over more devices than the attention is split over: they hold one copy of the model together.
    replica = int(max(float(row["tensor_parallel"] or count), float(row["expert_parallel"] or 1)))
    batch = max(1.0, float(row["concurrency"]) * replica / count)
    found = card(row["model_key"], row["gpu"], count, replica, batch, row["precision_name"])
    n_out = float(row["n_out_tokens"])
    features = counted(TEXT, (prompt_tokens(row["task"]), n_out), found.window)
    value, low, high = bounds(found.draws.energy @ features / n_out)
    two_term = found.draws.two_term_energy[0] @ features / n_out
    return Row(float(row["energy_per_output_token_j"]), float(value), float(low), float(high), float(two_term))


@cache
def comparison() -> tuple[list[Row], list[str]]:
    """Rows with their predictions, and rows that the catalogue or the memory refuses."""
    rows, refused = [], []
    with FILE.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            if row["source"] != SOURCE:
                continue
            try:
                rows.append(predicted(row))
            except (DoesNotFit, UnknownName) as error:
                refused.append(f"{row['row_id']}: {error.message}")
    return rows, refused


def errors(form: str) -> np.ndarray:
    """Relative errors of a form, signed."""
    return np.array([getattr(row, form) / row.measured - 1 for row in comparison()[0]])


def test_nearly_every_measured_row_is_estimated():
    rows, refused = comparison()
    assert len(rows) >= 0.99 * (len(rows) + len(refused)), refused[:5]


def test_median_error_of_the_default_form():
    assert np.median(np.abs(errors("default"))) < 0.15


def test_ninth_decile_of_the_error_of_the_default_form():
    assert np.quantile(np.abs(errors("default")), 0.9) < 0.48


def test_bias_of_the_default_form():
    assert abs(np.median(errors("default"))) < 0.08


def test_coverage_of_the_interval_where_batch_and_hardware_are_known():
    inside = [row.low <= row.measured <= row.high for row in comparison()[0]]
    assert np.mean(inside) >= 0.88


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_the_default_form_is_better_than_the_two_term_form(share):
    default, two_term = (np.quantile(np.abs(errors(form)), share) for form in ("default", "two_term"))
    assert default < two_term


def test_measured_energy_per_token_falls_with_the_batch_as_predicted():
    # Rank correlation over all rows: the order of configurations is what a choice between them rests on.
    rows, _ = comparison()
    measured, default = (np.argsort(np.argsort([getattr(r, name) for r in rows])) for name in ("measured", "default"))
    assert np.corrcoef(measured, default)[0, 1] > 0.95


UNSTATED_PROMPT = 250.0
"""Prompt length where a speed row has none [tokens]."""


@pytest.fixture(scope="module")
def served() -> np.ndarray:
    """Relative errors of the time per output token of batched rows, signed; the other requests are like the row's."""
    found: list[float] = []
    with SPEED_FILE.open(encoding="utf-8", newline="") as stream, pytest.MonkeyPatch.context() as patched:
        for row in csv.DictReader(stream):
            if row["serving_mode"] != "aggregated" or row["source"] == "inferencex-position-sweep":
                continue
            try:
                found.append(_served_error(row, patched))
            except (DoesNotFit, UnknownName, ValueError):
                continue
    return np.array(found)


def _served_error(row: dict[str, str], patched: pytest.MonkeyPatch) -> float:
    measured = float(row["concurrency"]) / float(row["system_output_tokens_per_s"])
    lengths = (float(row["n_in_tokens"] or UNSTATED_PROMPT), float(row["n_out_tokens"]))
    patched.setattr(Situation, "traffic_lengths", property(lambda _: lengths))
    setup = MachineSetup(
        model_id=row["model_key"],
        gpu_id=row["gpu"],
        gpu_count=int(float(row["gpu_count"])),
        replica_gpu_count=int(float(row["tensor_parallel"] or row["gpu_count"])),
        batch_size=max(1.0, float(row["concurrency"]) / float(row["data_parallel"] or 1)),
        precision=row["precision_name"] or None,
    )
    found = resolve_machine(CATALOGUE, setup)
    return float(found.draws.duration[0] @ counted(TEXT, lengths, found.window)) / lengths[1] / measured - 1


def test_time_per_output_token_is_as_good_as_its_residual_says(served):
    sigma = CATALOGUE.forms["duration.default"].residual_sigma
    assert len(served) > 2500
    assert np.std(np.log1p(served)) < 1.05 * sigma


def test_the_readme_states_the_errors_that_are_measured(served):
    text = " ".join(README.read_text(encoding="utf-8").split())
    energy = np.abs(errors("default"))
    median, decile = (round(100 * float(np.quantile(energy, q))) for q in (0.5, 0.9))
    assert f"per output token is off by {median} % at the median and {decile} % at the 90th percentile" in text
    median, decile = (round(100 * float(np.quantile(np.abs(served), q))) for q in (0.5, 0.9))
    assert f"time per output token by {median} % and {decile} %" in text
    assert f"({len(energy):,} and {len(served):,} rows" in text
