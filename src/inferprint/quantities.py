"""Names, units and meanings of everything that goes in and comes out, as data.

Other modules, the command line, the documentation and the tests read these lists; none of them repeats one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

Z95 = 1.959963984540054
"""Half-width of the central 95 % of a standard normal distribution."""

Method = Literal["default", "two-term", "seed"]
METHODS: tuple[Method, ...] = ("default", "two-term", "seed")

Tier = Literal["measured", "specified", "inferred from price", "assumed"]
"""Data quality of a result, best first: the worst input that matters decides."""


class Range(NamedTuple):
    """A value with the bounds of its 95 % interval, all in the same unit."""

    value: float
    low: float
    high: float

    @classmethod
    def exact(cls, value: float) -> Range:
        """A value without spread."""
        return cls(value, value, value)

    def scaled(self, factor: float) -> Range:
        """The range times a non-negative factor."""
        return Range(self.value * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A column of a request or result: its name, unit, meaning and boundary."""

    name: str
    unit: str
    meaning: str
    boundary: str = ""


RESULTS: tuple[Quantity, ...] = (
    Quantity("duration_ms", "ms", "time from the start of the prompt to the last token", "without queue and network"),
    Quantity("usage_energy_wh", "Wh", "electricity drawn for the request", "accelerators, host, idle, facility"),
    Quantity("usage_emissions_gco2e", "gCO2e", "greenhouse gas of that electricity", "location-based"),
    Quantity("usage_emissions_market_gco2e", "gCO2e", "the same by contract or residual mix", "market-based"),
    Quantity("usage_water_ml", "mL", "water consumed on site and by power generation", "use phase"),
    Quantity("embodied_emissions_gco2e", "gCO2e", "share of the hardware's manufacture", "cradle to gate"),
    Quantity("embodied_water_ml", "mL", "share of the water of the hardware's manufacture", "chip and host factories"),
)

BREAKDOWN: tuple[Quantity, ...] = (
    Quantity("accelerator_energy_wh", "Wh", "energy of the accelerators while they work on the request", "device"),
    Quantity("host_energy_wh", "Wh", "energy of the host in the same time", "node without accelerators"),
    Quantity("idle_energy_wh", "Wh", "share of the time when the node is powered and serves nobody", "node"),
    Quantity("facility_overhead_wh", "Wh", "cooling and power distribution", "facility without IT"),
    Quantity("site_water_ml", "mL", "water evaporated on site", "facility"),
    Quantity("grid_water_ml", "mL", "water consumed by power generation, reservoirs included", "grid"),
    Quantity("grid_water_excluding_hydro_ml", "mL", "the same without the evaporation of reservoirs", "grid"),
    Quantity("prefill_energy_wh", "Wh", "the part of accelerator_energy_wh that reads the prompt", "device"),
    Quantity("decode_energy_wh", "Wh", "the part of accelerator_energy_wh that writes the answer", "device"),
)

TWO_TERM: tuple[Quantity, ...] = (
    Quantity("two_term_duration_ms", "ms", "duration by the two-term form", "without queue and network"),
    Quantity("two_term_usage_energy_wh", "Wh", "electricity by the two-term form", "as usage_energy_wh"),
)

Fn = TypeVar("Fn", bound=Callable[..., object])

EQUATIONS: dict[str, tuple[str, str]] = {}
"""Published equation and reference of each physics and impact function, by its name; filled when they are defined."""


def equation(text: str, reference: str) -> Callable[[Fn], Fn]:
    """Record the formula that a function computes, so that the trail can print what was really evaluated."""

    def keep(function: Fn) -> Fn:
        EQUATIONS[function.__name__] = (text, reference)
        return function

    return keep
