"""The commands that measure what one runs oneself."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from inferprint.calibration.words import counted
from inferprint.cli.elsewhere import ask_first, ask_for_meter
from inferprint.cli.interrupted import ended_by, exit_early
from inferprint.cli.lazy import LazyGroup
from inferprint.cli.options import CATALOG, JSON, catalogue_of
from inferprint.cli.progress import watching
from inferprint.errors import FileProblem, InvalidInput, MeterProblem, UnknownName

if TYPE_CHECKING:
    from inferprint.catalogue import Catalogue
    from inferprint.measure.client import Client
    from inferprint.measure.endpoint import Summary
    from inferprint.measure.meters.base import Meter
    from inferprint.measure.plan import SweepPlan
    from inferprint.measure.rows import Subject

FROM_ENVIRONMENT = "env:"
TEXT = "text"
"""What models that write tokens are for."""

OPTIONS = {
    "concurrencies": "--concurrency",
    "prompt_tokens": "--prompt-tokens",
    "answer_tokens": "--answer-tokens",
    "cached_shares": "--cached-share",
    "requests_per_point": "--requests",
    "seconds_per_point": "--seconds",
    "max_requests": "--max-requests",
    "max_seconds": "--max-seconds",
    "ca_file": "--ca-file",
}
"""The options that fill what a plan and a client take."""


Callback = Callable[[click.Context, click.Parameter, str | None], tuple[float, ...] | None]


def _numbers(kind: Callable[[str], float]) -> Callback:
    """Reads numbers with commas between them."""

    def read(_context: click.Context, _parameter: click.Parameter, text: str | None) -> tuple[float, ...] | None:
        try:
            return tuple(kind(part) for part in text.split(",")) if text is not None else None
        except ValueError:
            raise click.BadParameter(f"'{text}' is no list of numbers such as 1,2,4") from None

    return read


@click.group(
    "measure",
    cls=LazyGroup,
    elsewhere={
        "gpu": "inferprint.cli.measure_gpu:gpu_command",
        "server": "inferprint.cli.measure_server:server_command",
    },
)
def measure_command() -> None:
    """Measure what you run yourself: times and energy, as rows that fit, validate and catalog add-node take."""


@measure_command.command("meters")
@JSON
def meters_command(as_json: bool) -> None:
    """List the kinds of energy meters, and which of them work on this machine now."""
    from inferprint.measure.meters.base import meter_kinds, why_not_here

    kinds: list[dict[str, Any]] = []
    for kind in meter_kinds().values():
        reason = f"needs {kind.needs}" if kind.needs else why_not_here(kind)
        available = None if kind.needs else reason is None
        about = {"name": kind.name, "title": kind.title, "example": kind.example}
        kinds.append({**about, "available": available, "reason": reason})
    if as_json:
        print(json.dumps(kinds, indent=2, ensure_ascii=False))
        return
    for shown in kinds:
        works = {True: "works here", False: "not here"}.get(shown["available"], shown["reason"])
        print(f"{shown['name']:<12}{works:<18}{shown['title']}")
        print(f"{'':<30}--meter {shown['example']}")
        if shown["available"] is False:
            print(f"{'':<30}{shown['reason']}")


def _counts(flag: str, text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(flag, metavar="N,N,...", callback=_numbers(int), help=text)


@measure_command.command("endpoint")
@click.argument("url", metavar="URL")
@click.option("--model", "model_id", metavar="ID", required=True, help="The model, as the catalogue knows it.")
@click.option("--served-model", metavar="NAME", help="Its name at the server; asked of the server by default.")
@click.option("--gpu", metavar="ID", required=True, help="Accelerator that serves, as the catalogue knows it.")
@click.option("--gpu-count", type=click.IntRange(1), default=1, show_default=True, help="How many serve.")
@click.option("--tensor-parallel", type=click.IntRange(1), help="How many share a copy; all by default.")
@click.option("--precision", help="Number format of the weights; that of the model's publication by default.")
@click.option("--engine", help="Serving software, such as vllm or llama.cpp-server; asked of the server by default.")
@click.option("--engine-version", metavar="VERSION", help="Its version; asked of the server by default.")
@click.option("--node", "node_id", metavar="ID", help="The node of your own that serves, for validate to score it.")
@_counts("--concurrency", "Requests in flight. Default: 1,2,4,8,16.")
@_counts("--prompt-tokens", "Prompt lengths. Default: 512,2048.")
@_counts("--answer-tokens", "Answer lengths; 1 measures prompts, at the smallest concurrency. Default: 1,64,256.")
@click.option(
    "--cached-share",
    metavar="X,X,...",
    callback=_numbers(float),
    help="Shares of the prompt sent before. Default: 0,0.75.",
)
@click.option("--requests", type=click.IntRange(1), help="Answers of a point. Default: 8, or 4 times the concurrency.")
@click.option("--seconds", type=float, default=60.0, show_default=True, help="A point takes no new ones after that.")
@click.option("--max-requests", type=click.IntRange(1), default=2000, show_default=True, help="Bound of the sweep.")
@click.option("--max-seconds", type=float, default=3600.0, show_default=True, help="Bound of the sweep.")
@click.option("--timeout", "timeout_s", type=float, default=300.0, show_default=True, help="For a request [s].")
@click.option("--stall-seconds", type=float, default=30.0, show_default=True, help="Longest pause inside an answer.")
@click.option("--api", type=click.Choice(["completions", "chat"]), default="completions", show_default=True)
@click.option("--api-key-variable", metavar="NAME", help="Environment variable that holds the key.")
@click.option("--header", "headers", metavar="NAME:VALUE", multiple=True, help="Also sent; VALUE may be env:VARIABLE.")
@click.option("--ca-file", metavar="FILE", help="Certificates to trust in place of the usual ones.")
@click.option("--count-chunks", is_flag=True, help="Count chunks as tokens where the server reports no usage.")
@click.option("--meter", "meter_asked", metavar="KIND[:ARG]", help="Energy meter of what serves, or none.")
@click.option("--idle-seconds", type=float, default=10.0, show_default=True, help="Metering before the load.")
@click.option("--source", default="own", show_default=True, help="Name of the rows' source.")
@click.option("--seed", help="Of the prompts; by default no two runs share any.")
@click.option("--yes", is_flag=True, help="Send, and read a meter, without asking where it is not on this machine.")
@click.option("--out", metavar="FILE", required=True, type=click.Path(path_type=Path), help="Observations to write.")
@click.option("--append", "add", is_flag=True, help="Add to a file that is there.")
@CATALOG
@JSON
def endpoint_command(url: str, out: Path, add: bool, yes: bool, as_json: bool, **options: Any) -> None:
    """Measure a server that speaks the API of OpenAI: times, throughput, and energy where there is a meter.

    Keeps so many requests in flight, point after point, and writes a row as each point ends; interrupted, it keeps the
    rows so far. Failed requests are counted by kind and are in no time.
    """
    _need_httpx()
    from inferprint.measure.endpoint import Sweep
    from inferprint.measure.observations import ObservationWriter
    from inferprint.measure.scrape import is_loopback
    from inferprint.measure.target import base_of

    base = base_of(url)
    with _options_named():
        plan, subject, client = _plan_of(options), _subject_of(options), _client_of(base, options)
    here = is_loopback(base)
    # A file that is there already is refused before anything else is said.
    with ObservationWriter(out, add=add) as writer, _meter_of(options, subject, here, yes) as meter:
        _announce(base, plan, metered=meter is not None)
        if not here and not yes:
            ask_first("url", base, f"Send them to {base}?")
        with watching("requests") as watch:
            sweep = Sweep(
                client,
                plan,
                subject,
                writer,
                meter=meter,
                watch=watch,
                idle_seconds=options["idle_seconds"],
                seed=options["seed"],
            )
            by = ended_by(sweep.run)
    _show(sweep.summary, out, as_json)
    rows = len(sweep.summary.rows)
    exit_early(by, rows, out)
    if sweep.summary.stopped or not rows:
        sys.exit(1)


def _need_httpx() -> None:
    from importlib.util import find_spec

    if find_spec("httpx") is None:
        raise FileProblem("httpx is not installed", hint="pip install 'inferprint[measure]'")


@contextmanager
def _options_named() -> Iterator[None]:
    """Errors name the option that was given."""
    try:
        yield
    except InvalidInput as error:
        if error.field not in OPTIONS:
            raise
        raise InvalidInput(
            OPTIONS[error.field], error.message.removeprefix(f"{error.field}: "), hint=error.hint
        ) from None


def _plan_of(options: dict[str, Any]) -> SweepPlan:
    from inferprint.measure.plan import SweepPlan

    lists = {
        "concurrencies": options["concurrency"],
        "prompt_tokens": options["prompt_tokens"],
        "answer_tokens": options["answer_tokens"],
        "cached_shares": options["cached_share"],
    }
    return SweepPlan(
        requests_per_point=options["requests"],
        seconds_per_point=options["seconds"],
        max_requests=options["max_requests"],
        max_seconds=options["max_seconds"],
        **{name: values for name, values in lists.items() if values is not None},
    )


def _subject_of(options: dict[str, Any]) -> Subject:
    """What is measured; names that the catalogue does not hold are refused before anything is sent."""
    from inferprint.catalogue import resolve_gpu, resolve_model, resolve_precision
    from inferprint.measure.rows import Subject
    from inferprint.rates.engines import find_engine

    catalogue = catalogue_of(options["catalog"])
    match = resolve_model(catalogue, options["model_id"])
    precision = options["precision"] or match.precision_hint or match.model.native_precision
    count, share = options["gpu_count"], options["tensor_parallel"]
    if share is not None and count % share:
        raise InvalidInput(
            "--tensor-parallel",
            f"{share} of {count} accelerators cannot share each copy",
            hint="Give a divisor of --gpu-count, which is all that serve.",
        )
    subject = Subject(
        model_id=options["model_id"],
        gpu=resolve_gpu(catalogue, options["gpu"]).id,
        gpu_count=count,
        tensor_parallel=share,
        precision_name=resolve_precision(catalogue, precision).id if precision else None,
        engine=find_engine(options["engine"]).id if options["engine"] else None,
        engine_version=options["engine_version"],
        node_id=_node_of(catalogue, options["node_id"]),
        source=options["source"],
    )
    _check_fits(catalogue, subject)
    if subject.precision_name and not options["precision"]:
        how = "as the model's name says" if match.precision_hint else "as published"
        print(f"precision: {subject.precision_name}, {how}; --precision says otherwise", file=sys.stderr)
    return subject


def _check_fits(catalogue: Catalogue, subject: Subject) -> None:
    """Refuse before anything is sent what no row could be scored of: see `validate`."""
    from inferprint.rates import MachineSetup, resolve_machine

    card = resolve_machine(
        catalogue,
        MachineSetup(
            model_id=subject.model_id,
            gpu_id=subject.gpu,
            gpu_count=subject.gpu_count,
            replica_gpu_count=subject.tensor_parallel or subject.gpu_count,
            batch_size=1.0,
            precision=subject.precision_name,
            engine=subject.engine,
        ),
    )
    if card.modality.name != TEXT:
        what = f"{subject.model_id} is a model for {card.modality.name}, which writes no tokens"
        raise InvalidInput("--model", what, hint="Name the model that the server has: inferprint catalog models.")


def _node_of(catalogue: Catalogue, name: str | None) -> str | None:
    """The node that serves: of the catalogue, or one that is yet to be made of these rows."""
    from inferprint.catalogue import resolve_node
    from inferprint.catalogue.own import check_node_id

    if name is None:
        return None
    check_node_id("--node", name)
    try:
        return resolve_node(catalogue, name).id
    except UnknownName as unknown:
        near = f" (nearest: {', '.join(unknown.nearest)})" if unknown.nearest else ""
        make = f"inferprint catalog add-node {name}"
        print(f"no node is called '{name}' yet{near}: {make} makes it of these rows", file=sys.stderr)
        return name


def _client_of(base: str, options: dict[str, Any]) -> Client:
    from inferprint.measure.client import Client
    from inferprint.measure.target import Target

    for name, flag in (("timeout_s", "--timeout"), ("stall_seconds", "--stall-seconds")):
        if not 0 < options[name] < math.inf:
            raise InvalidInput(flag, f"{options[name]:g} s is no time to wait")
    if not 0 <= options["idle_seconds"] < math.inf:
        raise InvalidInput("--idle-seconds", f"{options['idle_seconds']:g} s is no time to wait")
    given = [_header(text) for text in options["headers"]]
    headers = {name: value for name, value, _ in given}
    if options["api_key_variable"]:
        headers["Authorization"] = f"Bearer {_from_environment(options['api_key_variable'], '--api-key-variable')}"
    api: Literal["completions", "chat"] = options["api"]
    return Client(
        Target(base, options["served_model"] or "", api, headers, tuple(value for _, value, secret in given if secret)),
        timeout_s=options["timeout_s"],
        stall_s=options["stall_seconds"],
        count_chunks=options["count_chunks"],
        ca_file=options["ca_file"],
    )


def _header(text: str) -> tuple[str, str, bool]:
    """A header as name and value, and whether it is a secret, which is read from the environment alone."""
    from inferprint.measure.target import SECRET_HEADERS

    name, colon, value = (part.strip() for part in text.partition(":"))
    if not (colon and name and value and name.isascii() and value.isascii()):
        raise InvalidInput("--header", f"'{name}' is not NAME:VALUE", hint="For example X-Route:blue.")
    if value.startswith(FROM_ENVIRONMENT):
        return name, _from_environment(value.removeprefix(FROM_ENVIRONMENT), "--header"), True
    if name.lower() in SECRET_HEADERS:
        raise InvalidInput(
            "--header",
            f"a value of {name} on the command line is seen by others",
            hint=f"Put it into an environment variable: --header {name}:{FROM_ENVIRONMENT}VARIABLE",
        )
    return name, value, False


def _from_environment(name: str, flag: str) -> str:
    value = os.environ.get(name, "").strip()
    if not value or not value.isascii() or not value.isprintable():
        raise InvalidInput(flag, f"the environment variable {name} holds no key", hint=f"export {name}=...")
    return value


@contextmanager
def _meter_of(options: dict[str, Any], subject: Subject, here: bool, yes: bool) -> Iterator[Meter | None]:
    """The meter that was asked for, or one that this machine has where it is the one that serves."""
    from inferprint.measure.meters.chosen import metered, usual_meters

    asked = options["meter_asked"]
    usual = usual_meters(catalogue_of(options["catalog"]).gpus[subject.gpu])
    opened = metered(
        asked,
        usual,
        lambda text: print(text, file=sys.stderr),
        here=here,
        count=subject.gpu_count,
        ask=None if yes else ask_for_meter,
    )
    with ExitStack() as stack:
        try:
            meter = stack.enter_context(opened)
        except MeterProblem as problem:
            raise MeterProblem(f"--meter: {problem.message}", hint=problem.hint) from problem
        yield meter


def _announce(base: str, plan: SweepPlan, *, metered: bool) -> None:
    more = ", and what the meter needs" if metered else ""
    points, usual = counted(len(plan.points()), "point"), counted(plan.usual_requests, "request")
    print(
        f"{points} against {base}: about {usual}{more}; at most "
        f"{plan.most_requests(metered=metered):,} with {plan.most_tokens(metered=metered):,} tokens, "
        f"in {plan.max_seconds:,.0f} s",
        file=sys.stderr,
    )


HEADINGS = ("in flight", "in", "cached", "out", "ttft ms", "itl ms", "request s", "tokens/s", "J/request", "J/token")


def _show(summary: Summary, out: Path, as_json: bool) -> None:
    if as_json:
        shown = {**summary.to_dict(), "observations": str(out) if summary.rows else None}
        sys.stdout.write(json.dumps(shown, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        return
    if summary.rows:
        print("".join(f"{heading:>11}" for heading in HEADINGS))
    for row in summary.rows:
        ttft_ms = None if row.ttft_s is None else 1e3 * row.ttft_s
        lengths = (row.n_in_tokens, row.n_cached_tokens, row.n_out_tokens)
        times = (ttft_ms, row.itl_ms, row.duration_s, row.system_output_tokens_per_s)
        values = (row.concurrency, *lengths, *times, row.energy_per_request_j, row.energy_per_output_token_j)
        print("".join(f"{'-' if value is None else f'{value:,.4g}':>11}" for value in values))
    print(_requests(summary))
    if summary.stopped:
        left = counted(len(summary.not_measured), "point")
        print(f"stopped: {summary.stopped}; {left} not measured", file=sys.stderr)
    if summary.rows:
        print(f"{counted(len(summary.rows), 'row')} in {out}")


def _requests(summary: Summary) -> str:
    """What became of the requests."""
    failed = ", ".join(f"{count:,} {kind}" for kind, count in summary.failures.items())
    parts = [
        f"{counted(summary.sent, 'request')} sent, {summary.answered:,} answered",
        f"{summary.under_way:,} under way" if summary.under_way else "",
        f"{summary.told_to_wait:,} told to wait" if summary.told_to_wait else "",
        f"{summary.sent_again:,} sent again" if summary.sent_again else "",
        f"failed: {failed}" if failed else "",
    ]
    return ", ".join(filter(None, parts))
