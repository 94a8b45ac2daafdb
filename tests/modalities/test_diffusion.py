"""Pictures, clips and sound as features, and what a pass of them costs."""

from __future__ import annotations

import dataclasses

import ibis
import numpy as np
import pyarrow as pa
import pytest

from inferprint import Catalogue
from inferprint.modalities.diffusion import COLUMNS
from inferprint.modalities.image import IMAGE
from inferprint.modalities.media import MediaWork, Size
from inferprint.modalities.sound import SOUND
from inferprint.modalities.video import VIDEO
from inferprint.physics.denoising import Denoiser, Polynomial
from inferprint.physics.terms import Replica, Traffic
from inferprint.rates.media import MediaReader, modality_of

CATALOGUE = Catalogue.packaged()
REPLICA = Replica(devices=8.0, bandwidth=3.35e12, flops_16=1000e12, flops=2000e12, link_bandwidth=450e9)
DENOISER = Denoiser(
    linear=Polynomial(1e12, 8e12, 2e12),
    attention=Polynomial(3e12, 4e12, 16e12),
    decoder=Polynomial(0.0, 10e12, 1e12),
    prompt_flop=5e12,
    exchanged=Polynomial(1e6, 9e6),
    joint_text=333.0,
    layers=40.0,
    params=8e9,
    tokens_per_volume=4096.0,
    held_bytes=30e9,
)
WORK = (*COLUMNS, "n_requests", "measured_seconds")
ROWS = [
    (1.0, 0.0, 28.0, 28.0, 28.0, 1.0, 1.0, 1.0, 1.0, 0.0),
    (1.0, 0.5, 100.0, 25.0, 6.25, 1.0, 0.25, 0.0625, 1.0, 2.5),
    (1.0, 3.75, 56.0, 123.4, 271.9, 2.0, 4.4, 9.7, 7.0, 0.0),
    (1.0, 0.0, 100.0, 1599.5, 25584.4, 1.0, 61.7, 47.0, 1000.0, 0.125),
]
MODALITIES = [IMAGE, VIDEO, SOUND]
EVERY = pytest.mark.parametrize("modality", MODALITIES, ids=lambda modality: modality.name)


def by_row(modality) -> np.ndarray:
    return np.array([modality.count(dict(zip(WORK, row, strict=True)), 0.0, min) for row in ROWS])


@EVERY
def test_numpy_agrees_with_floats(modality):
    counted = modality.count(dict(zip(WORK, np.array(ROWS).T, strict=True)), 0.0, np.minimum)
    np.testing.assert_allclose(np.stack(counted, axis=1), by_row(modality), rtol=1e-12)


@EVERY
def test_duckdb_agrees_with_floats(modality):
    table = ibis.memtable(pa.table({"row": np.arange(len(ROWS)), **dict(zip(WORK, np.array(ROWS).T, strict=True))}))
    counted = modality.count({name: table[name] for name in WORK}, 0.0, ibis.least)
    selected = table.select("row", **{f"f_{n}": c for n, c in zip(modality.names, counted, strict=True)})
    found = ibis.duckdb.connect().to_pyarrow(selected.order_by("row")).to_pydict()
    of_table = np.array([found[f"f_{name}"] for name in modality.names]).T
    np.testing.assert_allclose(of_table, by_row(modality), rtol=1e-12)


@EVERY
def test_a_row_of_three_alike_counts_three_times(modality):
    work = dict(zip(WORK, ROWS[1], strict=True))
    one, three = (np.array(modality.count({**work, "n_requests": n}, 0.0, min)) for n in (1.0, 3.0))
    np.testing.assert_allclose(three, 3 * one, rtol=1e-12)


@EVERY
@pytest.mark.parametrize("part", ["share", "seen", "alone"])
def test_every_costed_feature_is_declared_and_every_declared_one_is_costed(modality, part):
    assert set(getattr(modality, part)(DENOISER, REPLICA, Traffic(4.0, 0.0, 0.0))) == (
        set(modality.names) - {"outputs", "measured_seconds"}
    )


# --- work -------------------------------------------------------------------------------------------------------------

ASKED = [
    ("flux.1-dev", MediaWork(output_images=(Size(1024, 1024), Size(512, 768)))),
    ("flux.1-kontext-dev", MediaWork(input_images=(Size(800, 600),), output_images=(Size(1024, 1024),))),
    ("sdxl-base", MediaWork(output_images=(Size(1024, 768),))),
    ("wan2.1-14b", MediaWork(output_video_size=Size(1280, 720), output_video_frames=81.0)),
    ("svd-xt", MediaWork(output_video_frames=25.0)),
    ("stable-audio-open-1.0", MediaWork(output_audio_seconds=30.0)),
]


def features(name: str, work: MediaWork) -> dict[str, float]:
    model = CATALOGUE.models[name]
    modality = modality_of(CATALOGUE, model)
    columns = MediaReader(CATALOGUE, model, modality).columns(work)
    counted = modality.count({**columns, "n_requests": 1.0, "measured_seconds": 0.0}, 0.0, min)
    return dict(zip(modality.names, counted, strict=True))


OF_STEPS = {"evaluations", "evaluation_volume", "evaluation_pairs"}


@pytest.mark.parametrize("name, asked", ASKED)
def test_twice_the_steps_are_twice_the_evaluations_and_nothing_else(name, asked):
    few, many = (features(name, dataclasses.replace(asked, steps=steps)) for steps in (20, 40))
    assert {feature: many[feature] / few[feature] for feature in OF_STEPS} == dict.fromkeys(OF_STEPS, 2.0)
    assert {f: v for f, v in many.items() if f not in OF_STEPS} == {f: v for f, v in few.items() if f not in OF_STEPS}


@pytest.mark.parametrize("name, asked", ASKED)
def test_guidance_by_a_second_evaluation_is_twice_the_evaluations(name, asked):
    one, two = (features(name, dataclasses.replace(asked, steps=20, evaluations_per_step=n)) for n in (1, 2))
    assert {feature: two[feature] / one[feature] for feature in OF_STEPS} == dict.fromkeys(OF_STEPS, 2.0)


def test_features_of_two_pictures_by_hand():
    # 10 evaluations each of 1 and 0.5 x 2^20 pixels, which do not see each other
    asked = MediaWork(steps=10, output_images=(Size(1024, 1024), Size(1024, 512)))
    assert features("flux.1-dev", asked) == {
        "prompts": 1.0,
        "input_volume": 0.0,
        "evaluations": 20.0,
        "evaluation_volume": 15.0,
        "evaluation_pairs": 12.5,
        "outputs": 2.0,
        "output_volume": 1.5,
        "output_pairs": 1.25,
        "measured_seconds": 0.0,
    }


def test_features_of_a_clip_by_hand():
    # Half of 2^20 pixels a frame: 33 frames are (33 - 1) / 4 + 1 = 9 of latents, all of which see each other
    asked = MediaWork(steps=5, evaluations_per_step=2, output_video_size=Size(1024, 512), output_video_frames=33.0)
    found = features("wan2.1-14b", asked)
    assert (found["evaluations"], found["evaluation_volume"], found["evaluation_pairs"]) == (10.0, 45.0, 10 * 4.5**2)
    assert (found["output_volume"], found["output_pairs"]) == (16.5, 33 * 0.25)


def test_frames_that_do_not_see_each_other_by_hand():
    asked = MediaWork(steps=5, evaluations_per_step=1, output_video_size=Size(1024, 512), output_video_frames=4.0)
    found = features("svd", asked)
    assert (found["evaluation_volume"], found["evaluation_pairs"]) == (5 * 4 * 0.5, 5 * 4 * 0.25)


# --- cost -------------------------------------------------------------------------------------------------------------


def share(devices: float = 8.0, batch: float = 1.0, **changes) -> dict[str, dict[str, float]]:
    replica = dataclasses.replace(REPLICA, devices=devices, **changes)
    return {f: dict(costs) for f, costs in IMAGE.share(DENOISER, replica, Traffic(batch, 0.0, 0.0)).items()}


def test_an_evaluation_by_hand():
    # On 8 devices of 1000 TFLOP/s in 16 bits: linear 8 / 8000, attention 4 / 8000 s
    assert share()["evaluation_volume"]["denoiser"] == pytest.approx(1.5e-3, rel=1e-12)


def test_text_that_cannot_be_split_is_linear_work_of_every_device():
    # 333 tokens on 8 devices: 8 times 1 / 8000 s, and attention 3 / 8000 s once
    assert share()["evaluations"]["denoiser"] == pytest.approx(1e-3 + 0.375e-3, rel=1e-12)


def test_all_is_computed_in_16_bits_whatever_the_weights():
    assert share()["evaluation_pairs"]["denoiser"] == pytest.approx(2 / 8000 + 16 / 8000, rel=1e-12)
    assert share(flops=4000e12) == share()


def test_a_decoder_is_not_shared():
    assert share()["output_volume"] == share(devices=1.0)["output_volume"] == {"decoder": pytest.approx(10e-3)}


def test_pictures_of_a_pass_share_its_launches_and_nothing_else():
    one, eight = share(batch=1.0), share(batch=8.0)
    for term in ("denoiser_layers", "meeting_layers"):
        assert eight["evaluations"].pop(term) == one["evaluations"].pop(term) / 8
    assert eight == one


def test_layers_of_an_evaluation():
    # 40 layers; on 8 devices three rounds of waiting in each
    found = share()["evaluations"]
    assert (found["denoiser_layers"], found["meeting_layers"]) == (40.0, 120.0)


def test_a_pass_takes_what_its_pictures_take_together():
    # 8 pictures: launches once, arithmetic eight times
    seen = IMAGE.seen(DENOISER, REPLICA, Traffic(8.0, 0.0, 0.0))
    assert seen["evaluations"]["denoiser_layers"] == 40.0
    assert seen["evaluation_volume"]["denoiser"] == pytest.approx(8 * 1.5e-3, rel=1e-12)
