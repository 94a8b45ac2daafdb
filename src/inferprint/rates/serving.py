"""How the model of a situation is served on an accelerator: memory, layout and the techniques in use."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from inferprint.catalogue import Gpu
from inferprint.errors import InvalidInput
from inferprint.physics.serving import MAX_DEVICES, Memory, Serving, static_fill
from inferprint.physics.terms import ModelShape, Replica, Traffic
from inferprint.rates.draws import central
from inferprint.rates.situation import Case, Situation
from inferprint.techniques.apply import rewritten_serving, rewritten_work
from inferprint.units import BYTES_PER_GB, GIGA, TERA


def serving_of(situation: Situation, shape: ModelShape, gpu: Gpu) -> Serving:
    """How the model is served on `gpu`, techniques included.

    Raises
    ------
    InvalidInput
        Techniques that cannot go together, or not with this model.
    """
    if situation.engine.split == "layers":
        # A layer lies on one device: no head of the cache is held twice.
        shape = replace(shape, kv_heads=np.inf)
    serving = rewritten_serving(Serving(shape, _memory(situation, gpu)), situation.uses)
    layout = serving.layout
    _check_layout(layout.stated_devices, layout.pipeline, central(shape.layers))
    if layout.expert and not np.any(serving.shape.experts_per_token):
        per_token = situation.drawn("experts per token", "shape.experts-per-token", minimum=1.0)
        serving = replace(serving, shape=replace(serving.shape, experts_per_token=per_token))
    return serving


def _memory(situation: Situation, gpu: Gpu) -> Memory:
    """How the engine uses the memory of `gpu`."""
    local = "-local" if situation.engine.kind == "local" else ""
    return Memory(
        (gpu.memory_gb or 0.0) * BYTES_PER_GB,
        situation.prior(f"memory.usable-share{local}").value.value,
        situation.prior(f"memory.weight-overhead{local}").value.value,
        situation.prior(f"memory.work-bytes{local}").value.value,
        block_tokens=situation.prior(f"memory.block-tokens{local}").value.value,
    )


def _check_layout(devices: float, stages: float, layers: float) -> None:
    """Refuse layouts that no model can have."""
    if devices > MAX_DEVICES:
        raise InvalidInput("techniques", f"the layout takes {devices:g} devices", hint=f"At most {MAX_DEVICES:g}.")
    if stages > layers:
        message = f"pipeline-parallel: {stages:g} stages for {layers:g} layers"
        raise InvalidInput("techniques", message, hint=f"1 to {layers:g}.")


def replica_of(situation: Situation, case: Case, serving: Serving, devices: Any) -> Replica:
    """The devices of a replica that work on a step together, with the peak of the arithmetic that is executed."""
    layout = serving.layout
    turns = situation.engine.split == "layers"
    plain = plain_replica(situation, case, 1.0 if turns else devices / layout.pipeline)
    link = plain.link_bandwidth
    together = replace(
        plain,
        ranks=layout.ranks,
        stages=devices if turns else 1.0,
        hops=layout.pipeline - 1,
        expert_ranks=layout.expert,
        exchange_bandwidth=layout.expert_bandwidth or link,
        exchange_bytes=layout.exchange_bytes,
    )
    if not layout.prompt_devices:
        return together
    prompts = replace(together, devices=layout.prompt_devices, ranks=1.0)
    return replace(together, prompts=prompts, transfer_bandwidth=layout.transfer_bandwidth or link)


def plain_replica(situation: Situation, case: Case, devices: Any) -> Replica:
    """Devices that work together, with the peak of the arithmetic that is executed."""
    gpu = case.gpu
    return Replica(
        devices=devices,
        bandwidth=(gpu.memory_bandwidth_gb_per_s or 0.0) * GIGA,
        flops_16=(gpu.fp16_dense_tflops or 0.0) * TERA,
        flops=_executed_flops(case),
        # Published link rates count both directions.
        link_bandwidth=(gpu.link_gb_per_s or situation.prior("link-bandwidth").value.value) * GIGA / 2,
    )


def _executed_flops(case: Case) -> float:
    """Dense FLOP/s of one device in the arithmetic of the format."""
    gpu = case.gpu
    # Without the units for a format, weights are unpacked and computed at 16 bit.
    peaks = {
        "fp8": gpu.fp8_dense_tflops,
        "int8": gpu.int8_dense_tops,
        "fp4": gpu.fp4_dense_tflops,
        "fp32": (gpu.fp16_dense_tflops or 0.0) / 2,
    }
    return (peaks.get(case.precision.arithmetic) or gpu.fp16_dense_tflops or 0.0) * TERA


def traffic_of(situation: Situation, serving: Serving, batch: Any) -> Traffic:
    """The other requests of a batch, and how the engine steps through them.

    The stages of a pipeline share the batch; with fewer requests than stages some of them wait. What techniques make of
    a request's work holds for all.
    """
    per_stage = batch / serving.layout.pipeline
    together = np.maximum(per_stage, 1.0)
    batching = serving.batching
    fill = static_fill(together, batching.spread) if batching.static else 1.0
    others = situation.traffic(together)
    work = {"input_tokens": others.input_tokens, "cached_input_tokens": 0.0, "output_tokens": others.output_tokens}
    work = dict(rewritten_work(work, situation.uses, np.minimum))
    return replace(
        others,
        input_tokens=work["input_tokens"],
        output_tokens=work["output_tokens"],
        cached_tokens=work["cached_input_tokens"],
        fill=fill * per_stage / together,
        steps=serving.steps,
        chunk_tokens=serving.prompts.chunk_tokens,
        exposed=serving.prompts.exposed,
        prompts_per_pass=serving.layout.prompts_per_pass,
    )
