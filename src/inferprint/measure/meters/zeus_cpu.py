"""Processor packages of Intel, and of AMD where its driver counts alike (RAPL), read with the package zeus."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from inferprint.errors import MeterProblem
from inferprint.measure.meters.base import Boundary, Meter, MeterKind
from inferprint.measure.meters.counted import CounterMeter
from inferprint.measure.meters.zeus import imported, zeus_errors
from inferprint.measure.meters.zeus_gpu import AT_MOST_S, CHANGES, JOULES_PER_MJ, PAUSE_S, chosen, listed

LEAST_WRAP_J = 50e3
"""No counter of 32 bits ends below 65 kJ, in steps of 15.3 uJ, which are the finest of these processors; what is shown
falls by that less what was added in the second until Zeus has noticed [J]."""

RIGHTS = (
    "They may be read by root alone: sudo chmod -R a+r /sys/class/powercap/intel-rapl lets everybody until the next "
    "start; or run the daemon zeusd, and name its socket in ZEUSD_SOCK_PATH."
)


def _open(argument: str) -> Meter:
    """The packages with the given indices; all where none is given."""
    module = imported("zeus.device.cpu", "rapl")
    with zeus_errors("rapl", "the processors", RIGHTS):
        if not module.rapl_is_available():
            raise MeterProblem(
                "the processors here have no energy counters (RAPL)",
                hint="Linux shows them under /sys/class/powercap/intel-rapl; virtual machines have none.",
            )
        found = module.get_cpus()
    indices = chosen(argument, len(found), "rapl")
    with zeus_errors("rapl", "the processors"):
        packages = [found.cpus[index] for index in indices]
        memory = all(package.supports_get_dram_energy_consumption() for package in packages)
    shown = ", ".join(str(index) for index in indices)
    name = f"processor packages {shown} (RAPL{', with memory' if memory else ''})"
    boundary: Boundary = "cpu_package_dram" if memory else "cpu_package"
    meter = CounterMeter(
        name,
        boundary,
        lambda: _counters(packages, memory, name),
        devices=len(packages),
        least_wrap_j=LEAST_WRAP_J,
    )
    meter.learn_resolution(CHANGES, AT_MOST_S, PAUSE_S)
    return meter


def _counters(packages: Sequence[Any], memory: bool, name: str) -> tuple[float, list[float]]:
    begin, values = time.monotonic(), []
    with zeus_errors("rapl", name, RIGHTS):
        for package in packages:
            shown = package.get_total_energy_consumption()
            values.append(shown.cpu_mj * JOULES_PER_MJ)
            if memory:
                values.append(shown.dram_mj * JOULES_PER_MJ)
    return (begin + time.monotonic()) / 2, values


RAPL = MeterKind(
    name="rapl",
    title="processor packages of this machine, by their energy counters (RAPL)",
    example="rapl or rapl:0,1",
    open=_open,
    place=4,
    listed=listed,
)
