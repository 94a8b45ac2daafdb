"""What a request holds beside text: pictures, video and sound that are given, and that are to be made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

MEGAPIXEL = 1024.0 * 1024.0
"""Pixels of the unit in which areas are counted: 2^20."""


class Size(NamedTuple):
    """Width and height of a picture or frame [pixels]."""

    width_px: int
    height_px: int

    @property
    def megapixels(self) -> float:
        """Area [2^20 pixels]."""
        return self.width_px * self.height_px / MEGAPIXEL

    def __str__(self) -> str:
        return f"{self.width_px}x{self.height_px}"


_SIZE = re.compile(r"\s*(\d{1,6})\s*[x×X]\s*(\d{1,6})\s*")


def size_of(text: str) -> Size | None:
    """The size that a text such as "1024x768" states; None where it states none."""
    found = _SIZE.fullmatch(text)
    return Size(int(found[1]), int(found[2])) if found else None


@dataclass(frozen=True, kw_only=True)
class MediaWork:
    """Pictures, video and sound of one request; what is None, or empty, was not stated.

    Attributes
    ----------
    task
        What is asked for, one of `inferprint.modalities.tasks.TASKS`.
    input_images, image_detail
        Pictures that are given, and the level of detail at which they are read.
    input_video_seconds, input_video_size
        A clip that is given [s]; its frame, of which an int is a number of lines.
    input_audio_seconds
        Sound that is given [s].
    tokens_included
        Whether the tokens of what is given are among the request's input tokens already.
    output_images
        Pictures to make; None stands for one of the model's usual size.
    steps, evaluations_per_step
        Of a denoiser.
    strength
        Share of the steps that a changed picture takes.
    output_video_frames, output_video_seconds, output_video_frames_per_s
        A clip to make, by any two of them or by the usual frame rate [frames], [s], [frames/s].
    output_video_size
        Its frame; an int is a number of lines.
    output_audio_seconds, output_audio_tokens
        Sound to make [s], [tokens].
    answer_stated
        Whether the request's output tokens are stated, so that none are assumed for what is said in a sound.
    """

    task: str | None = None
    input_images: tuple[Size, ...] = ()
    image_detail: str = ""
    input_video_seconds: float | None = None
    input_video_size: Size | int | None = None
    input_audio_seconds: float | None = None
    tokens_included: bool = False
    output_images: tuple[Size | None, ...] = ()
    steps: float | None = None
    evaluations_per_step: float | None = None
    strength: float | None = None
    output_video_frames: float | None = None
    output_video_seconds: float | None = None
    output_video_frames_per_s: float | None = None
    output_video_size: Size | int | None = None
    output_audio_seconds: float | None = None
    output_audio_tokens: float | None = None
    answer_stated: bool = False


NO_MEDIA = MediaWork()
"""A request of text alone."""

NEUTRAL: Mapping[str, float] = {
    "media_prompts": 0.0,
    "media_tokens": 0.0,
    "cross_tokens": 0.0,
    "written_tokens": 0.0,
    "encoder_gflop": 0.0,
    "encoder_attention_gflop": 0.0,
    "passes": 1.0,
    "sequences": 1.0,
}
"""Work columns of a model on tokens for a request without pictures and sound."""
