"""What a running vLLM or SGLang did between two moments, by its own metrics.

Counters say how many tokens and requests there were; sums of times over the span say by Little's law how many were in
progress.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from inferprint.errors import MeterProblem
from inferprint.measure.server_scrapes import Scrape, Server, ServerCounters, model_of

PRIORITY = "priority"
"""Label by which SGLang splits its gauges where it schedules by priority; empty in the series that is their sum."""

LEAST_SCRAPES = 10
"""Scrapes from which on the mean of the gauge of running requests is taken, and not Little's law."""

DISAGREEMENT = 0.25
"""Relative difference between two ways to count requests in progress above which it is told."""


@dataclass(frozen=True, slots=True)
class ModelSpan:
    """What a server did with one model between two moments.

    Attributes
    ----------
    prompt_tokens, cached_tokens, output_tokens, requests
        Prompt tokens, those of them found in a cache, answer tokens, and finished requests.
    seconds
        Length of the span [s].
    running
        Mean number of requests in progress by the server's gauge; None where it shows none.
    in_flight
        The same by Little's law, from the durations of finished requests less their waiting; None where not shown.
    duration_s, ttft_s, per_token_s
        Means of a request, until its first token, and between two tokens [s]; None where not shown.
    prefill_s, decode_s
        Time in which requests had their prompt computed and were answered, over all [s]; None where not shown.
    steady
        Whether the gauge stayed near its mean; None where it was not seen often enough.
    n_scrapes
        Scrapes behind the gauge.
    idle
        Share of the span between scrapes at which no request ran, and without a token in between; None where the
        server shows no gauge.
    """

    server: str
    engine: str
    model: str
    seconds: float
    prompt_tokens: float
    cached_tokens: float | None
    output_tokens: float
    requests: float
    running: float | None
    in_flight: float | None
    duration_s: float | None
    ttft_s: float | None
    per_token_s: float | None
    prefill_s: float | None
    decode_s: float | None
    steady: bool | None
    n_scrapes: int
    idle: float | None

    @property
    def fresh_tokens(self) -> float:
        """Prompt tokens that were computed."""
        return self.prompt_tokens - (self.cached_tokens or 0.0)

    @property
    def concurrency(self) -> float | None:
        """Mean number of requests in progress: by the gauge where it was seen often, else by Little's law."""
        seen = self.running is not None and (self.n_scrapes >= LEAST_SCRAPES or self.in_flight is None)
        return self.running if seen else self.in_flight

    @property
    def worked(self) -> bool:
        """Whether there was any work."""
        return self.prompt_tokens + self.output_tokens > 0

    def doubts(self) -> list[str]:
        """What is to be known of its numbers."""
        found = []
        if self.running and self.in_flight:
            apart = abs(self.in_flight / self.running - 1)
            if apart > DISAGREEMENT and self.n_scrapes >= LEAST_SCRAPES:
                found.append(
                    f"{self.running:.3g} requests ran by the gauge and {self.in_flight:.3g} by Little's law: many "
                    "began before the span or ended after it"
                )
        if self.running is not None and self.n_scrapes < LEAST_SCRAPES and self.in_flight is None:
            found.append(f"requests in progress are the mean of {self.n_scrapes} scrapes only")
        if self.steady is False:
            found.append("the load was not steady")
        if self.worked and self.idle:
            found.append(
                f"no request ran in {100 * self.idle:.2g} % of the span, which is in concurrency, tokens per second "
                "and energy per token"
            )
        if self.cached_tokens is None:
            found.append("no metric of cached tokens: all prompt tokens count as computed")
        if self.worked and not self.requests:
            found.append("no request finished in the span: mean lengths are unknown")
        return found


def model_spans(server: Server) -> list[ModelSpan]:
    """What a server did between its first and its last scrape, by model.

    Raises
    ------
    MeterProblem
        Metrics are missing, a counter fell or was made anew, or there is no span.
    """
    if len(server.scrapes) < 2 or not server.scrapes[-1].at_s > server.scrapes[0].at_s:
        raise MeterProblem(
            f"{server.name}: {len(server.scrapes)} scrape spans no time", hint="Scrape it twice at least."
        )
    _check_names(server)
    for before, after in pairwise(server.scrapes):
        _check_counters(server, before, after)
    models = sorted({model_of(series) for series in server.scrapes[-1].values if series.labels} - {""})
    spans = [_model_span(server, model) for model in models or [""]]
    return [span for span in spans if span is not None]


def _check_names(server: Server) -> None:
    counters, there = server.counters, {series.name for series in server.scrapes[-1].values}
    missing = [name for name in (counters.input, counters.output) if name not in there]
    if not there & set(counters.requests):
        missing.append(" or ".join(counters.requests))
    if missing:
        hint = "vLLM shows them unless --disable-log-stats is set; SGLang with --enable-metrics."
        raise MeterProblem(f"{server.name} has no {', '.join(missing)}", hint=hint)


def _check_counters(server: Server, before: Scrape, after: Scrape) -> None:
    """Refuse counters that fell, went away or were made anew: the server restarted in between."""
    hint = "The server restarted: measure again, or give the scrapes of one run."
    for series, value in before.values.items():
        if series.name in server.counters.in_progress:
            continue
        now = after.values.get(series)
        labels = ", ".join(f"{name}={text}" for name, text in series.labels)
        if now is None:
            raise MeterProblem(
                f"{server.name}: {series.name} ({labels}) was {value:g} and is not there any more", hint=hint
            )
        if now < value:
            raise MeterProblem(f"{server.name}: {series.name} ({labels}) fell from {value:g} to {now:g}", hint=hint)
        if now != value and series.name.endswith("_created"):
            raise MeterProblem(f"{server.name}: {series.name} ({labels}) is {now:.0f} and was {value:.0f}", hint=hint)


def _model_span(server: Server, model: str) -> ModelSpan | None:
    counters, first, last = server.counters, server.scrapes[0], server.scrapes[-1]
    grown: dict[str, float] = {}
    for series, value in last.values.items():
        if model_of(series) == model:
            grown[series.name] = grown.get(series.name, 0.0) + value - first.values.get(series, 0.0)
    if counters.input not in grown and counters.output not in grown:
        return None
    seconds = last.at_s - first.at_s
    cached = next((group for group in counters.cached if any(name in grown for name in group)), None)
    prompts = grown.get(counters.input, 0.0)
    queued, took = (_sum(grown, name) for name in (counters.queue, counters.duration))
    running = [_running(scrape, counters, model) for scrape in server.scrapes]
    seen = [value for value in running if value is not None]
    mean = _mean_over_time(server.scrapes, seen) if len(seen) == len(server.scrapes) else None
    return ModelSpan(
        server=server.name,
        engine=counters.engine,
        model=model,
        seconds=seconds,
        prompt_tokens=prompts,
        cached_tokens=None if cached is None else min(prompts, sum(grown.get(name, 0.0) for name in cached)),
        output_tokens=grown.get(counters.output, 0.0),
        requests=next((grown[name] for name in counters.requests if name in grown), 0.0),
        running=mean,
        in_flight=None if took is None else max(0.0, took - (queued or 0.0)) / seconds,
        duration_s=_mean(grown, counters.duration),
        ttft_s=_mean(grown, counters.first_token),
        per_token_s=next((found for name in counters.per_token if (found := _mean(grown, name)) is not None), None),
        prefill_s=_sum(grown, counters.prefill),
        decode_s=_sum(grown, counters.decode),
        steady=_is_steady(seen, mean),
        n_scrapes=len(seen),
        idle=_idle_share(server, model, seen) if len(seen) == len(server.scrapes) else None,
    )


def _sum(grown: Mapping[str, float], histogram: str | None) -> float | None:
    return grown.get(f"{histogram}_sum")


def _mean(grown: Mapping[str, float], histogram: str) -> float | None:
    total, count = grown.get(f"{histogram}_sum"), grown.get(f"{histogram}_count")
    return total / count if total is not None and count else None


def _running(scrape: Scrape, counters: ServerCounters, model: str) -> float | None:
    """Running requests by the gauge; where it is split by priority, by the series that is the sum."""
    for name in counters.in_progress:
        found = {s: v for s, v in scrape.values.items() if s.name == name and model_of(s) == model}
        sums = [v for s, v in found.items() if not dict(s.labels).get(PRIORITY)]
        if found:
            return math.fsum(sums or found.values())
    return None


def _mean_over_time(found: Sequence[Scrape], values: Sequence[float]) -> float:
    areas = ((b.at_s - a.at_s) * (x + y) / 2 for (a, b), (x, y) in zip(pairwise(found), pairwise(values), strict=True))
    return math.fsum(areas) / (found[-1].at_s - found[0].at_s)


def _idle_share(server: Server, model: str, running: Sequence[float]) -> float:
    """Share of the time between scrapes at which nothing ran, where no token was counted in between either."""
    tokens = [_tokens(scrape, server.counters, model) for scrape in server.scrapes]
    steps = zip(pairwise(server.scrapes), pairwise(running), pairwise(tokens), strict=True)
    idle = (b.at_s - a.at_s for (a, b), ran, (before, after) in steps if not any(ran) and after == before)
    return math.fsum(idle) / (server.scrapes[-1].at_s - server.scrapes[0].at_s)


def _tokens(scrape: Scrape, counters: ServerCounters, model: str) -> float:
    counted = (counters.input, counters.output)
    return math.fsum(v for s, v in scrape.values.items() if s.name in counted and model_of(s) == model)


def _is_steady(values: Sequence[float], mean: float | None) -> bool | None:
    if mean is None or len(values) < LEAST_SCRAPES or not mean:
        return None
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
    return spread <= max(DISAGREEMENT * mean, math.sqrt(mean))
