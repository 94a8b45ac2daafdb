"""The distinct setups of a table, each resolved to its cards once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inferprint.batch.cards import CardStore, draws_of
from inferprint.batch.rows import explained, flag, number
from inferprint.batch.times import Grid, with_known_duration
from inferprint.errors import InferprintError, InvalidInput, Undisclosed, UnknownName
from inferprint.estimate import Estimator, Request
from inferprint.estimate.estimate import machine_setup, place_setup
from inferprint.estimate.media import MEDIA_FIELDS
from inferprint.estimate.request import FIELDS, model_of, validated
from inferprint.modalities.tasks import TASKS
from inferprint.rates import MachineCard, MachineSetup, PlaceCard, PlaceSetup
from inferprint.rates.draws import Array
from inferprint.units import MS_PER_S
from inferprint.usage.tables import NUMERIC_FIELDS, Chunk

WORK_FIELDS = frozenset((*NUMERIC_FIELDS, *MEDIA_FIELDS)) - {"task"}
SETUP_FIELDS = tuple(name for name in FIELDS if name not in WORK_FIELDS)
"""Fields that decide the cards; every other one is an amount, or a measured time."""

_KINDS = {field.name: str(field.type).split(" ", 1)[0] for field in fields(Request)}
_UNTIMED, _DURATION, _PER_TOKEN = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Pair:
    """A machine card and a place card, with the number under which totals know them.

    Attributes
    ----------
    machine_number, place_number
        Numbers of the cards: several pairs share one.
    machine, place
        The cards; the draws of the machine may lie on disk.
    where
        What decided the place card.
    """

    number: int
    machine_number: int
    place_number: int
    machine: MachineCard
    place: PlaceCard
    where: PlaceSetup


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that share a pair of cards.

    Attributes
    ----------
    rows
        Positions among the rows to estimate.
    weights
        Share of each row that this pair gives; None for all of it.
    """

    pair: Pair
    rows: NDArray[np.intp]
    weights: Array | None = None


@dataclass(slots=True)
class Setup:
    """One distinct setup: its request without work, its cards or the error, and the grid of its measured times.

    `duration_known` where each row has its own measured duration, which then stands in the place of the predicted one.
    """

    request: Request
    error: tuple[str, str] | None = None
    pair: Pair | None = None
    grid: Grid | None = None
    duration_known: bool = False


class Setups:
    """Finds the distinct setups of usage and resolves the new ones.

    Parameters
    ----------
    store
        Resolves and keeps the machine cards.
    estimator
        Resolves and keeps the place cards.
    fills
        Values of the fields that the table lacks.
    unknown
        What becomes of a model or service that nobody knows; see `RunOptions`.
    """

    def __init__(self, store: CardStore, estimator: Estimator, fills: Mapping[str, Any], unknown: str) -> None:
        self._store, self._estimator, self._unknown = store, estimator, unknown
        self._fills = {name: fills[name] for name in SETUP_FIELDS if fills.get(name) is not None}
        self._known: dict[tuple[Any, ...], int] = {}
        self._machines: dict[tuple[MachineSetup, bool], tuple[int, MachineCard]] = {}
        self._places: dict[PlaceSetup, tuple[int, PlaceCard]] = {}
        self._pairs: dict[tuple[int, int], Pair] = {}
        self._made: list[tuple[Request, bool]] = []
        self.setups: list[Setup] = []
        self.stood_in: dict[str, str] = {}

    @property
    def pairs(self) -> list[Pair]:
        """All pairs of cards so far, in the order of their numbers."""
        return list(self._pairs.values())

    def made_since(self, number: int) -> list[dict[str, Any]]:
        """What made the pairs from this number on, as plain data."""
        return [{"request": _stated(request), "duration_known": known} for request, known in self._made[number:]]

    def make_again(self, made: Iterable[Mapping[str, Any]]) -> None:
        """Make pairs as an earlier run did, so that they have the numbers that its sums name."""
        for one in made:
            self.pair(Request(**one["request"]), duration_known=one["duration_known"])

    def ahead(self, all_stated: Iterable[dict[str, Any]]) -> Iterator[int]:
        """Resolve the machine cards of untimed setups, by several processes; yield how many are done."""
        wanted = []
        for stated in all_stated:
            with suppress(InferprintError):
                wanted.append(machine_setup(self._request(stated)))
        return self._store.resolve_all(wanted)

    def untimed(self, stated: dict[str, Any], *, may_refuse: bool) -> Setup:
        """The setup of rows without measured times.

        Raises
        ------
        InferprintError
            What is wrong with it, where the rows may not be refused one by one.
        """
        return self.setups[self._index(stated, _UNTIMED, may_refuse=may_refuse)]

    def of(
        self, chunk: Chunk, numbers: Mapping[str, Array], rows: NDArray[np.intp], outputs: Array | None = None
    ) -> NDArray[np.intp]:
        """Index into `setups` of each of the rows; `outputs` are the pictures that each row of the chunk makes.

        Raises
        ------
        InferprintError
            What is wrong with a setup that was stated for the whole table.
        """
        per_token, duration = (
            ~np.isnan(numbers[name][rows]) for name in ("time_per_output_token_ms", "request_duration_ms")
        )
        timing = np.where(duration, _DURATION, np.where(per_token, _PER_TOKEN, _UNTIMED))
        names = [name for name in SETUP_FIELDS if name in chunk.columns]
        combined = timing
        columns: list[list[Any]] = []
        for name in names:
            column = [chunk.columns[name][row] for row in rows.tolist()]
            columns.append(column)
        if outputs is not None and ("batch_size" in names or "batch_size" in self._fills):
            # The pictures of one request may fill a stated batch together, so that their number decides the card.
            names.append("output_images")
            columns.append([n if n > 1 else None for n in outputs[rows].tolist()])
        for column in columns:
            index: dict[Any, int] = {}
            codes = np.fromiter((index.setdefault(cell, len(index)) for cell in column), np.intp, len(column))
            combined = np.unique(combined * len(index) + codes, return_inverse=True)[1] if len(index) > 1 else combined
        may_refuse = any(name in chunk.columns for name in names)
        _, first, inverse = np.unique(combined, return_index=True, return_inverse=True)
        found = []
        for position in first.tolist():
            cells = zip(names, (column[position] for column in columns), strict=True)
            stated = {name: cell for name, cell in cells if cell is not None}
            found.append(self._index(stated, int(timing[position]), may_refuse=may_refuse))
        return np.array(found, dtype=np.intp)[inverse]

    def _index(self, stated: dict[str, Any], timing: int, *, may_refuse: bool) -> int:
        """Index of a setup, resolved if it is new; its rows are refused, unless the whole table was given it."""
        key = (timing, *stated.items())
        if key not in self._known:
            try:
                setup = self._resolved(stated, timing)
            except InferprintError as error:
                fails = self._unknown == "fail" and _is_unknown(error)
                if not may_refuse or fails or self._is_of_fills(error, stated):
                    raise
                setup = Setup(Request(model_id="", input_tokens=0, output_tokens=0), _problem(error, stated))
            self._known[key] = len(self.setups)
            self.setups.append(setup)
        return self._known[key]

    def _is_of_fills(self, error: InferprintError, stated: Mapping[str, Any]) -> bool:
        """Whether an error is about what was stated for all rows, whatever else a row says."""
        if error.field not in self._fills or error.field in stated:
            return False
        return isinstance(error, UnknownName) or error.field not in _TOGETHER

    def _resolved(self, stated: dict[str, Any], timing: int) -> Setup:
        """The cards of a setup, or of what stands for it where names are unknown and shall be estimated."""
        request = self._request(stated)
        for _ in range(_STAND_INS):
            try:
                return self._with_cards(request, timing)
            except (UnknownName, Undisclosed) as error:
                if self._unknown != "estimate" or not _is_unknown(error):
                    raise
                asked, request = _stand_in(request, error)
                self.stood_in[asked] = "an unstated service" if _is_service(error) else model_of(request)
        return self._with_cards(request, timing)

    def _request(self, stated: dict[str, Any]) -> Request:
        """The request without work of a setup."""
        values = {name: _typed(name, value) for name, value in (self._fills | stated).items()}
        if "model_id" not in values and "task" not in values:
            raise InvalidInput("model_id", "is missing", hint="Name the model in the row, or for the whole table.")
        return validated(Request(input_tokens=1, output_tokens=1, **values))

    def _with_cards(self, request: Request, timing: int) -> Setup:
        """A setup with its cards; a measured time goes the way that a single request's would go."""
        pair = self.pair(request)
        if timing != _UNTIMED and not pair.machine.media.writes_text:
            return self._without_tokens(request, timing)
        fixed_batch = request.batch_size is not None or pair.machine.hosting == "desk"
        if timing == _DURATION and fixed_batch:
            timed = self.pair(replace(request, request_duration_ms=MS_PER_S))
            if timed.machine.tier == "measured":
                return Setup(request, pair=timed)
        grid = None if timing == _UNTIMED or fixed_batch else Grid(pair.machine)
        return Setup(request, pair=pair, grid=grid, duration_known=timing == _DURATION)

    def _without_tokens(self, request: Request, timing: int) -> Setup:
        """Cards of a model that writes no tokens: no batch is solved, all hangs on the duration of each row."""
        if timing == _DURATION:
            return Setup(request, pair=self.pair(replace(request, request_duration_ms=MS_PER_S)))
        try:
            return Setup(request, pair=self.pair(replace(request, time_per_output_token_ms=MS_PER_S)))
        except InferprintError as error:  # the time is one of the row, whoever stated the model
            return Setup(request, error=_problem(error, {}))

    def pair(self, request: Request, *, duration_known: bool = False) -> Pair:
        """The cards of a request, kept under what decides them."""
        what = (machine_setup(request), duration_known)
        if what not in self._machines:
            machine = self._store.card(what[0])
            if duration_known:
                machine = self._store.spilled(with_known_duration(machine, draws_of(machine)))
            self._machines[what] = len(self._machines), machine
        number, machine = self._machines[what]
        where = place_setup(request, machine)
        if where not in self._places:
            self._places[where] = len(self._places), self._estimator.place(where)
        place_number, place = self._places[where]
        key = number, place_number
        if key not in self._pairs:
            self._pairs[key] = Pair(len(self._pairs), number, place_number, machine, place, where)
            self._made.append((request, duration_known))
        return self._pairs[key]

    def parts(
        self, index: int, numbers: Mapping[str, Array], rows: NDArray[np.intp], beside: Mapping[str, Array]
    ) -> list[Part]:
        """The pairs of cards for rows of one setup.

        `numbers` are those of all rows to estimate; `beside` the work columns of these rows beside those of text.
        """
        setup = self.setups[index]
        assert setup.pair is not None
        if setup.grid is None:
            return [Part(setup.pair, rows)]
        parts = []
        own = {name: column[rows] for name, column in numbers.items()}
        for seconds, which, weights in setup.grid.split(own, beside):
            measured = None if seconds is None else seconds * MS_PER_S
            request = replace(setup.request, time_per_output_token_ms=measured)
            parts.append(Part(self.pair(request, duration_known=setup.duration_known), rows[which], weights))
        return parts


def _stated(request: Request) -> dict[str, Any]:
    """The fields of a request that differ from their defaults."""
    plain = Request()
    return {name: value for name in FIELDS if (value := getattr(request, name)) != getattr(plain, name)}


_TOGETHER = (
    "managed_service_id",
    "cloud_id",
    "cloud_instance_id",
    "cloud_region",
    "country",
    "grid_zone",
    "model_id",
    "gpu_id",
    "gpu_count",
    "replica_gpu_count",
    "node_id",
    "precision",
)
"""Fields that may be right and yet not go with what a row says."""

_STAND_INS = 2
"""Names of a request that may be unknown: its model and its service."""


def _is_unknown(error: InferprintError) -> bool:
    """Whether a model or service is known to nobody, or of unknown size."""
    return isinstance(error, Undisclosed) or (isinstance(error, UnknownName) and error.kind in ("model", "service"))


def _is_service(error: UnknownName | Undisclosed) -> bool:
    """Whether a service is at fault: nobody knows it, or it only passes requests on."""
    return error.field == "managed_service_id" or (isinstance(error, UnknownName) and error.kind == "service")


def _stand_in(request: Request, error: UnknownName | Undisclosed) -> tuple[str, Request]:
    """What was asked, and the request with what stands for it: nothing for a service, its kind for a model."""
    asked = error.asked if isinstance(error, UnknownName) else ""
    if _is_service(error):
        if request.managed_service_id is None:
            raise error  # the name of the model says it
        return asked or request.managed_service_id, replace(request, managed_service_id=None)
    return asked or model_of(request), replace(request, model_id=TASKS[request.task or "text-generation"])


def _typed(name: str, value: Any) -> Any:
    """A cell, or a fill, as the type of its field."""
    if name == "techniques":
        return (
            tuple(part.strip() for part in value.split(";") if part.strip()) if isinstance(value, str) else tuple(value)
        )
    if _KINDS[name] == "bool":
        return value if isinstance(value, bool) else flag(name, str(value))
    if _KINDS[name] not in ("int", "float"):
        return value
    try:
        read = number(value)
    except (TypeError, ValueError):
        read = float("nan")
    if not np.isfinite(read):
        raise InvalidInput(name, f"'{value}' is not a number")
    if _KINDS[name] == "float":
        return read
    if read != int(read):
        raise InvalidInput(name, f"{read:g} is not a whole number")
    return int(read)


def _problem(error: InferprintError, stated: Mapping[str, Any]) -> tuple[str, str]:
    """The field of the row that an error is about, and what it says."""
    asked = error.asked if isinstance(error, UnknownName) else ""
    fields_asked = [name for name, value in stated.items() if asked and str(value) == asked]
    return (fields_asked[0] if fields_asked else error.field or "model_id"), explained(error)
