"""What a second of device time costs beside the accelerators: host, idle share, manufacture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from inferprint.catalogue import Catalogue, Gpu, Node
from inferprint.catalogue.own import SOURCE
from inferprint.errors import InvalidInput
from inferprint.impact.embodied import embodied_share
from inferprint.physics.node import host_energy, host_share, idle_energy
from inferprint.quantities import Range
from inferprint.rates.draws import Array, central, full
from inferprint.rates.situation import Case, Situation
from inferprint.units import GRAMS_PER_KG, ML_PER_L, SECONDS_PER_YEAR

SERVICE_SHARES = {"provisioned": "private", "self-hosted": "private", "local": "own"}
"""Whose active share a class of service has, where it is not that of a large public one."""


@dataclass(frozen=True, slots=True)
class _Host:
    """A node's host: its share in the request's seconds, power [W], manufacture [kgCO2e], [L]; floats or draws."""

    share: Any
    active_w: Any
    idle_w: Any
    kg: Any
    litres: Any


def per_second(situation: Situation, case: Case, devices: Any) -> dict[str, Array]:
    """Host power, idle power and manufacture charged per second of device time [W], [W], [g/s], [mL/s], by name.

    Beside them `active_share`, the share of powered time that the last three rest on [1].
    """
    gpu, sampler = case.gpu, situation.sampler
    host = _host(situation, case, devices)
    active, life = _active_share(situation, case.node), _life_seconds(situation, case.node)
    device_kg = sampler.spread("accelerator manufacture:method", manufacture(situation, gpu, "embodied_kgco2e"))
    device_l = sampler.spread("water of manufacture:model", manufacture(situation, gpu, "embodied_water_l"))
    idle_w = idle_energy(1.0, devices, idle_power(situation, gpu), host.share, host.idle_w, active)
    return {
        "host_w": full(host_energy(1.0, host.share, host.active_w)),
        "idle_w": full(idle_w),
        "active_share": full(active),
        "embodied_g": full(embodied_share(1.0, devices, device_kg, host.share, host.kg, active, life) * GRAMS_PER_KG),
        "embodied_ml": full(embodied_share(1.0, devices, device_l, host.share, host.litres, active, life) * ML_PER_L),
    }


def idle_watts(situation: Situation, case: Case, devices: Any) -> float:
    """Central power of a replica of `devices` that holds the model and waits, with its share of the host [W]."""
    host = _host(situation, case, devices)
    return float(central(devices * idle_power(situation, case.gpu) + host.share * host.idle_w))


def _host(situation: Situation, case: Case, devices: Any) -> _Host:
    """The host beside the accelerators; none where the power of the device is that of the whole machine."""
    node = case.node
    if case.gpu.power_boundary == "system":
        return _Host(0.0, 0.0, 0.0, 0.0, 0.0)
    if node is None:
        # A CPU that computes is the server itself.
        apart = case.gpu.power_boundary == "board" and case.gpu.device_class != "cpu"
        watts = _unknown_server(situation) if apart else 0.0
        return _Host(host_share(devices, situation.hosting.pool or devices), watts, watts, 0.0, 0.0)
    kg = _host_value(situation, case, node, "host_embodied_kgco2e")
    if kg.low == kg.high:
        kg = situation.prior("host-embodied.spread").value.scaled(kg.value)
    water = situation.drawn("water of manufacture:model", "embodied-water.spread")
    return _Host(
        host_share(devices, float(node.gpu_count)),
        _host_power(situation, case, node, "host_active_power_w"),
        _host_power(situation, case, node, "host_idle_power_w"),
        situation.sampler.spread("host manufacture:model", kg),
        _host_value(situation, case, node, "host_embodied_water_l").value * water,
    )


def _unknown_server(situation: Situation) -> Any:
    """Power of a server of which nothing is known, beside its accelerators, whatever their load [W]."""
    form = situation.catalogue.forms["wall"]
    watts = form.terms["server"]
    reason = "no host is known: mean of measured servers"
    situation.note("host power", watts, "W", "assumed", reason, form.origin("terms"))
    return situation.sampler.spread("host power:model", watts)


def _host_power(situation: Situation, case: Case, node: Node, name: str) -> Any:
    """Power of the node's host [W]: as its owner states it, else with the spread of those that are modelled."""
    value = _host_value(situation, case, node, name)
    if getattr(node, name) is not None and node.origin(name).source.startswith(SOURCE):
        return situation.sampler.spread(f"host power:{node.id}", value)
    return value.value * situation.drawn("host power:model", "host-power.spread")


def _host_value(situation: Situation, case: Case, node: Node, name: str) -> Range:
    """A value of the node's host; where the node lacks it, that of the accelerator's reference node, by devices."""
    known = getattr(node, name)
    if known is not None:
        return _as_range(known)
    reference = situation.catalogue.nodes[case.gpu.reference_node] if case.gpu.reference_node else None
    stand_in = getattr(reference, name) if reference is not None else None
    if reference is None or stand_in is None:
        situation.warn(f"{name} of {node.id} is unknown: it is left out")
        return Range.exact(0.0)
    value = _as_range(stand_in).scaled(node.gpu_count / max(reference.gpu_count, 1))
    situation.note(f"{node.id} {name}", value, "", "assumed", f"unknown: that of {reference.id}, by devices")
    return value


def _as_range(value: float | Range) -> Range:
    return value if isinstance(value, Range) else Range.exact(float(value))


def _active_share(situation: Situation, node: Node | None) -> Any:
    """Share of powered time with at least one request: stated, known of the node, or usual for the host."""
    given = situation.setup.active_share
    if given is not None:
        if not 0 < given <= 1:
            raise InvalidInput("active_share", f"{given:g} is not a share", hint="Above 0, at most 1.")
        situation.note("active_share", Range.exact(given), "share", "given", "stated by the caller")
        return given
    if situation.setup.method == "seed":
        return 1.0
    if node is not None and node.active_share is not None:
        return _share_of_node(situation, node, node.active_share)
    name = {"service": "public", "cloud": "private", "own": "own", "desk": "own"}[situation.hosting.kind]
    if situation.hosting.service is not None:
        name = SERVICE_SHARES.get(situation.hosting.service.serving_class, name)
    return situation.drawn(f"active share:{name}", f"active-share.{name}", minimum=0.01, maximum=1.0)


def _share_of_node(situation: Situation, node: Node, share: float) -> float:
    """The active share that is on record for a node."""
    if not 0 < share <= 1:
        message, hint = f"{share:g} of {node.id} is not a share", "Above 0, at most 1: correct the record of the node."
        raise InvalidInput("active_share", message, hint=hint)
    origin = node.origin("active_share")
    situation.note("active_share", Range.exact(share), "share", "catalogue", f"utilisation of {node.id}", origin)
    return share


def idle_power(situation: Situation, gpu: Gpu) -> Any:
    """Power of one device with the model loaded and no request [W]."""
    known = gpu.idle_loaded_power_w if gpu.idle_loaded_power_w is not None else gpu.idle_power_w
    if known is not None:
        return known * situation.drawn(f"idle power:{gpu.id}", "idle-power.spread")
    kind = "datacenter" if gpu.device_class in ("datacenter", "tpu", "asic", "cpu") else "consumer"
    return (gpu.max_power_w or 0.0) * situation.drawn(f"idle power:{gpu.id}", f"idle-power.{kind}")


def _life_seconds(situation: Situation, node: Node | None) -> Any:
    """Use life of the hardware [s]."""
    if node is not None and node.use_life_years is not None:
        return node.use_life_years * SECONDS_PER_YEAR * situation.drawn("use life", "use-life.spread")
    return SECONDS_PER_YEAR * situation.drawn("use life", "use-life")


def manufacture(situation: Situation, gpu: Gpu, name: str) -> Range:
    """Manufacture of one device; where it is unknown, the spread over all accelerators that are known."""
    return manufacture_of(situation.catalogue, gpu, name)


def manufacture_of(catalogue: Catalogue, gpu: Gpu, name: str) -> Range:
    """The same outside of a situation; `name` is "embodied_kgco2e" or "embodied_water_l"."""
    known: Range | None = getattr(gpu, name)
    if known is not None:
        return known
    others = [value for other in catalogue.gpus.values() if (value := getattr(other, name)) is not None]
    return Range(
        float(np.median([value.value for value in others])),
        min(value.low for value in others),
        max(value.high for value in others),
    )
