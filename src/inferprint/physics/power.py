"""From device time to device energy."""

from __future__ import annotations

from typing import Any

from inferprint.quantities import equation


@equation("E = c G TDP t", "docs/method.md#default-form")
def device_energy(seconds: Any, devices: Any, max_power_w: Any, level: Any) -> Any:
    """Energy of a replica [J] over weighted seconds, at board power limit times a learned level."""
    return level * devices * max_power_w * seconds


@equation("t_s >= E_device / (n P_max)", "docs/method.md#device-time")
def device_seconds(energy_j: Any, devices: Any, max_power_w: Any) -> Any:
    """Least time in which devices can draw an energy [s].

    Parameters
    ----------
    energy_j
        Energy of the devices together [J].
    """
    return energy_j / (devices * max_power_w)
