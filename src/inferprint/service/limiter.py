"""How often a key, or an address, may ask.

Written here, because the limiters in memory of the package `limits` keep a name for each stranger, start a thread for
every 10 ms of work, and are wrong on when there is room again.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict

from inferprint.service.problems import TooMany

MINUTE_S = 60.0

MOST_NAMES = 16_384
"""Names that are remembered; who was quiet for longest is forgotten first, and has all of its room again."""

IPV6_BITS = 64
"""What one customer of a network has at least: the rest of the address is free to choose."""

_ROUNDING_S = 1e-6


class Limiter:
    """A token bucket for each name, in the memory of this process: it holds the requests of a minute, and fills evenly.

    Parameters
    ----------
    per_minute
        Requests of one name in a minute; 0 for no limit.
    what
        What is limited, for the message.
    """

    def __init__(self, per_minute: int, what: str = "requests") -> None:
        self.per_minute, self.what = per_minute, what
        self._one_s = MINUTE_S / per_minute if per_minute else 0.0
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def take(self, name: str) -> None:
        """Count one request of a name.

        Raises
        ------
        TooMany
            There is no room now; it was not counted.
        """
        if not self.per_minute:
            return
        self._full_at[name] = self._full_after(name)
        if len(self._full_at) > MOST_NAMES:
            self._full_at.popitem(last=False)

    def give_back(self, name: str) -> None:
        """Count one request of a name no more."""
        if name in self._full_at:
            self._full_at[name] -= self._one_s

    def _full_after(self, name: str) -> float:
        """When the bucket would be full again after one more request [s of the monotonic clock]."""
        now = time.monotonic()
        if name in self._full_at:
            self._full_at.move_to_end(name)  # who is refused is not quiet
        full_at = max(self._full_at.get(name, now), now) + self._one_s
        wait = full_at - now - MINUTE_S
        if wait > _ROUNDING_S:
            seconds = math.ceil(wait)
            raise TooMany(
                f"more than {self.per_minute:,} {self.what} in a minute",
                retry_after_s=seconds,
                reason=f"Come again in {seconds} s.",
            )
        return full_at


def network_of(host: str) -> str:
    """An address as far as it costs something to have another one: IPv4 whole, IPv6 by its network."""
    if ":" not in host:
        return host
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((int(address), IPV6_BITS), strict=False).network_address)
