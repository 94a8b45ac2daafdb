"""From a request to a result: look up its two cards, count its features, multiply."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

from inferprint.catalogue import Catalogue
from inferprint.errors import InvalidInput
from inferprint.estimate.media import check_made, holds_media, media_of
from inferprint.estimate.request import FIELDS, Request, check_tokens, model_of, setup_of, validated
from inferprint.estimate.result import Result
from inferprint.modalities.media import NO_MEDIA, MediaWork
from inferprint.rates import MachineCard, MachineSetup, PlaceCard, PlaceSetup, apply, resolve_machine, resolve_place
from inferprint.rates.media import MediaReader
from inferprint.units import MS_PER_S

CATALOGUE_VARIABLE = "INFERPRINT_CATALOG"
"""Environment variable that names a folder of the user's own records."""


MAX_CARDS = 1024
"""Cards of each kind that an estimator keeps."""

Setup = TypeVar("Setup")
Card = TypeVar("Card")


class Estimator:
    """Estimates against one catalogue and keeps the cards that it resolved.

    Parameters
    ----------
    catalogue
        The records to use; the packaged ones with those of `INFERPRINT_CATALOG` by default.
    """

    def __init__(self, catalogue: Catalogue | None = None) -> None:
        self.catalogue = catalogue or default_catalogue()
        self._machines: dict[MachineSetup, MachineCard] = {}
        self._places: dict[PlaceSetup, PlaceCard] = {}
        self._pairs: dict[object, tuple[MachineCard, PlaceCard]] = {}
        self._lock = threading.Lock()

    def machine(self, setup: MachineSetup) -> MachineCard:
        """The card of a machine setup, resolved once."""
        return self._kept(self._machines, setup, lambda: resolve_machine(self.catalogue, setup))

    def place(self, setup: PlaceSetup) -> PlaceCard:
        """The card of a place setup, resolved once."""
        return self._kept(self._places, setup, lambda: resolve_place(self.catalogue, setup))

    def cards(self, request: Request) -> tuple[MachineCard, PlaceCard]:
        """Both cards of a request, whose fields are checked before anything is resolved.

        A setup that was seen before needs no second check, nor a second look-up of each card; a measured duration
        hangs on the work and makes a setup of its own.
        """
        setup = setup_of(request)
        if request.batch_size is not None and request.output_images != ():
            # Pictures of one request may fill a stated batch together.
            setup = (*setup, outputs_of(request))
        try:
            pair = self._pairs.get(setup) if request.request_duration_ms is None else None
        except TypeError:  # a field that is no key is no name or number either
            validated(request)
            raise
        if pair is not None:
            check_tokens(request)
            return pair
        machine = self.machine(machine_setup(validated(request)))
        pair = machine, self.place(place_setup(request, machine))
        return self._kept(self._pairs, setup, lambda: pair) if request.request_duration_ms is None else pair

    def is_ready_for(self, request: Request) -> bool:
        """Whether the cards of a request are resolved, so that its estimate takes no time to speak of."""
        try:
            return request.request_duration_ms is None and setup_of(request) in self._pairs
        except TypeError:  # a field that is no key
            return False

    def estimate(self, request: Request) -> Result:
        """Estimate one request.

        Raises
        ------
        InferprintError
            See `inferprint.errors`.
        """
        machine, place = self.cards(request)
        work, held = _work(request), media_of(request)
        work.update(work_beside_text(request, machine, held))
        check_fit(machine.media, held, work["input_tokens"], work["output_tokens"])
        features = np.array(machine.modality.count(work, machine.window, min), dtype=float)
        outputs = apply(machine, place, features[:, None])[:, :, 0]
        return Result(request, self.catalogue.version, machine, place, features, outputs)

    def _kept(self, cards: dict[Setup, Card], setup: Setup, resolve: Callable[[], Card]) -> Card:
        """The card of a setup; the oldest is given up where too many are kept, as measured times make one each."""
        card = cards.get(setup)
        if card is None:
            card = resolve()
            with self._lock:  # threads may resolve at a time
                if len(cards) >= MAX_CARDS:
                    del cards[next(iter(cards))]
                cards[setup] = card
        return card


def work_of(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Work of the mean request of each row, as a modality counts it.

    Parameters
    ----------
    numbers
        input_tokens, cached_input_tokens, output_tokens [tokens, totals of the row], n_requests and
        request_duration_ms [ms, of one request]; floats, or columns of them.
    """
    n = numbers["n_requests"]
    return {
        "input_tokens": numbers["input_tokens"] / n,
        "cached_input_tokens": numbers["cached_input_tokens"] / n,
        "output_tokens": numbers["output_tokens"] / n,
        "n_requests": n,
        "media_prompts": 0.0 * n,
        "measured_seconds": numbers["request_duration_ms"] / MS_PER_S,
    }


def work_beside_text(request: Request, machine: MachineCard, work: MediaWork) -> Mapping[str, float]:
    """Columns that pictures, video and sound of one request add to those of its text.

    Raises
    ------
    InvalidInput
        Something that the model does not read or make; or no tokens, where the model works on nothing else.
    """
    reader = machine.media
    if reader.needs_tokens and (work is NO_MEDIA or not holds_media(work)):
        if request.input_tokens is None:
            raise InvalidInput(reader.missing, "is missing")
        if request.output_tokens is None and reader.needs_output_tokens:
            raise InvalidInput("output_tokens", "is missing")
    if (
        request.output_tokens is None
        and reader.answers
        and not (work.output_images or work.output_audio_seconds or work.output_audio_tokens)
    ):
        raise InvalidInput("output_tokens", "is missing")
    if work is not NO_MEDIA and not reader.needs_tokens:
        check_made(request, work)
    return reader.columns(work)


ROUNDED = 0.5
"""Share of the tokens that a rule gives which a log must hold at least: providers round and resize."""


def check_fit(reader: MediaReader, work: MediaWork, n_in: float, n_out: float) -> None:
    """Refuse tokens of one request that its model does not write, or that cannot hold those of what is given.

    Raises
    ------
    InvalidInput
        Naming the field.
    """
    if n_out and not reader.writes_text:
        hint = "Leave them out: tokens in which pictures are billed are not needed."
        raise InvalidInput("output_tokens", f"{reader.what}: it writes no text", hint=hint)
    if work.tokens_included and n_in < ROUNDED * reader.tokens(work):
        message = f"input_tokens ({n_in:g}) cannot hold the {reader.tokens(work):g} tokens of what is given"
        raise InvalidInput("media_tokens_included", message, hint="Leave it out: they are added then.")


def _work(request: Request) -> dict[str, float]:
    """Work of one request; an unmeasured duration counts nothing."""
    numbers = {
        "input_tokens": request.input_tokens or 0.0,
        "cached_input_tokens": request.cached_input_tokens,
        "output_tokens": request.output_tokens or 0.0,
        "n_requests": request.n_requests,
        "request_duration_ms": request.request_duration_ms or 0.0,
    }
    return work_of(numbers)


def outputs_of(request: Request) -> float:
    """Pictures that a request makes, 1 at least."""
    return max(1.0, float(len(media_of(request).output_images)))


def machine_setup(request: Request) -> MachineSetup:
    """The part of a request that decides its machine card."""
    duration, per_token = request.request_duration_ms, request.time_per_output_token_ms
    lengths = (request.usual_input_tokens, request.usual_output_tokens, 0.0)
    max_per_token, max_first = request.max_time_per_output_token_ms, request.max_ttft_ms
    known_batch, held = request.batch_size is not None, media_of(request)
    work = None
    if duration is not None and not known_batch:
        mean = _work(request)
        work = (mean["input_tokens"], mean["cached_input_tokens"], mean["output_tokens"])
    return MachineSetup(
        model_id=model_of(request),
        managed_service_id=request.managed_service_id,
        cloud_id=request.cloud_id,
        cloud_instance_id=request.cloud_instance_id,
        node_id=request.node_id,
        gpu_id=request.gpu_id,
        gpu_count=request.gpu_count,
        replica_gpu_count=request.replica_gpu_count,
        batch_size=request.batch_size,
        outputs=outputs_of(request) if known_batch else 1.0,
        precision=request.precision,
        engine=request.engine,
        service_tier=request.service_tier,
        techniques=request.techniques,
        traffic=None if lengths[:2] == (None, None) else lengths,
        active_share=request.active_share,
        total_params_b=request.total_params_b,
        active_params_b=request.active_params_b,
        conservative=request.conservative,
        measured_seconds_per_token=per_token / MS_PER_S if per_token is not None else None,
        max_seconds_per_token=max_per_token / MS_PER_S if max_per_token is not None else None,
        max_seconds_to_first_token=max_first / MS_PER_S if max_first is not None else None,
        measured_seconds=duration / MS_PER_S if work is not None and duration is not None else None,
        measured_work=work,
        measured_media=held if work is not None and held is not NO_MEDIA else None,
        device_time_measured=duration is not None and known_batch,
        method=request.method,
    )


def place_setup(request: Request, machine: MachineCard) -> PlaceSetup:
    """The part of a request that decides its place card; the machine tells who runs the building."""
    placed = bool(request.cloud_region or request.country or request.grid_zone)
    return PlaceSetup(
        managed_service_id=machine.service,
        cloud_id=request.cloud_id or machine.cloud,
        cloud_region=request.cloud_region or (None if placed else machine.region_hint),
        country=request.country or (None if placed or machine.region_hint else machine.country_hint),
        grid_zone=request.grid_zone,
        hosting=machine.hosting,
        from_name=not placed and bool(machine.region_hint or machine.country_hint),
        pue=request.pue,
        wue_l_per_kwh=request.wue_l_per_kwh,
        grid_gco2e_per_kwh=request.grid_gco2e_per_kwh,
        grid_market_gco2e_per_kwh=request.grid_market_gco2e_per_kwh,
        grid_water_l_per_kwh=request.grid_water_l_per_kwh,
    )


@lru_cache(maxsize=8)
def _with_folder(folder: str) -> Catalogue:
    return Catalogue.packaged().with_folder(folder)


def default_catalogue() -> Catalogue:
    """The packaged catalogue, with the user's folder on top where `INFERPRINT_CATALOG` names one."""
    folder = os.environ.get(CATALOGUE_VARIABLE)
    return _with_folder(folder) if folder else Catalogue.packaged()


@lru_cache(maxsize=8)
def _estimator(folder: str) -> Estimator:
    return Estimator(_with_folder(folder) if folder else Catalogue.packaged())


def estimate(model_id: str | None = None, **request: Any) -> Result:
    """Estimate one request against the default catalogue.

    Parameters
    ----------
    model_id
        The model by any name that it is known under; None where a `task` is stated.
    **request
        Further fields of `Request`; a model for text needs `input_tokens` and `output_tokens`.

    Returns
    -------
    Result
        Duration, energy, greenhouse gas, water and embodied impact, each with its 95 % interval.

    Raises
    ------
    InferprintError
        See `inferprint.errors`.
    """
    return _estimator(os.environ.get(CATALOGUE_VARIABLE, "")).estimate(request_from(model_id=model_id, **request))


def request_from(**values: Any) -> Request:
    """A `Request` from keywords; an unknown one is an error that names the fields."""
    try:
        return Request(**values)
    except TypeError:
        for name in values:
            if name not in FIELDS:
                raise InvalidInput(name, "is not a field of a request", hint=f"Fields: {', '.join(FIELDS)}.") from None
        raise
