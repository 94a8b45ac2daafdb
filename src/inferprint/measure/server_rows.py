"""The observation that the span of a server is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from inferprint.measure.meters.base import Boundary
from inferprint.measure.meters.windows import Window
from inferprint.measure.observations import Row
from inferprint.measure.server_metrics import ModelSpan
from inferprint.units import MS_PER_S


@dataclass(frozen=True, slots=True)
class Setup:
    """How one model is served.

    Attributes
    ----------
    model_id
        Of the catalogue.
    gpu, gpu_count, tensor_parallel
        Devices, how many, and how many hold one copy; all of them where None.
    """

    model_id: str
    gpu: str
    gpu_count: int
    tensor_parallel: int | None = None
    precision: str | None = None
    engine: str | None = None
    engine_version: str | None = None


def row_of(
    span: ModelSpan, setup: Setup, end_s: float, energy: tuple[Window, Boundary] | None, *, alone: bool
) -> Row | None:
    """The observation that a span is; None where no request finished.

    Parameters
    ----------
    end_s
        End of the span since 1970 [s].
    energy
        Of the meter, and what it contains.
    alone
        Whether the model was the only one that the meter saw. Else the row has no energy: a share that our own rates
        gave teaches them nothing.
    """
    if not span.requests or not span.output_tokens:
        return None
    end = datetime.fromtimestamp(end_s, UTC)
    notes = [f"by the server's own metrics over {span.seconds:.4g} s", *span.doubts()]
    measured: dict[str, Any] = {}
    if energy is not None and alone:
        window, boundary = energy
        power = "avg_gpu_power_w_all_gpus" if boundary == "gpu_only" else "avg_system_power_w"
        measured = {
            "energy_per_request_j": window.joules / span.requests,
            "energy_per_output_token_j": window.joules / span.output_tokens,
            "energy_boundary": boundary,
            power: window.watts,
        }
        if window.is_short:
            notes.append(f"the meter shows a new value every {window.resolution_s:.3g} s only")
    elif energy is not None:
        notes.append("several models shared the meter: no energy of its own")
    return Row(
        row_id=f"server-{end:%Y%m%dT%H%M%SZ}-{_short(span.server)}-{span.model or setup.model_id}",
        source="measure-server",
        source_path=span.server,
        model_id=setup.model_id,
        gpu=setup.gpu,
        gpu_count=setup.gpu_count,
        tensor_parallel=setup.tensor_parallel,
        precision_name=setup.precision,
        engine=setup.engine or span.engine,
        engine_version=setup.engine_version,
        serving_mode="aggregated",
        date=f"{end:%Y-%m-%d}",
        concurrency=span.concurrency,
        n_in_tokens=span.prompt_tokens / span.requests,
        n_cached_tokens=None if span.cached_tokens is None else span.cached_tokens / span.requests,
        n_out_tokens=span.output_tokens / span.requests,
        ttft_s=span.ttft_s,
        itl_ms=None if span.per_token_s is None else span.per_token_s * MS_PER_S,
        duration_s=span.duration_s,
        system_output_tokens_per_s=span.output_tokens / span.seconds,
        n_repeats=round(span.requests),
        note="; ".join(notes),
        **measured,
    )


def _short(server: str) -> str:
    """What tells a server from others: its address without what all have, or the first of its files."""
    place = re.sub(r"^https?://", "", server.partition(", ")[0]).removesuffix("/metrics")
    return re.sub(r"[^\w.:]+", "-", place).strip("-")
