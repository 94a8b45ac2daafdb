"""What comes out: each quantity with its interval, its parts, and what it rests on."""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from math import isnan
from typing import Any

import numpy as np

from inferprint._version import __version__
from inferprint.estimate.media import DEFAULTS, holds_media, media_of
from inferprint.estimate.request import FIELDS, Request
from inferprint.provenance.trace import Entry, Trail
from inferprint.quantities import BREAKDOWN, RESULTS, TWO_TERM, Range, Tier
from inferprint.rates import OUTPUT_NAMES, MachineCard, PlaceCard, total_draws
from inferprint.rates.draws import Array, Sources, bounds
from inferprint.units import MS_PER_S

_POSITION = {name: i for i, name in enumerate(OUTPUT_NAMES)}

MOST_TOKENS_PER_STEP = 8
"""Tokens that drafting accepts in one step at the very most."""

NOISE_SIGMAS = 3.0
"""Standard deviations of what chance explains, below which a share is left out."""


class Result:
    """The impact of one request (or of a row that stands for several).

    Every quantity is a `Range`: value, low and high of its 95 % interval, in the unit of its name; None where it is
    unknown. See `inferprint.quantities.RESULTS` for meanings and boundaries.
    """

    def __init__(
        self,
        request: Request,
        catalogue_version: str,
        machine: MachineCard,
        place: PlaceCard,
        features: Array,
        outputs: Array,
    ) -> None:
        self.request = request
        self.machine = machine
        self.place = place
        self.features = features
        self._catalogue_version = catalogue_version
        self._rows: list[list[float]] = outputs.T.tolist()

    def range(self, name: str) -> Range | None:
        """A quantity by its name, None where it is unknown."""
        row = self._rows[_POSITION[name]]
        return None if isnan(row[0]) else Range._make(row)

    def _known(self, name: str) -> Range:
        return Range._make(self._rows[_POSITION[name]])

    @property
    def duration_ms(self) -> Range:
        """Time from the start of the prompt to the last token, without queue and network [ms]."""
        return self._known("duration_ms")

    @property
    def usage_energy_wh(self) -> Range:
        """Electricity: accelerators, host, idle share, facility [Wh]."""
        return self._known("usage_energy_wh")

    @property
    def usage_emissions_gco2e(self) -> Range:
        """Greenhouse gas of that electricity, location-based [gCO2e]."""
        return self._known("usage_emissions_gco2e")

    @property
    def usage_emissions_market_gco2e(self) -> Range | None:
        """The same by contract or residual mix [gCO2e]; None where neither is known."""
        return self.range("usage_emissions_market_gco2e")

    @property
    def usage_water_ml(self) -> Range:
        """Water consumed on site and by power generation [mL]."""
        return self._known("usage_water_ml")

    @property
    def embodied_emissions_gco2e(self) -> Range:
        """Share of the manufacture of accelerators and host [gCO2e]."""
        return self._known("embodied_emissions_gco2e")

    @property
    def embodied_water_ml(self) -> Range:
        """Share of the water of that manufacture [mL]."""
        return self._known("embodied_water_ml")

    @property
    def breakdown(self) -> dict[str, Range | None]:
        """The parts of energy and water."""
        return {quantity.name: self.range(quantity.name) for quantity in BREAKDOWN}

    @property
    def two_term(self) -> dict[str, Range]:
        """Duration and energy by the two-term form, for comparison."""
        return {quantity.name: self._known(quantity.name) for quantity in TWO_TERM}

    @property
    def operating_point(self) -> dict[str, Range]:
        """Devices of the replica that served the request, and requests that shared its steps."""
        draws = self.machine.draws
        points = {"replica_gpu_count": draws.devices, "batch_size": draws.batch}
        return {name: Range(*(float(bound) for bound in bounds(values))) for name, values in points.items()}

    @property
    def quality(self) -> Tier:
        """Data-quality tier of the result."""
        return self.machine.tier

    @property
    def trail(self) -> list[Entry]:
        """Every number and choice that the result rests on."""
        return [*self.machine.trail.entries, *self.place.trail.entries, *self._of_the_work.entries]

    @property
    def assumptions(self) -> list[Entry]:
        """What nobody stated."""
        return [*self.machine.trail.assumptions, *self.place.trail.assumptions, *self._of_the_work.assumptions]

    @cached_property
    def _of_the_work(self) -> Trail:
        """What the amount of work rests on, beside what was stated."""
        return work_trail(self.request, self.machine)

    @property
    def warnings(self) -> list[str]:
        """What the reader should know before using the numbers."""
        return [*context_warnings(self.request, self.machine), *self.machine.trail.warnings, *self.place.trail.warnings]

    @cached_property
    def uncertainty(self) -> dict[str, float]:
        """Share of each source in the spread of usage_emissions_gco2e, largest first (see `uncertainty_of`)."""
        return uncertainty_of(self.machine, self.place, self.features, "usage_emissions_gco2e")

    @property
    def largest_uncertainty(self) -> str | None:
        """The source that contributes most to the spread; None where there is none."""
        return next(iter(self.uncertainty), None)

    @property
    def versions(self) -> dict[str, str]:
        """Versions of the software and of the data."""
        return {
            "inferprint": __version__,
            "catalogue": self._catalogue_version,
            "method": self.request.method,
            "coefficients": self.machine.coefficients,
        }

    def to_dict(self) -> dict[str, Any]:
        """The result as plain data, in the shape that `--json` prints."""
        return {
            "request": stated_fields(self.request),
            "model": self.machine.model,
            **{quantity.name: as_dict(self.range(quantity.name)) for quantity in RESULTS},
            "breakdown": {name: as_dict(value) for name, value in self.breakdown.items()},
            "two_term": {name: as_dict(value) for name, value in self.two_term.items()},
            "operating_point": {name: as_dict(value) for name, value in self.operating_point.items()},
            "quality": self.quality,
            "largest_uncertainty": self.largest_uncertainty,
            "uncertainty": self.uncertainty,
            "assumptions": [asdict(entry) for entry in self.assumptions],
            "warnings": self.warnings,
            "versions": self.versions,
        }

    def __repr__(self) -> str:
        energy, gas = self.usage_energy_wh, self.usage_emissions_gco2e
        return (
            f"Result({self.machine.model}: {energy.value:.3g} Wh [{energy.low:.3g}, {energy.high:.3g}], "
            f"{gas.value:.3g} gCO2e [{gas.low:.3g}, {gas.high:.3g}])"
        )


def as_dict(value: Range | None) -> dict[str, float] | None:
    """A range as plain data."""
    return None if value is None else {"value": value.value, "low": value.low, "high": value.high}


def stated_fields(request: Request) -> dict[str, Any]:
    """The fields of a request as they were given, without what was not."""
    values = {name: getattr(request, name) for name in FIELDS}
    return {
        name: v for name, v in values.items() if v not in (None, ()) and (name not in DEFAULTS or v != DEFAULTS[name])
    }


def work_trail(request: Request, machine: MachineCard) -> Trail:
    """What was assumed and derived about the work of a request: its model, its tokens, its pictures and sound."""
    work, trail = media_of(request), Trail()
    if request.model_id is None:
        why = f"no model stated: the class model of the task '{request.task}'"
        trail.add("model_id", machine.model, "", "assumed", why)
    entries = machine.media.entries(work)
    silent = request.output_tokens is None and "output_tokens" not in (entry.field for entry in entries)
    if silent and machine.media.needs_output_tokens and holds_media(work):
        trail.add("output_tokens", 0.0, "tokens", "assumed", "none stated: what is given is read, and nothing answered")
    trail.entries += entries
    return trail


def context_warnings(request: Request, machine: MachineCard) -> list[str]:
    """Warnings about the amount of work itself."""
    found = []
    tokens = ((request.input_tokens or 0.0) + (request.output_tokens or 0.0)) / request.n_requests
    if machine.context_length is not None and tokens > machine.context_length:
        found.append(
            f"{tokens:g} tokens exceed the context length of {machine.model} ({machine.context_length}): "
            "estimated as if it took them"
        )
    measured = _measured_per_token(request)
    if measured is not None and measured < machine.fastest_s_per_token / MOST_TOKENS_PER_STEP:
        found.append(
            f"the measured {measured * MS_PER_S:.3g} ms per output token is less than the memory of the hardware "
            f"allows ({machine.fastest_s_per_token * MS_PER_S:.3g} ms to read the weights): check unit and hardware"
        )
    if request.n_requests > 1:
        found.append("the row stands for several requests: mean lengths are used, which hides long prompts")
    return found


def _measured_per_token(request: Request) -> float | None:
    """A measured time over the output tokens of one request [s]."""
    if request.time_per_output_token_ms is not None:
        return request.time_per_output_token_ms / MS_PER_S
    if request.request_duration_ms is None or not request.output_tokens:
        return None
    return request.request_duration_ms / MS_PER_S / (request.output_tokens / request.n_requests)


def uncertainty_of(machine: MachineCard, place: PlaceCard, features: Array, output: str) -> dict[str, float]:
    """Share of each uncertain input in the spread of an output, largest first (see `uncertainty_shares`)."""
    return uncertainty_shares(total_draws(machine, place, features)[output], {**machine.sources, **place.sources})


def uncertainty_shares(output: Array, sources: Sources) -> dict[str, float]:
    """Share of each uncertain input in the spread of draws of an output, largest first.

    The share is the first-order one: the part of the variance of the log output that the input explains alone, by a
    parabola in its standard-normal draws, or by its cases where it is a choice; less what chance would explain. Inputs
    of the same "what" are added up. What chance could explain is left out, and shares need not sum to 1: the rest is
    interaction.

    Parameters
    ----------
    output
        Draws of the output, shape (SIZE,), element 0 central; any unit.
    sources
        Draws of every uncertain input, by "what:which": standard-normal, or indices of a choice.
    """
    draws = np.log(np.maximum(output[1:], np.finfo(float).tiny))
    spread = float(np.var(draws))
    if not spread:
        return {}
    shares: dict[str, float] = {}
    freedom: dict[str, int] = {}
    for source, values in sources.items():
        name = source.split(":")[0]
        explained, terms = _explained(draws, values[1:])
        shares[name] = shares.get(name, 0.0) + explained / spread - terms / draws.size
        freedom[name] = freedom.get(name, 0) + terms
    # Chance correlations between the draws of inputs can bring the sum above the whole.
    whole = max(sum(share for share in shares.values() if share > 0), 1.0)
    ranked = sorted(((name, share / whole) for name, share in shares.items()), key=lambda item: -item[1])
    noise = {name: NOISE_SIGMAS * np.sqrt(2 * terms) / draws.size for name, terms in freedom.items()}
    return {name: round(share, 4) for name, share in ranked if share > noise[name]}


def _explained(draws: Array, values: Any) -> tuple[float, int]:
    """Variance of `draws` that an input explains, and the number of terms that it took."""
    if values.dtype.kind == "i":
        cases = np.unique(values)
        means = [(np.mean(values == case), draws[values == case].mean()) for case in cases]
        return float(sum(weight * (mean - draws.mean()) ** 2 for weight, mean in means)), len(cases) - 1
    centred = draws - draws.mean()
    # The first two Hermite polynomials are uncorrelated over the strata.
    terms = (values, values**2 - np.mean(values**2))
    return float(sum(np.mean(centred * term) ** 2 / np.mean(term**2) for term in terms)), len(terms)
