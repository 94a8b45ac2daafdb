"""Counters of model servers, as Prometheus scrapes them from /metrics.

The text is parsed here. The parser of prometheus-client ends at the first line that it cannot read, tells no line
numbers, and takes several scrapes in one file for one; of a server's thousands of lines about ten matter.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from inferprint.units import MS_PER_S
from inferprint.usage.base import Outcome, Record, Rejected, Sample, Source
from inferprint.usage.times import utc

_LINE = re.compile(
    r'([a-zA-Z_:][\w:]*)\s*(?:\{((?:[^"}]|"(?:\\.|[^"\\])*")*)\})?\s+(\S+)(?:\s+([-+.\deE]+))?\s*(?:#.*)?'
)
_LABEL = re.compile(r'([a-zA-Z_]\w*)\s*=\s*"((?:\\.|[^"\\])*)"')
_ESCAPED = re.compile(r"\\(.)")

Names = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Counters:
    """Which counters of a server mean what.

    Attributes
    ----------
    prefix
        What the names of its metrics begin with.
    input, output
        Tokens of prompts, also those found in the cache, and of answers.
    cached
        Tokens of prompts found in a cache: names to add up; the first group of which one is there.
    requests
        Finished requests: the first of these that is there.
    running
        Gauge of the requests in progress, where tokens are counted before their request has finished.
    duration, first_token
        Histograms of seconds.
    """

    prefix: str
    input: str
    output: str
    cached: tuple[Names, ...]
    requests: Names
    running: str | None = None
    duration: str
    first_token: str

    def names(self) -> frozenset[str]:
        """All series to read; for each counter also the one that says when it was created."""
        histograms = (self.duration, self.first_token)
        counters = {self.input, self.output, *self.requests, *(name for group in self.cached for name in group)}
        counters |= {f"{name}_{part}" for name in histograms for part in ("sum", "count")}
        return frozenset(
            counters | {created_name(name) for name in counters} | ({self.running} if self.running else set())
        )


class Series(NamedTuple):
    """A metric with its labels, in the order of their names."""

    name: str
    labels: tuple[tuple[str, str], ...]


class Value(NamedTuple):
    """What a series was at a moment, and its line."""

    row: int
    series: Series
    value: float


@dataclass
class Scrape:
    """The values of one moment."""

    moment: float | None
    values: dict[Series, Value] = field(default_factory=dict)


def outcomes(counters: Counters, source: Source, state: dict[str, Any]) -> Iterator[Outcome]:
    """One record of each model from one scrape to the next; the first counts since the server's start.

    A series whose counter has restarted counts from zero again: it fell, or says that it was created at another time.
    """
    rejects: list[Rejected] = []
    last: dict[str, float] = state.setdefault(counters.prefix, {})
    for scrape in scrapes(counters, source.lines(), rejects):
        by_model: dict[str | None, list[Value]] = {}
        for value in scrape.values.values():
            by_model.setdefault(dict(value.series.labels).get("model_name"), []).append(value)
        for model, values in by_model.items():
            yield _outcome(counters, model, scrape.moment, values, last)
        yield from rejects
        rejects.clear()
    yield from rejects


def _outcome(
    counters: Counters, model: str | None, moment: float | None, values: list[Value], last: dict[str, float]
) -> Outcome:
    grown, reached = _increases(values, last)
    row = min(value.row for value in values)
    given, answered = grown.get(counters.input), grown.get(counters.output)
    cached = next((group for group in counters.cached if any(name in grown for name in group)), ())
    requests = next((name for name in counters.requests if name in grown), None)
    if requests is None:
        reason = f"no count of requests: the length of one is unknown; expected {' or '.join(counters.requests)}"
        return Rejected(row, counters.requests[0], reason)
    last.update(reached)
    running = sum(value.value for value in values if value.series.name == counters.running)
    return Record(
        row=row,
        model_id=model,
        input_tokens=given,
        output_tokens=answered,
        # Hits may be counted while their request still waits: they are those of a prompt, and at most all of it.
        cached_input_tokens=min(sum(grown.get(name, 0) for name in cached), given if given is not None else math.inf),
        # Tokens without a finished request are those of requests in progress.
        n_requests=grown[requests] or running or 1,
        utc_datetime=utc(moment),
        request_duration_ms=_mean_ms(grown, counters.duration),
        time_to_first_token_ms=_mean_ms(grown, counters.first_token),
    )


def _increases(values: list[Value], last: dict[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """By how much each counter grew since `last`, over all its series; and where each series stands now."""
    created = {series: value for _, series, value in values if series.name.endswith("_created")}
    grown: dict[str, float] = {}
    reached: dict[str, float] = {}
    for _, series, value in values:
        if series in created:
            continue
        name, labels = series
        since = created.get(Series(created_name(name), labels), "")
        key = f"{name}{{{','.join(f'{label}={text}' for label, text in labels)}}}@{since}"
        before = last.get(key, 0)
        reached[key] = value
        grown[name] = grown.get(name, 0) + value - (before if before <= value else 0)
    return grown, reached


def _mean_ms(grown: dict[str, float], histogram: str) -> float | None:
    seconds, number = grown.get(f"{histogram}_sum"), grown.get(f"{histogram}_count")
    return seconds / number * MS_PER_S if seconds and number else None


def created_name(name: str) -> str:
    """The series that says when a counter was created."""
    for ending in ("_total", "_sum", "_count"):
        name = name.removesuffix(ending)
    return f"{name}_created"


def scrapes(counters: Counters, lines: Iterable[tuple[int, str]], rejects: list[Rejected]) -> Iterator[Scrape]:
    """The scrapes of a file: in the order of their timestamps, else a new one begins where a series comes again."""
    wanted, types = counters.names(), set[str]()
    current, stamped = Scrape(None), dict[float, Scrape]()
    for row, line in lines:
        read = None
        if line.startswith(counters.prefix) and line.partition("{")[0].split(None, 1)[0] in wanted:
            read = parsed_line(row, line)
        if isinstance(read, Rejected):
            rejects.append(read)
        elif read and read[1] is not None:
            stamped.setdefault(read[1], Scrape(read[1])).values.setdefault(read[0].series, read[0])
        elif (read and read[0].series in current.values) or line.startswith("# EOF") or line in types:
            if current.values:
                yield current
            current = Scrape(None)
            types.clear()
        if line.startswith("# TYPE "):
            types.add(line)
        elif isinstance(read, tuple) and read[1] is None:
            current.values[read[0].series] = read[0]
    if current.values:
        yield current
    yield from (stamped[moment] for moment in sorted(stamped))


def parsed_line(row: int, line: str) -> tuple[Value, float | None] | Rejected:
    """A line's value, and its timestamp where it has one."""
    found = _LINE.fullmatch(line.strip())
    if found is None:
        return Rejected(row, "", "is not a line of the Prometheus text format")
    name, labels, text, moment = found.groups()
    try:
        value, stamp = float(text), float(moment) if moment else None
    except ValueError:
        value, stamp = math.nan, None
    if not math.isfinite(value):
        return Rejected(row, name, f"'{text[:40]}' is not a finite number")
    pairs = sorted((key, _ESCAPED.sub(_unescaped, quoted)) for key, quoted in _LABEL.findall(labels or ""))
    return Value(row, Series(name, tuple(pairs)), value), stamp


def _unescaped(escape: re.Match[str]) -> str:
    return "\n" if escape[1] == "n" else escape[1]


def recognised(counters: Counters, sample: Sample) -> bool:
    """Whether the beginning of a file has metrics of the server."""
    return any(line.startswith(counters.prefix) for line in sample.text.splitlines())
