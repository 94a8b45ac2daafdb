"""What holds for every model that reads or makes pictures, video or sound, and for every batch of them."""

from __future__ import annotations

import csv
import math
from itertools import pairwise
from pathlib import Path

import pytest
from tests.setups import ESTIMATOR

from inferprint import Request
from inferprint.catalogue import resolve_model
from inferprint.modalities.media import NO_MEDIA
from inferprint.modalities.tasks import TASKS
from inferprint.rates import MachineSetup
from inferprint.rates.denoiser import denoiser_of
from inferprint.rates.diffusion import diffusion_rates
from inferprint.rates.draws import Sampler
from inferprint.rates.machine import situation_of
from inferprint.rates.media import MediaReader
from inferprint.rates.situation import Case

CATALOGUE = ESTIMATOR.catalogue
SHARED = Path(__file__).resolve().parents[3] / "shared" / "models" / "known_parameters.csv"

WORK: dict[str, dict[str, object]] = {
    "image": {},
    "video": {},
    "video+audio": {},
    "text-to-audio": {"output_audio_seconds": 10},
    "audio-to-text": {"input_audio_seconds": 60},
    "audio-encoder": {"input_audio_seconds": 10},
    "vision-encoder": {"input_images": ("512x512",)},
    "embedding": {"input_tokens": 200},
    "rerank": {"input_tokens": 200},
    "classifier": {"input_tokens": 200},
    "text": {"input_tokens": 200, "output_tokens": 100},
    "vision": {"input_tokens": 200, "output_tokens": 100, "input_images": ("512x512",)},
}
"""What is suitable to ask of a kind of model."""

COSTS = ("duration_ms", "usage_energy_wh", "usage_emissions_gco2e", "usage_water_ml", "embodied_emissions_gco2e")
MEDIA = sorted(set(WORK) - {"text", "vision"})


def check(**fields) -> None:
    """Every cost is finite, positive, and within its interval."""
    result = ESTIMATOR.estimate(Request(**fields))
    found = {name: result.range(name) for name in COSTS}
    bad = {n: r for n, r in found.items() if not (0 < r.low <= r.value <= r.high < math.inf)}
    assert bad == {}, fields


def of_kind(modality: str) -> list[str]:
    return sorted(model.id for model in CATALOGUE.models.values() if model.modality == modality)


@pytest.mark.parametrize("modality", MEDIA)
def test_every_model_of_a_kind_has_a_number(modality):
    names = of_kind(modality)
    assert names
    for name in names:
        check(model_id=name, **WORK[modality])


@pytest.mark.parametrize("modality", MEDIA)
def test_every_model_of_a_kind_has_a_number_on_a_stated_node(modality):
    # Eight boards of 141 GB hold each of them
    for name in of_kind(modality):
        check(model_id=name, node_id="generic:hgx-h200-8", batch_size=1, country="FR", **WORK[modality])


@pytest.mark.skipif(not SHARED.exists(), reason=f"NOT RUN: no list of open models at {SHARED}")
def test_every_open_model_of_the_list_has_a_number():
    with SHARED.open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["modality"] in MEDIA]
    assert len(rows) >= 80
    for row in rows:
        check(model_id=row["model_id"], **WORK[row["modality"]])


@pytest.mark.skipif(not SHARED.exists(), reason=f"NOT RUN: no list of open models at {SHARED}")
def test_an_open_model_of_the_list_is_not_taken_for_a_closed_one():
    with SHARED.open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["modality"] in MEDIA]
    unknown = {
        row["model_id"] for row in rows if resolve_model(CATALOGUE, row["model_id"]).model.total_params_b is None
    }
    assert unknown == set()


@pytest.mark.parametrize("task", sorted(TASKS))
def test_every_task_has_a_number_without_a_model(task):
    check(task=task, **WORK[CATALOGUE.models[TASKS[task]].modality])


# --- batches ----------------------------------------------------------------------------------------------------------

BENCHMARKED = sorted(
    {
        resolve_model(CATALOGUE, row.get("model_id") or row["model_key"]).model.id
        for kind in ("image", "video")
        for path in (Path(__file__).resolve().parents[2] / "data" / "benchmarks").glob(f"mlenergy-*/{kind}.csv")
        for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    }
)
"""Models whose pictures and clips were measured over many batches."""

BATCHES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
STEADY = 1 + 1e-9


def per_picture(model: str, gpu: str, devices: int, batch: float) -> tuple[float, float, float]:
    """Energy [J] and device time [s] of one usual picture or clip, and the time of its pass [s]; central."""
    setup = MachineSetup(
        model_id=model, gpu_id=gpu, gpu_count=devices, replica_gpu_count=devices, batch_size=batch, engine="diffusers"
    )
    situation, _ = situation_of(CATALOGUE, setup, sampler=Sampler(central_only=True))
    case = Case(situation.hosting.candidates[0], situation.precision)
    draws = diffusion_rates(situation, case, denoiser_of(situation))
    columns = MediaReader(CATALOGUE, situation.model, situation.base).columns(NO_MEDIA)
    features = situation.base.count({**columns, "n_requests": 1.0, "measured_seconds": 0.0}, 0.0, min)
    return tuple(float(rates[0] @ features) for rates in (draws.energy, draws.seconds, draws.duration))


def test_there_are_models_to_look_at():
    assert len(BENCHMARKED) >= 20


@pytest.mark.parametrize("gpu", ["a100_80gb_sxm", "h100_80gb_sxm", "b200_sxm_180gb"])
@pytest.mark.parametrize("model", BENCHMARKED)
def test_a_larger_batch_costs_no_more_energy_and_no_less_time(model, gpu):
    for devices in (1, 2, 4, 8):
        found = [per_picture(model, gpu, devices, batch) for batch in BATCHES]
        for (energy, share, wait), (more_energy, more_share, more_wait) in pairwise(found):
            assert more_energy <= energy * STEADY
            assert more_share <= share * STEADY
            assert more_wait > wait


@pytest.mark.parametrize("model", BENCHMARKED)
def test_a_pass_of_twice_the_pictures_takes_at_most_twice_the_time(model):
    waits = [per_picture(model, "h100_80gb_sxm", 1, batch)[2] for batch in BATCHES]
    assert all(more <= 2 * wait * STEADY for wait, more in pairwise(waits))


# --- more work --------------------------------------------------------------------------------------------------------

GROWING = [
    ("flux.1-dev", {"output_images": ("512x512",)}, {"output_images": ("768x768",)}),
    ("flux.1-dev", {"output_images": ("512x512",)}, {"output_images": ("512x512", "512x512")}),
    ("flux.1-dev", {"input_steps": 20}, {"input_steps": 21}),
    ("flux.1-dev", {"guidance_evaluations": 1}, {"guidance_evaluations": 2}),
    ("flux.1-kontext-dev", {"input_images": ("512x512",)}, {"input_images": ("512x512", "512x512")}),
    ("sdxl-base", {"input_images": ("512x512",), "strength": 0.3}, {"input_images": ("512x512",), "strength": 0.6}),
    ("wan2.1-14b", {"output_video_frames": 81}, {"output_video_frames": 85}),
    ("wan2.1-14b", {"output_video_resolution": 480}, {"output_video_resolution": 720}),
    ("svd-xt", {"output_video_frames": 14}, {"output_video_frames": 15}),
    ("veo-3", {"output_video_seconds": 5}, {"output_video_seconds": 6}),
    ("stable-audio-open-1.0", {"output_audio_seconds": 10}, {"output_audio_seconds": 11}),
    ("musicgen-large", {"output_audio_seconds": 10}, {"output_audio_seconds": 11}),
    ("whisper-large-v3", {"input_audio_seconds": 30}, {"input_audio_seconds": 31}),
    ("bge-m3", {"input_tokens": 100}, {"input_tokens": 101}),
]


@pytest.mark.parametrize("model, less, more", GROWING)
def test_more_work_costs_more(model, less, more):
    few, many = (ESTIMATOR.estimate(Request(model_id=model, **work)) for work in (less, more))
    for name in COSTS:
        assert many.range(name).value > few.range(name).value, name


@pytest.mark.parametrize("model", ["flux.1-dev", "wan2.1-14b", "stable-audio-open-1.0"])
def test_a_row_of_alike_requests_costs_as_much_as_they(model):
    one, many = (ESTIMATOR.estimate(Request(model_id=model, n_requests=n)) for n in (1, 12))
    for name in COSTS:
        assert many.range(name).value == pytest.approx(12 * one.range(name).value, rel=1e-12)
