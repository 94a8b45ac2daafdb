"""Accelerators of NVIDIA and AMD by their own counters, read with the package zeus."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

from inferprint.errors import MeterProblem
from inferprint.measure.meters.base import Meter, MeterKind
from inferprint.measure.meters.counted import CounterMeter
from inferprint.measure.meters.integrated import Power, PowerMeter
from inferprint.measure.meters.zeus import USUAL_HINT, imported, zeus_errors

JOULES_PER_MJ = 1e-3
POWER_INTERVAL_S = 0.1
CHANGES, AT_MOST_S, PAUSE_S = 5, 3.0, 0.002


def _open_nvidia(argument: str) -> Meter:
    """The NVIDIA devices with the given indices; all that are visible where none is given."""
    module = imported("zeus.device.gpu.nvidia", "nvidia")
    hint = USUAL_HINT
    if os.environ.get("CUDA_VISIBLE_DEVICES") is not None:
        hint = "CUDA_VISIBLE_DEVICES may name devices by their index alone, and no parts of one (MIG)."
    with zeus_errors("nvidia", "NVIDIA accelerators", hint):
        if not module.nvml_is_available():
            raise MeterProblem(
                "there is no NVIDIA accelerator here, or its driver does not answer",
                hint="nvidia-smi lists them; a meter of another kind is named with --meter.",
            )
        devices = module.NVIDIAGPUs()
    return _open(devices, argument, "nvidia", "NVIDIA")


def _open_amd(argument: str) -> Meter:
    """The AMD devices with the given indices; all that are visible where none is given."""
    module = imported("zeus.device.gpu.amd", "amd")
    with zeus_errors("amd", "AMD accelerators"):
        if not module.amdsmi_is_available():
            raise MeterProblem(
                "there is no AMD accelerator here, or its driver does not answer",
                hint="amd-smi lists them; a meter of another kind is named with --meter.",
            )
        devices = module.AMDGPUs()
    return _open(devices, argument, "amd", "AMD")


def _open(devices: Any, argument: str, kind: str, maker: str) -> Meter:
    indices = chosen(argument, len(devices), kind)
    with zeus_errors(kind, f"{maker} accelerators"):
        gpus = [devices.gpus[index] for index in indices]
        shown = ", ".join(str(index) for index in indices)
        name = f"{maker} {gpus[0].get_name()} ({shown})"
        counts = all(_counts(gpu) for gpu in gpus)
    if not counts:
        return PowerMeter(name, "gpu_only", lambda: _power(gpus, kind, name), POWER_INTERVAL_S, devices=len(gpus))
    meter = CounterMeter(name, "gpu_only", lambda: _counters(gpus, kind, name), devices=len(gpus))
    meter.learn_resolution(CHANGES, AT_MOST_S, PAUSE_S)
    return meter


def _counts(gpu: Any) -> bool:
    """Whether a device counts energy; by its age, and by whether it answers (virtual ones may not)."""
    missing = imported("zeus.device.gpu.common", "nvidia").ZeusGPUNotSupportedError
    try:
        return bool(gpu.supports_get_total_energy_consumption()) and gpu.get_total_energy_consumption() >= 0
    except missing:
        return False


def listed(argument: str, count: int) -> str:
    """Indices of the first devices, where none are listed."""
    return argument or ",".join(str(index) for index in range(count))


def chosen(argument: str, count: int, kind: str) -> list[int]:
    """Indices of the devices that were asked for.

    Raises
    ------
    MeterProblem
        There are none, or not these.
    """
    if not count:
        raise MeterProblem(
            f"{kind}: no device is visible here", hint="CUDA_VISIBLE_DEVICES and its like may hide them."
        )
    if not argument:
        return list(range(count))
    try:
        indices = [int(part) for part in argument.split(",")]
    except ValueError:
        raise MeterProblem(f"{kind}:{argument} names no devices", hint=f"For example {kind}:0,1") from None
    if any(not 0 <= index < count for index in indices) or len(set(indices)) < len(indices):
        raise MeterProblem(f"{kind}:{argument}: there are devices 0 to {count - 1} here", hint="Name each once.")
    return indices


def _counters(gpus: Sequence[Any], kind: str, name: str) -> tuple[float, list[float]]:
    begin = time.monotonic()
    with zeus_errors(kind, name):
        values = [gpu.get_total_energy_consumption() * JOULES_PER_MJ for gpu in gpus]
    return (begin + time.monotonic()) / 2, values


def _power(gpus: Sequence[Any], kind: str, name: str) -> Power:
    begin = time.monotonic()
    with zeus_errors(kind, name):
        watts = sum(gpu.get_instant_power_usage() for gpu in gpus) * 1e-3
    return Power((begin + time.monotonic()) / 2, watts)


NVIDIA = MeterKind(
    name="nvidia",
    title="NVIDIA accelerators of this machine, by their energy counters",
    example="nvidia or nvidia:0,1",
    open=_open_nvidia,
    place=1,
    listed=listed,
)

AMD = MeterKind(
    name="amd",
    title="AMD accelerators of this machine, by their energy counters",
    example="amd or amd:0,1",
    open=_open_amd,
    place=2,
    listed=listed,
)
