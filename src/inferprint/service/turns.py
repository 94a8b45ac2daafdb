"""Turns: who asks for much waits for one outside of the threads that all share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

from inferprint.service.problems import Away

PATIENCE_S = 10.0
"""Seconds to wait while others ask for much."""

Answer = TypeVar("Answer")


class Turns:
    """Work of one kind, of which a few are done at a time.

    Parameters
    ----------
    at_a_time
        How many, each in a thread of its own.
    work
        What it is, for who waits in vain.
    """

    def __init__(self, at_a_time: int, work: str) -> None:
        self._work = work
        self._turn, self._threads = anyio.Semaphore(at_a_time), anyio.CapacityLimiter(at_a_time)

    async def run(self, function: Callable[[], Answer]) -> Answer:
        """Wait for one's turn, and do the work in a thread.

        Raises
        ------
        Away
            Others took longer than `PATIENCE_S`.
        """
        try:
            with anyio.fail_after(PATIENCE_S):
                await self._turn.acquire()
        except TimeoutError as error:
            raise Away(f"others wait for {self._work} now", reason="Come again.", retry_after_s=PATIENCE_S) from error
        try:
            return await anyio.to_thread.run_sync(function, limiter=self._threads)
        finally:
            self._turn.release()
