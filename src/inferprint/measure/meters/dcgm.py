"""Meters behind an address of Prometheus metrics: an exporter of DCGM, or any other of power or energy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlunsplit

from inferprint.errors import MeterProblem
from inferprint.measure.meters.base import BOUNDARIES, Boundary, Meter, MeterKind
from inferprint.measure.meters.counted import CounterMeter
from inferprint.measure.meters.integrated import Power, PowerMeter
from inferprint.measure.scrape import address, fetch, values_of
from inferprint.units import JOULES_PER_KWH, JOULES_PER_WH
from inferprint.usage.prometheus import Series, Value

DCGM_ENERGY, DCGM_POWER = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "DCGM_FI_DEV_POWER_USAGE"

JOULES: Mapping[str, float] = {
    "J": 1.0,
    "mJ": 1e-3,
    "uJ": 1e-6,
    "kJ": 1e3,
    "Wh": JOULES_PER_WH,
    "kWh": JOULES_PER_KWH,
}
WATTS: Mapping[str, float] = {"W": 1.0, "mW": 1e-3, "uW": 1e-6, "kW": 1e3}
UNIT_OF_ENDING: Mapping[str, str] = {
    "_joules_total": "J",
    "_joules": "J",
    "_watts": "W",
    "_milliwatts": "mW",
    "_microwatts": "uW",
    "_kwh": "kWh",
    "_wh": "Wh",
}
"""Unit of a metric by how its name ends, as Prometheus recommends it."""

DEVICE_LABELS = ("UUID", "uuid", "gpu", "device")
"""Labels of which the first that is there tells devices apart; others tell who uses a part of one."""

HOST_LABELS = ("Hostname", "hostname", "instance")
POLL_S = 0.5
FINEST_S = 0.2


@dataclass(frozen=True, slots=True)
class Source:
    """What is read from where.

    Attributes
    ----------
    url
        Address, without what was for us.
    metric, factor
        Series to read, and what one of its unit is in [J] or [W].
    only
        Labels of the series to read, each with its values.
    devices
        Whether series of one device are that device several times, as exporters repeat it for each of its users.
    """

    url: str
    metric: str
    factor: float
    only: tuple[tuple[str, frozenset[str]], ...]
    devices: bool

    def values(self) -> tuple[float, dict[str, float]]:
        """Moment, and power [W] or energy [J] by device.

        Raises
        ------
        MeterProblem
            The address does not answer, or has none of it.
        """
        moment, text = fetch(self.url)
        return moment, self.found(text)

    def found(self, text: str) -> dict[str, float]:
        """Power [W] or energy [J] by device, in the text of a scrape."""
        values: dict[str, float] = {}
        for value in values_of(text, self.metric):
            if self._is_asked(value):
                key = device_of(value.series) if self.devices else str(value.series.labels)
                values[key] = max(values.get(key, -math.inf), value.value * self.factor)
        if not values:
            chosen = "".join(f", {label}={','.join(sorted(these))}" for label, these in self.only)
            raise MeterProblem(f"{self.url} has no {self.metric}{chosen}", hint="Look at the address in a browser.")
        for label, these in self.only:
            there = {dict(value.series.labels).get(label) for value in values_of(text, self.metric)}
            if these - there:
                raise MeterProblem(f"{self.url} has no {self.metric} with {label}={','.join(sorted(these - there))}")
        return values

    def _is_asked(self, value: Value) -> bool:
        labels = dict(value.series.labels)
        return all(labels.get(label) in these for label, these in self.only)


def device_of(series: Series) -> str:
    """Which device a series is about."""
    labels = dict(series.labels)
    device = next((labels[name] for name in DEVICE_LABELS if name in labels), "")
    host = next((labels[name] for name in HOST_LABELS if name in labels), "")
    return f"{host} {device}".strip()


def _open_dcgm(argument: str) -> Meter:
    """The devices of a DCGM exporter: by their energy counters, else by their power."""
    own, url = _split(argument, ("gpu",), "dcgm")
    only = (("gpu", frozenset(own["gpu"].split(","))),) if "gpu" in own else ()
    _, text = fetch(url)
    if any(True for _ in values_of(text, DCGM_ENERGY)):
        return _counter(Source(url, DCGM_ENERGY, JOULES["mJ"], only, True), "gpu_only")
    if any(True for _ in values_of(text, DCGM_POWER)):
        return _gauge(Source(url, DCGM_POWER, WATTS["W"], only, True), "gpu_only")
    raise MeterProblem(
        f"{url} has neither {DCGM_ENERGY} nor {DCGM_POWER}",
        hint="Switch one of them on in the exporter's list of counters, or name another metric: prometheus:URL?metric=",
    )


def _open_prometheus(argument: str) -> Meter:
    """A metric of power or energy that is named in the address."""
    own, url = _split(argument, ("metric", "unit", "boundary", "label."), "prometheus")
    if not own.get("metric"):
        raise MeterProblem(f"prometheus:{argument} names no metric", hint=f"For example {PROMETHEUS.example}")
    metric = own["metric"]
    unit = own.get("unit") or next((u for end, u in UNIT_OF_ENDING.items() if metric.lower().endswith(end)), "")
    if unit not in JOULES and unit not in WATTS:
        said = f"its unit '{unit}' is unknown" if unit else "its name does not tell its unit"
        raise MeterProblem(f"{metric}: {said}", hint=f"Add &unit= with one of {', '.join((*WATTS, *JOULES))}.")
    boundary = _boundary(own.get("boundary", "system_wall_ac"))
    only = tuple(
        (name.removeprefix("label."), frozenset(values.split(",")))
        for name, values in own.items()
        if name.startswith("label.")
    )
    if unit in JOULES:
        return _counter(Source(url, metric, JOULES[unit], only, False), boundary)
    return _gauge(Source(url, metric, WATTS[unit], only, False), boundary)


def _listed_boards(argument: str, count: int) -> str:
    """The address with the first boards named, where none are."""
    own, _ = _split(argument, ("gpu",), "dcgm")
    boards = ",".join(str(index) for index in range(count))
    return argument if "gpu" in own else f"{argument}{'&' if '?' in argument else '?'}gpu={boards}"


def _address(argument: str) -> str:
    """The address without its query, in which a key may stand."""
    return address(argument)._replace(query="", fragment="").geturl() if argument else ""


def _boundary(text: str) -> Boundary:
    for boundary in BOUNDARIES:
        if boundary == text:
            return boundary
    raise MeterProblem(f"'{text}' is no boundary of energy", hint=f"One of {', '.join(BOUNDARIES)}.")


def _split(argument: str, ours: tuple[str, ...], kind: str) -> tuple[dict[str, str], str]:
    """What of an address is for us, and the address without it."""
    if not argument:
        raise MeterProblem(
            f"the meter '{kind}' needs an address", hint=f"For example {kind}:http://localhost:9400/metrics"
        )
    parts = address(argument)
    own, others = {}, []
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name in ours or any(name.startswith(mine) for mine in ours if mine.endswith(".")):
            own[name] = value
        else:
            others.append((name, value))
    return own, urlunsplit(parts._replace(query=urlencode(others), path=parts.path or "/metrics", fragment=""))


def _counter(source: Source, boundary: Boundary) -> Meter:
    _, first = source.values()
    devices = list(first)

    def counters() -> tuple[float, list[float]]:
        moment, values = source.values()
        return moment, _same_devices(devices, values, source)

    told = len(devices) if source.devices else None
    return CounterMeter(_name(source, len(devices)), boundary, counters, FINEST_S, devices=told)


def _gauge(source: Source, boundary: Boundary) -> Meter:
    _, first = source.values()
    devices = list(first)

    def power() -> Power:
        moment, values = source.values()
        return Power(moment, math.fsum(_same_devices(devices, values, source)))

    told = len(devices) if source.devices else None
    return PowerMeter(_name(source, len(devices)), boundary, power, POLL_S, devices=told)


def _same_devices(devices: list[str], values: dict[str, float], source: Source) -> list[float]:
    missing = [device for device in devices if device not in values]
    if missing or len(values) != len(devices):
        what = f"has no {missing[0] or 'series'} any more" if missing else "has more devices than when it was opened"
        raise MeterProblem(f"{source.url}: {source.metric} {what}", hint="The exporter restarted: measure again.")
    return [values[device] for device in devices]


def _name(source: Source, count: int) -> str:
    return f"{source.metric} of {source.url} ({count} {'device' if count == 1 else 'devices'})"


DCGM = MeterKind(
    name="dcgm",
    title="NVIDIA accelerators of any machine, by an exporter of DCGM; ?gpu= names some of them",
    example="dcgm:http://host:9400/metrics?gpu=0,1",
    open=_open_dcgm,
    place=5,
    needs="an address",
    listed=_listed_boards,
    address=_address,
)

PROMETHEUS = MeterKind(
    name="prometheus",
    title="a metric of power or energy behind any address of Prometheus metrics; &unit=, &boundary=, &label.NAME=",
    example="prometheus:http://host:9100/metrics?metric=node_power_watts",
    open=_open_prometheus,
    place=6,
    needs="an address",
    address=_address,
)
