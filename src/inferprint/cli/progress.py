"""Progress of long work, on standard error only: what is done, how fast, and the time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inferprint.measure.outcomes import Outcome, Watch

SECONDS_BETWEEN_LINES = 5.0

Report = Callable[[int, int | None], None]


class _Lines:
    """Progress where there is no terminal: a line from time to time."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._last = time.monotonic()

    def __call__(self, done: int, total: int | None) -> None:
        if time.monotonic() - self._last >= SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            of = f" of {total:,}" if total is not None else ""
            print(f"{done:,} {self._what}{of}", file=sys.stderr, flush=True)


@contextmanager
def progress(what: str = "rows") -> Iterator[Report]:
    """A function that takes what is done and what there is in all; draws a bar where standard error is a terminal."""
    # Commands that need no extra report progress too.
    if not sys.stderr.isatty() or find_spec("rich") is None:
        yield _Lines(what)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def watching(what: str) -> Iterator[Watch[Any]]:
    """Tells of a measurement on standard error: its progress, what holds for all of it, and points without a row."""
    from inferprint.measure.outcomes import Watch

    def done(outcome: Outcome[Any]) -> None:
        if outcome.row is None:
            print(f"no row for {outcome.point}: {outcome.reason}", file=sys.stderr)

    with progress(what) as report:
        yield Watch(say=lambda text: print(text, file=sys.stderr), progress=report, done=done)


STEPS = {"read": ("reading", "MB", 1e6), "cards": ("cards", "cards", 1.0), "rows": ("estimating", "rows", 1.0)}
"""Steps of a run: what each is called, its unit, and how many of what is counted make one."""

StepReport = Callable[[str, float, float | None], None]


class _StepLines:
    """Progress of a run where there is no terminal: a line from time to time."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._begun: dict[str, tuple[float, float]] = {}

    def __call__(self, step: str, done: float, total: float | None) -> None:
        now = time.monotonic()
        start, before = self._begun.setdefault(step, (now, done))
        if now - self._last < SECONDS_BETWEEN_LINES or now == start:
            return
        self._last = now
        name, unit, size = STEPS[step]
        rate = (done - before) / (now - start)
        left = f", {(total - done) / rate:,.0f} s left" if total is not None and rate > 0 else ""
        of = f" of {total / size:,.0f}" if total is not None else ""
        print(f"{name}: {done / size:,.0f}{of} {unit}, {rate / size:,.0f} {unit}/s{left}", file=sys.stderr, flush=True)


@contextmanager
def steps() -> Iterator[StepReport]:
    """A function that takes a step of a run, what is done of it and what there is in all, with rate and time left."""
    if not sys.stderr.isatty():
        yield _StepLines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} {task.fields[unit]}"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:

        def report(step: str, done: float, total: float | None) -> None:
            name, unit, size = STEPS[step]
            if step not in tasks:
                tasks[step] = bar.add_task(name, total=(total or done) / size, unit=unit, rate="")
            speed = bar.tasks[tasks[step]].speed
            rate = f"{speed:,.0f} {unit}/s" if speed else ""
            bar.update(tasks[step], completed=done / size, total=(total or done) / size, rate=rate)

        yield report
