"""Options for pictures, video and sound."""

from __future__ import annotations

import json

import pytest

from inferprint import estimate

IMAGE, VIDEO, SOUND, EAR, EYE = "flux.1-dev", "wan2.1-14b", "ace-step", "whisper-large-v3", "qwen2.5-vl-7b"

SAME = [
    ([IMAGE, "--image", "1024x768"], {"output_images": ["1024x768"]}),
    ([IMAGE, "--image", "1024x768", "--image", "512x512"], {"output_images": ["1024x768", "512x512"]}),
    ([IMAGE, "--image-count", "3"], {"output_images": 3}),
    ([IMAGE, "--image", "512x512", "--image-count", "3"], {"output_images": ["512x512"] * 3}),
    ([IMAGE, "--steps", "20", "--guidance-evaluations", "2"], {"input_steps": 20, "guidance_evaluations": 2}),
    (
        [IMAGE, "--input-image", "1024x1024", "--strength", "0.5"],
        {"input_images": ["1024x1024"], "strength": 0.5},
    ),
    (
        [VIDEO, "--video-seconds", "5", "--video-fps", "16", "--video-resolution", "480p"],
        {"output_video_seconds": 5, "output_video_frames_per_s": 16, "output_video_resolution": 480},
    ),
    (
        [VIDEO, "--video-frames", "81", "--video-resolution", "832x480"],
        {"output_video_frames": 81, "output_video_resolution": "832x480"},
    ),
    (
        [EYE, "--input-image", "640x480", "--image-detail", "low", "--input-tokens", "9", "--output-tokens", "5"],
        {"input_images": "640x480", "image_detail": "low", "input_tokens": 9, "output_tokens": 5},
    ),
    (
        [EYE, "--input-video-seconds", "8", "--input-video-resolution", "360", "--output-tokens", "5"],
        {"input_video_seconds": 8, "input_video_resolution": 360, "output_tokens": 5},
    ),
    (
        [EYE, "--input-image", "640x480", "--input-tokens", "900", "--output-tokens", "5", "--media-tokens-included"],
        {"input_images": "640x480", "input_tokens": 900, "output_tokens": 5, "media_tokens_included": True},
    ),
    ([EAR, "--input-audio-seconds", "60"], {"input_audio_seconds": 60}),
    ([SOUND, "--output-audio-seconds", "30"], {"output_audio_seconds": 30}),
    (["bark", "--output-audio-tokens", "900"], {"output_audio_tokens": 900}),
]


@pytest.mark.parametrize("arguments,fields", SAME, ids=[" ".join(arguments) for arguments, _ in SAME])
def test_an_option_is_its_field(call, arguments, fields):
    code, out, err = call("estimate", *arguments, "--json")
    assert (code, err) == (0, "")
    printed = json.loads(out)
    expected = estimate(arguments[0], **fields).to_dict()
    assert printed["usage_energy_wh"] == expected["usage_energy_wh"]
    for name, value in fields.items():
        listed = list(value) if isinstance(value, list) else [value] if name == "input_images" else value
        assert str(printed["request"][name]).removesuffix("p") == str(listed).removesuffix("p") or printed["request"][
            name
        ] == pytest.approx(listed)


def test_a_task_stands_for_a_model(call):
    code, out, _ = call("estimate", "--task", "image-generation", "--image-count", "2", "--json")
    assert code == 0
    assert json.loads(out)["model"] == "generic:image-generator"


def test_neither_model_nor_task_is_an_error(call):
    code, _, err = call("estimate", "--input-tokens", "5", "--output-tokens", "5")
    assert code == 2
    assert "model_id: is missing" in err


def test_text_names_what_was_assumed(call):
    _, out, _ = call("estimate", IMAGE)
    assert "image" in out.split("operating point: ", 1)[1].splitlines()[0]
    assert "output_images: 1024x1024 (none stated: usual for flux.1-dev)" in out
    assert "input_steps:" in out


def test_explain_lists_the_work_of_a_clip(call):
    code, out, _ = call("explain", VIDEO, "--video-seconds", "5", "--video-resolution", "480")
    assert code == 0
    assert "only lines stated: 16:9" in out
    assert "evaluation_volume:" in out


def test_compare_makers_of_pictures(call):
    code, out, _ = call("compare", IMAGE, "flux.1-schnell", "--image", "1024x1024", "--json")
    assert code == 0
    assert [item["model"] for item in json.loads(out)] == [IMAGE, "flux.1-schnell"]


@pytest.mark.parametrize("model", [IMAGE, VIDEO, SOUND, EAR, EYE, "text-embedding-3-small"])
def test_every_model_has_a_price_list(call, model):
    code, out, _ = call("rates", model, "--by-feature", "--format", "json")
    assert code == 0
    rows = json.loads(out)["rates"]
    assert {row["quantity"] for row in rows} >= {"usage_energy_wh", "duration_ms"}
    assert call("rates", model, "--by-feature")[0] == 0
    assert call("rates", model)[0] == 0


REFUSED = [
    (
        ["--image", "16:9"],
        "output_images: '16:9' is not a size",
        "  Width x height in pixels, such as 1024x1024; an aspect ratio does not say how large.",
        "--image",
    ),
    (["--image-count", "101"], "output_images: 101 pictures; at most 100", None, "--image"),
    (["--image", "512x512", "--image-count", "101"], "output_images: 101 pictures; at most 100", None, "--image"),
    (["--image-count", "-1"], "output_images: -1 is below 0", None, "--image"),
    (["--image-count", "0"], "output_images: 0: nothing is made", None, "--image"),
    (
        ["--image", "512x512", "--image", "64x64", "--image-count", "3"],
        "output_images: 2 sizes beside a count of 3",
        "  Give one size with a count, or each picture its size.",
        "--image",
    ),
    (["--steps", "0"], "input_steps: 0 steps", "  1 to 10000.", "--steps"),
    (["--video-seconds", "0"], "output_video_seconds: a 0-second clip", None, "--video-seconds"),
]


@pytest.mark.parametrize("arguments,message,hint,option", REFUSED, ids=[" ".join(a) for a, *_ in REFUSED])
def test_what_cannot_be_names_its_option(call, arguments, message, hint, option):
    code, out, err = call("estimate", IMAGE, *arguments)
    assert (code, out) == (2, "")
    lines = err.splitlines()
    assert lines[0] == f"error: {message}"
    assert hint is None or lines[1] == hint
    assert lines[-1] == f"  Option: {option}"


@pytest.mark.parametrize("command", ["plan", "fleet"])
def test_commands_for_serving_text_take_no_pictures(call, command):
    assert "--image" not in call(command, "--help")[1]
