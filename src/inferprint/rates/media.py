"""What a model reads and makes beside text: the work columns of a request's pictures, video and sound.

What only they need is imported when one is asked for: a request of text must start fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from inferprint.catalogue import Catalogue, Model
from inferprint.errors import InvalidInput, Undisclosed
from inferprint.modalities.base import Modality
from inferprint.modalities.media import NEUTRAL, NO_MEDIA, MediaWork
from inferprint.modalities.tasks import MAKES, TASKS
from inferprint.modalities.text import TEXT
from inferprint.provenance.trace import Entry

if TYPE_CHECKING:
    from inferprint.rates.making import Asked, Making
    from inferprint.rates.reading import Reading

MAKERS: Mapping[str, str] = {"image": "image", "video": "video", "video+audio": "video", "text-to-audio": "sound"}
"""What models that make pictures, clips or sound are called in the catalogue, and the modality of a denoiser's work."""

READERS = ("embedding", "rerank", "classifier", "vision-encoder", "audio-encoder")
"""What models that read and write no token are called in the catalogue."""

MISSING = {
    "audio-to-text": "input_audio_seconds",
    "audio-encoder": "input_audio_seconds",
    "vision-encoder": "input_images",
}
"""What a request to a model of a kind must hold; tokens where it is not here."""

MAX_KEPT = 4096
"""Works of which a reader keeps the columns."""


def modality_of(catalogue: Catalogue, model: Model) -> Modality:
    """How a model works: on tokens, whatever they stand for, or by a denoiser.

    Raises
    ------
    Undisclosed
        No record says how it makes pictures, video or sound.
    """
    if model.modality in READERS:
        from inferprint.modalities.embedding import EMBEDDING

        return EMBEDDING
    if model.modality not in MAKERS:
        return TEXT
    media = catalogue.media.get(model.id)
    if media is None:
        hint = f"Add a record [[media]] with id = '{model.id}' to the folder of --catalog: see docs/catalogue.md."
        raise Undisclosed(f"nothing is known of how {model.id} makes what it makes", hint=hint, field="model_id")
    # Undisclosed models for sound are taken for ones on tokens, as most open ones are.
    by_tokens = media.backbone == "autoregressive" or (media.backbone, MAKERS[model.modality]) == (
        "undisclosed",
        "sound",
    )
    # Pictures of undisclosed models are sold by the piece: their price says more than tokens that only bill them.
    if by_tokens and not (model.modality == "image" and model.total_params_b is None):
        return TEXT
    from inferprint.discovery import members

    made: Modality = members("inferprint.modalities", Modality)[MAKERS[model.modality]]
    return made


class MediaReader:
    """Turns the pictures, video and sound of a request into work columns of a model's modality.

    Attributes
    ----------
    needs_tokens, needs_output_tokens
        Whether a request without pictures, video and sound must state its tokens, and those of its answer.
    writes_text, answers
        Whether an answer can have tokens, and whether it must state them whatever is given.
    missing
        The request field that is missing where nothing is given.
    what
        The model and what it is for, for errors.
    neutral
        Columns of a request without them, where one of the same model has some.
    """

    def __init__(self, catalogue: Catalogue, model: Model, modality: Modality) -> None:
        self._catalogue, self._model, self._modality = catalogue, model, modality
        self.needs_tokens = model.modality not in MAKERS
        self.needs_output_tokens = self.needs_tokens and modality is TEXT
        self.writes_text = modality is TEXT
        self.answers = self.needs_output_tokens and model.modality != "audio-to-text"
        self.missing = MISSING.get(model.modality, "input_tokens")
        self.what = f"{model.id} is a model for {model.modality}"
        self.neutral: Mapping[str, float] = {} if modality.by_denoiser else NEUTRAL
        self._kept: dict[MediaWork, Asked] = {}

    @cached_property
    def _maker(self) -> Making | Reading:
        media = self._catalogue.media.get(self._model.id)
        if self._modality.by_denoiser:
            from inferprint.rates.making import Making

            return Making(self._catalogue, self._model, self._catalogue.media[self._model.id], self._modality)
        from inferprint.rates.reading import Reading

        return Reading(self._catalogue, self._model, media)

    def tokens(self, work: MediaWork) -> float:
        """Tokens of what is given, which the input tokens of some logs hold already."""
        return self._asked(work).tokens

    def columns(self, work: MediaWork) -> dict[str, float]:
        """Work columns of one request beside those of its text; nothing where it is text alone.

        Raises
        ------
        InvalidInput
            Something that the model does not read or make.
        """
        return {} if work is NO_MEDIA and self.needs_tokens else self._asked(work).columns

    def entries(self, work: MediaWork) -> tuple[Entry, ...]:
        """What was assumed and derived about them."""
        return () if work is NO_MEDIA and self.needs_tokens else tuple(self._asked(work).trail.entries)

    def _check_task(self, task: str) -> None:
        """Refuse a task that a model of this kind does not do."""
        does, kind = MAKES.get(TASKS[task], ()), self._model.modality
        # What is generated of several kinds may be pictures and sound too.
        wrong = kind not in does if does else kind in MAKERS and task != "multimodal-generation"
        if wrong:
            raise InvalidInput("task", f"{self.what}, not for {task}", hint="Leave it out, or name another model.")

    def _asked(self, work: MediaWork) -> Asked:
        found = self._kept.get(work)
        if found is None:
            if work.task is not None:
                self._check_task(work.task)
            if len(self._kept) >= MAX_KEPT:
                del self._kept[next(iter(self._kept))]
            found = self._kept[work] = self._maker.work(work)
        return found
