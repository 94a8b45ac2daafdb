"""From device energy to device time."""

from __future__ import annotations

from typing import Any

from inferprint.quantities import equation


@equation("E = c G TDP t", "docs/method.md#default-form")
def device_energy(seconds: Any, devices: Any, max_power_w: Any, level: Any) -> Any:
    """Energy of a replica [J] over weighted seconds, at board power limit times a learned level."""
    return level * devices * max_power_w * seconds


@equation("t_s = E_device / (phi n TDP)", "docs/method.md#device-time")
def device_seconds(energy_j: Any, devices: Any, max_power_w: Any, power_share: Any) -> Any:
    """Seconds for which the request occupies the replica's devices.

    Parameters
    ----------
    energy_j
        Energy of the devices for the request [J].
    power_share
        Mean power over board power limit while serving, phi.
    """
    return energy_j / (power_share * devices * max_power_w)
