"""Rows to impacts: the library's estimate, many rows at a time, in the catalogue of their owner."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.to_thread

from inferprint.catalogue import Catalogue
from inferprint.errors import InferprintError
from inferprint.estimate import Estimator, Result
from inferprint.service.problems import Away, error_of
from inferprint.service.rows import request_of
from inferprint.service.settings import Settings

if TYPE_CHECKING:
    from inferprint.service.catalogues import Catalogues

Answer = TypeVar("Answer")

WORKERS = 4
"""Requests that are worked on at a time: they share one processor, and the event loop needs its part of it."""


AT_ONCE = 20
"""Rows that are estimated on the event loop, where all they need is at hand: about a millisecond."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a row: a result, or an Error that says why there is none.

    Attributes
    ----------
    catalogue
        The records that it was estimated with, which may be others a moment later.
    """

    row: Mapping[str, Any]
    result: Result | None
    error: dict[str, Any] | None
    catalogue: Catalogue | None = None


class Engine:
    """Estimates rows for their owners.

    Parameters
    ----------
    catalogues
        The records that each owner sees.
    settings
        How many may wait, and whether times of clients are used.
    """

    def __init__(self, catalogues: Catalogues, settings: Settings) -> None:
        self._catalogues, self._settings = catalogues, settings
        self._workers = anyio.CapacityLimiter(WORKERS)
        self._waiting = 0

    def estimate(self, owner_id: int, rows: Sequence[Mapping[str, Any]]) -> list[Outcome]:
        """Estimate rows; one outcome for each, in their order. A bad row spoils no other."""
        estimator = self._catalogues.estimator(owner_id)
        return [self._one(estimator, row) for row in rows]

    def _at_once(self, owner_id: int, rows: Sequence[Mapping[str, Any]]) -> list[Outcome] | None:
        """The outcomes of a few rows whose cards are at hand; None where anything has to be looked up."""
        estimator = self._catalogues.at_hand(owner_id) if len(rows) <= AT_ONCE else None
        if estimator is None:
            return None
        try:
            requests = [request_of(estimator.catalogue, row, use_times=self._settings.use_times) for row in rows]
            if not all(map(estimator.is_ready_for, requests)):
                return None
            results = map(estimator.estimate, requests)
            return [Outcome(row, one, None, estimator.catalogue) for row, one in zip(rows, results, strict=True)]
        except InferprintError:
            return None  # to find what is nearest takes long

    def _one(self, estimator: Estimator, row: Mapping[str, Any]) -> Outcome:
        try:
            request = request_of(estimator.catalogue, row, use_times=self._settings.use_times)
            return Outcome(row, estimator.estimate(request), None, estimator.catalogue)
        except InferprintError as error:
            return Outcome(row, None, error_of(error, row), estimator.catalogue)

    async def estimated(self, owner_id: int, rows: Sequence[Mapping[str, Any]]) -> list[Outcome]:
        """The same, in a thread but for what takes no time.

        Raises
        ------
        Away
            Too many wait.
        """
        quick = self._at_once(owner_id, rows)
        if quick is not None:
            return quick
        return await self.apart(self.estimate, owner_id, rows)

    async def apart(self, work: Callable[..., Answer], *arguments: Any) -> Answer:
        """Do what takes long in a thread, so that others are answered meanwhile.

        Raises
        ------
        Away
            Too many wait.
        """
        if self._waiting >= self._settings.max_busy:
            raise Away(f"{self._waiting} requests wait for the processor", reason="Come again, or send larger batches.")
        self._waiting += 1
        try:
            return await anyio.to_thread.run_sync(work, *arguments, limiter=self._workers)
        finally:
            self._waiting -= 1
