"""A timed point as a row of observations: layers scaled to the model's, and the output head beside them."""

from __future__ import annotations

from dataclasses import dataclass

from inferprint.measure.gpu.plan import WEIGHT_BYTES, GpuPoint
from inferprint.measure.gpu.shapes import Shape
from inferprint.measure.gpu.timing import Timing
from inferprint.measure.meters.base import Boundary
from inferprint.measure.meters.windows import Window
from inferprint.measure.observations import Row

SMALL_WEIGHTS = 256e6
"""Bytes of built layers below which a chip's cache may hold a good part of them."""


@dataclass(frozen=True, slots=True)
class Part:
    """What was timed, and its energy where it was metered."""

    timing: Timing
    energy: Window | None = None

    @property
    def step_j(self) -> float | None:
        """Energy of a step [J]."""
        return None if self.energy is None else self.energy.joules / self.timing.all_steps


@dataclass(frozen=True, slots=True)
class Subject:
    """What all rows of a run say."""

    model_id: str
    gpu: str
    precision: str
    engine_version: str
    source: str = "own"
    device: str = ""
    date: str = ""


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
    step_s = scaled(layers.timing.step_s, head.timing.step_s, shape, built)
    pair = (layers.step_j, head.step_j)
    step_j = scaled(pair[0], pair[1], shape, built) if pair[0] is not None and pair[1] is not None else None
    decodes, batch = point.kind == "decode", point.batch
    count = answer_tokens if decodes else 1
    cached = float(point.cached - answer_tokens // 2) if decodes else float(point.cached)
    gpu_only = idle.boundary == "gpu_only"
    alone = batch == 1
    return Row(
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
        serving_mode=("single_stream" if alone else "aggregated") if decodes else "prefill_only",
        concurrency=float(batch),
        n_in_tokens=cached + (0.0 if decodes else point.fresh),
        n_cached_tokens=cached,
        n_out_tokens=float(count),
        ttft_s=None if decodes else step_s,
        itl_ms=1e3 * step_s if decodes else None,
        system_output_tokens_per_s=batch / step_s if decodes and not alone else None,
        duration_s=count * step_s,
        n_repeats=len(layers.timing.seconds),
        energy_per_request_j=None if step_j is None else count * step_j / batch,
        energy_per_output_token_j=step_j / batch if decodes and step_j is not None else None,
        avg_gpu_power_w_all_gpus=step_j / step_s if step_j is not None and gpu_only else None,
        avg_system_power_w=step_j / step_s if step_j is not None and idle.boundary == "system_wall_ac" else None,
        energy_boundary=None if step_j is None else idle.boundary,
        idle_gpu_power_w=idle.empty_w if gpu_only else None,
        note="; ".join([*_said(subject, shape, point, built, parts), *_idle_said(idle, gpu_only=gpu_only), *remarks]),
    )


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
    return [*notes, *layers.timing.remarks(), *shape.remarks]


def _idle_said(idle: Idle, *, gpu_only: bool) -> list[str]:
    notes = []
    if idle.empty_w is not None and not gpu_only:
        notes.append(f"idle {idle.empty_w:.4g} W")
    if idle.loaded_w is not None:
        notes.append(f"idle with weights {idle.loaded_w:.4g} W")
    return notes
