"""Work that an interrupt or a termination ends early, with what was done so far."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def terminated_as_interrupted() -> Iterator[list[int]]:
    """A termination is an interrupt too; gives the signals of that kind that came.

    Interrupts are taken even where a shell script started the process in the background, which ignores them: they are
    how a loop of events is ended in order, and nothing is lost by them here.
    """
    came: list[int] = []

    def end(number: int, _frame: object) -> None:
        came.append(number)
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGTERM, end), signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield came
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])


def ended_by(run: Callable[[], object]) -> int:
    """Run; the signal that ended it early, 0 where none did."""
    with terminated_as_interrupted() as came:
        try:
            run()
        except KeyboardInterrupt:
            return came[0] if came else signal.SIGINT
    return 0


def exit_early(number: int, rows: int, out: Path) -> None:
    """Say what is kept of work that a signal ended, and end as a shell shows that; nothing where none did."""
    if number:
        from inferprint.calibration.words import counted

        there = f"{counted(rows, 'row')} {'is' if rows == 1 else 'are'} in {out}"
        kept = there if rows else f"nothing was measured, and nothing is written to {out}"
        print(f"interrupted: {kept}", file=sys.stderr)
        sys.exit(128 + number)
