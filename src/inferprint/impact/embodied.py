"""Share of the manufacture of the hardware."""

from __future__ import annotations

from typing import Any

from inferprint.quantities import equation


@equation("M = (n M_g + s M_host) t_s / (a L)", "ISO/IEC 21031:2024, amortised by active device time")
def embodied_share(
    seconds: Any,
    devices: Any,
    per_device: Any,
    share: Any,
    per_host: Any,
    active_share: Any,
    life_seconds: Any,
) -> Any:
    """Part of the manufacture of replica and host that a request uses up, in the unit of the inputs.

    Parameters
    ----------
    seconds
        Device time of the request: of a batch of B, the replica's time over B [s].
    devices, per_device
        Accelerators of the replica; impact of making one.
    share, per_host
        Share of the host; impact of making it without accelerators.
    active_share
        The same share as in the idle energy: an empty powered replica uses up life too.
    life_seconds
        Use life [s], a year being 365.25 days.
    """
    return (devices * per_device + share * per_host) * seconds / (active_share * life_seconds)
