"""What a running vLLM or SGLang did between two moments, by its own metrics; and whose the metered energy is.

Counters say how many tokens and requests there were; sums of times over the span say by Little's law how many were in
progress. The energy of the span is shared out among models, and within a model among prompt, cached and output tokens,
so that the shares add up to the meter.

Names of metrics are those of vllm-project/vllm, vllm/v1/metrics/loggers.py, and sgl-project/sglang,
python/sglang/srt/observability/metrics_collector.py (before: python/sglang/srt/metrics/collector.py; its first ones:
docs/references/production_metrics.md). Both may split a metric by more labels from version to version, such as
`is_streaming` and `cache_source`, which add up.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from inferprint.errors import FileProblem, InvalidInput, MeterProblem
from inferprint.estimate import Estimator, Request
from inferprint.measure.meters.base import Boundary, Reading
from inferprint.measure.meters.dcgm import DCGM_POWER
from inferprint.measure.meters.integrated import Power, checked, energy_of
from inferprint.measure.meters.wall_csv import powers_of
from inferprint.measure.meters.windows import Window, attribute, energy_between
from inferprint.measure.observations import Row
from inferprint.measure.scrape import fetch
from inferprint.units import MS_PER_S
from inferprint.usage.base import Rejected
from inferprint.usage.prometheus import Counters, Names, Series, created_name, scrapes
from inferprint.usage.prometheus import Scrape as UsageScrape
from inferprint.usage.sglang import COUNTERS as SGLANG_COUNTERS
from inferprint.usage.source import open_source
from inferprint.usage.times import moment
from inferprint.usage.vllm import COUNTERS as VLLM_COUNTERS

By = Literal["card", "time"]
COPIES = frozenset({"tp_rank", "pp_rank", "moe_ep_rank"})
"""Labels of ranks that count the same requests each."""

PRIORITY = "priority"
"""Label by which SGLang splits its gauges where it schedules by priority; empty in the series that is their sum."""

LEAST_SCRAPES = 10
"""Scrapes from which on the mean of the gauge of running requests is taken, and not Little's law."""

DISAGREEMENT = 0.25
"""Relative difference between two ways to count requests in progress above which it is told."""


@dataclass(frozen=True, kw_only=True)
class ServerCounters(Counters):
    """Metrics of a server, with those of its times.

    Attributes
    ----------
    engine
        Its name.
    in_progress
        Gauges of running requests, best first.
    per_token
        Histograms of the time between tokens, best first.
    queue, prefill, decode
        Histograms of the time that a request waits, has its prompt computed, and is answered; None where there is none.
    """

    engine: str
    in_progress: Names
    per_token: Names
    queue: str | None = None
    prefill: str | None = None
    decode: str | None = None

    def names(self) -> frozenset[str]:
        """All series to read."""
        histograms = [name for name in (*self.per_token, self.queue, self.prefill, self.decode) if name]
        sums = {f"{name}_{part}" for name in histograms for part in ("sum", "count")}
        return super().names() | sums | {created_name(name) for name in sums} | {*self.in_progress}


def _with_times(base: Counters, **times: Any) -> ServerCounters:
    return ServerCounters(**{known.name: getattr(base, known.name) for known in fields(base)}, **times)


SERVERS = (
    _with_times(
        VLLM_COUNTERS,
        engine="vllm",
        in_progress=("vllm:num_requests_running",),
        per_token=(
            "vllm:request_time_per_output_token_seconds",
            "vllm:inter_token_latency_seconds",
            "vllm:time_per_output_token_seconds",
        ),
        queue="vllm:request_queue_time_seconds",
        prefill="vllm:request_prefill_time_seconds",
        decode="vllm:request_decode_time_seconds",
    ),
    _with_times(
        SGLANG_COUNTERS,
        engine="sglang",
        # The second is that of versions of 2024.
        in_progress=("sglang:num_running_reqs", "sglang:num_requests_running"),
        per_token=("sglang:inter_token_latency_seconds", "sglang:time_per_output_token_seconds"),
        queue="sglang:queue_time_seconds",
    ),
)


# --- scrapes ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scrape:
    """The values of a server at a moment, since 1970 [s]."""

    at_s: float
    values: Mapping[Series, float]


@dataclass(frozen=True, slots=True)
class Server:
    """One server and its scrapes, in the order of time."""

    name: str
    counters: ServerCounters
    scrapes: tuple[Scrape, ...]


def _server_of(begins: Callable[[str], bool], name: str) -> ServerCounters:
    """The server whose metrics are there."""
    found = [server for server in SERVERS if begins(server.prefix)]
    if len(found) == 1:
        return found[0]
    known = "This reads vLLM and SGLang"
    if found:
        raise MeterProblem(f"{name} has metrics of several servers", hint=f"{known}: name the address of one.")
    other = next((title for prefix, title in OTHERS.items() if begins(prefix)), None)
    what = f"metrics of {other}" if other else "no metrics of a model server that is known"
    prefixes = " or ".join(server.prefix for server in SERVERS)
    raise MeterProblem(
        f"{name} has {what}",
        hint=f"{known}, by metrics that begin with {prefixes}; inferprint measure endpoint measures any server that "
        "speaks the API of OpenAI.",
    )


OTHERS: Mapping[str, str] = {
    "llamacpp:": "llama.cpp",
    "tgi_": "text-generation-inference",
    "trtllm_": "TensorRT-LLM",
}
"""Servers that are known and not read, by what the names of their metrics begin with."""


def _without_copies(values: Mapping[Series, float]) -> dict[Series, float]:
    """The series, those of ranks that count alike as one."""
    kept: dict[Series, float] = {}
    for series, value in values.items():
        key = Series(series.name, tuple(label for label in series.labels if label[0] not in COPIES))
        kept[key] = max(value, kept.get(key, -math.inf))
    return kept


def server_of_texts(name: str, texts: Sequence[tuple[float, str]]) -> Server:
    """A server by the texts of its scrapes, each with its moment since 1970 [s].

    Raises
    ------
    MeterProblem
        They are of no known server, or a line cannot be read.
    """
    _, first = texts[0]
    counters = _server_of(lambda prefix: f"\n{prefix}" in f"\n{first}", name)
    found = []
    for at_s, text in texts:
        rejects: list[Rejected] = []
        read = list(scrapes(counters, enumerate(text.splitlines(), 1), rejects))
        _check_rejects(rejects, name)
        values = {series: value.value for scrape in read for series, value in scrape.values.items()}
        found.append(Scrape(at_s, _without_copies(values)))
    return Server(name, counters, tuple(found))


def server_of_files(paths: Sequence[Path], start_s: float | None = None, end_s: float | None = None) -> Server:
    """A server by files of its scrapes, in order.

    Parameters
    ----------
    start_s, end_s
        Moments of the first and the last scrape since 1970 [s], where the files have no timestamps; those between are
        not used then.

    Raises
    ------
    FileProblem, MeterProblem
        A file cannot be read, is of no known server, or its moments are unknown.
    """
    name = ", ".join(path.name for path in paths)
    found: list[tuple[float | None, dict[Series, float]]] = []
    counters = _server_of(lambda prefix: any(_begins(path, prefix) for path in paths), name)
    for path in paths:
        rejects: list[Rejected] = []
        found += [(read.moment, _plain(read)) for read in scrapes(counters, open_source(path).lines(), rejects)]
        _check_rejects(rejects, path.name)
    if len(found) < 2:
        raise MeterProblem(f"{name} holds {len(found)} scrape", hint="Give two at least: before the span and after it.")
    if any(at is None for at, _ in found):
        if start_s is None or end_s is None:
            raise InvalidInput(
                "--start", f"{name} says not when it was scraped", hint="Give --start TIME and --end TIME."
            )
        found = [(start_s, found[0][1]), (end_s, found[-1][1])]
    stamped = [Scrape(_seconds(at), _without_copies(values)) for at, values in found if at is not None]
    return Server(name, counters, tuple(sorted(stamped, key=lambda scrape: scrape.at_s)))


def _plain(read: UsageScrape) -> dict[Series, float]:
    return {series: value.value for series, value in read.values.items()}


def _begins(path: Path, prefix: str) -> bool:
    # Counted to the end, so that the file is closed.
    return sum(line.startswith(prefix) for _, line in open_source(path).lines()) > 0


def _seconds(stamp: float) -> float:
    found = moment(stamp)
    return stamp if found is None else found.timestamp()


def _check_rejects(rejects: Sequence[Rejected], name: str) -> None:
    if rejects:
        first = rejects[0]
        raise MeterProblem(f"{name}, line {first.row}: {first.field} {first.reason}".replace("  ", " "))


def poll(
    urls: Sequence[str],
    seconds: float,
    every_s: float,
    *,
    tell: Callable[[float], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
    check: Callable[[set[str]], None] = lambda _: None,
) -> list[Server]:
    """Scrape servers for a while; an interrupt, or one that answers no more, ends it early and keeps what was scraped.

    Parameters
    ----------
    urls
        Addresses of /metrics.
    seconds, every_s
        How long, and the time between two scrapes [s].
    tell
        Called after each with the time that has passed [s].
    say
        Called with why it ended early.
    check
        Called after the first with the names of the models, of which there may be none yet: what it raises ends it.

    Raises
    ------
    MeterProblem
        A server does not answer, or is of no known kind.
    """
    texts: dict[str, list[tuple[float, str]]] = {url: [] for url in urls}
    begin, clock = time.monotonic(), time.time() - time.monotonic()
    for number in range(max(1, round(seconds / every_s)) + 1):
        try:
            time.sleep(max(0.0, begin + number * every_s - time.monotonic()))
            answers = {url: fetch(url) for url in urls}
        except KeyboardInterrupt:
            if number < 2:
                raise
            break
        except MeterProblem as problem:
            if number < 2:
                raise
            passed = time.monotonic() - begin
            say(f"{problem.message}, {passed:.3g} s after the beginning: the span ends with the scrape before")
            break
        for url, (at_s, text) in answers.items():
            texts[url].append((at_s + clock, text))
        if not number:
            # What does not do is to be known at once, and not after all the time.
            first = [server_of_texts(url, found) for url, found in texts.items()]
            check({_model_of(series) for server in first for series in server.scrapes[0].values} - {""})
        tell(time.monotonic() - begin)
    return [server_of_texts(url, found) for url, found in texts.items()]


# --- what they did ----------------------------------------------------------------------------------------------------


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
    models = sorted({_model_of(series) for series in server.scrapes[-1].values if series.labels} - {""})
    spans = [_model_span(server, model) for model in models or [""]]
    return [span for span in spans if span is not None]


def _model_of(series: Series) -> str:
    return dict(series.labels).get("model_name", "")


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
        if _model_of(series) == model:
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
    )


def _sum(grown: Mapping[str, float], histogram: str | None) -> float | None:
    return grown.get(f"{histogram}_sum")


def _mean(grown: Mapping[str, float], histogram: str) -> float | None:
    total, count = grown.get(f"{histogram}_sum"), grown.get(f"{histogram}_count")
    return total / count if total is not None and count else None


def _running(scrape: Scrape, counters: ServerCounters, model: str) -> float | None:
    """Running requests by the gauge; where it is split by priority, by the series that is the sum."""
    for name in counters.in_progress:
        found = {s: v for s, v in scrape.values.items() if s.name == name and _model_of(s) == model}
        sums = [v for s, v in found.items() if not dict(s.labels).get(PRIORITY)]
        if found:
            return math.fsum(sums or found.values())
    return None


def _mean_over_time(found: Sequence[Scrape], values: Sequence[float]) -> float:
    areas = ((b.at_s - a.at_s) * (x + y) / 2 for (a, b), (x, y) in zip(pairwise(found), pairwise(values), strict=True))
    return math.fsum(areas) / (found[-1].at_s - found[0].at_s)


def _is_steady(values: Sequence[float], mean: float | None) -> bool | None:
    if mean is None or len(values) < LEAST_SCRAPES or not mean:
        return None
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
    return spread <= max(DISAGREEMENT * mean, math.sqrt(mean))


# --- energy -----------------------------------------------------------------------------------------------------------


def readings_of(path: Path, unit_w: float = 1.0) -> tuple[list[list[Reading]], Boundary]:
    """Energy by time since 1970, from a wall meter's CSV file or the answer of Prometheus to a query of power.

    Parameters
    ----------
    unit_w
        What one of the query's unit is in [W].

    Returns
    -------
    tuple
        Readings of each series, which add up; and the boundary, by the metric's name where the answer has one.

    Raises
    ------
    FileProblem, MeterProblem
        It cannot be read, or is neither.
    """
    if path.suffix.lower() != ".json":
        return [energy_of(powers_of(path))], "system_wall_ac"
    try:
        answer = json.loads(path.read_text(encoding="utf-8"))
        results = answer["data"]["result"]
        found = [[(float(at), float(value)) for at, value in series["values"]] for series in results]
        named = {series.get("metric", {}).get("__name__", "") for series in results}
    except OSError as error:
        raise FileProblem(f"cannot read {path}: {error.strerror}", hint="Name a file with --power.") from error
    except (ValueError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        hint = "Save the answer of /api/v1/query_range as it is."
        raise FileProblem(f"{path} is no answer of Prometheus to a range query: {error!r}", hint=hint) from error
    if not any(found):
        raise MeterProblem(f"{path} holds no series", hint="Ask for the time of the span.")
    boundary: Boundary = "gpu_only" if DCGM_POWER in named else "system_wall_ac"
    powers = [[Power(at, checked(value * unit_w, path.name)) for at, value in series] for series in found if series]
    return [energy_of(series) for series in powers], boundary


def energy_of_span(series: Sequence[Sequence[Reading]], start_s: float, end_s: float, name: str) -> Window:
    """Energy of several series together between two moments.

    Raises
    ------
    MeterProblem
        See `energy_between`.
    """
    windows = [energy_between(readings, start_s, end_s, name=name) for readings in series]
    return Window(start_s, end_s, math.fsum(w.joules for w in windows), max(w.resolution_s for w in windows))


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


@dataclass(frozen=True, slots=True)
class Share:
    """Energy of the tokens of one kind, of one model [J]."""

    server: str
    model: str
    part: str
    tokens: float
    joules: float


PARTS = ("prompt", "cached", "output")
IDLE = "idle"


def shares_of(total_j: float, spans: Sequence[ModelSpan], weights: Sequence[tuple[float, float, float]]) -> list[Share]:
    """The energy of a span by model and kind of token; all of it is idle where there was no work.

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
        return [Share("", "", IDLE, 0.0, total_j)]
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


# --- rows -------------------------------------------------------------------------------------------------------------


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
        row_id=f"server-{end:%Y%m%dT%H%M%SZ}-{span.model or setup.model_id}",
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
