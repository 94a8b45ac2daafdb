"""What is asked: a model, an amount of work, and whatever is known of the host and the place."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inferprint.errors import InvalidInput
from inferprint.estimate.checks import number, whole
from inferprint.estimate.media import MEDIA_FIELDS, holds_media, images_of, media_of
from inferprint.modalities.tasks import TASKS
from inferprint.quantities import METHODS, Method
from inferprint.rates.setup import TIERS
from inferprint.units import MS_PER_S

__all__ = [
    "FIELDS",
    "LIMIT_FIELDS",
    "TIME_FIELDS",
    "TOKEN_FIELDS",
    "WRITTEN_FIELDS",
    "Request",
    "check_tokens",
    "model_of",
    "number",
    "setup_of",
    "suspects",
    "validated",
]

MAX_TOKENS = 1e8
"""Tokens per request above this are taken for a mistake."""

MAX_SECONDS = 7 * 24 * 3600.0
"""A measured duration above this is taken for a mistake of unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, or one row that stands for `n_requests` alike.

    Field names are those of the Scope3 AI API where it has them. Token counts of a row are totals over its requests;
    pictures, video and sound are those of one of them.

    Attributes
    ----------
    model_id
        The model by any name that it is known under. With a `task` it may be left out: the class of models that stands
        for the task is asked then.
    input_tokens, output_tokens
        All prompt tokens, and all answer tokens [tokens]. Models that read and write tokens need them, unless pictures,
        video or sound are stated; those of an embedding are the input tokens alone.
    cached_input_tokens, cache_write_tokens
        The part of the prompt read from a cache, and the part written to one; both within `input_tokens`. Written
        tokens are computed like fresh ones.
    reasoning_tokens
        The hidden part of the answer, within `output_tokens`; it costs what visible tokens cost.
    n_requests
        Requests that the row stands for; means are used then.
    task
        What the model is used for, one of `inferprint.modalities.tasks.TASKS`.
    input_images, output_images
        Sizes of the pictures that are given, and of those to make, as "1024x1024": a list of at most 100, or one text
        with several. A whole number of `output_images` is so many of the model's usual size.
    image_detail
        How closely the model looks: "auto", "low", "medium", "high", "ultra_high" or "original"; a level that it does
        not tell apart is its usual one.
    input_steps, guidance_evaluations, strength
        Steps of a denoiser, evaluations of it in each, and the share of the steps that a changed picture takes.
    input_video_seconds, input_video_resolution, input_audio_seconds
        A clip and a sound that are given [s]; the resolution is lines (720, "720p") or a size.
    media_tokens_included
        Whether `input_tokens` counts the tokens of what is given already; else they are added.
    output_video_frames, output_video_seconds, output_video_frames_per_s, output_video_resolution
        A clip to make: frames, or seconds and rate [frames/s].
    output_audio_seconds, output_audio_tokens
        Sound to make [s], [tokens].
    managed_service_id, cloud_id, cloud_instance_id, cloud_region, node_id, gpu_id, gpu_count, country, grid_zone
        Where it ran; give what is known.
    service_tier
        What was bought of a managed endpoint, one of `inferprint.rates.setup.TIERS`: requests that may wait ("batch")
        share larger steps, bought capacity ("provisioned") smaller ones; the other tiers are not told apart.
    replica_gpu_count
        Devices that hold one copy of the model; the fewest that fit by default.
    batch_size
        Requests that shared each decode step of the replica.
    time_per_output_token_ms, request_duration_ms
        Measured times [ms]; the batch is solved from them, unless it is given too.
    max_time_per_output_token_ms, max_ttft_ms
        Limits [ms] that the operator keeps, on the mean time per output token and on the time to the first one: the
        batch is the largest that keeps them and fits.
    usual_input_tokens, usual_output_tokens
        Mean lengths of the other requests that share the steps [tokens]; usual ones of the catalogue by default.
    precision
        Number format of the weights.
    engine
        Serving software, with its age where that matters: "vllm", "vllm-2024", "llama.cpp" ...
    active_share, pue, wue_l_per_kwh, grid_gco2e_per_kwh, grid_market_gco2e_per_kwh, grid_water_l_per_kwh
        What the caller knows better than the catalogue.
    total_params_b, active_params_b
        Size of the model [1e9 parameters].
    conservative
        Where the size comes from the model's price: take the upper end of its 95 % interval.
    """

    model_id: str | None = None
    input_tokens: float | None = None
    output_tokens: float | None = None
    cached_input_tokens: float = 0
    cache_write_tokens: float = 0
    reasoning_tokens: float = 0
    n_requests: float = 1
    task: str | None = None
    input_images: Sequence[str] = ()
    output_images: Sequence[str] | float = ()
    image_detail: str = ""
    input_steps: float | None = None
    guidance_evaluations: float | None = None
    strength: float | None = None
    input_video_seconds: float | None = None
    input_video_resolution: str | float | None = None
    input_audio_seconds: float | None = None
    media_tokens_included: bool = False
    output_video_frames: float | None = None
    output_video_seconds: float | None = None
    output_video_frames_per_s: float | None = None
    output_video_resolution: str | float | None = None
    output_audio_seconds: float | None = None
    output_audio_tokens: float | None = None
    managed_service_id: str | None = None
    cloud_id: str | None = None
    cloud_instance_id: str | None = None
    cloud_region: str | None = None
    node_id: str | None = None
    gpu_id: str | None = None
    gpu_count: int | None = None
    replica_gpu_count: int | None = None
    country: str | None = None
    grid_zone: str | None = None
    batch_size: float | None = None
    time_per_output_token_ms: float | None = None
    request_duration_ms: float | None = None
    max_time_per_output_token_ms: float | None = None
    max_ttft_ms: float | None = None
    usual_input_tokens: float | None = None
    usual_output_tokens: float | None = None
    precision: str | None = None
    engine: str | None = None
    service_tier: str | None = None
    techniques: tuple[str, ...] = ()
    active_share: float | None = None
    pue: float | None = None
    wue_l_per_kwh: float | None = None
    grid_gco2e_per_kwh: float | None = None
    grid_market_gco2e_per_kwh: float | None = None
    grid_water_l_per_kwh: float | None = None
    total_params_b: float | None = None
    active_params_b: float | None = None
    conservative: bool = False
    method: Method = "default"

    def __post_init__(self) -> None:
        """Take one technique or picture, or a list of them, for the tuple that a key needs."""
        given: Any = self.techniques
        if type(given) is not tuple:
            object.__setattr__(self, "techniques", (given,) if isinstance(given, str) else tuple(given))
        if type(self.input_images) is not tuple:
            object.__setattr__(self, "input_images", images_of(self.input_images, counts=False))
        if type(self.output_images) is not tuple:
            object.__setattr__(self, "output_images", images_of(self.output_images, counts=True))


WRITTEN_FIELDS = ("input_tokens", "output_tokens")
"""Tokens that a request may lack: a picture has none."""

TOKEN_FIELDS = (*WRITTEN_FIELDS, "cached_input_tokens", "cache_write_tokens", "reasoning_tokens")
TIME_FIELDS = ("time_per_output_token_ms", "request_duration_ms")
USUAL_FIELDS = ("usual_input_tokens", "usual_output_tokens")
LIMIT_FIELDS = ("max_time_per_output_token_ms", "max_ttft_ms")
NAME_FIELDS = (
    "model_id",
    "managed_service_id",
    "cloud_id",
    "cloud_instance_id",
    "cloud_region",
    "node_id",
    "gpu_id",
    "country",
    "grid_zone",
    "precision",
    "engine",
)
COUNT_FIELDS = ("gpu_count", "replica_gpu_count")
NUMBER_FIELDS = (
    "batch_size",
    "time_per_output_token_ms",
    "request_duration_ms",
    *LIMIT_FIELDS,
    *USUAL_FIELDS,
    "active_share",
    "pue",
    "wue_l_per_kwh",
    "grid_gco2e_per_kwh",
    "grid_market_gco2e_per_kwh",
    "grid_water_l_per_kwh",
    "total_params_b",
    "active_params_b",
)
FIELDS = tuple(f.name for f in fields(Request))


WORK_FIELDS = frozenset((*TOKEN_FIELDS, "n_requests", *MEDIA_FIELDS)) - {"task"}
setup_of = operator.attrgetter(*(name for name in FIELDS if name not in WORK_FIELDS))
"""Everything of a request that decides its rates, as a key: all but the work."""


def model_of(request: Request) -> str:
    """The model that is asked: the one that is stated, else the class of models that stands for the task."""
    if request.model_id is not None:
        return request.model_id
    if request.task is None:
        raise InvalidInput("model_id", "is missing")
    return TASKS[request.task]


def validated(request: Request) -> Request:
    """The request, if it can be.

    Raises
    ------
    InvalidInput
        Naming the first field that cannot have its value.
    """
    check_tokens(request)
    work = media_of(request)
    for name in COUNT_FIELDS:
        if getattr(request, name) is not None:
            whole(name, getattr(request, name), minimum=1)
    for name in NUMBER_FIELDS:
        if getattr(request, name) is not None:
            number(name, getattr(request, name))
    for name in NAME_FIELDS:
        value = getattr(request, name)
        if value is not None and (not isinstance(value, str) or not value.strip()):
            raise InvalidInput(name, f"{value!r} is not a name")
    model_of(request)
    if not isinstance(request.conservative, bool):
        raise InvalidInput("conservative", f"{request.conservative!r} is neither true nor false")
    _check_choices(request)
    _check_times(request)
    if request.request_duration_ms is not None and not holds_media(work):
        _check_timed(request)
    _check_usual(request)
    return request


def _check_choices(request: Request) -> None:
    """Fields that take one of a few words."""
    for name, choices in (("method", METHODS), ("service_tier", (None, *TIERS))):
        if getattr(request, name) not in choices:
            named = ", ".join(choice for choice in choices if choice)
            raise InvalidInput(name, f"'{getattr(request, name)}' is unknown", hint=f"One of {named}.")


def _check_usual(request: Request) -> None:
    """Lengths of the other requests: prompts from 0, answers from 1."""
    for name, least in zip(USUAL_FIELDS, (0, 1), strict=True):
        value = getattr(request, name)
        if value is not None and not least <= value <= MAX_TOKENS:
            raise InvalidInput(name, f"{value:g} tokens", hint=f"{least} to {MAX_TOKENS:g}.")


def check_tokens(request: Request) -> None:
    """Token counts: whole, plausible, and parts within their whole; else InvalidInput."""
    n = whole("n_requests", request.n_requests, minimum=1)
    for name in TOKEN_FIELDS:
        given = getattr(request, name)
        if given is None and name in WRITTEN_FIELDS:
            continue
        value = whole(name, given)
        if value > MAX_TOKENS * n:
            raise InvalidInput(name, f"{value:g} tokens for {n:g} request(s)", hint=f"At most {MAX_TOKENS:g} each.")
    n_in, n_out = request.input_tokens or 0.0, request.output_tokens or 0.0
    cached = request.cached_input_tokens + request.cache_write_tokens
    if cached > n_in:
        raise InvalidInput(
            "cached_input_tokens",
            f"cache reads and writes ({cached:g}) exceed input_tokens ({n_in:g})",
            hint="input_tokens counts the whole prompt, cached tokens included.",
        )
    if request.reasoning_tokens > n_out:
        raise InvalidInput(
            "reasoning_tokens",
            f"{request.reasoning_tokens:g} exceeds output_tokens ({n_out:g})",
            hint="output_tokens counts the whole answer, reasoning included.",
        )


MOST_REQUESTS = 1e15
"""Requests that one row stands for: above this, a number is no longer counted in ones."""


def plausible(columns: Mapping[str, Any], floor: Callable[[Any], Any]) -> Any:
    """Rows whose numbers of tokens and requests are whole, within their limits, and parts within their whole.

    Parameters
    ----------
    columns
        `TOKEN_FIELDS` [tokens] and n_requests: arrays, or columns of a table engine. A missing number is not plausible.
    floor
        Rounds such a column down.
    """
    n = columns["n_requests"]
    fine = (n >= 1) & (n <= MOST_REQUESTS) & (n == floor(n))
    for name in TOKEN_FIELDS:
        value = columns[name]
        fine = fine & (value >= 0) & (value <= MAX_TOKENS * n) & (value == floor(value))
    fine = fine & (columns["cached_input_tokens"] + columns["cache_write_tokens"] <= columns["input_tokens"])
    return fine & (columns["reasoning_tokens"] <= columns["output_tokens"])


def suspects(columns: Mapping[str, NDArray[np.float64]], held: NDArray[np.bool_] | bool = False) -> NDArray[np.bool_]:
    """Rows that `validated` may refuse, for whole columns at once: every row that it refuses is among them.

    Parameters
    ----------
    columns
        `TOKEN_FIELDS` [tokens], n_requests and `TIME_FIELDS` [ms], each of shape (rows,). NaN is missing, and -1 what
        could not be read as a number.
    held
        Rows with pictures, video or sound, which are not looked at.
    """
    # Tokens that are missing may not be needed: that is seen once the model is known.
    written = {name: np.where(np.isnan(columns[name]), 0.0, columns[name]) for name in WRITTEN_FIELDS}
    columns = {**columns, **written}
    fine = plausible(columns, np.floor)
    for name in TIME_FIELDS:
        value = columns[name]
        fine &= np.isnan(value) | ((value > 0) & (value <= MAX_SECONDS * MS_PER_S))
    per_token, duration = (~np.isnan(columns[name]) for name in TIME_FIELDS)
    work = (columns["input_tokens"] + columns["output_tokens"] > 0) | held
    result: NDArray[np.bool_] = ~(fine & ~(per_token & duration) & (work | ~duration))
    return result


def _check_timed(request: Request) -> None:
    """A measured duration is that of some work; where no tokens are stated, it may be that of a usual picture."""
    tokens = [getattr(request, name) for name in WRITTEN_FIELDS]
    if not any(tokens) and tokens != [None, None]:
        raise InvalidInput("request_duration_ms", "measured for a request without tokens")


def _check_times(request: Request) -> None:
    """Measured times and limits: positive, plausible, and one kind of them."""
    for name in (*TIME_FIELDS, *LIMIT_FIELDS):
        value = getattr(request, name)
        if value is not None and (isinstance(value, (bool, str)) or not 0 < value <= MAX_SECONDS * MS_PER_S):
            raise InvalidInput(name, f"{value!r} ms is not a duration", hint="Above 0, at most a week.")
    if request.time_per_output_token_ms is not None and request.request_duration_ms is not None:
        raise InvalidInput("time_per_output_token_ms", "given beside request_duration_ms", hint="Give one of them.")
    for limit in (name for name in LIMIT_FIELDS if getattr(request, name) is not None):
        for known in ("batch_size", *TIME_FIELDS):
            if getattr(request, known) is not None:
                raise InvalidInput(limit, f"given beside {known}", hint="A limit finds the batch: give one of them.")
