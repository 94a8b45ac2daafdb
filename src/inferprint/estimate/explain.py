"""The whole trail of a result: each number with its equation, its source and date, and why it was taken."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from inferprint.estimate.result import Result
from inferprint.provenance.trace import Entry
from inferprint.quantities import EQUATIONS, Range
from inferprint.rates import Level, equation_of_term
from inferprint.units import JOULES_PER_WH


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the calculation: what, by which equation and reference, from which numbers, with which result."""

    name: str
    equation: str
    reference: str
    numbers: str
    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """A result with everything that it rests on."""

    result: Result
    features: tuple[Step, ...]
    levels: tuple[Step, ...]
    terms: tuple[Step, ...]
    steps: tuple[Step, ...]

    @property
    def inputs(self) -> list[Entry]:
        """Every number and choice that went in, with its origin."""
        return self.result.trail

    def to_dict(self) -> dict[str, Any]:
        """The explanation as plain data, in the shape that `--json` prints."""
        return {
            "result": self.result.to_dict(),
            "inputs": [asdict(entry) for entry in self.inputs],
            "features": [asdict(step) for step in self.features],
            "levels": [asdict(step) for step in self.levels],
            "terms": [asdict(step) for step in self.terms],
            "steps": [asdict(step) for step in self.steps],
        }


def explain(result: Result) -> Explanation:
    """Lay open how a result came about, from the same cards that gave it."""
    terms = _terms(result)
    return Explanation(result, _features(result), _levels(result), terms, _steps(result, terms))


_FEATURE_EQUATIONS = {
    "prompt_pairs": "causal_pairs",
    "windowed_prompt_pairs": "windowed_causal_pairs",
    "output_context": "context_reads",
    "windowed_output_context": "windowed_context_reads",
}


def _step(name: str, function: str, numbers: str, value: float, unit: str) -> Step:
    text, reference = EQUATIONS.get(function, ("", ""))
    return Step(name, text, reference, numbers, value, unit)


def _features(result: Result) -> tuple[Step, ...]:
    """What was asked, as the counts that costs are linear in."""
    return tuple(
        _step(feature.name, _FEATURE_EQUATIONS.get(feature.name, ""), "", float(count), feature.unit)
        for feature, count in zip(result.machine.modality.features, result.features, strict=True)
        if count
    )


def _terms(result: Result) -> tuple[Step, ...]:
    """Each term of each form for the central case: ideal seconds, coefficient, and what the request's count gives."""
    counts = dict(zip((f.name for f in result.machine.modality.features), result.features, strict=True))
    found = []
    for detail in result.machine.draws.details:
        count = float(counts[detail.feature])
        if not count or not detail.ideal:
            continue
        unit = "J" if detail.level.power_w else "s"
        numbers = (
            f"{detail.ideal:.4g} per {detail.feature.removesuffix('s')} x {detail.coefficient:.4g} x "
            f"{detail.level.value:.4g} x {count:.6g}"
        )
        value = detail.ideal * detail.coefficient * detail.level.value * count
        text, reference = equation_of_term(detail.term)
        found.append(Step(f"{detail.form} {detail.term} ({detail.feature})", text, reference, numbers, value, unit))
    return tuple(found)


_LEVELS = {True: "level = exp(effects) G P_max x engine", False: "level = exp(effects) x engine"}
"""Equation of the level of a form that gives energy, and of one that gives seconds."""


def _levels(result: Result) -> tuple[Step, ...]:
    """What each form multiplies its weighted seconds by, taken apart."""
    return tuple(
        Step(f"{form} level", _LEVELS[bool(level.power_w)], "", _level_numbers(level), level.value, "")
        for form, level in {detail.form: detail.level for detail in result.machine.draws.details}.items()
    )


def _level_numbers(level: Level) -> str:
    """The parts of a level; a form that gives seconds has no power."""
    effects = " + ".join(f"{effect:g}" for effect in level.effects) or "0"
    power = f"{level.devices:g} devices x {level.power_w:g} W x " if level.power_w else ""
    return f"exp({effects}) x {power}engine ({level.engine:.4g})"


def _device_time(result: Result) -> str:
    """How the device time of a request came about."""
    if result.quality == "measured":
        return "t_s = measured time / B"
    if result.request.method != "default":
        return "t_s = duration / B"
    return "t_s = the duration form on the request's share of the batch"


def _steps(result: Result, terms: tuple[Step, ...]) -> tuple[Step, ...]:
    """From the accelerators to the impacts, central values."""
    draws, place = result.machine.draws, result.place.draws
    seconds = float(draws.seconds[0] @ result.features)
    part = {name: value.value for name, value in result.breakdown.items() if isinstance(value, Range)}
    accelerator, host, idle = (part[f"{name}_energy_wh"] for name in ("accelerator", "host", "idle"))
    it_wh = accelerator + host + idle
    by_terms = sum(term.value for term in terms if term.unit == "J")
    how = "median of the draws over the likely accelerators" if result.machine.mixed else ""
    pue, facility = float(place["energy"][0]), result.usage_energy_wh.value
    intensity = float(place["emissions"][0]) / pue
    site, grid = float(place["site_water"][0]), float(place["grid_water"][0]) / pue
    return (
        *((_step("energy by the terms", "weighted", "sum of the energy terms", by_terms, "J"),) if by_terms else ()),
        _step(
            "accelerator energy",
            "device_energy",
            how,
            accelerator * JOULES_PER_WH,
            "J",
        ),
        Step("device time", _device_time(result), "docs/method.md#device-time", "", seconds, "s"),
        _step("host energy", "host_energy", f"{draws.host_w[0]:.4g} W x {seconds:.4g} s", host, "Wh"),
        _step("idle energy", "idle_energy", f"{draws.idle_w[0]:.4g} W x {seconds:.4g} s", idle, "Wh"),
        Step(
            "IT energy",
            "E_IT = E_device + E_host + E_idle",
            "",
            f"{accelerator:.4g} + {host:.4g} + {idle:.4g}",
            it_wh,
            "Wh",
        ),
        _step("facility energy", "facility_energy", f"{pue:.4g} x {it_wh:.4g}", facility, "Wh"),
        _step(
            "greenhouse gas, location-based",
            "emissions",
            f"{facility / 1000:.4g} kWh x {intensity:.4g} g/kWh",
            result.usage_emissions_gco2e.value,
            "gCO2e",
        ),
        _step("site water", "site_water", f"{it_wh:.4g} Wh x {site:.4g} L/kWh", part["site_water_ml"], "mL"),
        _step("grid water", "grid_water", f"{facility:.4g} Wh x {grid:.4g} L/kWh", part["grid_water_ml"], "mL"),
        _step(
            "embodied emissions",
            "embodied_share",
            f"{draws.embodied_g[0]:.4g} g/s x {seconds:.4g} s",
            result.embodied_emissions_gco2e.value,
            "gCO2e",
        ),
        _step(
            "embodied water",
            "embodied_share",
            f"{draws.embodied_ml[0]:.4g} mL/s x {seconds:.4g} s",
            result.embodied_water_ml.value,
            "mL",
        ),
    )
