"""How many nodes a load takes, how busy they are, and what a day of them costs the world.

Replicas are alike and always powered; requests spread over them evenly and come at random. A replica with f requests
in it on average holds at least one for a share 1 - exp(-f) of the time (its active share), and while it does, a batch
of f / (1 - exp(-f)). Both go to the cards that every estimate uses; what they attribute to all requests together is
what the nodes draw.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from inferprint._version import __version__
from inferprint.catalogue import resolve_gpu, resolve_node
from inferprint.errors import DoesNotFit, InvalidInput, LimitNotMet
from inferprint.estimate import Estimator, Request
from inferprint.estimate.estimate import machine_setup, place_setup
from inferprint.estimate.request import validated
from inferprint.estimate.result import as_dict
from inferprint.planning.load import HOURS, LENGTHS, Array, Load
from inferprint.quantities import Range
from inferprint.rates import MachineSetup, total_draws
from inferprint.rates.by_batch import ByBatch, rates_by_batch
from inferprint.rates.draws import bounds
from inferprint.rates.hosting import on_a_desk
from inferprint.techniques.apply import parse
from inferprint.units import JOULES_PER_KWH, MS_PER_S, SECONDS_PER_HOUR

OUTPUTS = {
    "usage_energy_kwh": ("usage_energy_wh", 1e-3),
    "usage_emissions_kgco2e": ("usage_emissions_gco2e", 1e-3),
    "usage_water_l": ("usage_water_ml", 1e-3),
    "embodied_emissions_kgco2e": ("embodied_emissions_gco2e", 1e-3),
    "embodied_water_l": ("embodied_water_ml", 1e-3),
}
"""What a day costs: the output of the cards that it sums, and the factor to its unit."""


SERVER, ALONE = "vllm", "llama.cpp"
"""Engines of a fleet of devices that usually stand on a desk: for several requests at a time, and for one."""

STEP = 5e-4
"""Step by which a batch is raised that is too small by the error of an interpolation."""

MOST_ACTIVE = 1 - 1e-9
"""Active share of a replica that is never without a request."""

MARGIN = 1e-4
"""Share of the capacity beyond a full one that counts as full: the same error."""


@dataclass(frozen=True, slots=True)
class Level:
    """One level of the load: how replicas run under it.

    Attributes
    ----------
    hours
        Hours of it.
    batch_size, active_share
        Requests per step while a replica has any; share of the time in which it has.
    time_per_output_token_ms, time_to_first_token_ms
        Of a request of mean length [ms].
    attributed_kwh, drawn_kwh
        IT energy that the cards give the requests, and that the nodes draw, in these hours [kWh].
    """

    requests_per_second: float
    hours: float
    batch_size: float
    active_share: float
    time_per_output_token_ms: float
    time_to_first_token_ms: float
    attributed_kwh: float
    drawn_kwh: float


@dataclass(frozen=True, slots=True)
class Fleet:
    """A fleet and what a mean day of it costs.

    Attributes
    ----------
    nodes, replicas, devices_per_replica, devices_per_node
        What is powered all day.
    max_batch_size
        Requests per step up to which a replica keeps the limits and fits.
    levels
        From the quietest to the busiest.
    per_day
        `OUTPUTS`, and usage_emissions_market_kgco2e where known, each with its interval.
    cost_usd_per_day
        None where no price was given.
    warnings
        What the reader should know.
    """

    model: str
    nodes: int
    replicas: int
    devices_per_replica: int
    devices_per_node: int
    max_batch_size: float
    load: Load
    levels: tuple[Level, ...]
    per_day: dict[str, Range]
    cost_usd_per_day: float | None
    warnings: tuple[str, ...]
    versions: dict[str, str]

    @property
    def active_share(self) -> float:
        """Mean share of the time in which a replica has a request."""
        hours = np.array([level.hours for level in self.levels])
        return float(np.array([level.active_share for level in self.levels]) @ hours / hours.sum())

    def to_dict(self) -> dict[str, Any]:
        """As plain data, in the shape that `--json` prints."""
        return {
            "model": self.model,
            "nodes": self.nodes,
            "replicas": self.replicas,
            "devices_per_replica": self.devices_per_replica,
            "devices_per_node": self.devices_per_node,
            "max_batch_size": self.max_batch_size,
            "active_share": self.active_share,
            "requests_per_day": self.load.requests / self.load.days,
            "load": {f"mean_{name}": self.load.mean(name) for name in LENGTHS}
            | {"days": self.load.days, "peak_assumed": self.load.peak_assumed},
            "levels": [{name: getattr(level, name) for name in Level.__dataclass_fields__} for level in self.levels],
            "per_day": {name: as_dict(value) for name, value in self.per_day.items()},
            "cost_usd_per_day": self.cost_usd_per_day,
            "warnings": list(self.warnings),
            "versions": self.versions,
        }


def fleet(
    load: Load,
    request: Request,
    estimator: Estimator | None = None,
    *,
    headroom: float = 0.0,
    usd_per_gpu_hour: float | None = None,
) -> Fleet:
    """The fewest nodes that serve a load within limits, and what a mean day of them costs.

    Parameters
    ----------
    request
        Model, accelerator or node, formats, techniques, place and limits; its token counts are not read. A
        `batch_size` is the most that a replica takes; `active_share` follows from the load.
    headroom
        Share of the capacity that is kept free in the busiest hour, 0 to below 1.
    usd_per_gpu_hour
        Price of a powered device.

    Raises
    ------
    InferprintError
        As `Estimator.estimate`; LimitNotMet where not even one request at a time keeps a limit.
    """
    estimator = estimator or Estimator()
    if not 0 <= headroom < 1:
        raise InvalidInput("headroom", f"{headroom:g} is not a share", hint="0 to below 1.")
    if usd_per_gpu_hour is not None and not 0 < usd_per_gpu_hour < np.inf:
        raise InvalidInput("usd_per_gpu_hour", f"{usd_per_gpu_hour:g} is no price", hint="Above 0.")
    setup = _setup(load, request, estimator)
    sized = _smallest(load, request, setup, estimator, headroom)
    found = sized.rates
    setup = replace(setup, replica_gpu_count=int(found.devices))
    features = mean_features(found, load)
    levels, totals = [], dict[str, Array]()
    for rate, hours in zip(load.requests_per_second, load.hours, strict=True):
        batch = min(_batch(rate / sized.replicas, found, sized.busy), sized.most)
        point = float(rate), float(hours), batch, sized
        level, outputs = _served(estimator, request, setup, features, point)
        levels.append(_with_times(level, found))
        totals = {name: totals.get(name, 0.0) + draws for name, draws in outputs.items()}
    paid = sized.nodes * found.node_devices
    return Fleet(
        model=found.card.model,
        nodes=sized.nodes,
        replicas=sized.replicas,
        devices_per_replica=int(found.devices),
        devices_per_node=found.node_devices,
        max_batch_size=sized.most,
        load=load,
        levels=tuple(levels),
        per_day=_per_day(totals, load.days),
        cost_usd_per_day=None if usd_per_gpu_hour is None else paid * HOURS * usd_per_gpu_hour,
        warnings=tuple(_warnings(sized, load, request, setup)),
        versions={"inferprint": __version__, "catalogue": estimator.catalogue.version},
    )


@dataclass(frozen=True, slots=True)
class _Sized:
    """Nodes for a load with replicas of one size.

    `busy` are the seconds for which a request occupies a replica, by batch; `most` the largest batch, `left` the
    devices of the nodes that hold no replica.
    """

    rates: ByBatch
    busy: Array
    most: float
    nodes: int
    replicas: int
    left: int

    @property
    def key(self) -> tuple[float, float]:
        """What is compared: nodes, then device time of a request in the largest batch."""
        return self.nodes, float(np.interp(self.most, self.rates.batches, self.busy)) * self.rates.devices


def _smallest(load: Load, request: Request, setup: MachineSetup, estimator: Estimator, headroom: float) -> _Sized:
    """The fewest nodes: with the stated replica, or with the size of replica that takes the fewest devices.

    Raises
    ------
    LimitNotMet, DoesNotFit
        No size serves the load.
    """
    first = rates_by_batch(estimator.catalogue, setup)
    laid_out = any(technique.stage == "layout" for technique, _ in parse(setup.techniques))
    free = request.replica_gpu_count is None and not laid_out
    most = min(first.node_devices, request.gpu_count or first.node_devices)
    sizes = [int(first.devices)]
    while free and sizes[-1] * 2 <= most:
        sizes.append(sizes[-1] * 2)
    best: _Sized | None = None
    refused: DoesNotFit | LimitNotMet | None = None
    for size in sizes:
        try:
            found = (
                first
                if size == first.devices
                else rates_by_batch(estimator.catalogue, replace(setup, replica_gpu_count=size))
            )
            sized = _sized(found, load, request, headroom)
        except (DoesNotFit, LimitNotMet) as error:
            refused = error if refused is None or not isinstance(error, DoesNotFit) else refused
            continue
        if best is None or sized.key < best.key:
            best = sized
    if best is None:
        raise refused or InvalidInput("model_id", "no replica serves the load")
    return best


def _sized(found: ByBatch, load: Load, request: Request, headroom: float) -> _Sized:
    """Nodes for a load with replicas as in `found`."""
    if found.fits < 1:
        message = f"{found.card.model} leaves no memory for a request of mean length on {found.devices:g} devices"
        raise DoesNotFit(
            message,
            needed_bytes=float(found.memory_bytes[0]),
            available_bytes=found.usable_bytes,
            hint="Use more or larger devices (--replica-gpu-count, --node) or fewer bits (--precision).",
        )
    draws = found.card.draws
    if draws.prompt_devices[0] > 0:
        hint = "`inferprint plan` compares it; leave it out to size a fleet."
        raise InvalidInput("techniques", "disaggregation: a fleet of two kinds of replica is not sized", hint=hint)
    # The stages of a pipeline serve other requests at the same time.
    busy = found.per_request("device_time", mean_features(found, load)) * draws.timed_devices / draws.devices
    most = _largest_batch(found, request)
    needed = float(load.requests_per_second.max()) * float(np.interp(most, found.batches, busy)) / (1 - headroom)
    replicas = max(int(np.ceil(needed * (1 + MARGIN))), 1)
    per_node = int(found.node_devices // found.devices)
    if per_node:
        nodes = int(np.ceil(replicas / per_node))
        return _Sized(found, busy, most, nodes, nodes * per_node, found.node_devices - per_node * int(found.devices))
    spans = int(np.ceil(found.devices / found.node_devices))
    left = spans * found.node_devices - int(found.devices)
    return _Sized(found, busy, most, replicas * spans, replicas, left)


def _setup(load: Load, request: Request, estimator: Estimator) -> MachineSetup:
    """The machine of a request, with the mean lengths of the load as those of the others in a batch.

    What stands on a desk serves one request at a time where nobody says otherwise; a fleet of it runs a server.
    """
    for name in ("active_share", "time_per_output_token_ms", "request_duration_ms"):
        if getattr(request, name) is not None:
            raise InvalidInput(name, "follows from the load of a fleet", hint="Leave it out.")
    if not load.mean("output_tokens"):
        raise InvalidInput("output_tokens", "requests without answers", hint="A fleet is sized by its answers.")
    free = replace(request, batch_size=None, max_time_per_output_token_ms=None, max_ttft_ms=None)
    lengths = (load.mean("input_tokens"), load.mean("output_tokens"), 0.0)
    setup = replace(machine_setup(validated(free)), traffic=lengths)
    if setup.engine is None and _on_desk(setup, estimator):
        setup = replace(setup, engine=ALONE if request.batch_size == 1 else SERVER)
    return setup


def _on_desk(setup: MachineSetup, estimator: Estimator) -> bool:
    """Whether the machine usually serves one request at a time."""
    catalogue = estimator.catalogue
    if setup.node_id is not None:
        return resolve_node(catalogue, setup.node_id).cloud == "local"
    return setup.gpu_id is not None and on_a_desk(resolve_gpu(catalogue, setup.gpu_id))


def mean_features(found: ByBatch, load: Load) -> Array:
    """Mean features of the load's requests, shape (features,)."""
    size = load.lengths["input_tokens"].size
    work: dict[str, Any] = {**load.lengths, "n_requests": 1.0, "media_prompts": 0.0, "measured_seconds": 0.0}
    columns = found.card.modality.count(work, found.card.window, np.minimum)
    return np.array([np.broadcast_to(column, (size,)).mean() for column in columns])


def _largest_batch(found: ByBatch, request: Request) -> float:
    """The most requests per step that fit and keep the limits.

    Raises
    ------
    LimitNotMet
        One request alone exceeds a limit.
    """
    allowed = found.batches <= (request.batch_size or np.inf)
    limits = (
        ("max_time_per_output_token_ms", request.max_time_per_output_token_ms, found.time_per_output_token_s),
        ("max_ttft_ms", request.max_ttft_ms, found.time_to_first_token_s),
    )
    for name, limit_ms, times in limits:
        if limit_ms is None:
            continue
        if times[0] * MS_PER_S > limit_ms:
            nearest = float(times[0]) * MS_PER_S
            message = f"{limit_ms:.3g} ms is below the {nearest:.3g} ms of one request alone"
            hint = f"Nearest: {nearest:.3g} ms. Use more or faster devices, fewer bits, or drafts."
            raise LimitNotMet(name, message, nearest_ms=nearest, hint=hint)
        allowed &= times * MS_PER_S <= limit_ms
    return float(found.batches[allowed].max())


def _batch(rate: float, found: ByBatch, busy: Array) -> float:
    """Requests in a step while a replica has any, at `rate` requests/s of a replica that come at random.

    `busy` are the device seconds of a request at each batch: rate x busy x batch requests are there on average.
    """
    present = rate * busy * found.batches
    gap = present / -np.expm1(-present) - found.batches
    if not np.any(gap <= 0):
        return float(found.batches[-1])
    after = int(np.argmax(gap <= 0))
    before = max(after - 1, 0)
    weight = gap[before] / (gap[before] - gap[after]) if gap[before] > gap[after] else 0.0
    return float(found.batches[before] ** (1 - weight) * found.batches[after] ** weight)


def _served(
    estimator: Estimator,
    request: Request,
    setup: MachineSetup,
    features: Array,
    point: tuple[float, float, float, _Sized],
) -> tuple[Level, dict[str, Array]]:
    """A level of the load by the ordinary cards, and draws of its outputs over its hours."""
    rate, hours, batch, sized = point
    replicas = sized.replicas
    seconds, requests = hours * SECONDS_PER_HOUR, rate * hours * SECONDS_PER_HOUR
    batch, busy = _exact(estimator, setup, features, (batch, sized.most), replicas / rate)
    share = min(rate * busy / replicas, MOST_ACTIVE)
    machine = estimator.machine(replace(setup, batch_size=batch, active_share=share))
    draws = machine.draws
    # What a replica draws while it has requests, and while it has none [W].
    stages = float(draws.devices[0] / draws.timed_devices[0])
    working = float(draws.energy[0] @ features) / busy + stages * float(draws.host_w[0])
    level = Level(
        requests_per_second=rate,
        hours=hours,
        batch_size=batch,
        active_share=share,
        time_per_output_token_ms=0.0,
        time_to_first_token_ms=0.0,
        attributed_kwh=float(machine.quantity("it_energy")[0] @ features) * requests / JOULES_PER_KWH,
        drawn_kwh=replicas * seconds * (share * working + (1 - share) * sized.rates.idle_w) / JOULES_PER_KWH,
    )
    return level, total_draws(machine, estimator.place(place_setup(request, machine)), features * requests)


def _exact(
    estimator: Estimator, setup: MachineSetup, features: Array, batches: tuple[float, float], most: float
) -> tuple[float, float]:
    """The batch, and the seconds for which a request in it occupies a replica: below `most`, as none is always busy.

    The batch was read between two points of a curve, which may put it on the other side by a hair. It never exceeds the
    second of `batches`: then requests wait for each other.
    """
    batch, largest = batches
    while True:
        machine = estimator.machine(replace(setup, batch_size=batch, active_share=1.0))
        stages = machine.draws.devices[0] / machine.draws.timed_devices[0]
        busy = float(machine.quantity("device_time")[0] @ features / stages)
        if busy < most or batch >= largest:
            return batch, busy
        batch = min(batch * (1 + STEP), largest)


def _with_times(level: Level, found: ByBatch) -> Level:
    times = [
        float(np.interp(level.batch_size, found.batches, column)) * MS_PER_S
        for column in (found.time_per_output_token_s, found.time_to_first_token_s)
    ]
    return replace(level, time_per_output_token_ms=times[0], time_to_first_token_ms=times[1])


def _per_day(totals: dict[str, Array], days: float) -> dict[str, Range]:
    """Outputs of a mean day, each with its interval; what is unknown is left out."""
    known = dict(OUTPUTS)
    if not np.isnan(totals["usage_emissions_market_gco2e"][0]):
        known["usage_emissions_market_kgco2e"] = ("usage_emissions_market_gco2e", 1e-3)
    found = {}
    for name, (output, factor) in known.items():
        value, low, high = bounds(totals[output] * factor / days)
        found[name] = Range(float(value), float(low), float(high))
    return found


def _warnings(sized: _Sized, load: Load, request: Request, setup: MachineSetup) -> list[str]:
    warnings = [text for text in sized.rates.card.trail.warnings if "exceed the memory" not in text]
    if sized.left:
        what = "of each node" if sized.rates.devices <= sized.rates.node_devices else "of the nodes of each replica"
        warnings.append(f"{sized.left} devices {what} hold no replica: paid for; what they draw is left out")
    if setup.engine != request.engine:
        warnings.append(f"several requests at a time need a server: {setup.engine} is assumed; --engine states another")
    if load.days < 1:
        hours = load.days * HOURS
        warnings.append(f"the load covers {hours:.3g} hours: a day of it is taken to go on like that")
    if load.peak_assumed:
        warnings.append("how the load varies over the day is assumed: --peak-requests-per-second or --log states it")
    return warnings
