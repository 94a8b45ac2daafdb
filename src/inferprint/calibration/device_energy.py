"""The energy of the accelerators from what a meter read: without the host, and only where its power can be theirs."""

from __future__ import annotations

from dataclasses import dataclass

from inferprint.calibration.cells import Refused, Row, number, positive
from inferprint.catalogue import Gpu

GPU_BOUNDARY = "gpu_only"
PACKAGES = ("cpu_package", "cpu_package_dram")
WALL = "system_wall_ac"

MAX_POWER_SHARE = 2.0
"""Power of an accelerator over its limit above which a row is taken for a mistake."""

MIN_IDLE_SHARE = 0.05
"""Power of an accelerator over its idle power below which an energy is taken for a mistake: of the meter's unit."""


@dataclass(frozen=True, slots=True)
class Devices:
    """Accelerators of a row, and what the machine draws at work beside them [W]; None where that is not known."""

    gpu: Gpu
    count: float
    host_w: float | None


def device_joules(row: Row, name: str, devices: Devices) -> float:
    """Energy of the accelerators [J] in the column called `name`.

    A processor's package is the device where it computes, and so is a machine that is one device. What the rest of a
    machine draws, where that is known, is taken off what was measured at the wall.

    Raises
    ------
    Refused
        It is of another boundary, or implies a power that the accelerators cannot have.
    """
    gpu, stated = devices.gpu, row.get("energy_boundary", "") or GPU_BOUNDARY
    package = stated in PACKAGES and gpu.device_class == "cpu" and gpu.power_boundary == "board"
    whole = stated == WALL and gpu.power_boundary == "system"
    joules, seconds = positive(row, name), _machine_seconds(row, name)
    if stated == GPU_BOUNDARY or package or whole:
        _check_most(name, joules, seconds, devices)
        _check_least(name, joules, seconds, devices, METER)
        return joules
    host_w, host_s = devices.host_w, _metered_seconds(row, joules) or seconds
    if stated != WALL or host_w is None or not host_s:
        raise Refused(f"the energy is of the boundary {stated}, not of the GPUs alone")
    _check_least(name, joules, seconds, devices, METER)
    left = joules - host_w * host_s
    if left <= 0:
        what = f"{joules:g} J at the wall is no more than the {host_w:g} W of the host take in {host_s:.3g} s"
        raise Refused(f"{name}: {what}")
    _check_most(name, left, seconds or host_s, devices)
    _check_least(name, left, host_s, devices, f"do the {host_w:g} W of the host leave too little?")
    return left


METER = "is the meter in W?"


def _machine_seconds(row: Row, name: str) -> float:
    """Time of the whole machine that goes to one unit of an energy [s]; 0 where the row does not tell."""
    if name in ("energy_per_image_j", "energy_per_video_j"):
        return (number(row, "batch_latency_s") or 0.0) / (number(row, "batch_size") or 1.0)
    of_request = (number(row, "duration_s") or 0.0) / (number(row, "concurrency") or 1.0)
    if name == "energy_per_request_j":
        return of_request
    rate, n_out = number(row, "system_output_tokens_per_s"), number(row, "n_out_tokens")
    if rate:
        return 1.0 / rate
    return of_request / n_out if n_out else 0.0


def _metered_seconds(row: Row, joules: float) -> float:
    """Time that an energy at the wall holds by its mean power [s], pauses between requests included; 0 if unknown."""
    watts = number(row, "avg_system_power_w")
    return joules / watts if watts else 0.0


def _check_most(name: str, joules: float, seconds: float, devices: Devices) -> None:
    """Refuse an energy whose power over its time no such accelerator draws."""
    limit, watts = devices.gpu.max_power_w, _watts(joules, seconds, devices)
    if watts is not None and limit and watts > MAX_POWER_SHARE * limit:
        what = f"{watts:.3g} W per GPU is more than twice its limit of {limit:g} W"
        raise Refused(f"{name}: {joules:.3g} J in {seconds:.3g} s: {what}; {METER}")


def _check_least(name: str, joules: float, seconds: float, devices: Devices, cause: str) -> None:
    """Refuse an energy with far less power than an accelerator draws without work."""
    idle, watts = devices.gpu.idle_power_w, _watts(joules, seconds, devices)
    if watts is not None and idle and watts < MIN_IDLE_SHARE * idle:
        what = f"{watts:.3g} W per GPU is less than a twentieth of the {idle:g} W that it draws without work"
        raise Refused(f"{name}: {joules:.3g} J in {seconds:.3g} s: {what}; {cause}")


def _watts(joules: float, seconds: float, devices: Devices) -> float | None:
    """Mean power of one accelerator [W]; None where no time is known."""
    return joules / seconds / devices.count if seconds else None
