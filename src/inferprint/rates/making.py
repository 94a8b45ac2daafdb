"""The work of pictures, clips and sound that a denoiser makes: steps, evaluations, volume, out of what was asked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from inferprint.catalogue import Catalogue, Media, Model
from inferprint.errors import InvalidInput
from inferprint.modalities.base import Modality
from inferprint.modalities.media import MediaWork, Size
from inferprint.provenance.trace import Trail

REFERENCE_MPX = 1.0
"""Area to which a picture is shrunk that enters beside the latent tokens [2^20 pixels]: pipelines of FLUX.1 Kontext and
Qwen-Image-Edit do so.
"""

ASPECT = 16 / 9
"""Width over height of a frame of which only the lines are stated."""

UPSCALE = 4
"""Enlargement of a side where no size is asked for."""


class Asked(NamedTuple):
    """Work columns of one request, what was assumed and derived, and the tokens of what is given."""

    columns: dict[str, float]
    trail: Trail
    tokens: float = 0.0


class Making(NamedTuple):
    """A model that makes pictures, clips or sound by a denoiser."""

    catalogue: Catalogue
    model: Model
    media: Media
    modality: Modality

    def work(self, asked: MediaWork) -> Asked:
        """Work columns of one request (see `inferprint.modalities.diffusion.COLUMNS`), and what was assumed.

        Raises
        ------
        InvalidInput
            Something that the model does not make.
        """
        trail = Trail()
        _check(self.model, self.modality, asked)
        self._check_given(asked, trail)
        evaluations = self._evaluations(asked, trail)
        if self.modality.name == "image":
            shown = [(size.megapixels, 1.0) for size in self._pictures(asked, trail)]
        elif self.modality.name == "video":
            shown = [self._clip(asked, trail)]
        else:
            shown = [(self._seconds(asked, trail), 1.0)]
        return Asked(self._columns(asked, evaluations, shown), trail)

    def _check_given(self, asked: MediaWork, trail: Trail) -> None:
        """Refuse pictures, and a share of the steps, that the model does nothing with; say what it does with them."""
        tasks, name = set(self.media.tasks), self.model.id
        undisclosed = self.media.undisclosed
        if asked.input_images and undisclosed and not tasks & CHANGING:
            raise InvalidInput("input_images", f"{name} changes no pictures: it is for {', '.join(tasks)}", hint=HINT)
        if asked.input_images and undisclosed and self.modality.name == "image":
            reason = "undisclosed: beside the latent tokens, as open models for editing have it"
            trail.add("input_images", str(len(asked.input_images)), "", "assumed", reason)
        partly = self.modality.name == "image" and self.media.references != "sequence" and not undisclosed
        if asked.strength is not None and (not partly or "upscaling" in tasks):
            raise InvalidInput(
                "strength", f"{name} does not change a picture by a share of its steps", hint="Leave it out."
            )
        if self._at_once:
            for field, value in (("input_steps", asked.steps), ("guidance_evaluations", asked.evaluations_per_step)):
                if value is not None:
                    raise InvalidInput(field, f"{name} works in one pass, without steps", hint="Leave it out.")

    @property
    def _beside(self) -> bool:
        """Whether a picture that is given stands beside the latent tokens."""
        return self.media.references == "sequence" or (self.media.undisclosed and self.modality.name == "image")

    def _columns(self, asked: MediaWork, evaluations: float, shown: Sequence[tuple[float, float]]) -> dict[str, float]:
        """Columns of what is shown: (area [2^20 pixels] or seconds, frames) of each."""
        given = [size.megapixels for size in asked.input_images]
        beside = sum(min(area, REFERENCE_MPX) for area in given) if self._beside else 0.0
        latent = [(area, self._latent_frames(frames)) for area, frames in shown]
        volumes = [area * frames + beside for area, frames in latent]
        alike = self.media.attention == "separated" or self.media.backbone in ("unet", "convolution")
        pairs = [area * area * frames for area, frames in latent] if alike else [volume**2 for volume in volumes]
        return {
            "prompts": 1.0,
            "input_volume": sum(given),
            "evaluations": evaluations * len(shown),
            "evaluation_volume": evaluations * sum(volumes),
            "evaluation_pairs": evaluations * sum(pairs),
            "outputs": float(len(shown)),
            "output_volume": sum(area * frames for area, frames in shown),
            "output_pairs": sum(area * area * frames for area, frames in shown),
        }

    def _latent_frames(self, frames: float) -> float:
        """Frames of latents: the first frame stands alone, and what makes no whole token is filled up."""
        patch = self.media.temporal_patch or 1
        latent = (frames - 1) // (self.media.temporal_downsample or 1.0) + 1
        return math.ceil(latent / patch) * patch

    def _evaluations(self, asked: MediaWork, trail: Trail) -> float:
        """Evaluations of the denoiser for one picture, clip or piece."""
        steps, each = asked.steps, asked.evaluations_per_step
        if self._at_once:
            steps, each = 1.0, 1.0
        if steps is None:
            steps = self._usual("input_steps", self.media.steps, "steps", trail)
        if each is None:
            each = self._usual("guidance_evaluations", self.media.evaluations_per_step, "evaluations per step", trail)
        if asked.strength is not None:
            if not asked.input_images:
                message, hint = "given without a picture to change", "Add input_images (--input-image WxH)."
                raise InvalidInput("strength", message, hint=hint)
            steps = max(1.0, round(steps * asked.strength))
        return steps * each

    @property
    def _at_once(self) -> bool:
        """True where one evaluation makes all: networks of convolutions."""
        return self.media.backbone == "convolution"

    def _usual(self, field: str, value: float | None, unit: str, trail: Trail) -> float:
        """What the model does where nobody says."""
        if value is not None:
            why = f"usual for {self.model.id}"
            trail.add(field, value, unit, "assumed", why, self.media.origin(ORIGIN_OF[field]))
            return float(value)
        prior = self.catalogue.priors[f"media.{field}"]
        trail.add(field, prior.value.value, unit, "assumed", prior.meaning, prior.origin("value"))
        return prior.value.value

    def _enlarges(self, asked: MediaWork) -> bool:
        """Whether a picture that is given comes back larger: asked for, or all that the model does."""
        return asked.task == "upscaling" or set(self.media.tasks) == {"upscaling"}

    def _pictures(self, asked: MediaWork, trail: Trail) -> list[Size]:
        """Sizes of the pictures to make."""
        if asked.input_images and not asked.output_images and self._enlarges(asked):
            sizes = [Size(s.width_px * UPSCALE, s.height_px * UPSCALE) for s in asked.input_images]
            texts = ", ".join(map(str, sizes))
            trail.add("output_images", texts, "", "assumed", f"none stated: {UPSCALE} times each side of what is given")
        else:
            usual = usual_size(self.media)
            sizes = [size or usual for size in asked.output_images or (None,)]
            if None in (asked.output_images or (None,)):
                why = f"none stated: usual for {self.model.id}"
                trail.add("output_images", str(usual), "", "assumed", why, self.media.origin("width_px"))
        for size in sizes:
            check_size(self.model, self.media, "output_images", size)
        return sizes

    def _clip(self, asked: MediaWork, trail: Trail) -> tuple[float, float]:
        """Area of a frame [2^20 pixels], and frames, of the clip to make."""
        size = asked.output_video_size
        if size is None:
            size = usual_size(self.media)
            why = f"none stated: usual for {self.model.id}"
            trail.add("output_video_resolution", str(size), "", "assumed", why, self.media.origin("width_px"))
        elif isinstance(size, int):
            size = frame_of_lines("output_video_resolution", size, trail)
        check_size(self.model, self.media, "output_video_resolution", size)
        frames, usual = self._frames(asked, trail), self.media.frames or USUAL_FRAMES
        if frames > LONGEST * usual:
            field = "output_video_frames" if asked.output_video_seconds is None else "output_video_seconds"
            message = f"{self.model.id} does not make a clip of {frames:g} frames"
            raise InvalidInput(field, message, hint=f"Up to {LONGEST * usual:g} frames: its usual clip has {usual:g}.")
        return size.megapixels, frames

    def _frames(self, asked: MediaWork, trail: Trail) -> float:
        """Frames of the clip: stated, or of its length at the stated or usual rate."""
        if asked.output_video_frames is not None:
            return asked.output_video_frames
        rate, seconds = asked.output_video_frames_per_s, asked.output_video_seconds
        if seconds is None:
            frames = self.media.frames
            if frames is not None and rate is None:
                return self._usual("output_video_frames", frames, "frames", trail)
            seconds = self._usual("output_video_seconds", self.media.seconds, "s", trail)
        if rate is None:
            rate = self._usual("output_video_frames_per_s", self.media.frames_per_s, "frames/s", trail)
        # A clip of whole latent frames: the first stands alone.
        step = self.media.temporal_downsample or 1.0
        return max(1.0, round((seconds * rate - 1) / step) * step + 1)

    def _seconds(self, asked: MediaWork, trail: Trail) -> float:
        """Length of the sound to make [s]."""
        if asked.output_audio_seconds:
            usual = self.media.seconds
            if usual is not None and asked.output_audio_seconds > LONGEST * usual:
                message = f"{self.model.id} does not make {asked.output_audio_seconds:g} s at once"
                raise InvalidInput("output_audio_seconds", message, hint=f"Up to {LONGEST * usual:g} s.")
            return asked.output_audio_seconds
        if self.media.seconds is None:
            raise InvalidInput("output_audio_seconds", "is missing", hint="Seconds of sound, above 0.")
        return self._usual("output_audio_seconds", self.media.seconds, "s", trail)


DEFAULT_SIZE = Size(1024, 1024)
"""Size of a picture of a model that publishes none."""


def usual_size(media: Media) -> Size:
    """Size of a usual picture or frame of a model."""
    return Size(media.width_px or DEFAULT_SIZE.width_px, media.height_px or DEFAULT_SIZE.height_px)


def frame_of_lines(field: str, lines: int, trail: Trail) -> Size:
    """The frame of a clip of which only the lines are stated; what was assumed of it is written down."""
    size = Size(round(lines * ASPECT / 2) * 2, lines)
    trail.add(field, str(size), "", "assumed", "only lines stated: 16:9")
    return size


ORIGIN_OF = {
    "input_steps": "steps",
    "guidance_evaluations": "evaluations_per_step",
    "output_video_frames": "frames",
    "output_video_seconds": "seconds",
    "output_video_frames_per_s": "frames_per_s",
    "output_audio_seconds": "seconds",
}
"""Field of the record that a usual value comes from."""


def check_size(model: Model, media: Media, field: str, size: Size) -> None:
    """Refuse a size that the model does not make."""
    if media.sizes and str(size) not in media.sizes:
        raise InvalidInput(field, f"{model.id} does not make {size}", hint=f"It makes {', '.join(media.sizes)}.")
    usual = usual_size(media).megapixels
    # Where no limit is published, what is far from the usual is not what it was made for.
    low, high = media.min_mpx or usual / SMALLEST, media.max_mpx or usual * LARGEST
    if not low * SLACK[0] <= size.megapixels <= high * SLACK[1]:
        what = f"{model.id} does not make {size}, {size.megapixels:.3g} megapixels"
        raise InvalidInput(field, what, hint=f"It makes {low:.3g} to {high:.3g} megapixels (2^20 pixels).")
    if media.multiple_px and (size.width_px % media.multiple_px or size.height_px % media.multiple_px):
        raise InvalidInput(
            field, f"{model.id} does not make {size}", hint=f"Sides are multiples of {media.multiple_px}."
        )
    if media.max_edge_px and max(size) > media.max_edge_px:
        hint = f"Its longest side is {media.max_edge_px} pixels."
        raise InvalidInput(field, f"{model.id} does not make {size}", hint=hint)


CHANGING = {
    *("image-editing", "image-to-image", "inpainting", "outpainting", "upscaling", "variations", "editing"),
    *("image-to-video", "video-editing", "video-to-world"),
}
"""Tasks to which a picture is given."""

SMALLEST, LARGEST = 64.0, 16.0
"""Usual area of a model over the smallest that it is taken to make, and largest over usual, where none is published."""

USUAL_FRAMES = 120.0
"""Frames of a usual clip of a model that publishes none: 5 s at 24 frames a second."""

LONGEST = 20.0
"""Longest clip or piece over the usual one that a model is taken to make."""

SLACK = (0.9, 1.1)
"""Published limits on the area are round numbers."""

CLIP_FIELDS = ("output_video_seconds", "output_video_frames", "output_video_size", "output_video_frames_per_s")
"""What only a clip has."""

FIELD_OF = {"output_video_size": "output_video_resolution"}
"""Request field of what is called otherwise here."""

_WANTED = {
    "image": ("output_images",),
    "video": CLIP_FIELDS,
    "sound": ("output_audio_seconds", "output_audio_tokens"),
}


def _check(model: Model, modality: Modality, asked: MediaWork) -> None:
    """Refuse what the model does not read or make."""
    given = (
        ("input_audio_seconds", asked.input_audio_seconds, "sound"),
        ("input_video_seconds", asked.input_video_seconds, "video"),
        ("input_video_resolution", asked.input_video_size, "video"),
        ("input_images", asked.input_images if modality.name == "sound" else None, "pictures"),
        ("image_detail", asked.image_detail, "level of detail"),
        ("media_tokens_included", asked.tokens_included, "tokens"),
        ("output_audio_tokens", asked.output_audio_tokens, "tokens"),
    )
    for field, value, what in given:
        if value:
            raise InvalidInput(field, f"{model.id} takes no {what}: it makes {modality.name}s", hint=HINT)
    for made, names in _WANTED.items():
        stated = [name for name in names if getattr(asked, name) not in (None, ())]
        if made != modality.name and stated and not (made == "sound" and "audio" in model.modality):
            field = FIELD_OF.get(stated[0], stated[0])
            raise InvalidInput(field, f"{model.id} makes {modality.name}s, not {made}s", hint=HINT)


HINT = "inferprint catalog models QUERY lists models and what they are for."
