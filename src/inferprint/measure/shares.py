"""Whose the metered energy of a span is: shared out among models, and within one among kinds of tokens.

The shares add up to the meter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from inferprint.errors import MeterProblem
from inferprint.estimate import Estimator, Request
from inferprint.measure.meters.windows import attribute
from inferprint.measure.server_metrics import ModelSpan
from inferprint.measure.server_rows import Setup


@dataclass(frozen=True, slots=True)
class Share:
    """Energy of the tokens of one kind, of one model [J]."""

    server: str
    model: str
    part: str
    tokens: float
    joules: float


PARTS = ("prompt", "cached", "output")
IDLE, UNKNOWN = "idle", "unknown"
"""Parts that all energy is where there was no work, and where nothing tells whose the work was."""


def shares_of(total_j: float, spans: Sequence[ModelSpan], weights: Sequence[tuple[float, float, float]]) -> list[Share]:
    """The energy of a span by model and kind of token.

    All of it is one share where there was no work, or where there was and no weight is above 0.

    Parameters
    ----------
    total_j
        Of the meter [J]; the shares add up to the same.
    weights
        Of computed prompt tokens, cached ones and output tokens of each model, in any unit that all share.
    """
    entries = [
        (span, part, tokens, weight)
        for span, found in zip(spans, weights, strict=True)
        for part, tokens, weight in zip(
            PARTS, (span.fresh_tokens, span.cached_tokens or 0.0, span.output_tokens), found, strict=True
        )
        if tokens > 0
    ]
    if not any(weight > 0 for *_, weight in entries):
        tokens = sum(tokens for _, _, tokens, _ in entries)
        return [Share("", "", UNKNOWN if tokens else IDLE, tokens, total_j)]
    joules = attribute(total_j, [weight for *_, weight in entries])
    return [
        Share(span.server, span.model, part, tokens, share)
        for (span, part, tokens, _), share in zip(entries, joules, strict=True)
    ]


def weights_by_time(span: ModelSpan) -> tuple[float, float, float]:
    """Weights of a model's tokens by the time in which its requests were computed and answered [s].

    Raises
    ------
    MeterProblem
        The server does not show it.
    """
    first, rest = span.prefill_s, span.decode_s
    if first is None or rest is None:
        if span.ttft_s is None or span.duration_s is None:
            raise MeterProblem(
                f"{span.server} shows no times of prefill and decoding, and none of first tokens and requests",
                hint="Share the energy out by --by card.",
            )
        first = span.ttft_s * span.requests
        rest = max(0.0, span.duration_s - span.ttft_s) * span.requests
    return first, 0.0, rest


def weights_by_card(span: ModelSpan, setup: Setup, estimator: Estimator) -> tuple[float, float, float]:
    """Weights of a model's tokens by the energy that our own rates give them at the measured load [Wh].

    What cached tokens cost is the attention of the others to them.

    Raises
    ------
    InferprintError
        The model or the device is unknown, or does not fit.
    """
    if not span.worked:
        return 0.0, 0.0, 0.0
    cached = round(span.cached_tokens or 0.0)
    whole = _estimated(span, setup, estimator, round(span.prompt_tokens), cached)
    fresh = _estimated(span, setup, estimator, round(span.prompt_tokens) - cached, 0) if cached else whole
    return min(fresh[0], whole[0]), max(0.0, whole[0] - fresh[0]), whole[1]


def _estimated(span: ModelSpan, setup: Setup, estimator: Estimator, prompt: int, cached: int) -> tuple[float, float]:
    """Energy of prompts and answers [Wh]."""
    replica = setup.tensor_parallel or setup.gpu_count
    batch = (span.concurrency or 1.0) * replica / setup.gpu_count
    request = Request(
        model_id=setup.model_id,
        input_tokens=prompt,
        cached_input_tokens=cached,
        output_tokens=round(span.output_tokens),
        # Where none has finished, those in progress are what the tokens are of.
        n_requests=max(1, round(span.requests or span.concurrency or 1.0)),
        gpu_id=setup.gpu,
        gpu_count=setup.gpu_count,
        replica_gpu_count=replica,
        batch_size=max(1.0, batch),
        precision=setup.precision,
        engine=setup.engine or span.engine,
    )
    parts = estimator.estimate(request).breakdown
    found = [parts["prefill_energy_wh"], parts["decode_energy_wh"]]
    prefill, decode = (0.0 if value is None else value.value for value in found)
    return prefill, decode
