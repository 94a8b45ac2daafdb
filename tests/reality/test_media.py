"""Measurements of encoders and pictures that no coefficient was fitted to.

Three sources, each with a boundary of its own:

- Luccioni et al. (2023): single requests to small encoders in plain PyTorch, on one A100 of a node of eight, whose
  energy is counted together. The time is that of the request. The energy of the one is known only within bounds, as
  the seven others wait.
- MLPerf power (v2.0 to v4.1): systems at the wall, tuned for least energy, 8 bits, full batches: the electricity of
  accelerators and host without building and idle time.
- MLPerf inference v5.1: pictures per second of tuned systems at 8 bits: the device time of a picture.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from inferprint import Estimator, Request
from inferprint.catalogue import resolve_gpu
from inferprint.estimate import Result
from inferprint.rates.draws import bounds

DATA = Path(__file__).resolve().parents[2] / "data" / "benchmarks"
ESTIMATOR = Estimator()
GPUS = 8

Row = dict[str, str]


def rows(source: str, kind: str) -> list[Row]:
    with (DATA / source / f"{kind}.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def share_inside(intervals) -> float:
    """Share of (measured, low, high) whose interval holds what was measured."""
    found = np.array(intervals)
    return float(np.mean((found[:, 1] <= found[:, 0]) & (found[:, 0] <= found[:, 2])))


# --- single requests to encoders --------------------------------------------------------------------------------------

ALIKE = {
    # Parameters [1e9] to a model of the catalogue of the same layers and width: BERT and RoBERTa, XLM-RoBERTa
    (0.1083103, 0.1088916, 0.1246456): "bge-base-en-v1.5",
    (0.3351419, 0.3553597): "bge-large-en-v1.5",
    (0.2780436,): "bge-reranker-base",
    (0.5598904,): "bge-m3",
}
TOKENS = {
    # Usual lengths of the data sets, in tokens of BERT; a single request to so small a model hardly depends on them
    "fillmask_bookcorpus": 20, "fillmask_c4": 400, "fillmask_oscar": 500, "qa_sciq": 120, "qa_squad": 170,
    "qa_squadv2": 170, "text_classif_imdb": 290, "text_classif_sst2": 25, "text_classif_tomatoes": 27,
    "token_classif_conll2003": 20, "token_classif_record": 250, "token_classif_wikiann": 12,
}  # fmt: skip


def single(row: Row, model: str) -> Result:
    return ESTIMATOR.estimate(
        Request(
            model_id=model,
            gpu_id=resolve_gpu(ESTIMATOR.catalogue, row["gpu"]).id,
            gpu_count=1,
            batch_size=1,
            engine="eager",
            precision="fp32",
            input_tokens=TOKENS[row["scenario"]],
        )
    )


@pytest.fixture(scope="module")
def singles() -> list[tuple[Row, Result]]:
    models = {params: model for several, model in ALIKE.items() for params in several}
    found = [(row, models.get(float(row["params_b"]))) for row in rows("luccioni-2023", "encoder")]
    return [(row, single(row, model)) for row, model in found if model is not None]


def test_there_are_enough_single_requests(singles):
    assert len(singles) >= 35
    assert {row["gpu"] for row, _ in singles} == {"A100-SXM-80GB"}


def test_times_of_single_requests_lie_within_their_intervals(singles):
    timed = [(float(row["latency_s"]) * 1000, r.duration_ms.low, r.duration_ms.high) for row, r in singles]
    assert share_inside(timed) >= 0.9


def test_times_of_single_requests_are_met_within_a_factor_of_two(singles):
    ratios = [float(row["latency_s"]) * 1000 / r.duration_ms.value for row, r in singles]
    assert 0.5 < np.median(ratios) < 2


IDLE_W, LOADED_W, LIMIT_W = 55.0, 93.0, 400.0
"""An A100 SXM 80GB that waits: without and with a model in its memory; its power limit."""


def test_energies_of_eight_boards_are_those_of_one_that_works_and_seven_that_wait(singles):
    # Where the seven leave more than the limit of the eighth, somebody else was at work on them: those rows say nothing
    energies = []
    for row, result in singles:
        others = (GPUS - 1) * float(row["latency_s"])
        energy = result.range("accelerator_energy_wh")
        if float(row["gpu_energy_j"]) - IDLE_W * others <= LIMIT_W * float(row["latency_s"]):
            low, high = energy.low * 3600 + IDLE_W * others, energy.high * 3600 + LOADED_W * others
            energies.append((float(row["gpu_energy_j"]), low, high))
    assert len(energies) >= 10
    assert share_inside(energies) >= 0.9


# --- encoders at the wall ---------------------------------------------------------------------------------------------


def at_the_wall(row: Row, batch: float) -> Result:
    """BERT-large, about 180 tokens, at 8 bits: fp8 where boards compute in it, else int8."""
    gpu = resolve_gpu(ESTIMATOR.catalogue, row["gpu"])
    return ESTIMATOR.estimate(
        Request(
            model_id="bge-large-en-v1.5",
            gpu_id=gpu.id,
            gpu_count=1,
            batch_size=batch,
            precision="fp8" if gpu.fp8_dense_tflops else "int8",
            input_tokens=180,
            pue=1.0,
            active_share=1.0,
        )
    )


@pytest.fixture(scope="module")
def questions() -> list[Row]:
    return [row for row in rows("mlperf-power", "encoder") if row["model_id"] == "bert-large"]


def test_there_are_enough_systems(questions):
    assert len(questions) >= 25
    assert {row["energy_boundary"] for row in questions} == {"system_wall_ac"}


@pytest.mark.parametrize("batch", [16, 64, 256])
def test_questions_at_the_wall_lie_within_their_intervals(questions, batch):
    energies = []
    for row in questions:
        energy = at_the_wall(row, 1 if row["scenario"] == "singlestream" else batch).usage_energy_wh
        energies.append((float(row["energy_per_sample_j"]) / 3600, energy.low, energy.high))
    assert share_inside(energies) >= 0.95


def test_questions_at_the_wall_are_met_within_a_factor_of_two(questions):
    served = [row for row in questions if row["scenario"] != "singlestream"]
    ratios = [float(row["energy_per_sample_j"]) / 3600 / at_the_wall(row, 64).usage_energy_wh.value for row in served]
    assert 0.5 < np.median(ratios) < 2


# --- pictures ---------------------------------------------------------------------------------------------------------

NODES = {"H200-SXM-141GB": "generic:hgx-h200-8", "B200-SXM-180GB": "generic:hgx-b200-8"}


def xl(**place: object) -> Result:
    """Stable Diffusion XL in the 20 steps of MLPerf, at 8 bits, of an unknown engine and batch."""
    return ESTIMATOR.estimate(
        Request(
            model_id="sdxl-base",
            input_steps=20,
            output_images=("1024x1024",),
            precision="fp8",
            pue=1.0,
            active_share=1.0,
            **place,  # type: ignore[arg-type]
        )
    )


MEASURED = [
    (source, row["gpu"], row["note"][:7], float(row["energy_per_image_j"]))
    for source in ("mlperf-power", "mlperf-inference-5.1")
    for row in rows(source, "image")
    if row["energy_per_image_j"]
]


@pytest.mark.parametrize("source, gpu, scenario, joules", MEASURED)
def test_the_interval_of_an_unknown_engine_reaches_tuned_systems_at_the_wall(source, gpu, scenario, joules):
    energy = xl(node_id=NODES[gpu]).usage_energy_wh
    assert energy.low <= joules / 3600 <= energy.high


@pytest.mark.parametrize("source, gpu, scenario, joules", MEASURED)
def test_an_unknown_engine_is_not_taken_for_a_tuned_one(source, gpu, scenario, joules):
    # Published pipelines take two to four times what tuned engines at 8 bits and lowered clocks take
    assert 1.0 < xl(node_id=NODES[gpu]).usage_energy_wh.value * 3600 / joules < 4.0


def test_four_systems_were_measured_at_the_wall():
    assert len(MEASURED) == 4


def test_device_times_of_tuned_systems_lie_within_their_intervals():
    # The batch is not in the results; they are full ones, of eight pictures or so
    times = []
    for row in rows("mlperf-inference-5.1", "image"):
        result = xl(gpu_id=resolve_gpu(ESTIMATOR.catalogue, row["gpu"]).id, gpu_count=1, batch_size=8)
        _, low, high = bounds(result.machine.quantity("device_time") @ result.features)
        times.append((float(row["gpu_count"]) / float(row["throughput_images_per_s"]), float(low), float(high)))
    assert len(times) >= 30
    assert share_inside(times) >= 0.9
