"""Scrapes of a running vLLM or SGLang, from files or made for a while.

Names of metrics are those of vllm-project/vllm, vllm/v1/metrics/loggers.py, and sgl-project/sglang,
python/sglang/srt/observability/metrics_collector.py (before: python/sglang/srt/metrics/collector.py; its first ones:
docs/references/production_metrics.md). Both may split a metric by more labels from version to version, such as
`is_streaming` and `cache_source`, which add up.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from inferprint.errors import InvalidInput, MeterProblem
from inferprint.measure.scrape import fetch
from inferprint.usage.base import Rejected
from inferprint.usage.prometheus import Counters, Names, Series, created_name, scrapes
from inferprint.usage.prometheus import Scrape as UsageScrape
from inferprint.usage.sglang import COUNTERS as SGLANG_COUNTERS
from inferprint.usage.source import open_source
from inferprint.usage.times import moment
from inferprint.usage.vllm import COUNTERS as VLLM_COUNTERS

COPIES = frozenset({"tp_rank", "pp_rank", "moe_ep_rank"})
"""Labels of ranks that count the same requests each."""


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


def model_of(series: Series) -> str:
    """Which model a series is about; "" where it does not tell."""
    return dict(series.labels).get("model_name", "")


class Polling:
    """Scrapes servers again and again, and keeps what was scraped whatever ends it.

    Parameters
    ----------
    urls
        Addresses of /metrics.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = urls
        self._rounds: list[dict[str, tuple[float, str]]] = []

    @property
    def is_span(self) -> bool:
        """Whether there are two scrapes at least."""
        return len(self._rounds) > 1

    def servers(self) -> list[Server]:
        """The servers with what was scraped so far."""
        return [server_of_texts(url, [found[url] for found in self._rounds]) for url in self._urls]

    def run(
        self,
        seconds: float,
        every_s: float,
        *,
        tell: Callable[[float], None] = lambda _: None,
        say: Callable[[str], None] = lambda _: None,
        check: Callable[[set[str]], None] = lambda _: None,
    ) -> None:
        """Scrape for a while; a server that answers no more ends it early.

        Parameters
        ----------
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
            A server does not answer before there is a span, or is of no known kind.
        """
        begin, clock = time.monotonic(), time.time() - time.monotonic()
        for number in range(max(1, round(seconds / every_s)) + 1):
            time.sleep(max(0.0, begin + number * every_s - time.monotonic()))
            try:
                answers = {url: fetch(url) for url in self._urls}
            except MeterProblem as problem:
                if not self.is_span:
                    raise
                passed = time.monotonic() - begin
                say(f"{problem.message}, {passed:.3g} s after the beginning: the span ends with the scrape before")
                return
            self._rounds.append({url: (at_s + clock, text) for url, (at_s, text) in answers.items()})
            if not number:
                # What does not do is to be known at once, and not after all the time.
                first = {series for server in self.servers() for series in server.scrapes[0].values}
                check({model_of(series) for series in first} - {""})
            tell(time.monotonic() - begin)
