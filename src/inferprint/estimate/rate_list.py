"""A price list of impacts: what one unit that people buy costs, for every model at every service that sells it.

Costs are linear in the features of a request, but not in its tokens: attention grows with the length of the prompt, and
a longer context makes each token of the answer dearer. A list needs one number per token, so it holds for a **reference
request** of stated lengths, whose features it divides among what a person buys:

    f_ref = sum over units u of f_u,    rate_u = per_u / a_u apply(machine, place, f_u)

with a_u the amount of the unit in the reference request. So the amounts times the rates of all units add up to exactly
the estimate of the reference request, in every quantity. Bounds are those of the unit alone; they add up only roughly,
as machine and place are combined once for each unit. A request of other lengths is as far off as its attention is.

Units of text are fresh input tokens (their arithmetic, their chunks, and the pairs that they attend in), cached input
tokens (the reads of the cache before the answer), output tokens (their steps, and their reads of the context) and the
request itself (its pass over the weights). Inputs of embedding models have tokens and the request. A picture, a second
of a clip and a second of sound take all that their usual request needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from inferprint._version import __version__
from inferprint.catalogue import Catalogue, Model, resolve_model, resolve_service
from inferprint.catalogue.compose import fold
from inferprint.errors import InferprintError, InvalidInput, UnknownName
from inferprint.estimate.estimate import Estimator, request_from
from inferprint.estimate.media import MEDIA_FIELDS
from inferprint.estimate.request import Request
from inferprint.estimate.result import Result, as_dict, work_trail
from inferprint.modalities.tasks import TASKS
from inferprint.quantities import RESULTS, Range
from inferprint.rates import OUTPUT_NAMES, MachineCard, apply
from inferprint.rates.draws import Array
from inferprint.rates.hosting import UNSTATED
from inferprint.rates.media import MAKERS
from inferprint.rates.reading import USUAL_PICTURE
from inferprint.techniques.apply import parse

SCHEMA = "urn:inferprint:rates:1"
"""Name of the shape in which a list is published: the `$id` of `rates.schema.json` beside this module."""

CACHED_SHARE = 0.25
"""Share of the reference prompt that a cache holds. A convention of the list, and of little effect: a fresh token of
Llama-3.1-70B costs 0.4 % more energy than where no token is cached."""

HARDWARE = ("node_id", "gpu_id", "cloud_instance_id")
"""What says on which machine a model runs, whoever sells it."""

OF_ONE_MODEL = ("total_params_b", "active_params_b", "request_duration_ms")
"""What cannot hold for all models of a list; a measured duration belongs to one request of one of them."""

_FRESH = (
    "fresh_input_tokens",
    "first_chunk_tokens",
    "later_chunk_tokens",
    "prompt_pairs",
    "windowed_prompt_pairs",
)
_CACHED = ("cached_input_tokens", "windowed_cached_tokens")
_OUTPUT = ("output_tokens", "output_context", "windowed_output_context")

PER = {"fresh_input_tokens": 1000.0, "cached_input_tokens": 1000.0, "output_tokens": 1000.0, "input_tokens": 1000.0}
"""Units that a line of the list is for, where it is not for one."""


@dataclass(frozen=True, slots=True)
class Line:
    """The impact of `per` units.

    Attributes
    ----------
    unit
        What is bought: tokens, requests, pictures, or seconds of a clip or of sound.
    amount
        Units in the reference request.
    values
        `Range` by quantity of `RESULTS`; None where it is unknown.
    """

    unit: str
    per: float
    amount: float
    values: Mapping[str, Range | None]

    def to_dict(self) -> dict[str, Any]:
        """The line as plain data."""
        values = {name: as_dict(value) for name, value in self.values.items()}
        return {"unit": self.unit, "per": self.per, "amount": self.amount, **values}


@dataclass(frozen=True, slots=True)
class Rates:
    """The lines of one model at one host.

    Attributes
    ----------
    service
        Id of the managed service, "unstated" where a service is meant and none is known, None on hardware that was
        named.
    default
        Whether these are the rates that an estimate uses where nobody states service or hardware.
    kind
        "text", "embedding", "image", "video", "sound" (made) or "speech" (heard).
    grid_zone
        Zone whose electricity the impacts are of.
    reference
        Fields of the reference request, with what is usual for the model.
    """

    model: str
    service: str | None
    default: bool
    grid_zone: str
    kind: str
    reference: Mapping[str, Any]
    lines: tuple[Line, ...]
    quality: str
    coefficients: str
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The rates as plain data."""
        return {
            "model": self.model,
            "service": self.service,
            "default": self.default,
            "grid_zone": self.grid_zone,
            "kind": self.kind,
            "reference": dict(self.reference),
            "lines": [line.to_dict() for line in self.lines],
            "quality": self.quality,
            "coefficients": self.coefficients,
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, slots=True)
class Refusal:
    """A model that a list cannot hold, and why."""

    model: str
    service: str | None
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """The refusal as plain data."""
        return {"model": self.model, "service": self.service, "reason": self.reason}


# --- which models at which services -----------------------------------------------------------------------------------

Pair = tuple[str, str | None]
"""A model and the service that sells it; None where the estimate shall find what stands for it."""


def service_of_host(catalogue: Catalogue, host: str) -> str | None:
    """The service that a host of the price list is; None where no record describes it.

    A host "huggingface_together" is Together, sold by Hugging Face; where nothing is known of the one behind, it is one
    of the partners of the one in front.
    """
    names = catalogue.names("services")
    front, _, behind = host.partition("_")
    found = (names.get(fold(name)) for name in (host, behind, front) if name)
    return next((name for name in found if name is not None), None)


def default_service(catalogue: Catalogue, model_id: str) -> str:
    """The service whose rates an estimate uses where none is stated: the developer's own for an undisclosed model."""
    model = catalogue.models[model_id]
    own = [service.id for service in catalogue.services.values() if model.developer in service.developers]
    return own[0] if own and model.total_params_b is None else UNSTATED


def services_of(catalogue: Catalogue, model_id: str) -> list[str]:
    """Services that sell a model: those with a price, with a measured speed, or with a name of their own for it."""
    found: set[str | None] = set()
    price = catalogue.prices.get(model_id)
    for host in price.output_usd_per_mtok if price is not None else ():
        found.add(service_of_host(catalogue, host))
    found |= {name for name in catalogue.services if f"{name}:{model_id}" in catalogue.speeds}
    found |= {resolve_model(catalogue, name).service_hint for name in catalogue.models[model_id].names}
    # A router runs nothing, and hardware of one's own is no service.
    return sorted(name for name in found if name is not None and catalogue.services[name].hardware_mix)


def pairs_of(catalogue: Catalogue, given: Mapping[str, Any] | None = None) -> list[Pair]:
    """Every model at every service that sells it, and once where none is stated; by what the caller gave.

    Parameters
    ----------
    given
        Fields of the requests. A service leaves what is sold there; hardware takes every model to it.

    Raises
    ------
    InvalidInput
        A field that holds for one model alone, or a service at which nothing is known to be sold.
    """
    given = given or {}
    check_shared(catalogue, given)
    if any(name in given for name in HARDWARE):
        return [(model, given.get("managed_service_id")) for model in sorted(catalogue.models)]
    asked = given.get("managed_service_id")
    wanted = None if asked is None else resolve_service(catalogue, asked).id
    pairs: list[Pair] = []
    for model in sorted(catalogue.models):
        usual = default_service(catalogue, model)
        if wanted in (None, usual):
            pairs.append((model, None))
        pairs += [(model, name) for name in services_of(catalogue, model) if name != usual and wanted in (None, name)]
    if not pairs:
        hint = "inferprint catalog services lists services; name hardware with --gpu or --node instead."
        raise InvalidInput("managed_service_id", f"no model is known to be sold at {wanted}", hint=hint)
    return pairs


def check_shared(catalogue: Catalogue, given: Mapping[str, Any]) -> None:
    """Refuse what cannot hold for any model, so that it is not found once for each: a wrong name, a wrong number.

    Raises
    ------
    UnknownName, InvalidInput
        Naming the field.
    """
    for name in OF_ONE_MODEL:
        if name in given:
            raise InvalidInput(name, "given for a list of all models", hint="Name one model.")
    parse(given.get("techniques", ()))
    # Which techniques go together with a model, and whether hardware holds it, hangs on the model.
    shared = {name: value for name, value in given.items() if name != "techniques"}
    try:
        rates_of(Estimator(catalogue), request_from(model_id=TASKS["text-generation"], **shared))
    except (UnknownName, InvalidInput):
        raise
    except InferprintError:
        return


# --- rates of one pair ------------------------------------------------------------------------------------------------


def rate_list(
    catalogue: Catalogue, pairs: Iterable[Pair], given: Mapping[str, Any] | None = None
) -> Iterator[Rates | Refusal]:
    """The rates of each pair of a model and a service, or why there are none.

    Parameters
    ----------
    given
        Further fields of the requests: hardware, place, method.
    """
    shared = {name: value for name, value in (given or {}).items() if name != "managed_service_id"}
    estimator = Estimator(catalogue)
    for number, (model, service) in enumerate(pairs, 1):
        try:
            yield rates_of(estimator, request_from(model_id=model, managed_service_id=service, **shared))
        except InferprintError as error:
            yield Refusal(model, service, error.message)
        if number % _KEPT == 0:
            # A card holds draws, and no two pairs share one.
            estimator = Estimator(catalogue)


_KEPT = 64


def rates_of(estimator: Estimator, request: Request) -> Rates:
    """The rates of the model and host of a request, whatever its work.

    Raises
    ------
    InferprintError
        See `Estimator.estimate`.
    """
    machine, _ = estimator.cards(replace(request, input_tokens=0, output_tokens=0))
    kind, work = reference_work(estimator.catalogue, machine)
    result = estimator.estimate(replace(request, **work))
    stated = {name: getattr(request, name) for name in (*HARDWARE, "managed_service_id")}
    return Rates(
        model=machine.model,
        service=machine.service or (UNSTATED if machine.hosting == "service" else None),
        default=not any(stated.values()),
        grid_zone=next(str(entry.value) for entry in result.place.trail.entries if entry.field == "grid_zone"),
        kind=kind,
        reference={**work, **_usual(result)},
        lines=tuple(_lines(result, kind, work)),
        quality=result.quality,
        coefficients=machine.coefficients,
        warnings=tuple(result.warnings),
    )


def _usual(result: Result) -> dict[str, Any]:
    """What was assumed of the reference request because it is usual for the model: its sizes, its steps."""
    entries = work_trail(result.request, result.machine).entries
    # Tokens of sound follow from its seconds, beside which a request does not take them.
    fields = ({*MEDIA_FIELDS} - {"output_audio_tokens"}) | {"output_tokens"}
    return {entry.field: entry.value for entry in entries if entry.field in fields}


def reference_work(catalogue: Catalogue, machine: MachineCard) -> tuple[str, dict[str, Any]]:
    """What a model is bought for, and the request that the list is for.

    Text has the usual lengths of the card, whose prompt is cached by `CACHED_SHARE`; what is made has the usual size
    and length of the model.
    """
    model = catalogue.models[machine.model]
    if model.modality in MAKERS:
        return _made(catalogue, model, machine)
    if model.modality in ("audio-to-text", "audio-encoder"):
        return "speech", {"input_audio_seconds": _usual_of(catalogue, "output_audio_seconds")}
    if model.modality == "vision-encoder":
        return "embedding", {"input_images": (str(USUAL_PICTURE),)}
    n_in, n_out = (round(length) for length in machine.usual_lengths)
    if machine.modality.name == "embedding":
        return "embedding", {"input_tokens": n_in}
    return "text", {"input_tokens": n_in, "cached_input_tokens": round(CACHED_SHARE * n_in), "output_tokens": n_out}


def _made(catalogue: Catalogue, model: Model, machine: MachineCard) -> tuple[str, dict[str, Any]]:
    """The reference of a model that makes pictures, clips or sound: a usual piece, with the text that it speaks."""
    media = catalogue.media[model.id]
    kind = MAKERS[model.modality]
    if kind == "image":
        return kind, {"output_images": 1}
    if kind == "video":
        rate = media.frames_per_s or _usual_of(catalogue, "output_video_frames_per_s")
        length = media.seconds or _usual_of(catalogue, "output_video_seconds")
        return kind, {"output_video_seconds": media.frames / rate if media.frames else length}
    seconds = media.seconds or _usual_of(catalogue, "output_audio_seconds")
    speaks = not machine.modality.by_denoiser and "text-to-speech" in media.tasks
    said = {"input_tokens": round(_usual_of(catalogue, "speech-tokens-per-second") * seconds)} if speaks else {}
    return kind, {**said, "output_audio_seconds": seconds}


def _usual_of(catalogue: Catalogue, name: str) -> float:
    """What is assumed of a piece where the model has no usual one."""
    return catalogue.priors[f"media.{name}"].value.value


def _lines(result: Result, kind: str, work: Mapping[str, Any]) -> Iterator[Line]:
    """The features of the reference request divided among its units, each with its outputs."""
    parts = [part for part in _parts(result, kind, work) if part[1] > 0]
    scaled = np.stack([PER.get(unit, 1.0) / amount * features for unit, amount, features in parts], axis=1)
    outputs = apply(result.machine, result.place, scaled)
    for i, (unit, amount, _) in enumerate(parts):
        values: dict[str, Range | None] = {}
        for quantity in RESULTS:
            found = Range(*(float(bound) for bound in outputs[:, OUTPUT_NAMES.index(quantity.name), i]))
            values[quantity.name] = None if np.isnan(found.value) else found
        yield Line(unit, PER.get(unit, 1.0), float(amount), values)


def _parts(result: Result, kind: str, work: Mapping[str, Any]) -> list[tuple[str, float, Array]]:
    """Units of the reference request, how many there are in it, and the features that each of them takes."""
    features = result.features
    if kind not in ("text", "embedding") or "input_images" in work:
        unit = next(name for name in ("output_images", *_SECONDS, "input_images") if name in work)
        amount = work[unit]
        return [(unit, float(len(amount)) if isinstance(amount, tuple) else amount, features)]
    names = result.machine.modality.names

    def only(wanted: Iterable[str]) -> Array:
        return features * np.isin(names, list(wanted))

    if kind == "embedding":
        rest = only(name for name in names if name in ("request", "media_prompts", "measured_seconds"))
        return [("input_tokens", work["input_tokens"], features - rest), ("requests", 1.0, rest)]
    fresh, cached, output = only(_FRESH), only(_CACHED), only(_OUTPUT)
    # What a technique finds in the cache beyond what was billed as cached was bought as fresh.
    found = float(features[names.index("cached_input_tokens")])
    billed = min(1.0, work["cached_input_tokens"] / found) if found else 1.0
    return [
        ("fresh_input_tokens", work["input_tokens"] - work["cached_input_tokens"], fresh + (1 - billed) * cached),
        ("cached_input_tokens", work["cached_input_tokens"], billed * cached),
        ("output_tokens", work["output_tokens"], output),
        ("requests", 1.0, features - fresh - cached - output),
    ]


_SECONDS = ("output_video_seconds", "output_audio_seconds", "input_audio_seconds")


# --- the published document -------------------------------------------------------------------------------------------


def document(catalogue: Catalogue, found: Iterable[Rates | Refusal], given: Mapping[str, Any]) -> dict[str, Any]:
    """A list as plain data, in the shape of the schema.

    Parameters
    ----------
    given
        What was stated for all of its requests.
    """
    found = list(found)
    return {
        "schema": SCHEMA,
        "versions": versions(catalogue, given),
        "stated": {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()},
        "reference": {
            "cached_share": CACHED_SHARE,
            "meaning": "amounts of the lines times their rates add up to the estimate of the reference request",
        },
        "rates": [item.to_dict() for item in found if isinstance(item, Rates)],
        "refused": [item.to_dict() for item in found if isinstance(item, Refusal)],
    }


def versions(catalogue: Catalogue, given: Mapping[str, Any]) -> dict[str, str]:
    """Versions of the software, of the data and of the method."""
    method = str(given.get("method", Request().method))
    return {"inferprint": __version__, "catalogue": catalogue.version, "method": method}


def schema_text() -> str:
    """The JSON Schema of a list."""
    from importlib.resources import files

    return (files("inferprint.estimate") / "rates.schema.json").read_text(encoding="utf-8")
