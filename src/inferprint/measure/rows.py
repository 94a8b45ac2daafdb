"""A steady window as a row of observations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from inferprint.measure.answers import Answered
from inferprint.measure.load import Steady
from inferprint.measure.meters.base import Boundary
from inferprint.measure.meters.windows import Window
from inferprint.measure.observations import Row
from inferprint.measure.plan import Point

AGREES = 0.05
"""Difference up to which two ways to find how many requests a second end agree."""

BUSY_CLIENT = 0.5
"""Share of the time from which on the client's own work may be in the times."""

BUNCHED = 1.5
"""Chunks that come together from which on a row says so."""

ANSWERED_LEAST = 0.5
"""Part of the requests in flight from which on a row need not say how many are answered at a time."""

PAUSES_SAID = 0.02
"""Share of pauses between requests from which on the row of a single one says it."""

MISSED = 0.05
"""Part by which a length misses what was asked before a row says so."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured, as every row says it: see `observations.Row`."""

    model_id: str
    gpu: str
    gpu_count: int
    tensor_parallel: int | None = None
    precision_name: str | None = None
    engine: str | None = None
    engine_version: str | None = None
    node_id: str | None = None
    source: str = "own"


def point_row(
    row_id: str, subject: Subject, point: Point, steady: Steady, remarks: Sequence[str], cache_shown_by: str = ""
) -> Row:
    """The row of a point, without its energy; `cache_shown_by` times where the server does not report its cache."""
    answers = steady.answers
    alone, prompts_only = point.concurrency == 1, point.answer_tokens == 1
    gaps = _gaps(answers)
    notes = [*remarks, *_remarks(point, steady)]
    n_cached, cached_remark = _cached(point, answers, cache_shown_by)
    return Row(
        row_id=row_id,
        source=subject.source,
        model_id=subject.model_id,
        gpu=subject.gpu,
        gpu_count=subject.gpu_count,
        tensor_parallel=subject.tensor_parallel,
        precision_name=subject.precision_name,
        engine=subject.engine,
        engine_version=subject.engine_version,
        node_id=subject.node_id,
        date="",
        serving_mode="prefill_only" if prompts_only else "single_stream" if alone else "aggregated",
        # The pauses of a single worker between two requests are none of a server's.
        concurrency=1.0 if alone else steady.in_flight,
        n_in_tokens=_n_in(point, answers),
        n_cached_tokens=n_cached,
        n_out_tokens=steady.n_out,
        ttft_s=fmean(answer.ttft_s for answer in answers),
        itl_ms=1e3 * fmean(gaps) if gaps else None,
        system_output_tokens_per_s=None if alone or prompts_only else steady.tokens_per_s,
        duration_s=steady.duration_s,
        n_repeats=len(answers),
        note="; ".join([*notes, *cached_remark, _spread(answers)]),
    )


def energy_of(row: Row, point: Point, steady: Steady, energy: Window, boundary: Boundary, idle_w: float | None) -> Row:
    """The row with the energy of its window.

    One request at a time has no other beside it: what ended in the window is what it took, less what the machine draws
    idle in the client's pauses between two requests.

    Parameters
    ----------
    energy
        Of the steady window.
    idle_w
        Power of what is metered before the load [W]; None where it is not known.
    """
    of_gpus = boundary == "gpu_only"
    alone = point.concurrency == 1
    request_j = energy.watts / (steady.counted_rate if alone else steady.rate)
    prompts_only = row.serving_mode == "prefill_only"
    note = row.note or ""
    if alone and idle_w is not None:
        # No pause draws more than the mean.
        request_j -= min(idle_w, energy.watts) * steady.pause_share / steady.counted_rate
    if alone and steady.pause_share > PAUSES_SAID:
        what = "the idle power in them is not in the energy" if idle_w is not None else "their energy is in it"
        note += f"; pauses between requests were {steady.pause_share:.1%} of the time: {what}"
        note += "" if idle_w is not None else ", as no idle power is known"
    if idle_w is not None and not of_gpus:
        note += f"; idle {idle_w:.4g} W"
    return replace(
        row,
        energy_per_request_j=request_j,
        energy_per_output_token_j=request_j / row.n_out_tokens if row.n_out_tokens and not prompts_only else None,
        energy_boundary=boundary,
        avg_gpu_power_w_all_gpus=energy.watts if of_gpus else None,
        avg_system_power_w=energy.watts if boundary.startswith("system") else None,
        idle_gpu_power_w=idle_w / row.gpu_count if of_gpus and idle_w is not None else None,
        note=note,
    )


def _n_in(point: Point, answers: Sequence[Answered]) -> float:
    known = [answer.n_in for answer in answers if answer.n_in is not None]
    return fmean(known) if known else float(point.prompt_tokens)


def _gaps(answers: Sequence[Answered]) -> list[float]:
    """Times between two tokens of the answers [s]; none where most came at once, of which the others are no image."""
    several = [answer.itl_s for answer in answers if answer.n_out > 1]
    known = [gap for gap in several if gap is not None]
    return known if 2 * len(known) > len(several) else []


def _cached(point: Point, answers: Sequence[Answered], shown_by: str) -> tuple[float | None, list[str]]:
    """Cached prompt tokens, and what is to be said of them."""
    known = [answer.n_cached for answer in answers if answer.n_cached is not None]
    sent = point.cached_share * _n_in(point, answers)
    if not known:
        if not point.cached_share:
            return None, []
        said = "the server does not report cached tokens: n_cached_tokens is the prefix as it was sent before"
        return sent, [f"{said}, as the time shows ({shown_by})"]
    # Some servers report them only where there are any.
    mean = math.fsum(known) / len(answers)
    if abs(mean - sent) > MISSED * _n_in(point, answers):
        return mean, [f"{mean:.4g} prompt tokens came from a cache, {sent:.4g} were to"]
    return mean, []


def _remarks(point: Point, steady: Steady) -> list[str]:
    """What is to be known of a point's requests."""
    answers, notes = steady.answers, []
    early = sum(answer.n_out < answer.asked for answer in answers)
    if early:
        notes.append(f"{early} of {len(answers)} answers ended before {point.answer_tokens} tokens")
    if any(answer.n_in is None for answer in answers):
        notes.append("n_in_tokens is words sent, n_out_tokens chunks: the server reports no usage")
    elif abs(_n_in(point, answers) / point.prompt_tokens - 1) > MISSED:
        notes.append(f"prompts were to have {point.prompt_tokens} tokens")
    if point.concurrency > 1 and abs(steady.counted_rate / steady.rate - 1) > AGREES:
        notes.append(f"requests/s: {steady.rate:.4g} by Little's law, {steady.counted_rate:.4g} counted")
    if steady.in_flight < (1 - AGREES) * point.concurrency and point.concurrency > 1:
        notes.append(f"{point.concurrency} requests were to be in flight")
    if 0 < steady.at_once < ANSWERED_LEAST * steady.in_flight:
        notes.append(f"about {steady.at_once} of them were answered at a time: the others may wait for the server")
    together = sum(answer.n_chunks for answer in answers) / max(1, sum(answer.n_bursts for answer in answers))
    if steady.n_out > 1 and not _gaps(answers):
        notes.append("answers came at once: ttft_s is late by all of the answer, and no time between tokens is known")
    elif together > BUNCHED:
        notes.append(f"chunks came {together:.3g} at a time: ttft_s is late and itl_ms short by that")
    if steady.client_share > BUSY_CLIENT:
        notes.append(f"the client computed {steady.client_share:.0%} of the time: times may be its own")
    return notes


def _spread(answers: Sequence[Answered]) -> str:
    """From which to which value the times go, without the outer tenths."""
    gaps = [1e3 * gap for gap in _gaps(answers)]
    parts = {
        "ttft_s": [answer.ttft_s for answer in answers],
        "itl_ms": gaps,
        "duration_s": [answer.duration_s for answer in answers],
    }
    said = [
        f"{name} {_tenth(values, 0.1):.4g} to {_tenth(values, 0.9):.4g}" for name, values in parts.items() if values
    ]
    return f"10th to 90th percentile: {', '.join(said)}"


def _tenth(values: Sequence[float], share: float) -> float:
    """The value below which a share of them lies, by nearest rank."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
