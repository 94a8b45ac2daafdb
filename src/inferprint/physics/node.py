"""From device time to the energy of the node."""

from __future__ import annotations

from typing import Any

from inferprint.quantities import equation


@equation("s = n / gpu_count", "docs/method.md#node")
def host_share(devices: Any, node_devices: Any) -> Any:
    """Share of a node's host that a replica of `devices` uses; above 1 when it spans nodes."""
    return devices / node_devices


@equation("E_host = s P_host_act t_s", "docs/method.md#node")
def host_energy(seconds: Any, share: Any, host_active_w: Any) -> Any:
    """Energy of the host for the request [J]; `seconds` is its device time."""
    return share * host_active_w * seconds


@equation("E_idle = (n P_g_idle + s P_host_idle) t_s (1 - a) / a", "docs/method.md#node")
def idle_energy(seconds: Any, devices: Any, device_idle_w: Any, share: Any, host_idle_w: Any, active_share: Any) -> Any:
    """Share of the time when the node is powered and serves nobody [J].

    Parameters
    ----------
    seconds
        Device time of the request [s].
    active_share
        Share of powered time with at least one request, 0 < a <= 1. Not GPU utilisation, not FLOP utilisation.
    """
    return (devices * device_idle_w + share * host_idle_w) * seconds * (1 - active_share) / active_share
