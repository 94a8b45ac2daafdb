"""Requests that hold pictures, video and sound."""

from __future__ import annotations

import math

import pytest

from inferprint import Estimator, Request, estimate
from inferprint.errors import InvalidInput
from inferprint.estimate.media import DEFAULTS, media_of
from inferprint.estimate.request import FIELDS, validated
from inferprint.modalities.media import NO_MEDIA, Size

IMAGE, VIDEO, SOUND, EAR, EYE, TEXT = (
    "flux.1-dev", "wan2.1-14b", "ace-step", "whisper-large-v3", "qwen2.5-vl-7b", "llama-3.1-8b",
)  # fmt: skip


def work(**fields):
    return media_of(Request(model_id="-", **fields))


def refusal(**fields) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        validated(Request(model_id="-", **fields))
    return caught.value


# --- what is given ----------------------------------------------------------------------------------------------------


def test_text_holds_nothing_beside():
    assert work(input_tokens=1, output_tokens=1) is NO_MEDIA


def test_defaults_are_those_of_the_request():
    assert {name: getattr(Request(), name) for name in DEFAULTS} == dict(DEFAULTS)


API = {
    "task", "input_images", "input_steps", "output_images", "input_audio_seconds", "output_audio_seconds",
    "output_audio_tokens", "output_video_frames", "output_video_resolution",
}  # fmt: skip


def test_fields_have_the_names_of_the_api():
    assert set(FIELDS) >= API


@pytest.mark.parametrize(
    "given",
    [
        ("1024x768", "512x512"), ["1024x768", "512x512"], "1024x768;512x512", "1024x768, 512x512", "1024x768 512x512",
        "1024 x 768;512X512", '["1024x768", "512x512"]', "1024×768;512×512",
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("field", ["input_images", "output_images"])
def test_sizes_in_every_form(field, given):
    assert getattr(work(**{field: given}), field) == (Size(1024, 768), Size(512, 512))


@pytest.mark.parametrize("given", [2, 2.0, "2", "2.0"])
def test_a_number_of_pictures_is_so_many_of_the_usual_size(given):
    assert work(output_images=given).output_images == (None, None)


@pytest.mark.parametrize(
    "given,expected", [(720, 720), (720.0, 720), ("720p", 720), ("720", 720), ("1280x720", Size(1280, 720))]
)
@pytest.mark.parametrize(
    "field,found",
    [("output_video_resolution", "output_video_size"), ("input_video_resolution", "input_video_size")],
)
def test_a_resolution_is_lines_or_a_size(field, found, given, expected):
    assert getattr(work(**{field: given}), found) == expected


@pytest.mark.parametrize("field", ["input_video_seconds", "input_audio_seconds", "output_audio_seconds"])
def test_no_seconds_are_nothing(field):
    assert getattr(work(**{field: 0}), field) is None


def test_a_clip_may_be_stated_three_times_within_a_frame():
    clip = work(output_video_frames=81, output_video_seconds=5, output_video_frames_per_s=16)
    assert (clip.output_video_frames, clip.output_video_seconds) == (81, 5)


def test_an_answer_is_known_where_its_tokens_are():
    assert not work(input_audio_seconds=3).answer_stated
    assert work(input_audio_seconds=3, output_tokens=0).answer_stated


# --- what cannot be ---------------------------------------------------------------------------------------------------

SIZE = "Width x height in pixels, such as 1024x1024; an aspect ratio does not say how large."
SIDES = "16 to 16384 pixels a side."
LINES = "Lines, such as 720 or 720p, or width x height in pixels, such as 1280x720."
REFUSED = [
    ({"output_images": "16:9"}, "output_images: '16:9' is not a size", SIZE),
    ({"input_images": ["1024x1024", "big"]}, "input_images: 'big' is not a size", SIZE),
    ({"input_images": [1024]}, "input_images: 1024 is not a size", SIZE),
    ({"input_images": 3}, "input_images: 3 is not a list of sizes", SIZE),
    ({"input_images": "3"}, "input_images: '3' is not a size", SIZE),
    ({"output_images": [{"a": 1}]}, "output_images: {'a': 1} is not a size", SIZE),
    ({"output_images": '["1024x1024"'}, """output_images: '["1024x1024"' is not a size""", SIZE),
    ({"output_images": "0x512"}, "output_images: 0x512 has a side of 0 pixels", SIDES),
    ({"output_images": "8x512"}, "output_images: 8x512 has a side of 8 pixels", SIDES),
    ({"output_images": "20000x512"}, "output_images: 20000x512 has a side of 20000 pixels", SIDES),
    ({"input_images": ["64x64"] * 101}, "input_images: 101 pictures; at most 100", ""),
    ({"output_images": 101}, "output_images: 101 pictures; at most 100", ""),
    ({"output_images": -1}, "output_images: -1 is below 0", ""),
    ({"output_images": 1.5}, "output_images: 1.5 is not a whole number", ""),
    ({"output_images": True}, "output_images: True is not a number", ""),
    ({"input_steps": 0}, "input_steps: 0 steps", "1 to 10000."),
    ({"input_steps": -5}, "input_steps: -5 steps", "1 to 10000."),
    ({"input_steps": 10_001}, "input_steps: 10001 steps", "1 to 10000."),
    ({"input_steps": 20.5}, "input_steps: 20.5 is not a whole number", ""),
    ({"input_steps": "20"}, "input_steps: '20' is not a number", ""),
    ({"input_steps": True}, "input_steps: True is not a number", ""),
    ({"guidance_evaluations": 0.5}, "guidance_evaluations: 0.5 evaluations per step", "1 to 4."),
    ({"guidance_evaluations": 5}, "guidance_evaluations: 5 evaluations per step", "1 to 4."),
    ({"strength": 0}, "strength: 0 of the steps", "Above 0, at most 1."),
    ({"strength": 1.1}, "strength: 1.1 of the steps", "Above 0, at most 1."),
    ({"strength": math.nan}, "strength: nan is not a number of anything", ""),
    ({"output_video_seconds": 0}, "output_video_seconds: a 0-second clip", "Above 0, at most 100000 seconds."),
    ({"output_video_seconds": -2}, "output_video_seconds: -2 seconds", "Above 0, at most 100000."),
    ({"output_video_seconds": 1e6}, "output_video_seconds: 1e+06 seconds", "Above 0, at most 100000."),
    ({"output_video_frames": 0}, "output_video_frames: a clip of 0 frames", "1 to 100000000 frames."),
    ({"output_video_frames": 2e8}, "output_video_frames: 2e+08 frames", "1 to 100000000."),
    ({"output_video_frames_per_s": 0}, "output_video_frames_per_s: 0 frames/s", "Above 0, at most 1000."),
    ({"output_video_resolution": "16:9"}, "output_video_resolution: '16:9' is not a resolution", LINES),
    ({"output_video_resolution": 8}, "output_video_resolution: a frame of 8 lines has a side of 8 pixels", SIDES),
    ({"input_video_resolution": "10x720"}, "input_video_resolution: 10x720 has a side of 10 pixels", SIDES),
    ({"input_video_resolution": 720.5}, "input_video_resolution: 720.5 is not a whole number", ""),
    ({"input_video_seconds": -1}, "input_video_seconds: -1 seconds", "0 to 100000; 0 is none."),
    ({"input_audio_seconds": 100_001}, "input_audio_seconds: 100001 seconds", "0 to 100000; 0 is none."),
    ({"output_audio_seconds": "60"}, "output_audio_seconds: '60' is not a number", ""),
    ({"output_audio_tokens": -1}, "output_audio_tokens: -1 tokens", "0 to 100000000."),
    ({"output_audio_tokens": 1.5}, "output_audio_tokens: 1.5 is not a whole number", ""),
    ({"image_detail": "fine"}, "image_detail: 'fine' is unknown", "One of auto, low, medium, high"),
    ({"media_tokens_included": "yes"}, "media_tokens_included: 'yes' is neither true nor false", ""),
    ({"task": "image_generation"}, "task: 'image_generation' is unknown", "Nearest: image-generation, "),
    ({"task": 5}, "task: '5' is unknown", "One of text-generation, chat"),
    (
        {"output_video_frames": 81, "output_video_seconds": 10, "output_video_frames_per_s": 16},
        "output_video_frames: 81 frames are not 10 s at 16 frames/s, which are 160",
        "Give two of the three.",
    ),
]  # fmt: skip


@pytest.mark.parametrize("fields,message,hint", REFUSED, ids=[message for _, message, _ in REFUSED])
def test_what_cannot_be_says_so(fields, message, hint):
    error = refusal(**fields)
    assert error.message == message
    assert error.field == message.split(":", maxsplit=1)[0]
    assert error.hint.startswith(hint)
    assert bool(hint) == bool(error.hint)


def test_true_is_no_one_even_after_one():
    assert work(input_steps=1).steps == 1
    assert refusal(input_steps=True).field == "input_steps"


def test_a_request_of_an_earlier_setup_is_checked_too():
    estimator = Estimator()
    estimator.estimate(Request(model_id=SOUND, output_audio_seconds=10))
    with pytest.raises(InvalidInput, match="0 steps"):
        estimator.estimate(Request(model_id=SOUND, output_audio_seconds=10, input_steps=0))


# --- which fields a model needs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model,fields,field",
    [
        (TEXT, {}, "input_tokens"),
        (TEXT, {"output_tokens": 5}, "input_tokens"),
        (TEXT, {"input_tokens": 5}, "output_tokens"),
        (TEXT, {"input_tokens": 5, "task": "chat"}, "output_tokens"),
        ("text-embedding-3-small", {}, "input_tokens"),
    ],
)
def test_models_on_tokens_need_them(model, fields, field):
    with pytest.raises(InvalidInput) as caught:
        estimate(model, **fields)
    assert caught.value.message == f"{field}: is missing"


@pytest.mark.parametrize(
    "model,fields",
    [
        ("text-embedding-3-small", {"input_tokens": 300}),
        (EAR, {"input_audio_seconds": 60}),
        (EYE, {"input_images": "1024x768", "output_tokens": 20}),
        (IMAGE, {}),
        (IMAGE, {"output_images": 2}),
        (VIDEO, {"output_video_seconds": 5}),
        (SOUND, {"output_audio_seconds": 30}),
    ],
)
def test_pictures_and_sound_need_no_tokens(model, fields):
    assert estimate(model, **fields).usage_energy_wh.value > 0


@pytest.mark.parametrize(
    "model,fields,field",
    [
        (TEXT, {"input_tokens": 1, "output_tokens": 1, "input_images": "64x64"}, "input_images"),
        (TEXT, {"input_tokens": 1, "output_tokens": 1, "output_images": 1}, "output_images"),
        (TEXT, {"input_tokens": 1, "output_tokens": 1, "output_video_seconds": 2}, "output_video_seconds"),
        (IMAGE, {"output_video_seconds": 2}, "output_video_seconds"),
        (SOUND, {"output_images": "64x64"}, "output_images"),
    ],
)
def test_what_a_model_does_not_do_is_refused(model, fields, field):
    with pytest.raises(InvalidInput) as caught:
        estimate(model, **fields)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "model,field", [(IMAGE, "output_images"), (SOUND, "output_audio_seconds"), (SOUND, "output_audio_tokens")]
)
def test_an_explicit_nothing_is_not_the_usual_output(model, field):
    with pytest.raises(InvalidInput) as caught:
        estimate(model, **{field: 0})
    assert caught.value.message == f"{field}: 0: nothing is made"


def test_a_cached_prompt_beside_a_picture_is_within_the_prompt():
    assert refusal(input_images="64x64", cached_input_tokens=5).field == "cached_input_tokens"


def test_a_duration_is_that_of_a_picture_too():
    assert validated(Request(model_id=IMAGE, request_duration_ms=5, input_tokens=0, output_tokens=0, output_images=1))
    assert validated(Request(model_id=IMAGE, request_duration_ms=5))


# --- the model that a task stands for ---------------------------------------------------------------------------------


def test_a_task_gives_a_model():
    result = estimate(task="text-embedding", input_tokens=300)
    assert result.machine.model == "generic:text-encoder"
    (entry,) = (entry for entry in result.assumptions if entry.field == "model_id")
    assert (entry.value, entry.how) == ("generic:text-encoder", "assumed")
    assert entry.reason == "no model stated: the class model of the task 'text-embedding'"
    assert entry in result.trail


def test_a_stated_model_is_kept_beside_a_task():
    result = estimate(TEXT, task="chat", input_tokens=10, output_tokens=10)
    assert result.machine.model == TEXT
    plain = estimate(TEXT, input_tokens=10, output_tokens=10)
    assert result.usage_energy_wh == plain.usage_energy_wh
    assert "model_id" not in {entry.field for entry in result.assumptions}


def test_neither_model_nor_task():
    with pytest.raises(InvalidInput) as caught:
        estimate(input_tokens=10, output_tokens=10)
    assert caught.value.message == "model_id: is missing"


# --- the result -------------------------------------------------------------------------------------------------------


def test_what_is_assumed_of_the_work_is_listed():
    result = estimate(SOUND, output_audio_seconds=30)
    assert {"input_steps", "guidance_evaluations"} <= {entry.field for entry in result.assumptions}
    stated = estimate(SOUND, output_audio_seconds=30, input_steps=60, guidance_evaluations=2)
    assert not {"input_steps", "guidance_evaluations"} & {entry.field for entry in stated.trail}
    assert stated.usage_energy_wh == result.usage_energy_wh


def test_an_answer_must_be_stated():
    with pytest.raises(InvalidInput, match="output_tokens: is missing"):
        estimate(EYE, input_images="1024x768", input_tokens=20)
    answered = estimate(EYE, input_images="1024x768", input_tokens=20, output_tokens=50)
    assert "output_tokens" not in {entry.field for entry in answered.assumptions}


def test_the_request_is_printed_as_given():
    result = estimate(SOUND, output_audio_seconds=30, input_steps=10)
    assert result.to_dict()["request"] == {
        "model_id": SOUND, "cached_input_tokens": 0, "cache_write_tokens": 0, "reasoning_tokens": 0, "n_requests": 1,
        "input_steps": 10, "output_audio_seconds": 30, "conservative": False, "method": "default",
    }  # fmt: skip
    seen = estimate(EYE, input_images=["64x64"], output_tokens=1).to_dict()["request"]
    assert (seen["input_images"], seen["output_tokens"]) == (("64x64",), 1)


def test_pictures_are_those_of_one_request_and_tokens_those_of_all():
    one = estimate(EYE, input_images="1024x768", input_tokens=20, output_tokens=50)
    three = estimate(EYE, input_images="1024x768", input_tokens=60, output_tokens=150, n_requests=3)
    assert three.usage_energy_wh == pytest.approx([3 * bound for bound in one.usage_energy_wh], rel=1e-12)


def test_two_pictures_are_twice_one():
    one, two = (estimate(EYE, input_images=n * ["1024x1024"], input_tokens=0, output_tokens=1) for n in (1, 2))
    tokens = [next(e.value for e in r.trail if e.field == "media tokens") for r in (one, two)]
    assert tokens[1] == 2 * tokens[0]


def test_tokens_that_the_log_counts_already_are_not_added():
    added = estimate(EYE, input_images="1024x1024", input_tokens=20, output_tokens=50)
    tokens = next(entry.value for entry in added.trail if entry.field == "media tokens")
    within = estimate(
        EYE, input_images="1024x1024", input_tokens=20 + tokens, output_tokens=50, media_tokens_included=True
    )
    assert within.usage_energy_wh == pytest.approx(added.usage_energy_wh, rel=1e-12)


def test_pictures_that_fill_a_stated_batch_have_cards_of_their_own():
    estimator = Estimator()
    one, four, alone = (
        estimator.estimate(Request(model_id=IMAGE, output_images=n, batch_size=batch))
        for n, batch in ((1, 4), (4, 4), (4, None))
    )
    assert one.machine is not four.machine
    # Four pictures of one request share a pass: they are ready together.
    assert four.duration_ms.value < 2 * one.duration_ms.value
    assert alone.machine is estimator.estimate(Request(model_id=IMAGE, output_images=1)).machine
