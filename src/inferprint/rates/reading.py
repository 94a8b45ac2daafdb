"""The work of pictures, clips and sound that a model on tokens reads or writes: tokens, and passes of an encoder."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from inferprint.catalogue import Catalogue, Media, Model, TokenRule
from inferprint.errors import InvalidInput
from inferprint.modalities.media import NEUTRAL, MediaWork, Size
from inferprint.modalities.reading import AUDIO_RULES, IMAGE_RULES, VIDEO_RULES, Read
from inferprint.physics.encoder import encoder_attention_flop, encoder_linear_flop
from inferprint.provenance.trace import How, Trail
from inferprint.rates.making import CLIP_FIELDS, FIELD_OF, HINT, Asked, frame_of_lines, usual_size
from inferprint.rates.model import Sizes
from inferprint.units import BILLION, GIGA

CLASS_RULE = {"image": "class:image", "video": "class:video", "audio": "class:audio"}
"""Id of the rule to assume where a model is known to read something and nobody says how."""

DEFAULT_FRAME = Size(640, 360)
"""Frame of a clip of which nobody says how large it is."""

_READS = {
    "vision": ("image", "video"),
    "omni": ("image", "video", "audio"),
    "omni-in": ("image", "video", "audio"),
    "vision+audio": ("image", "audio"),
    "audio-in": ("audio",),
    "audio-to-text": ("audio",),
    "audio-encoder": ("audio",),
    "vision-encoder": ("image",),
}
"""What models of a modality read beside text."""


@lru_cache(maxsize=8)
def _rules(catalogue: Catalogue) -> Mapping[tuple[str, str, str], TokenRule]:
    """Rules by model, by what is read and by level of detail."""
    return {(model, rule.reads, rule.detail): rule for rule in catalogue.token_rules.values() for model in rule.models}


def rule_of(catalogue: Catalogue, model: Model, reads: str, detail: str = "") -> TokenRule | None:
    """The rule by which a model reads something; that of its class where only this much is known; None if it cannot.

    A level of detail that the model does not tell apart is its usual one.
    """
    known = _rules(catalogue)
    found = known.get((model.id, reads, detail)) or known.get((model.id, reads, ""))
    if found is not None:
        return found
    # Nothing says what a model that publishes nothing cannot read; one with a rule has one for all that it reads.
    silent = not any(name == model.id for name, _, _ in known)
    undisclosed = model.total_params_b is None and model.modality == "text" and silent
    able = undisclosed or reads in _READS.get(model.modality, ())
    return catalogue.token_rules.get(CLASS_RULE[reads]) if able else None


def _of_denoisers(asked: MediaWork) -> tuple[tuple[str, float | None], ...]:
    """What only a denoiser takes, by request field."""
    return (
        ("input_steps", asked.steps),
        ("guidance_evaluations", asked.evaluations_per_step),
        ("strength", asked.strength),
    )


class Reading(NamedTuple):
    """A model on tokens, and what it reads and writes beside text."""

    catalogue: Catalogue
    model: Model
    media: Media | None

    def work(self, asked: MediaWork) -> Asked:
        """Work columns of one request, to be added to those of its text, and what was assumed.

        Raises
        ------
        InvalidInput
            Something that the model does not read or make.
        """
        trail, columns = Trail(), dict(NEUTRAL)
        self._check(asked)
        if asked.input_images:
            rule = self._rule("input_images", "image", asked.image_detail)
            # A model that reads pictures by itself has no encoder to wait for.
            columns["media_prompts"] = float(rule.encoder_params_b != 0)
            for size in asked.input_images:
                self._add(columns, rule, IMAGE_RULES[rule.rule](*size, rule.parameters))
            self._note(trail, "input_images", rule)
        if asked.input_video_seconds:
            columns["media_prompts"] = 1.0
            self._add_clip(columns, asked, asked.input_video_seconds, trail)
        if asked.input_audio_seconds:
            rule = self._rule("input_audio_seconds", "audio")
            self._add(columns, rule, AUDIO_RULES[rule.rule](asked.input_audio_seconds, rule.parameters))
            self._note(trail, "input_audio_seconds", rule)
            self._transcribe(columns, asked, trail)
        self._write(columns, asked, trail)
        read = columns["media_tokens"] + columns["cross_tokens"]
        if read:
            how = "within" if asked.tokens_included else "added to"
            trail.add("media tokens", read, "tokens", "derived", f"of what is given: {how} the input tokens")
        if asked.tokens_included:
            columns["media_tokens"] = 0.0
        return Asked(columns, trail, read)

    def _check(self, asked: MediaWork) -> None:
        """Refuse what only a denoiser takes, and a level of detail of no picture."""
        for name, value in _of_denoisers(asked):
            if value is not None:
                raise InvalidInput(name, f"{self.model.id} works on tokens, not in steps of a denoiser", hint=HINT)
        if asked.image_detail and not asked.input_images:
            raise InvalidInput("image_detail", "given without a picture", hint="Add input_images (--input-image WxH).")
        if asked.input_video_size is not None and not asked.input_video_seconds:
            message, hint = "given without a clip", "Add input_video_seconds (--input-video-seconds)."
            raise InvalidInput("input_video_resolution", message, hint=hint)
        given = asked.input_images or asked.input_video_seconds or asked.input_audio_seconds
        if asked.tokens_included and not given:
            raise InvalidInput("media_tokens_included", "given without a picture, clip or sound", hint="Leave it out.")

    def _rule(self, field: str, reads: str, detail: str = "") -> TokenRule:
        rule = rule_of(self.catalogue, self.model, reads, detail)
        if rule is None:
            what = {"image": "pictures", "video": "video", "audio": "sound"}[reads]
            message = f"{self.model.id} reads no {what}: it is a model for {self.model.modality}"
            raise InvalidInput(field, message, hint=HINT)
        return rule

    def _add_clip(self, columns: dict[str, float], asked: MediaWork, seconds: float, trail: Trail) -> None:
        """Add the frames of a clip that is given."""
        rule = self._rule("input_video_seconds", "video")
        size = asked.input_video_size
        if size is None:
            size = DEFAULT_FRAME
            trail.add("input_video_resolution", str(size), "", "assumed", "none stated: a small clip")
        elif isinstance(size, int):
            size = frame_of_lines("input_video_resolution", size, trail)
        self._add(columns, rule, VIDEO_RULES[rule.rule](*size, seconds, rule.parameters))
        self._note(trail, "input_video_seconds", rule)

    def _add(self, columns: dict[str, float], rule: TokenRule, read: Read) -> None:
        """Add what one picture, clip or piece of sound makes the model read."""
        columns["media_tokens"] += read.tokens
        columns["cross_tokens"] += read.cross_positions
        if read.cross_positions:
            # What is only looked at is looked at piece by piece; tokens of sound stand in one context.
            columns["passes"] = max(columns["passes"], read.windows)
        linear, attention = encoder_gflop(self.catalogue, self.model, rule, read)
        columns["encoder_gflop"] += linear
        columns["encoder_attention_gflop"] += attention

    def _note(self, trail: Trail, field: str, rule: TokenRule) -> None:
        how: How = "assumed" if rule.id in CLASS_RULE.values() else "catalogue"
        trail.add(f"{field} rule", rule.id, "", how, rule.meaning, rule.origin("rule"))

    def _transcribe(self, columns: dict[str, float], asked: MediaWork, trail: Trail) -> None:
        """What a model for speech writes about a sound where nobody says."""
        writes = self.model.modality == "audio-to-text"
        if writes and not asked.answer_stated:
            prior = self.catalogue.priors["media.speech-tokens-per-second"]
            tokens = prior.value.value * (asked.input_audio_seconds or 0.0)
            columns["written_tokens"] += tokens
            trail.add("output_tokens", tokens, "tokens", "assumed", prior.meaning, prior.origin("value"))

    def _write(self, columns: dict[str, float], asked: MediaWork, trail: Trail) -> None:
        """Tokens of pictures and sound that the model writes."""
        media = self.media
        for field in CLIP_FIELDS:
            if getattr(asked, field) is not None:
                raise self._cannot(FIELD_OF.get(field, field), "video")
        if asked.output_images or self._makes("image"):
            if media is None or media.tokens_per_image is None:
                raise self._cannot("output_images", "pictures")
            self._say(columns, self._picture_tokens(media, asked, trail))
        spoken = asked.output_audio_tokens or 0.0
        if spoken and asked.output_audio_seconds:
            raise InvalidInput("output_audio_tokens", "given beside output_audio_seconds", hint="Give one of them.")
        if asked.output_audio_seconds and not spoken:
            spoken = self._spoken(asked.output_audio_seconds, trail)
        elif self._makes("text-to-audio") and not spoken:
            raise InvalidInput("output_audio_seconds", "is missing", hint="Seconds of sound to make, above 0.")
        self._say(columns, spoken)

    def _spoken(self, seconds: float, trail: Trail) -> float:
        """Tokens of sound that is made."""
        media = self.media
        if media is None or self.model.modality == "audio-to-text":
            raise self._cannot("output_audio_seconds", "sound")
        if media.tokens_per_second is not None:
            reason, origin = f"{media.tokens_per_second:g} a second", media.origin("tokens_per_second")
            trail.add("output_audio_tokens", media.tokens_per_second * seconds, "tokens", "derived", reason, origin)
            return media.tokens_per_second * seconds
        prior = self.catalogue.priors["media.sound-tokens-per-second"]
        trail.add(
            "output_audio_tokens",
            prior.value.value * seconds,
            "tokens",
            "assumed",
            prior.meaning,
            prior.origin("value"),
        )
        return prior.value.value * seconds

    def _say(self, columns: dict[str, float], tokens: float) -> None:
        """Add tokens that are written; with guidance, in a sequence for each evaluation."""
        media = self.media
        columns["written_tokens"] += tokens
        if tokens and media is not None and media.evaluations_per_token:
            columns["sequences"] = float(media.evaluations_per_token)

    def _makes(self, modality: str) -> bool:
        return self.model.modality == modality

    def _picture_tokens(self, media: Media, asked: MediaWork, trail: Trail) -> float:
        """Tokens of the pictures to make: in proportion to their area."""
        usual = usual_size(media)
        pictures = asked.output_images or (None,)
        share = sum((size or usual).megapixels for size in pictures) / usual.megapixels
        tokens = share * (media.tokens_per_image or 0)
        trail.add("picture tokens", tokens, "tokens", "derived", f"{media.tokens_per_image} for {usual}")
        return tokens

    def _cannot(self, field: str, what: str) -> InvalidInput:
        return InvalidInput(
            field,
            f"{self.model.id} makes no {what}: it is a model for {self.model.modality}, and writes text",
            hint=HINT,
        )


def encoder_gflop(catalogue: Catalogue, model: Model, rule: TokenRule, read: Read) -> tuple[float, float]:
    """Work of an encoder for what it reads, outside and in the products of attention [1e9 FLOP].

    An encoder of which nothing is published is the usual one.
    """
    if rule.encoder_params_b == 0:
        # The model reads by itself what others need an encoder for.
        return 0.0, 0.0
    priors = catalogue.priors
    usual = priors["media.encoder-params"].value.value
    # No part is larger than the whole.
    params = rule.encoder_params_b if rule.encoder_params_b is not None else min(usual, model.total_params_b or usual)
    layers = rule.encoder_layers or priors["media.encoder-layers"].value.value
    width = rule.encoder_hidden_size or priors["media.encoder-width"].value.value
    return (
        encoder_linear_flop(params * BILLION, read.positions) / GIGA,
        encoder_attention_flop(layers * width, read.pairs) / GIGA,
    )


def written_by(catalogue: Catalogue, model: Model, sizes: Sizes) -> Sizes:
    """The part of a model for speech that writes: its encoder works apart, once for each sound."""
    if sizes.predicted:
        return sizes
    media, rule = catalogue.media.get(model.id), rule_of(catalogue, model, "audio")
    encoder = (rule.encoder_params_b if rule is not None else None) or 0.0
    known = media.params_per_token_b if media is not None else None
    share = sizes.total / model.total_params_b if model.total_params_b else 1.0
    writes = known * share if known is not None else max(sizes.total - encoder, LEAST_DECODER * sizes.total)
    return Sizes(writes, writes)


LEAST_DECODER = 0.02
"""Share of a model for speech that writes where its encoder is all but all of it: a transducer's, an assumption."""


USUAL_PICTURE = Size(640, 480)
"""A picture of which only the tokens are known."""


def encoder_of_tokens(catalogue: Catalogue, model: Model, tokens: float) -> Mapping[str, float]:
    """Work columns of an encoder for a prompt of so many tokens that came from pictures of a usual size.

    Nothing where no rule is published for the model: what its encoder takes is in the fixed cost of such prompts then.
    """
    rule = rule_of(catalogue, model, "image")
    if rule is None:
        return {}
    read = IMAGE_RULES[rule.rule](*USUAL_PICTURE, rule.parameters)
    linear, attention = encoder_gflop(catalogue, model, rule, read)
    each = tokens / max(read.tokens + read.cross_positions, 1.0)
    return {"encoder_gflop": linear * each, "encoder_attention_gflop": attention * each}
