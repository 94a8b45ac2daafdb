"""Pictures, video and sound of a request: the fields as they are given, checked, and as work."""

from __future__ import annotations

import difflib
import json
import operator
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from inferprint.errors import InvalidInput
from inferprint.estimate.checks import number, whole
from inferprint.modalities.media import NO_MEDIA, MediaWork, Size, size_of
from inferprint.modalities.tasks import TASKS

if TYPE_CHECKING:
    from inferprint.estimate.request import Request

DEFAULTS: Mapping[str, Any] = {
    "task": None,
    "input_images": (),
    "output_images": (),
    "image_detail": "",
    "input_steps": None,
    "guidance_evaluations": None,
    "strength": None,
    "input_video_seconds": None,
    "input_video_resolution": None,
    "input_audio_seconds": None,
    "media_tokens_included": False,
    "output_video_frames": None,
    "output_video_seconds": None,
    "output_video_frames_per_s": None,
    "output_video_resolution": None,
    "output_audio_seconds": None,
    "output_audio_tokens": None,
}
"""Fields of a request for what it holds beside text, and what they are where nobody says."""

MEDIA_FIELDS = tuple(DEFAULTS)
DETAILS = ("auto", "low", "medium", "high", "ultra_high", "original")
"""Levels of detail that providers name; "auto" is the usual one."""

MAX_IMAGES = 100
MAX_STEPS = 10_000
MAX_EVALUATIONS = 4
"""Evaluations of a denoiser in one step: with and without the prompt, and one for each picture that is given."""

MAX_FRAMES = 1e8
MAX_AUDIO_TOKENS = 1e8
MAX_CLIP_SECONDS = 100_000.0
MAX_FRAMES_PER_S = 1000.0
SIDES = (16, 16_384)
"""Least and most pixels of a side: what lies outside is taken for a mistake."""

SIZE_HINT = "Width x height in pixels, such as 1024x1024; an aspect ratio does not say how large."
SIDES_HINT = f"{SIDES[0]} to {SIDES[1]} pixels a side."
LINES_HINT = "Lines, such as 720 or 720p, or width x height in pixels, such as 1280x720."
CLIP_HINT = f"Above 0, at most {MAX_CLIP_SECONDS:.0f} seconds."

_TIMES = re.compile(r"(?<=\d)\s*[x×X]\s*(?=\d)")
_BETWEEN = re.compile(r"[,;\s]+")
_COUNT = re.compile(r"[+-]?\d+(\.\d*)?")
_LINES = re.compile(r"\s*(\d{1,6})(?:\.0*)?\s*[pP]?\s*")

_raw = operator.attrgetter(*MEDIA_FIELDS)
_NOTHING = tuple(DEFAULTS.values())
_held = operator.attrgetter(
    "input_images",
    "input_video_seconds",
    "input_audio_seconds",
    "output_images",
    "output_video_frames",
    "output_video_seconds",
    "output_audio_seconds",
    "output_audio_tokens",
)


def media_of(request: Request) -> MediaWork:
    """What a request holds beside text, checked; `NO_MEDIA` itself where it holds nothing.

    Raises
    ------
    InvalidInput
        Naming the first field that cannot have its value.
    """
    raw = _raw(request)
    # A number of NumPy compares with an empty list element by element.
    if all(type(value) is type(nothing) and value == nothing for value, nothing in zip(raw, _NOTHING, strict=True)):
        return NO_MEDIA
    # True is no 1, though they are the same key.
    key = raw, tuple(map(type, raw)), request.output_tokens is not None
    try:
        hash(key)
    except TypeError:  # a field that is no key is no name or number either
        return _parsed.__wrapped__(*key)
    return _parsed(*key)


def holds_media(work: MediaWork) -> bool:
    """Whether pictures, video or sound are given or asked for; a task, or a number of steps, is neither."""
    return any(_held(work))


def check_made(request: Request, work: MediaWork) -> None:
    """Refuse an explicit nothing, of a model that makes pictures or sound: its usual output would be assumed."""
    for name in ("output_images", "output_audio_seconds", "output_audio_tokens"):
        if getattr(request, name) == 0 and not holds_media(work):
            raise InvalidInput(name, "0: nothing is made", hint="Leave it out for the usual output of the model.")


@lru_cache(maxsize=4096)
def _parsed(raw: tuple[Any, ...], _types: tuple[type, ...], answer_stated: bool) -> MediaWork:
    """The work of fields in the order of `MEDIA_FIELDS`."""
    given = dict(zip(MEDIA_FIELDS, raw, strict=True))
    _check_words(given)
    _check_clip(given)
    return MediaWork(
        task=given["task"],
        input_images=_sizes("input_images", given["input_images"]),
        image_detail="" if given["image_detail"] == "auto" else given["image_detail"] or "",
        input_video_seconds=_seconds("input_video_seconds", given),
        input_video_size=_resolution("input_video_resolution", given),
        input_audio_seconds=_seconds("input_audio_seconds", given),
        tokens_included=given["media_tokens_included"],
        output_images=_pictures("output_images", given["output_images"]),
        steps=_whole("input_steps", given, MAX_STEPS, "steps"),
        evaluations_per_step=_evaluations("guidance_evaluations", given),
        strength=_above_zero("strength", given, 1.0, "of the steps"),
        output_video_frames=_whole("output_video_frames", given, MAX_FRAMES, "frames"),
        output_video_seconds=_above_zero("output_video_seconds", given, MAX_CLIP_SECONDS, "seconds"),
        output_video_frames_per_s=_above_zero("output_video_frames_per_s", given, MAX_FRAMES_PER_S, "frames/s"),
        output_video_size=_resolution("output_video_resolution", given),
        output_audio_seconds=_seconds("output_audio_seconds", given),
        output_audio_tokens=_whole("output_audio_tokens", given, MAX_AUDIO_TOKENS, "tokens", least=0) or None,
        answer_stated=answer_stated,
    )


def _check_words(given: Mapping[str, Any]) -> None:
    """A task, a level of detail and a flag: one of those that there are."""
    task, detail, flag = given["task"], given["image_detail"], given["media_tokens_included"]
    if task is not None and (not isinstance(task, str) or task not in TASKS):
        near = ", ".join(difflib.get_close_matches(str(task).lower().replace("_", "-"), TASKS, cutoff=0.5))
        hint = f"Nearest: {near}." if near else f"One of {', '.join(TASKS)}."
        raise InvalidInput("task", f"'{task}' is unknown", hint=hint)
    if detail and detail not in DETAILS:
        raise InvalidInput("image_detail", f"'{detail}' is unknown", hint=f"One of {', '.join(DETAILS)}.")
    if not isinstance(flag, bool):
        raise InvalidInput("media_tokens_included", f"{flag!r} is neither true nor false")


def _check_clip(given: Mapping[str, Any]) -> None:
    """A clip lasts, and its frames, its length and its rate agree where all three are stated."""
    if given["output_video_seconds"] == 0:
        raise InvalidInput("output_video_seconds", "a 0-second clip", hint=CLIP_HINT)
    if given["output_video_frames"] == 0:
        raise InvalidInput("output_video_frames", "a clip of 0 frames", hint=f"1 to {MAX_FRAMES:.0f} frames.")
    names = ("output_video_frames", "output_video_seconds", "output_video_frames_per_s")
    if any(given[name] is None for name in names):
        return
    frames, seconds, rate = (number(name, given[name]) for name in names)
    if abs(frames - seconds * rate) > 1:
        raise InvalidInput(
            "output_video_frames",
            f"{frames:g} frames are not {seconds:g} s at {rate:g} frames/s, which are {seconds * rate:g}",
            hint="Give two of the three.",
        )


# --- numbers ----------------------------------------------------------------------------------------------------------


def _whole(name: str, given: Mapping[str, Any], most: float, unit: str, *, least: int = 1) -> float | None:
    """A whole number within its range; None where none is stated."""
    value = given[name]
    if value is None:
        return None
    if not least <= number(name, value) <= most:
        raise InvalidInput(name, f"{value:g} {unit}", hint=f"{least} to {most:.0f}.")
    return whole(name, value)


def _above_zero(name: str, given: Mapping[str, Any], most: float, unit: str) -> float | None:
    """A number above zero, within its range; None where none is stated."""
    value = given[name]
    if value is None:
        return None
    if not 0 < number(name, value) <= most:
        raise InvalidInput(name, f"{value:g} {unit}", hint=f"Above 0, at most {most:.0f}.")
    return float(value)


def _evaluations(name: str, given: Mapping[str, Any]) -> float | None:
    """Evaluations per step; one that is left out in some of the steps makes them a fraction."""
    value = given[name]
    if value is None:
        return None
    if not 1 <= number(name, value) <= MAX_EVALUATIONS:
        raise InvalidInput(name, f"{value:g} evaluations per step", hint=f"1 to {MAX_EVALUATIONS}.")
    return float(value)


def _seconds(name: str, given: Mapping[str, Any]) -> float | None:
    """A length in seconds; none, and 0, is nothing."""
    value = given[name]
    if value is None:
        return None
    if not 0 <= number(name, value) <= MAX_CLIP_SECONDS:
        raise InvalidInput(name, f"{value:g} seconds", hint=f"0 to {MAX_CLIP_SECONDS:.0f}; 0 is none.")
    return float(value) or None


# --- sizes ------------------------------------------------------------------------------------------------------------


def images_of(given: Any, *, counts: bool) -> Any:
    """Sizes of pictures in the ways that a request may state them, as the tuple that a key needs.

    Parameters
    ----------
    given
        A list of sizes, one size, several in a text, a list as JSON; or a number.
    counts
        Whether a number stands for so many pictures of the usual size.
    """
    if given is None:
        return ()
    if isinstance(given, str):
        text = given.strip(" ,;\t\n")
        if counts and _COUNT.fullmatch(text):
            return float(text)
        listed = _from_json(text) if text.startswith("[") else None
        return tuple(_BETWEEN.split(_TIMES.sub("x", text)) if text else ()) if listed is None else listed
    return tuple(given) if isinstance(given, Iterable) else given


def _from_json(text: str) -> tuple[Any, ...] | None:
    """The elements of a list as JSON; None where it is none."""
    try:
        return tuple(json.loads(text))
    except ValueError:
        return None


def _pictures(name: str, given: Any) -> tuple[Size | None, ...]:
    """Pictures to make: those of the sizes that are stated, or so many of the usual size."""
    if isinstance(given, tuple):
        return _sizes(name, given)
    count = int(whole(name, given))
    _check_many(name, count)
    return (None,) * count


def _sizes(name: str, given: Any) -> tuple[Size, ...]:
    """Sizes, as many as there may be."""
    if not isinstance(given, tuple):
        raise InvalidInput(name, f"{given!r} is not a list of sizes", hint=SIZE_HINT)
    _check_many(name, len(given))
    return tuple(_size(name, text, "a size", SIZE_HINT) for text in given)


def _check_many(name: str, count: int) -> None:
    if count > MAX_IMAGES:
        raise InvalidInput(name, f"{count} pictures; at most {MAX_IMAGES}")


def _size(name: str, text: Any, what: str, hint: str) -> Size:
    """A size whose sides are plausible."""
    size = size_of(text) if isinstance(text, str) else None
    if size is None:
        raise InvalidInput(name, f"{text!r} is not {what}", hint=hint)
    for side in size:
        _check_side(name, side, str(size))
    return size


def _check_side(name: str, side: float, shown: str) -> None:
    if not SIDES[0] <= side <= SIDES[1]:
        raise InvalidInput(name, f"{shown} has a side of {side:g} pixels", hint=SIDES_HINT)


def _resolution(name: str, given: Mapping[str, Any]) -> Size | int | None:
    """The frame of a clip: its size, or its lines alone."""
    value = given[name]
    if value is None or value == "":
        return None
    lines = _LINES.fullmatch(value) if isinstance(value, str) else None
    if isinstance(value, str) and lines is None:
        return _size(name, value, "a resolution", LINES_HINT)
    count = int(lines[1]) if lines else int(whole(name, value, minimum=1))
    _check_side(name, count, f"a frame of {count} lines")
    return count
