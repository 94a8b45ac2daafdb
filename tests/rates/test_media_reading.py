"""Pictures and sound that a model on tokens reads and writes: tokens, passes, and work of an encoder."""

from __future__ import annotations

import math

import numpy as np
import pytest

from inferprint import Catalogue, Estimator, Request
from inferprint.errors import InvalidInput
from inferprint.modalities.media import MediaWork, Size
from inferprint.modalities.text import TEXT
from inferprint.provenance.trace import Trail
from inferprint.rates.model import model_sizes
from inferprint.rates.reading import NEUTRAL, Reading, written_by

CATALOGUE = Catalogue.packaged()


def read(name: str, **work) -> dict[str, float]:
    model = CATALOGUE.models[name]
    return Reading(CATALOGUE, model, CATALOGUE.media.get(name)).work(MediaWork(**work))[0]


def encoder_tflop(columns: dict[str, float]) -> float:
    return (columns["encoder_gflop"] + columns["encoder_attention_gflop"]) / 1000


# --- features of what is read -----------------------------------------------------------------------------------------


def count(n_in: float, n_out: float, window: float = 128.0, n: float = 1.0, **columns: float) -> dict[str, float]:
    work = {
        "input_tokens": n_in,
        "cached_input_tokens": 0.0,
        "output_tokens": n_out,
        "n_requests": n,
        "media_prompts": 0.0,
        "measured_seconds": 0.0,
        **columns,
    }
    return dict(zip(TEXT.names, TEXT.count(work, window, min), strict=True))


class TestFeatures:
    def test_neutral_columns_change_nothing(self):
        assert count(700, 40, **{**NEUTRAL, "media_prompts": 0.0}) == count(700, 40)

    def test_tokens_of_a_picture_are_tokens_of_the_prompt(self):
        assert count(100, 40, media_tokens=765.0) == count(865, 40)

    def test_tokens_of_a_picture_that_is_made_are_tokens_of_the_answer(self):
        assert count(100, 0, written_tokens=1056.0) == count(100, 1056)

    def test_what_is_only_looked_at_is_read_like_a_cache(self):
        found = count(100, 10, window=0.0, cross_tokens=1601.0)
        assert (found["fresh_input_tokens"], found["cached_input_tokens"]) == (100, 1601)
        # Each fresh token looks at 1,601 positions and itself and those before it; each written one at all of them:
        # contexts of 1701.5 + 1702.5 ... 1710.5, as without pictures of 1601 less
        assert found["prompt_pairs"] == 100 * 1601 + 100 * 101 / 2
        assert found["output_context"] == pytest.approx(count(100, 10, window=0.0)["output_context"] + 10 * 1601)

    def test_three_windows_are_three_requests_of_a_third(self):
        # 90 s of speech: 3 x 1500 positions looked at, 3 x 100 tokens
        whole = count(0, 300, cross_tokens=4500.0, passes=3.0)
        third = count(0, 100, cross_tokens=1500.0)
        assert whole == {name: 3 * value for name, value in third.items()}

    def test_an_encoder_works_once_whatever_the_windows(self):
        found = count(0, 300, cross_tokens=4500.0, passes=3.0, n=2.0, encoder_gflop=7.0, encoder_attention_gflop=5.0)
        assert (found["encoder_gflop"], found["encoder_attention_gflop"]) == (14.0, 10.0)

    def test_columns_agree_with_floats(self):
        rows = [(700.0, 40.0, 0.0, 0.0, 1.0), (20.0, 300.0, 64.0, 4500.0, 3.0)]
        names = ("input_tokens", "output_tokens", "media_tokens", "cross_tokens", "passes")
        rest = {"cached_input_tokens": 0.0, "n_requests": 1.0, "media_prompts": 0.0, "measured_seconds": 0.0}
        table = {**rest, **dict(zip(names, np.array(rows).T, strict=True))}
        found = np.stack([np.broadcast_to(column, 2) for column in TEXT.count(table, 128.0, np.minimum)], axis=1)
        single = [TEXT.count({**rest, **dict(zip(names, row, strict=True))}, 128.0, min) for row in rows]
        np.testing.assert_allclose(found, single, rtol=1e-12)


# --- speech -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, tflop",
    [
        # Counted on the published networks, for a window of 30 s
        ("whisper-tiny", 0.037),
        ("whisper-base", 0.087),
        ("whisper-small", 0.344),
        ("whisper-medium", 1.138),
        ("whisper-large-v3", 2.273),
        ("whisper-large-v3-turbo", 2.273),
    ],
)
def test_a_window_of_whisper(name, tflop):
    # 4 %: 0.037 is rounded to two digits, and parameters of positions multiply nothing
    assert encoder_tflop(read(name, input_audio_seconds=30.0)) == pytest.approx(tflop, rel=0.04)


@pytest.mark.parametrize("seconds, windows", [(5.0, 1), (30.0, 1), (30.5, 2), (3600.0, 120)])
def test_sound_is_read_in_whole_windows(seconds, windows):
    found = read("whisper-large-v3", input_audio_seconds=seconds)
    assert (found["passes"], found["cross_tokens"]) == (windows, 1500 * windows)
    assert encoder_tflop(found) == pytest.approx(2.273 * windows, rel=0.01)


@pytest.mark.parametrize("name, gflop", [("whisper-large-v3", 1.81), ("whisper-large-v3-turbo", 0.34)])
def test_only_the_decoder_of_a_model_for_speech_writes(name, gflop):
    # 2 FLOP for each parameter of the decoder and token of text, counted
    model = CATALOGUE.models[name]
    sizes = written_by(CATALOGUE, model, model_sizes(CATALOGUE, model, None, None, Trail()))
    assert 2 * sizes.total == pytest.approx(gflop, rel=0.015)
    assert 2 * sizes.active == pytest.approx(gflop, rel=0.015)


@pytest.mark.parametrize("name", ["llama-3.1-8b", "gpt-4o-audio-preview", "musicgen-large"])
def test_a_model_for_anything_else_writes_with_all_of_it(name):
    model = CATALOGUE.models[name]
    sizes = model_sizes(CATALOGUE, model, 8.0, None, Trail())
    assert written_by(CATALOGUE, model, sizes) == sizes


def test_text_of_speech_is_assumed_unless_stated():
    # Three to four tokens a second of English
    written = read("whisper-large-v3", input_audio_seconds=60.0)["written_tokens"]
    assert 180 <= written <= 240
    assert read("whisper-large-v3", input_audio_seconds=60.0, answer_stated=True)["written_tokens"] == 0


def test_an_hour_of_speech_takes_sixty_times_a_minute():
    minute, hour = (
        Estimator(CATALOGUE).estimate(Request(model_id="whisper-large-v3", input_audio_seconds=seconds))
        for seconds in (60, 3600)
    )
    assert hour.usage_energy_wh.value == pytest.approx(60 * minute.usage_energy_wh.value, rel=1e-9)


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_a_picture_of_gpt_4o():
    # OpenAI: 1024x1024 in high detail 765 tokens, in low detail 85
    work = {"input_images": (Size(1024, 1024),)}
    assert read("gpt-4o", **work)["media_tokens"] == 765
    assert read("gpt-4o", image_detail="low", **work)["media_tokens"] == 85


def test_pictures_add_up():
    one, two = (read("qwen2.5-vl-7b", input_images=(Size(1024, 1024),) * n) for n in (1, 2))
    assert one["media_tokens"] == 1369  # 37 x 37 cells of 28 pixels
    assert (two["media_tokens"], two["encoder_gflop"]) == (2 * 1369, 2 * one["encoder_gflop"])
    assert one["media_prompts"] == two["media_prompts"] == 1


def test_a_picture_that_is_only_looked_at():
    # Llama 3.2 Vision: 1,601 positions of a tile, one token in the text
    found = read("llama-3.2-11b-vision", input_images=(Size(560, 560),))
    assert (found["media_tokens"], found["cross_tokens"]) == (1, 1601)


def test_tokens_that_are_counted_already_are_not_added():
    apart, within = (
        read("gpt-4o", input_images=(Size(1024, 1024),), tokens_included=included) for included in (False, True)
    )
    assert within == {**apart, "media_tokens": 0.0}


def test_a_clip_is_read_in_pairs_of_frames():
    # 10 s at 2 frames a second: 10 pairs of 391 tokens at 640x480, counted by its processor
    found = read("qwen2.5-vl-7b", input_video_seconds=10.0, input_video_size=Size(640, 480))
    assert found["media_tokens"] == 3910


@pytest.mark.parametrize("stated, size", [(480, Size(854, 480)), (720, Size(1280, 720)), (None, Size(640, 360))])
def test_a_clip_of_stated_lines_is_16_to_9_and_of_none_a_small_one(stated, size):
    lines, whole = (read("qwen2.5-vl-7b", input_video_seconds=10.0, input_video_size=s) for s in (stated, size))
    assert lines == whole


def test_pictures_cost_more_than_no_pictures():
    text, seen = (
        Estimator(CATALOGUE).estimate(
            Request(model_id="qwen2.5-vl-7b", input_tokens=100, output_tokens=100, input_images=images)
        )
        for images in ((), ("1024x1024",))
    )
    assert seen.usage_energy_wh.value > text.usage_energy_wh.value
    assert seen.duration_ms.value > text.duration_ms.value


# --- made token by token ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, work, tokens",
    [
        ("janus-pro-7b", {"output_images": (None,)}, 576),
        ("janus-pro-7b", {"output_images": (None, None)}, 2 * 576),
        ("orpheus-3b", {"output_audio_seconds": 10.0}, 820),
        ("musicgen-large", {"output_audio_seconds": 30.0}, 1500),
        ("gpt-image-1", {"output_images": (Size(1024, 1024),)}, 1056),  # OpenAI, medium quality
        ("gpt-4o-audio-preview", {"output_audio_tokens": 1200.0}, 1200),
    ],
)
def test_tokens_of_what_is_made(name, work, tokens):
    assert read(name, **work)["written_tokens"] == tokens


@pytest.mark.parametrize(
    "name, work", [("janus-pro-7b", {"output_images": (None,)}), ("musicgen-large", {"output_audio_seconds": 30.0})]
)
def test_guidance_is_a_second_sequence_with_the_same_prompt(name, work):
    columns = {**read(name, **work), "input_tokens": 40.0, "cached_input_tokens": 0.0, "output_tokens": 0.0}
    counted = TEXT.count({**columns, "n_requests": 1.0, "measured_seconds": 0.0}, 0.0, min)
    found = dict(zip(TEXT.names, counted, strict=True))
    length = columns["written_tokens"]
    assert found["fresh_input_tokens"] == 2 * 40
    assert found["output_context"] == 2 * length * (40 + length / 2)


@pytest.mark.parametrize("seconds", [20.0, 600.0])
def test_sound_in_a_chat_stands_in_one_context(seconds):
    # Voxtral: 12.5 tokens a second of 30 s windows, all of which an answer looks back at
    work = read("voxtral-mini-3b", input_audio_seconds=seconds)
    assert work["passes"] == 1.0
    assert work["media_tokens"] == 375 * math.ceil(seconds / 30)


# --- what is not read or made -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, work, field, says",
    [
        (
            "llama-3.1-8b",
            {"input_images": (Size(64, 64),)},
            "input_images",
            "reads no pictures: it is a model for text",
        ),
        ("llama-3.1-8b", {"input_audio_seconds": 3.0}, "input_audio_seconds", "reads no sound"),
        ("llama-3.1-8b", {"input_video_seconds": 3.0}, "input_video_seconds", "reads no video"),
        ("qwen2.5-vl-7b", {"input_audio_seconds": 3.0}, "input_audio_seconds", "it is a model for vision"),
        ("whisper-large-v3", {"input_images": (Size(64, 64),)}, "input_images", "it is a model for audio-to-text"),
        ("llama-3.1-8b", {"output_images": (None,)}, "output_images", "makes no pictures: it is a model for text"),
        ("llama-3.1-8b", {"output_video_seconds": 3.0}, "output_video_seconds", "makes no video"),
        ("llama-3.1-8b", {"output_audio_seconds": 3.0}, "output_audio_seconds", "makes no sound"),
        ("whisper-large-v3", {"output_audio_seconds": 3.0}, "output_audio_seconds", "makes no sound"),
    ],
)
def test_what_a_model_does_not_do(name, work, field, says):
    with pytest.raises(InvalidInput, match=says) as error:
        read(name, **work)
    assert error.value.field == field
    assert name in error.value.message


def test_sound_to_make_needs_a_length():
    with pytest.raises(InvalidInput, match="missing") as error:
        read("orpheus-3b")
    assert error.value.field == "output_audio_seconds"


def test_a_picture_to_classify_takes_a_few_times_its_arithmetic_in_a_full_batch():
    # ViT-B/16, 35.1 GFLOP: 35.1e9 / 989.4e12 x 700 W = 0.025 J
    place = {"gpu_id": "h100_80gb_sxm", "gpu_count": 1, "batch_size": 256}
    result = Estimator(CATALOGUE).estimate(Request(model_id="generic:image-encoder", input_images="224x224", **place))
    assert 1 < result.range("accelerator_energy_wh").value * 3600 / 0.025 < 10


def test_a_maker_of_pictures_translates_nothing():
    with pytest.raises(InvalidInput, match="not for translation"):
        Estimator(CATALOGUE).estimate(Request(model_id="flux.1-dev", task="translation"))
