"""Rate cards: all that is known of a machine and of a place, as unit rates with draws.

A **machine card** holds, for every quantity, one rate per feature of the request. A **place card** holds a few factors
per unit of IT energy. An estimate is features x machine card x place card, for one request as for a million rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from inferprint.impact.electricity import emissions
from inferprint.impact.water import grid_water, site_water
from inferprint.modalities.base import Modality
from inferprint.physics.facility import facility_energy
from inferprint.provenance.trace import Trail
from inferprint.quantities import BREAKDOWN, RESULTS, TWO_TERM, Tier
from inferprint.rates.draws import SIZE, Array, Sources, bounds
from inferprint.rates.media import MediaReader
from inferprint.units import JOULES_PER_KWH, JOULES_PER_WH, ML_PER_L, MS_PER_S

MACHINE_QUANTITIES = (
    "duration",
    "it_energy",
    "accelerator_energy",
    "host_energy",
    "idle_energy",
    "prefill_energy",
    "decode_energy",
    "embodied_emissions",
    "embodied_water",
    "two_term_duration",
    "two_term_it_energy",
)
"""What a machine card rates: [s], [J], [g] and [mL] per unit of a feature."""

PLACE_QUANTITIES = (
    "energy",
    "overhead",
    "emissions",
    "emissions_market",
    "water",
    "site_water",
    "grid_water",
    "grid_water_excluding_hydro",
)
"""What a place card gives per unit of IT energy: facility energy and overhead [1], [g/kWh], [L/kWh]."""

TINY = float(np.finfo(float).tiny)
_WH = 1 / JOULES_PER_WH
_KWH = 1 / JOULES_PER_KWH

OUTPUTS: dict[str, tuple[str, str | None, float]] = {
    "duration_ms": ("duration", None, MS_PER_S),
    "usage_energy_wh": ("it_energy", "energy", _WH),
    "usage_emissions_gco2e": ("it_energy", "emissions", _KWH),
    "usage_emissions_market_gco2e": ("it_energy", "emissions_market", _KWH),
    "usage_water_ml": ("it_energy", "water", _KWH * ML_PER_L),
    "embodied_emissions_gco2e": ("embodied_emissions", None, 1.0),
    "embodied_water_ml": ("embodied_water", None, 1.0),
    "accelerator_energy_wh": ("accelerator_energy", None, _WH),
    "host_energy_wh": ("host_energy", None, _WH),
    "idle_energy_wh": ("idle_energy", None, _WH),
    "facility_overhead_wh": ("it_energy", "overhead", _WH),
    "site_water_ml": ("it_energy", "site_water", _KWH * ML_PER_L),
    "grid_water_ml": ("it_energy", "grid_water", _KWH * ML_PER_L),
    "grid_water_excluding_hydro_ml": ("it_energy", "grid_water_excluding_hydro", _KWH * ML_PER_L),
    "prefill_energy_wh": ("prefill_energy", None, _WH),
    "decode_energy_wh": ("decode_energy", None, _WH),
    "two_term_duration_ms": ("two_term_duration", None, MS_PER_S),
    "two_term_usage_energy_wh": ("two_term_it_energy", "energy", _WH),
}
"""Every output: the machine quantity, the place factor (or none) and the unit factor that make it."""

OUTPUT_NAMES = tuple(OUTPUTS)
assert set(OUTPUT_NAMES) == {q.name for q in (*RESULTS, *BREAKDOWN, *TWO_TERM)}

_MACHINE_INDEX = np.array([MACHINE_QUANTITIES.index(m) for m, _, _ in OUTPUTS.values()])
_PLACE_INDEX = np.array([PLACE_QUANTITIES.index(p) if p else len(PLACE_QUANTITIES) for _, p, _ in OUTPUTS.values()])
_SIGNS = np.array([-1.0, 1.0])[:, None, None]
_UNIT = np.array([unit for _, _, unit in OUTPUTS.values()])


class Level(NamedTuple):
    """What a form multiplies its weighted seconds by, central, and what that is made of.

    `value` is in the form's unit per second; effects are in logs, `power_w` is the board power limit [W], 0 where the
    form gives seconds; `engine` is the factor for what is not known of the engine.
    """

    value: float
    effects: tuple[float, ...]
    devices: float
    power_w: float
    engine: float


@dataclass(frozen=True)
class TermDetail:
    """Central ideal cost of one term per unit of one feature, its coefficient, and what the form multiplies it by.

    ideal [s], or a count where the coefficient is in seconds.
    """

    form: str
    feature: str
    term: str
    ideal: float
    coefficient: float
    level: Level


@dataclass(frozen=True, repr=False, eq=False)
class MachineDraws:
    """Unit rates with draws. Matrices (SIZE, features), vectors (SIZE,); element 0 of axis 0 is central.

    Attributes
    ----------
    energy, seconds, duration
        Accelerator energy [J], device time [s] and time that the request sees [s], per unit of each feature.
    two_term_energy, two_term_seconds, two_term_duration
        The same by the two-term form.
    host_w, idle_w
        Host power and idle power charged per second of device time [W].
    embodied_g, embodied_ml
        Manufacture per second of device time [gCO2e/s], [mL/s].
    active_share
        Share of powered time with at least one request, which idle power and manufacture are spread over.
    devices, batch
        Devices of the replica; requests that share a step.
    timed_devices
        Devices that `seconds` are seconds of: those of one stage of a pipeline.
    prompt_devices
        Devices that compute prompts for the replica, in the unit that techniques state; 0 where it does so itself.
    details
        The central case term by term, for the trail; of several cases, the one whose energy is the median.
    """

    energy: Array
    seconds: Array
    duration: Array
    two_term_energy: Array
    two_term_seconds: Array
    two_term_duration: Array
    host_w: Array
    idle_w: Array
    embodied_g: Array
    embodied_ml: Array
    active_share: Array
    devices: Array
    timed_devices: Array
    prompt_devices: Array
    batch: Array
    details: tuple[TermDetail, ...]

    @classmethod
    def picked(cls, cases: list[MachineDraws], index: Any, reference: Array) -> MachineDraws:
        """Draw i from case `index[i]`; the central case is the median of the draws, not one of the cases.

        The median is taken feature by feature, and scaled so that a request with the features `reference` has the
        median of its draws: the sum of medians is below the median of a sum of skewed rates.
        """
        if len(cases) == 1:
            return cases[0]
        rows = np.arange(SIZE)

        def pick(name: str) -> Array:
            stacked: Array = np.stack([getattr(case, name) for case in cases])
            picked: Array = stacked[index, rows]
            picked[0] = np.median(picked[1:], axis=0)
            if picked.ndim > 1 and (middle := float(picked[0] @ reference)) > 0:
                picked[0] *= np.median(picked[1:] @ reference) / middle
            return picked

        arrays: dict[str, Any] = {f.name: pick(f.name) for f in fields(cls) if f.name != "details"}
        return cls(**arrays, details=cases[index[0]].details)


@dataclass(frozen=True, repr=False, eq=False)
class MachineCard:
    """Rates of one model on one way of hosting it.

    Attributes
    ----------
    media
        Turns the pictures, video and sound of a request into work.
    window
        Attention window that features read [tokens]; 0 where the model has no windowed layer.
    usual_lengths
        Prompt and answer of the other requests of a batch [tokens].
    sources
        Draws of every uncertain input.
    fastest_s_per_token
        Seconds in which the fastest likely hardware reads the active weights once [s].
    coefficients
        Status of the coefficients: "provisional", "fitted" or "own", those of time apart where they differ.
    mixed
        True where the card stands for several likely accelerators: its value is the median of their draws.
    hosting
        "service", "cloud", "own" or "desk".
    cloud, service, region_hint, country_hint
        What the hosting, or the model's name, says about the place.
    """

    model: str
    modality: Modality
    media: MediaReader
    draws: MachineDraws
    window: float
    context_length: int | None
    usual_lengths: tuple[float, float]
    sources: Sources
    trail: Trail
    tier: Tier
    fastest_s_per_token: float
    coefficients: str
    mixed: bool
    hosting: str
    cloud: str | None
    service: str | None
    region_hint: str | None
    country_hint: str | None

    def quantity(self, name: str) -> Array:
        """Draws of a quantity's rate per unit of each feature: shape (SIZE, features)."""
        d = self.draws
        parts = np.array([feature.part for feature in self.modality.features])
        node_w = (d.host_w + d.idle_w)[:, None]
        # A measured duration does not say how it splits: unknown, not zero.
        unsplit = np.where((parts == "measured") & (d.energy > 0), np.nan, 0.0)
        rates: dict[str, Any] = {
            "duration": lambda: d.duration,
            "device_time": lambda: d.seconds,
            "it_energy": lambda: d.energy + d.seconds * node_w,
            "accelerator_energy": lambda: d.energy,
            "host_energy": lambda: d.seconds * d.host_w[:, None],
            "idle_energy": lambda: d.seconds * d.idle_w[:, None],
            "prefill_energy": lambda: d.energy * (parts == "prefill") + unsplit,
            "decode_energy": lambda: d.energy * (parts == "decode") + unsplit,
            "embodied_emissions": lambda: d.seconds * d.embodied_g[:, None],
            "embodied_water": lambda: d.seconds * d.embodied_ml[:, None],
            "two_term_duration": lambda: d.two_term_duration,
            "two_term_it_energy": lambda: d.two_term_energy + d.two_term_seconds * node_w,
        }
        result: Array = rates[name]()
        return result

    @cached_property
    def table(self) -> Array:
        """Value, low and high of each quantity per unit of each feature: shape (3, quantities, features)."""
        stacked = np.stack([self.quantity(name) for name in MACHINE_QUANTITIES], axis=1)
        return np.stack(bounds(stacked))

    @cached_property
    def output_table(self) -> Array:
        """The same by output, value, low and high of all outputs below each other: shape (3 outputs, features)."""
        return np.ascontiguousarray(self.table[:, _MACHINE_INDEX, :].reshape(-1, self.table.shape[2]))


class Factors(NamedTuple):
    """A place's side of the outputs.

    Attributes
    ----------
    value
        Central factors times units, shape (outputs, 1).
    widths
        Squared log widths to the low and to the high bound, shape (2, outputs, 1).
    high_of_zero
        Upper bounds where the value is 0, shape (outputs, 1); None where there are none.
    """

    value: Array
    widths: Array
    high_of_zero: Array | None


class PlaceCard:
    """Factors of one place per unit of IT energy.

    Parameters
    ----------
    pue, wue, intensity, market_intensity, water, water_excluding_hydro
        Draws, shape (SIZE,): PUE; site water [L/kWh of IT energy]; grid intensity location- and market-based [g/kWh];
        water of power generation with and without reservoirs [L/kWh]. NaN where unknown.
    """

    def __init__(
        self,
        *,
        pue: Array,
        wue: Array,
        intensity: Array,
        market_intensity: Array,
        water: Array,
        water_excluding_hydro: Array,
        sources: Sources,
        trail: Trail,
    ) -> None:
        one = np.ones(SIZE)
        facility = facility_energy(one, pue)
        site, grid = site_water(one, wue), grid_water(facility, water)
        self.draws: dict[str, Array] = {
            "energy": facility,
            "overhead": facility - one,
            "emissions": emissions(facility, intensity),
            "emissions_market": emissions(facility, market_intensity),
            "water": site + grid,
            "site_water": site,
            "grid_water": grid,
            "grid_water_excluding_hydro": grid_water(facility, water_excluding_hydro),
        }
        self.sources = sources
        self.trail = trail

    @cached_property
    def factors(self) -> Factors:
        """What multiplies the machine quantity of each output, unit included."""
        stacked = np.stack([*(self.draws[name] for name in PLACE_QUANTITIES), np.ones(SIZE)], axis=1)
        value, low, high = (side[_PLACE_INDEX, None] for side in bounds(stacked))
        logs = np.log(np.maximum([value, low, high], TINY))
        unit = _UNIT[:, None]
        zero = value == 0
        return Factors(
            value=value * unit,
            widths=np.where(zero, 0.0, logs[1:] - logs[0]) ** 2,
            high_of_zero=np.where(zero, high, 0.0) * unit if np.any(zero & (high > 0)) else None,
        )


class Mathematics(NamedTuple):
    """Functions of whatever holds the numbers: NumPy arrays, or columns of a table engine."""

    log: Callable[[Any], Any]
    exp: Callable[[Any], Any]
    sqrt: Callable[[Any], Any]
    maximum: Callable[[Any, Any], Any]


NUMPY = Mathematics(np.log, np.exp, np.sqrt, np.maximum)


def squared_width(rate: Any, side: Any, using: Mathematics) -> Any:
    """Squared log width of a machine quantity to one side, for arrays and for columns of a table engine alike.

    Parameters
    ----------
    rate, side
        The quantity, and its low or high bound: the errors of one machine card move together, so that bounds are dot
        products with its low and high rates.
    """
    width = using.log(using.maximum(side, TINY)) - using.log(using.maximum(rate, TINY))
    return width * width


def bound(value: Any, machine_width: Any, place_width: Any, sign: Any, using: Mathematics) -> Any:
    """The low or high bound of an output, for arrays and for columns of a table engine alike.

    Machine and place are independent, so their widths combine as the root of the sum of squares, in logs.

    Parameters
    ----------
    value
        The output.
    machine_width, place_width
        Squared log widths of the machine quantity, and of the place's factor, to the same side.
    sign
        -1 for the low bound, 1 for the high one.
    """
    return value * using.exp(sign * using.sqrt(machine_width + place_width))


def apply(machine: MachineCard, place: PlaceCard, features: Array) -> Array:
    """All outputs of requests: shape (3, outputs, requests) for features of shape (features, requests).

    Axis 0 is value, low, high; see `bound`. A bound of zero stays zero; the upper bound of a factor whose value is zero
    multiplies the upper rate.
    """
    rates: Array = (machine.output_table @ features).reshape(3, len(OUTPUTS), -1)
    side = place.factors
    out = np.empty(rates.shape)
    out[0] = rates[0] * side.value
    out[1:] = bound(out[0], squared_width(rates[0], rates[1:], NUMPY), side.widths, _SIGNS, NUMPY)
    if side.high_of_zero is not None:
        out[2] += rates[2] * side.high_of_zero
    return out


def total_draws(
    machine: MachineCard, place: PlaceCard, features: Array, outputs: Iterable[str] = OUTPUT_NAMES
) -> dict[str, Array]:
    """Draws of outputs for summed features: errors are shared, they do not average out.

    Parameters
    ----------
    features
        Shape (features,), or (features, totals) for several totals at once.

    Returns
    -------
    dict
        Draws by output, shape (SIZE,) or (SIZE, totals).
    """
    needed = {name: OUTPUTS[name] for name in outputs}
    quantities = {quantity for quantity, _, _ in needed.values()}
    machine_side = {name: machine.quantity(name) @ features for name in quantities}
    ahead = (slice(None), None) if features.ndim > 1 else slice(None)
    return {
        name: machine_side[quantity] * ((place.draws[factor] * unit)[ahead] if factor else unit)
        for name, (quantity, factor, unit) in needed.items()
    }
