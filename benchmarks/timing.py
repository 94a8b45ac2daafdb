"""How the benchmarks time two things fairly: by turns, medians, in one place. Run by itself it measures nothing."""

from __future__ import annotations

import gc
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np


def by_turns(first: Callable[[], None], second: Callable[[], None], rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of each of two calls, alternating and changing who begins, with garbage collection between them."""
    seconds: tuple[list[float], list[float]] = ([], [])
    calls = (first, second)
    for i in range(rounds):
        for which in (0, 1) if i % 2 == 0 else (1, 0):
            gc.collect()
            start = time.perf_counter()
            calls[which]()
            seconds[which].append(time.perf_counter() - start)
    return seconds


def process(arguments: Sequence[str]) -> Callable[[], None]:
    """A call that runs a fresh process and fails when it does.

    It keeps compiled modules, as every installation does, also where this machine is set not to: that would compile
    the package anew each time, but not what was installed beside it.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def call() -> None:
        subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL, env=environment)

    return call


def spread(seconds: Sequence[float]) -> str:
    """Median and range in milliseconds."""
    low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
    return f"{1e3 * middle:10.3f} ms  ({1e3 * low:.3f} to {1e3 * high:.3f})"


def machine() -> str:
    """The machine in words, for the report."""
    return f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.2f}"


def copy_bandwidth() -> float:
    """How fast one core copies memory [GB/s]: the median of several copies of 256 MB, read and written."""
    source = np.ones(32_000_000)
    target = np.empty_like(source)
    seconds = []
    for _ in range(7):
        start = time.perf_counter()
        np.copyto(target, source)
        seconds.append(time.perf_counter() - start)
    return 2 * source.nbytes / statistics.median(seconds) / 1e9
