"""`inferprint measure server`: what a running vLLM or SGLang did, and whose the metered energy is."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from inferprint.cli.elsewhere import ask_first, ask_for_meter
from inferprint.cli.interrupted import ended_by
from inferprint.cli.options import CATALOG, JSON, catalogue_of, estimator_of
from inferprint.errors import InvalidInput, UnknownName

if TYPE_CHECKING:
    from inferprint.catalogue import Catalogue, Gpu
    from inferprint.measure.meters.base import Boundary
    from inferprint.measure.meters.windows import Window
    from inferprint.measure.observations import ObservationWriter, Row
    from inferprint.measure.server_metrics import ModelSpan
    from inferprint.measure.server_rows import Setup
    from inferprint.measure.server_scrapes import Server
    from inferprint.measure.shares import Share

SPARE_S = 1.0
"""Metering before and after the scrapes, so that readings enclose the span [s]."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found: the span since 1970 [s], its energy by what, and the signal that ended it early, or 0."""

    servers: list[Server]
    start_s: float
    end_s: float
    energy: tuple[Window, Boundary] | None
    meter: str
    ended_by: int = 0


@click.command("server")
@click.argument("sources", metavar="URL|FILE...", nargs=-1, required=True)
@click.option("--gpu", metavar="ID", required=True, help="Accelerator that serves, as the catalogue knows it.")
@click.option("--gpu-count", type=click.IntRange(1), default=1, show_default=True, help="How many serve a model.")
@click.option("--tensor-parallel", type=click.IntRange(1), help="How many share a copy; all by default.")
@click.option(
    "--model", "models", metavar="[SERVED=]ID", multiple=True, help="Model of the catalogue by its name at the server."
)
@click.option("--gpus-of", metavar="SERVED=N", multiple=True, help="How many serve this model, where they differ.")
@click.option("--precision", help="Number format of the weights; that of the model's publication by default.")
@click.option("--engine", help="Serving software and its age, such as vllm-2024; by its metrics by default.")
@click.option("--engine-version", metavar="VERSION", help="Its version.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), default=60.0, show_default=True, help="Of a URL.")
@click.option("--every", type=click.FloatRange(0.1), default=5.0, show_default=True, help="Between two scrapes [s].")
@click.option("--start", metavar="TIME", help="Of the first scrape, where files have no timestamps.")
@click.option("--end", metavar="TIME", help="Of the last one.")
@click.option(
    "--meter",
    "asked",
    metavar="KIND[:ARG]",
    help="Energy meter of all that serves, or none; that of the GPU by default.",
)
@click.option(
    "--power", metavar="FILE", type=click.Path(path_type=Path), help="Recorded power: wall CSV, or Prometheus JSON."
)
@click.option("--power-unit", metavar="UNIT", default="W", show_default=True, help="Of a JSON file: W, mW, uW, kW.")
@click.option("--power-boundary", metavar="NAME", help="What it contains: gpu_only, system_wall_ac ...")
@click.option(
    "--by", type=click.Choice(["card", "time"]), default="card", show_default=True, help="How energy is shared out."
)
@click.option("--yes", is_flag=True, help="Read servers and meters that are not on this machine without asking.")
@click.option(
    "--out", metavar="FILE", type=click.Path(path_type=Path), help="Observations to write; without it none are kept."
)
@click.option("--append", "add", is_flag=True, help="Add to a file that is there.")
@CATALOG
@JSON
def server_command(
    sources: tuple[str, ...], out: Path | None, add: bool, catalog: Path | None, as_json: bool, **options: Any
) -> None:
    """Measure what a running vLLM or SGLang serves, by its metrics: at URLs of /metrics for a while, or in FILEs.

    Tokens, requests and times become a row for each model; metered energy is shared out among models and their
    prompt, cached and output tokens, so that the shares add up to the meter. Without --out they are shown, and kept
    nowhere.
    """
    from inferprint.measure.meters.chosen import check_asked
    from inferprint.measure.observations import ObservationWriter

    check_asked(options["asked"])
    if out is None:
        _measure(sources, options, None, catalog, as_json)
        return
    # Before anything is measured, so that it is not lost where the file cannot be written.
    with ObservationWriter(out, add=add) as writer:
        _measure(sources, options, writer, catalog, as_json)


def _measure(
    sources: tuple[str, ...],
    options: dict[str, Any],
    writer: ObservationWriter | None,
    catalog: Path | None,
    as_json: bool,
) -> None:
    from inferprint.catalogue import resolve_gpu, resolve_model, resolve_precision
    from inferprint.measure.server_metrics import model_spans
    from inferprint.measure.server_rows import row_of

    catalogue = catalogue_of(catalog)
    gpu = resolve_gpu(catalogue, options["gpu"])
    options["gpu"] = gpu.id
    for text in options["models"]:
        resolve_model(catalogue, text.rpartition("=")[2])
    if options["precision"]:
        options["precision"] = resolve_precision(catalogue, options["precision"]).id
    if _are_urls(sources):
        found = _found_by(lambda: _polled(list(dict.fromkeys(sources)), options, gpu, catalogue))
    else:
        found = _recorded(sources, options)
    spans = [span for server in found.servers for span in model_spans(server)]
    setups = [_setup_of(span, spans, options, catalogue) for span in spans]
    shares = [] if found.energy is None else _shares(found.energy[0].joules, spans, setups, options["by"], catalog)
    alone = sum(span.worked for span in spans) == 1
    pairs = zip(spans, setups, strict=True)
    rows = [row for span, setup in pairs if (row := row_of(span, setup, found.end_s, found.energy, alone=alone))]
    if writer is not None:
        for row in rows:
            writer.append(row)
    out = None if writer is None else writer.path
    if as_json:
        shown = _as_data(found, spans, shares, rows, out, options["by"])
        sys.stdout.write(json.dumps(shown, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    else:
        _show(found, spans, shares, rows, out)
    if found.ended_by:
        kept = f"the span ends after {found.end_s - found.start_s:.3g} s, and is " + (f"in {out}" if out else "shown")
        _exit_early(found.ended_by, kept)


def _found_by(measure: Callable[[], Measured]) -> Measured:
    """What is measured; a signal before there is anything ends the command."""
    found: list[Measured] = []
    by = ended_by(lambda: found.append(measure()))
    if by:
        _exit_early(by, "nothing was measured")
    return found[0]


def _exit_early(number: int, kept: str) -> NoReturn:
    """Say what is kept of work that a signal ended, and end as a shell shows that."""
    _say(f"interrupted: {kept}")
    sys.exit(128 + number)


def _are_urls(sources: Sequence[str]) -> bool:
    urls = [source.startswith(("http://", "https://")) for source in sources]
    if any(urls) and not all(urls):
        raise InvalidInput("URL|FILE", "addresses and files together", hint="Give either.")
    return all(urls)


# --- where it comes from ----------------------------------------------------------------------------------------------


def _polled(urls: Sequence[str], options: dict[str, Any], gpu: Gpu, catalogue: Catalogue) -> Measured:
    """Servers that were scraped for a while, with a meter that was read meanwhile."""
    from inferprint.measure.meters.chosen import metered, usual_meters
    from inferprint.measure.meters.windows import Recorder
    from inferprint.measure.scrape import is_loopback
    from inferprint.measure.server_scrapes import Polling

    elsewhere = [url for url in urls if not is_loopback(url)]
    if options["power"] is not None:
        raise InvalidInput("--power", "a file of power beside an address", hint="Name a meter: --meter wall:FILE.csv")

    def check(served: set[str]) -> None:
        if served:
            _models_of(served, options, catalogue)

    count = None if options["gpus_of"] else options["gpu_count"] * max(len(urls), len(options["models"]))
    ask = None if options["yes"] else ask_for_meter
    polling = Polling(urls)
    with metered(options["asked"], usual_meters(gpu), _say, here=not elsewhere, count=count, ask=ask) as meter:
        if elsewhere and not options["yes"]:
            hosts = ", ".join(elsewhere)
            ask_first("URL", hosts, f"Scrape {hosts}?")
        if meter is None:
            _say("times only, without energy")
        recorder = None if meter is None else Recorder(meter)
        with recorder or nullcontext():
            if recorder is not None:
                time.sleep(SPARE_S)
            with _told() as tell:
                by = ended_by(
                    lambda: polling.run(options["seconds"], options["every"], tell=tell, say=_say, check=check)
                )
            if by and not polling.is_span:
                signal.raise_signal(by)
            servers = polling.servers()
            start_s, end_s = _span(servers)
            if meter is None or recorder is None:
                return Measured(servers, start_s, end_s, None, "", by)
            clock = time.monotonic() - time.time()
            window = recorder.window(start_s + clock, end_s + clock, flag_short=True)
            return Measured(servers, start_s, end_s, (window, meter.boundary), meter.name, by)


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _span(servers: Sequence[Server]) -> tuple[float, float]:
    """From the first scrape of all servers to the last [s]."""
    return min(server.scrapes[0].at_s for server in servers), max(server.scrapes[-1].at_s for server in servers)


def _recorded(sources: Sequence[str], options: dict[str, Any]) -> Measured:
    """A server by files of its scrapes, with a file of power."""
    from inferprint.measure.meters.dcgm import WATTS
    from inferprint.measure.power_files import energy_of_span, readings_of
    from inferprint.measure.server_scrapes import server_of_files

    if options["asked"] not in (None, "none"):
        hint = "Give its record with --power, or scrape the server while it is metered."
        raise InvalidInput("--meter", "a meter beside files: the span is over", hint=hint)
    start, end = _moment("--start", options["start"]), _moment("--end", options["end"])
    server = server_of_files([Path(source) for source in sources], start, end)
    start_s, end_s = _span([server])
    path = options["power"]
    if path is None:
        _say("times only, without energy: --power FILE adds it")
        return Measured([server], start_s, end_s, None, "")
    if options["power_unit"] not in WATTS:
        raise InvalidInput("--power-unit", f"'{options['power_unit']}' is unknown", hint=f"One of {', '.join(WATTS)}.")
    series, boundary = readings_of(path, WATTS[options["power_unit"]])
    stated = options["power_boundary"]
    window = energy_of_span(series, start_s, end_s, path.name)
    return Measured([server], start_s, end_s, (window, _boundary(stated) if stated else boundary), path.name)


def _boundary(text: str) -> Boundary:
    from inferprint.measure.meters.base import BOUNDARIES

    for boundary in BOUNDARIES:
        if boundary == text:
            return boundary
    raise InvalidInput("--power-boundary", f"'{text}' is unknown", hint=f"One of {', '.join(BOUNDARIES)}.")


def _moment(field: str, text: str | None) -> float | None:
    from inferprint.usage.times import moment

    if text is None:
        return None
    found = moment(text)
    if found is None:
        raise InvalidInput(
            field, f"'{text}' is no time", hint="For example 2026-11-20T09:00:00Z, or seconds since 1970."
        )
    return found.timestamp()


@contextmanager
def _told() -> Iterator[Any]:
    """Tell how long it has taken, where somebody looks."""

    def tell(passed: float) -> None:
        if sys.stderr.isatty():
            print(f"\r{passed:.0f} s", end="", file=sys.stderr, flush=True)

    yield tell
    if sys.stderr.isatty():
        print(file=sys.stderr)


# --- models and shares ------------------------------------------------------------------------------------------------


def _models_of(served: set[str], options: dict[str, Any], catalogue: Catalogue) -> dict[str, str]:
    """The model of the catalogue by its name at the server, which is the same by default."""
    from inferprint.catalogue import resolve_model

    named = _pairs("--model", options["models"], served)
    for model in sorted(served - set(named)):
        if not model:
            raise InvalidInput("--model", "the server does not name its model", hint="Give --model ID.")
        try:
            resolve_model(catalogue, model)
        except UnknownName as error:
            raise InvalidInput(
                "--model",
                f"the server calls its model '{model}', which the catalogue does not know",
                hint=f"Say which it is: --model '{model}=ID'. {error.hint}",
            ) from error
    return {model: named.get(model, model) for model in served}


def _setup_of(span: ModelSpan, spans: Sequence[ModelSpan], options: dict[str, Any], catalogue: Catalogue) -> Setup:
    """How a model is served, by what was stated."""
    from inferprint.measure.server_rows import Setup

    served = {span.model for span in spans}
    counts = _pairs("--gpus-of", options["gpus_of"], served)
    try:
        count = int(counts.get(span.model, options["gpu_count"]))
    except ValueError:
        raise InvalidInput("--gpus-of", f"'{counts[span.model]}' is no number", hint="SERVED=N") from None
    return Setup(
        model_id=_models_of(served, options, catalogue)[span.model],
        gpu=options["gpu"],
        gpu_count=count,
        tensor_parallel=options["tensor_parallel"],
        precision=options["precision"],
        engine=options["engine"],
        engine_version=options["engine_version"],
    )


def _pairs(field: str, given: Sequence[str], served: set[str]) -> dict[str, str]:
    """What was stated by served name; a value alone is that of the one model."""
    found = {}
    for text in given:
        name, equals, value = text.rpartition("=")
        if not equals and len(served) != 1:
            raise InvalidInput(field, f"'{text}' of {', '.join(sorted(served))}?", hint="Give SERVED=VALUE.")
        name = name if equals else next(iter(served))
        if name not in served or not value:
            raise InvalidInput(field, f"'{text}': the servers have {', '.join(sorted(served))}", hint="SERVED=VALUE")
        found[name] = value
    return found


def _shares(
    joules: float, spans: Sequence[ModelSpan], setups: Sequence[Setup], by: str, catalog: Path | None
) -> list[Share]:
    from inferprint.measure.shares import shares_of, weights_by_card, weights_by_time

    if by == "time":
        return shares_of(joules, spans, [weights_by_time(span) for span in spans])
    estimator = estimator_of(catalog)
    weights = [weights_by_card(span, setup, estimator) for span, setup in zip(spans, setups, strict=True)]
    return shares_of(joules, spans, weights)


# --- output -----------------------------------------------------------------------------------------------------------


def _as_data(
    found: Measured, spans: Sequence[ModelSpan], shares: Sequence[Share], rows: Sequence[Row], out: Path | None, by: str
) -> dict[str, Any]:
    window = None if found.energy is None else found.energy[0]
    return {
        "start": _time(found.start_s),
        "end": _time(found.end_s),
        "models": [asdict(span) | {"concurrency": span.concurrency, "doubts": span.doubts()} for span in spans],
        "energy": None
        if window is None or found.energy is None
        else {
            "meter": found.meter,
            "boundary": found.energy[1],
            "joules": window.joules,
            "watts": window.watts,
            "resolution_s": window.resolution_s,
            "too_short": window.is_short,
            "shared_by": by,
            "shares": [asdict(share) for share in shares],
        },
        "rows": [row.to_dict() for row in rows],
        "observations": str(out) if out is not None and rows else None,
    }


def _time(seconds: float) -> str:
    from inferprint.usage.times import utc

    return str(utc(seconds))


def _show(
    found: Measured, spans: Sequence[ModelSpan], shares: Sequence[Share], rows: Sequence[Row], out: Path | None
) -> None:
    from inferprint.cli.text import table

    print(f"{_time(found.start_s)} to {_time(found.end_s)}")
    heads = ["model", "requests", "prompt", "cached", "output", "in flight", "tokens/s", "TTFT s", "ms/token"]
    print(table([heads, *(_cells(span) for span in spans)]))
    if found.energy is not None:
        window, boundary = found.energy
        print(f"\n{window.joules:,.6g} J ({boundary}), {window.watts:,.4g} W mean, by {found.meter}")
        parts = [["model", "tokens", "number", "J", "J/token"]]
        for share in shares:
            each = f"{share.joules / share.tokens:.4g}" if share.tokens else "-"
            parts.append([share.model or "-", share.part, f"{share.tokens:,.0f}", f"{share.joules:,.6g}", each])
        print(table(parts))
        if window.is_short:
            print(f"  the span is short for a meter that shows a new value every {window.resolution_s:.3g} s")
    for span in spans:
        for doubt in span.doubts():
            print(f"  {span.model}: {doubt}")
    if out is not None:
        print(f"{len(rows)} rows in {out}" if rows else "no rows: no request finished")


def _cells(span: ModelSpan) -> list[str]:
    per_token = None if span.per_token_s is None else 1e3 * span.per_token_s
    values = (span.requests, span.prompt_tokens, span.cached_tokens, span.output_tokens)
    rates = (span.concurrency, span.output_tokens / span.seconds, span.ttft_s, per_token)
    counts = ["-" if value is None else f"{value:,.0f}" for value in values]
    return [span.model or "-", *counts, *("-" if value is None else f"{value:.4g}" for value in rates)]
