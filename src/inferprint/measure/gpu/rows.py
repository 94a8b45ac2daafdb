"""A timed point as a row of observations: layers scaled to the model's, and the output head beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from inferprint.measure.gpu.plan import WEIGHT_BYTES, GpuPoint
from inferprint.measure.gpu.shapes import Shape
from inferprint.measure.gpu.timing import Timing
from inferprint.measure.meters.base import Boundary
from inferprint.measure.meters.windows import Window
from inferprint.measure.observations import Row

SMALL_WEIGHTS = 256e6
"""Bytes of built layers below which a chip's cache may hold a good part of them."""

MOST_BETWEEN = 0.02
"""Share of the metered time between repeats above which a row says so."""


@dataclass(frozen=True, slots=True)
class Part:
    """What was timed, and its energy where it was metered."""

    timing: Timing
    energy: Window | None = None

    @property
    def step_j(self) -> float | None:
        """Energy of a step [J]: mean power from the first repeat to the last, for the time of a step."""
        return None if self.energy is None else self.energy.watts * self.timing.step_s


@dataclass(frozen=True, slots=True)
class Subject:
    """What all rows of a run say.

    Attributes
    ----------
    model_id, gpu, precision, engine_version, source, device, date
        Their cells; `device` and `date` are filled in by the run.
    known_as
        (name of a device as PyTorch has it) -> id of the accelerator that the catalogue takes it for, or None.
    """

    model_id: str
    gpu: str
    precision: str
    engine_version: str
    source: str = "own"
    device: str = ""
    date: str = ""
    known_as: Callable[[str], str | None] = lambda _: None


@dataclass(frozen=True, slots=True)
class Idle:
    """Power of what is metered [W]: before anything is on the device, and with the weights on it."""

    boundary: Boundary | None = None
    empty_w: float | None = None
    loaded_w: float | None = None


def scaled(block: float, head: float, shape: Shape, built: int) -> float:
    """What all layers and the head take, from what the built layers take together."""
    return block * shape.layers / built + head


def point_row(
    subject: Subject,
    shape: Shape,
    point: GpuPoint,
    built: int,
    parts: tuple[Part, Part],
    answer_tokens: int,
    idle: Idle,
    remarks: list[str],
) -> Row:
    """The row of a point, without its id.

    Parameters
    ----------
    built
        Layers that were timed.
    parts
        The layers, and the output head for one token of each request.
    answer_tokens
        Of the answer that a step of decoding is the middle of.
    """
    layers, head = parts
    decodes = point.kind == "decode"
    count = answer_tokens if decodes else 1
    cached = float(point.cached - (answer_tokens // 2 if decodes else 0))
    step_s = scaled(layers.timing.step_s, head.timing.step_s, shape, built)
    row = Row(
        row_id="",
        source=subject.source,
        source_path=subject.device,
        model_id=subject.model_id,
        gpu=subject.gpu,
        gpu_count=1,
        tensor_parallel=1,
        precision_name=subject.precision,
        engine="pytorch",
        engine_version=subject.engine_version,
        date=subject.date,
        serving_mode=_mode(point),
        concurrency=float(point.batch),
        n_in_tokens=cached + (0.0 if decodes else point.fresh),
        n_cached_tokens=cached,
        n_out_tokens=float(count),
        duration_s=count * step_s,
        n_repeats=len(layers.timing.seconds),
        idle_gpu_power_w=idle.empty_w if idle.boundary == "gpu_only" else None,
        note="; ".join([*_said(subject, shape, point, built, parts), *_idle_said(idle), *remarks]),
    )
    row = replace(row, **_times(point, step_s))
    if layers.step_j is None or head.step_j is None:
        return row
    return replace(row, **_energies(point, scaled(layers.step_j, head.step_j, shape, built), step_s, count, idle))


def _mode(point: GpuPoint) -> str:
    if point.kind == "prefill":
        return "prefill_only"
    return "single_stream" if point.batch == 1 else "aggregated"


def _times(point: GpuPoint, step_s: float) -> dict[str, Any]:
    """What a row says of the time of a step [s]."""
    if point.kind == "prefill":
        return {"ttft_s": step_s}
    together = point.batch > 1
    return {"itl_ms": 1e3 * step_s, "system_output_tokens_per_s": point.batch / step_s if together else None}


def _energies(point: GpuPoint, step_j: float, step_s: float, steps: int, idle: Idle) -> dict[str, Any]:
    """What a row says of the energy of a step [J], of which a request takes so many."""
    each = step_j / point.batch
    power = {"gpu_only": "avg_gpu_power_w_all_gpus", "system_wall_ac": "avg_system_power_w"}.get(idle.boundary or "")
    return {
        "energy_per_request_j": steps * each,
        "energy_per_output_token_j": each if point.kind == "decode" else None,
        "energy_boundary": idle.boundary,
        **({power: step_j / step_s} if power else {}),
    }


def _said(subject: Subject, shape: Shape, point: GpuPoint, built: int, parts: tuple[Part, Part]) -> list[str]:
    layers, head = parts
    notes = ["blocks with random weights, without a server"]
    if built < shape.layers:
        notes.append(f"{built} of {shape.layers} layers timed ({1e3 * layers.timing.step_s:.4g} ms) and scaled to all")
        if built * shape.block_params * WEIGHT_BYTES[subject.precision] < SMALL_WEIGHTS:
            notes.append("the timed layers are so small that the chip's cache may hold them")
    notes.append(f"output head {1e3 * head.timing.step_s:.4g} ms of it, embedding left out")
    if point.kind == "decode":
        notes.append(f"each step after {point.cached} tokens, the middle of the answer")
    if layers.energy is not None and layers.timing.between > MOST_BETWEEN:
        notes.append(f"{layers.timing.between:.0%} of the metered time was between repeats")
    return [*notes, *layers.timing.remarks(), *shape.remarks]


def _idle_said(idle: Idle) -> list[str]:
    notes = []
    if idle.empty_w is not None and idle.boundary != "gpu_only":
        notes.append(f"idle {idle.empty_w:.4g} W")
    if idle.loaded_w is not None:
        notes.append(f"idle with weights {idle.loaded_w:.4g} W")
    return notes
