"""Chips of Apple by their own counters, read with the package zeus."""

from __future__ import annotations

import time
from typing import Any

from inferprint.errors import MeterProblem
from inferprint.measure.meters.base import Meter, MeterKind
from inferprint.measure.meters.counted import CounterMeter
from inferprint.measure.meters.zeus import imported, zeus_errors
from inferprint.measure.meters.zeus_gpu import AT_MOST_S, CHANGES, JOULES_PER_MJ, PAUSE_S

PARTS = ("cpu_total_mj", "gpu_mj", "gpu_sram_mj", "ane_mj", "dram_mj")
"""Parts of a chip that overlap in nothing."""


def _open(argument: str) -> Meter:
    """The chip of this machine, all of it."""
    if argument:
        raise MeterProblem(f"apple:{argument}: a Mac has one chip", hint="Ask for it as apple.")
    module = imported("zeus.device.soc", "apple")
    with zeus_errors("apple", "a chip of Apple"):
        if not module.apple_silicon_is_available():
            raise MeterProblem(
                "this machine has no chip of Apple, or zeus-apple-silicon is not installed",
                hint="On a Mac: pip install 'inferprint[measure]' 'zeus[apple]'",
            )
        chip = module.get_soc()
    meter = CounterMeter("Apple chip", "soc_package", lambda: _counters(chip), devices=1)
    meter.learn_resolution(CHANGES, AT_MOST_S, PAUSE_S)
    return meter


def _counters(chip: Any) -> tuple[float, list[float]]:
    begin = time.monotonic()
    with zeus_errors("apple", "the chip"):
        shown = chip.get_total_energy_consumption()
    parts = [getattr(shown, part) for part in PARTS]
    return (begin + time.monotonic()) / 2, [(part or 0) * JOULES_PER_MJ for part in parts]


APPLE = MeterKind(
    name="apple",
    title="the chip of this Mac: processor, graphics, neural engine and memory",
    example="apple",
    open=_open,
    place=3,
)
