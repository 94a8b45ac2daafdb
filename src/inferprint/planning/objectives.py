"""What a plan makes small or large, what may limit it, and how each is computed from two cards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from inferprint.rates import MachineCard
from inferprint.rates.by_batch import time_per_output_token, time_to_first_token
from inferprint.rates.draws import Array
from inferprint.units import MS_PER_S, SECONDS_PER_HOUR


@dataclass(frozen=True, slots=True)
class Objective:
    """Something to make small, or large where `sign` is -1: its column, and how tables head it."""

    name: str
    column: str
    head: str
    unit: str
    meaning: str
    sign: float = 1.0


OBJECTIVES = {
    objective.name: objective
    for objective in (
        Objective("energy", "usage_energy_wh", "energy", "Wh", "electricity of a request"),
        Objective("carbon", "carbon_gco2e", "carbon", "gCO2e", "greenhouse gas, of electricity and manufacture"),
        Objective("time-per-output-token", "time_per_output_token_ms", "per token", "ms", "time per output token"),
        Objective("water", "water_ml", "water", "mL", "water, of electricity, site and manufacture"),
        Objective("cost", "cost_usd", "cost", "USD", "device hours of a request at --usd-per-gpu-hour"),
        Objective("throughput", "tokens_per_s_per_device", "per device", "tokens/s", "output tokens of a device", -1.0),
        Objective("ttft", "ttft_ms", "first token", "ms", "time to the first token"),
        Objective("memory", "memory_gb", "memory", "GB", "memory in use on the replica"),
        Objective("devices", "devices", "devices", "", "devices of the replica, with those that compute its prompts"),
    )
}

DEFAULT_OBJECTIVES = ("energy", "carbon", "time-per-output-token")

OUTPUTS_OF_COLUMNS = (
    "duration_ms",
    "usage_energy_wh",
    "usage_emissions_gco2e",
    "embodied_emissions_gco2e",
    "usage_water_ml",
    "embodied_water_ml",
)
"""Outputs of an estimate that the columns of a plan are made of."""


@dataclass(frozen=True, slots=True)
class Served:
    """What a replica is asked: features of one request, its answer [tokens], and what of the engine decides the wait.

    `steps` is how many decode steps a first token waits for; `usd_per_hour` the price of a device, NaN where unknown.
    """

    features: Array
    output_tokens: float
    steps: float
    usd_per_hour: float


def columns(card: MachineCard, outputs: Mapping[str, Any], served: Served) -> dict[str, Array]:
    """Every column of a plan from the outputs of an estimate; draws, or batches in their place, along the first axis.

    A replica serves as many requests as their device seconds leave room for. Where other devices compute prompts, those
    that answer set the pace, and there are as many of the others as it takes. A request is charged its share of the
    devices' time, busy and idle.
    """
    draws, f = card.draws, served.features
    per_token = time_per_output_token(card, f, served.output_tokens)
    first = time_to_first_token(card, f, served.output_tokens, served.steps)
    decode = np.array([feature.part != "prefill" for feature in card.modality.features])
    seconds = draws.seconds @ f
    pacing = np.where(draws.prompt_devices > 0, draws.seconds @ (f * decode), seconds)
    requests_per_s = draws.devices / draws.timed_devices / np.where(pacing > 0, pacing, np.nan)
    tokens_per_s = requests_per_s * served.output_tokens
    matched = requests_per_s * seconds * draws.timed_devices
    devices = np.where(draws.prompt_devices > 0, matched, draws.devices)
    device_seconds = draws.timed_devices * seconds / draws.active_share
    return {
        **outputs,
        "carbon_gco2e": outputs["usage_emissions_gco2e"] + outputs["embodied_emissions_gco2e"],
        "water_ml": outputs["usage_water_ml"] + outputs["embodied_water_ml"],
        "time_per_output_token_ms": per_token * MS_PER_S,
        "ttft_ms": first * MS_PER_S,
        "tokens_per_s": tokens_per_s,
        "tokens_per_s_per_device": tokens_per_s / devices,
        "devices": devices,
        "cost_usd": device_seconds / SECONDS_PER_HOUR * served.usd_per_hour,
    }


@dataclass(frozen=True, slots=True)
class Limit:
    """A constraint: its field, the column that it bounds, that column's unit, and the sense (-1 bounds from below)."""

    field: str
    column: str
    unit: str
    sign: float = 1.0

    def kept(self, values: Array, bound: float) -> Any:
        """Which values keep the bound; an unknown one does not."""
        return self.sign * values <= self.sign * bound


LIMITS = (
    Limit("max_time_per_output_token_ms", "time_per_output_token_ms", "ms"),
    Limit("max_ttft_ms", "ttft_ms", "ms"),
    Limit("max_memory_gb", "memory_gb", "GB"),
    Limit("max_devices", "devices", "devices"),
    Limit("min_tokens_per_s", "tokens_per_s", "tokens/s", -1.0),
)
