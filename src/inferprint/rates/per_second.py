"""What a second of device time costs beside the accelerators: host, idle share, manufacture."""

from __future__ import annotations

from typing import Any

import numpy as np

from inferprint.catalogue import Gpu, Node
from inferprint.errors import InvalidInput
from inferprint.impact.embodied import embodied_share
from inferprint.physics.node import host_energy, host_share, idle_energy
from inferprint.quantities import Range
from inferprint.rates.draws import Array, full
from inferprint.rates.situation import Case, Situation
from inferprint.units import GRAMS_PER_KG, ML_PER_L, SECONDS_PER_YEAR


def per_second(situation: Situation, case: Case, devices: Any) -> dict[str, Array]:
    """Host power, idle power and manufacture charged per second of device time [W], [W], [g/s], [mL/s], by name."""
    gpu, node, sampler = case.gpu, case.node, situation.sampler
    hosted = node is not None and gpu.power_boundary != "system"
    share = host_share(devices, float(node.gpu_count)) if node is not None and hosted else 0.0
    active = _active_share(situation)
    host_spread = situation.drawn(f"host power:{node.id if node else ''}", "host-power.spread")
    host_active = (node.host_active_power_w or 0.0) * host_spread if node is not None and hosted else 0.0
    host_idle = (node.host_idle_power_w or 0.0) * host_spread if node is not None and hosted else 0.0
    life = _life_seconds(situation, node)
    device_kg = sampler.spread(f"accelerator manufacture:{gpu.id}", manufacture(situation, gpu, "embodied_kgco2e"))
    device_l = sampler.spread(f"accelerator water:{gpu.id}", manufacture(situation, gpu, "embodied_water_l"))
    host_kg, host_l = _host_manufacture(situation, node) if hosted else (0.0, 0.0)
    return {
        "host_w": full(host_energy(1.0, share, host_active)),
        "idle_w": full(idle_energy(1.0, devices, _idle_power(situation, gpu), share, host_idle, active)),
        "embodied_g": full(embodied_share(1.0, devices, device_kg, share, host_kg, active, life) * GRAMS_PER_KG),
        "embodied_ml": full(embodied_share(1.0, devices, device_l, share, host_l, active, life) * ML_PER_L),
    }


def _active_share(situation: Situation) -> Any:
    """Share of powered time with at least one request."""
    given = situation.setup.active_share
    if given is not None:
        if not 0 < given <= 1:
            raise InvalidInput("active_share", f"{given:g} is not a share", hint="Above 0, at most 1.")
        return given
    if situation.setup.method == "seed":
        return 1.0
    kind = situation.hosting.kind
    name = {"service": "public", "cloud": "private", "own": "own", "desk": "own"}[kind]
    return situation.drawn(f"active share:{name}", f"active-share.{name}", minimum=0.01, maximum=1.0)


def _idle_power(situation: Situation, gpu: Gpu) -> Any:
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
    known: Range | None = getattr(gpu, name)
    if known is not None:
        return known
    others = [value for other in situation.catalogue.gpus.values() if (value := getattr(other, name)) is not None]
    return Range(
        float(np.median([value.value for value in others])),
        min(value.low for value in others),
        max(value.high for value in others),
    )


def _host_manufacture(situation: Situation, node: Node | None) -> tuple[Any, Any]:
    """Manufacture of a node's host [kgCO2e], [L]; what is not catalogued is left out of the host and noted."""
    if node is None:
        return 0.0, 0.0
    kg = node.host_embodied_kgco2e
    spread_kg = situation.sampler.spread(f"host manufacture:{node.id}", kg) if kg is not None else 0.0
    litres = node.host_embodied_water_l
    spread_l = litres * situation.drawn(f"host water:{node.id}", "embodied-water.spread") if litres is not None else 0.0
    return spread_kg, spread_l
