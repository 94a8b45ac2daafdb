"""`inferprint measure gpu`: blocks of published models with random weights, timed and metered on this machine."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inferprint.cli.elsewhere import ask_for_meter
from inferprint.cli.interrupted import ended_by, exit_early
from inferprint.cli.options import CATALOG, JSON, catalogue_of
from inferprint.cli.progress import watching
from inferprint.errors import InvalidInput, UnknownName

if TYPE_CHECKING:
    from inferprint.catalogue import Catalogue, Gpu
    from inferprint.measure.gpu.device import Device
    from inferprint.measure.gpu.plan import GpuPlan
    from inferprint.measure.gpu.rows import Subject
    from inferprint.measure.gpu.run import GpuRun, Summary
    from inferprint.measure.gpu.shapes import Shape

DEFAULT_MODEL, MIXTURE = "llama-3.1-8b", "qwen3-30b-a3b"

PRECISIONS = {"cuda": ("bf16", "fp8"), "mps": ("bf16",), "cpu": ("fp32",)}
"""Formats that are measured where none is asked for, by what computes; one that it does not have is left out."""


def _counts(_context: click.Context, _parameter: click.Parameter, text: str | None) -> tuple[int, ...] | None:
    try:
        return tuple(int(part) for part in text.split(",")) if text is not None else None
    except ValueError:
        raise click.BadParameter(f"'{text}' is no list of numbers such as 1,4,16") from None


def _lengths(flag: str, name: str, text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(flag, name, metavar="N,N,...", callback=_counts, help=text)


@click.command("gpu")
@click.option(
    "--model",
    "models",
    metavar="ID",
    multiple=True,
    help=f"Model whose blocks are built; several may be given. Default: {DEFAULT_MODEL}.",
)
@click.option("--gpu", metavar="ID", required=True, help="The accelerator of this machine, as the catalogue knows it.")
@click.option("--device", type=click.Choice(["cuda", "mps", "cpu"]), help="Where PyTorch computes; found by default.")
@click.option(
    "--precision",
    "precisions",
    type=click.Choice(["bf16", "fp8", "fp32"]),
    multiple=True,
    help="Number format; several may be given. Default: bf16, and fp8 where CUDA has it; fp32 on a processor.",
)
@_lengths("--batch", "batches", "Requests that decode together. Default: 1,4,16,64,256.")
@_lengths("--prompt-tokens", "prompt_tokens", "Lengths of what is computed at once. Default: 256,2048.")
@_lengths("--context-tokens", "context_tokens", "Tokens in the cache before it. Default: 512,4096.")
@click.option("--answer-tokens", type=int, default=128, show_default=True, help="Answer that a decode row stands for.")
@click.option("--layers", type=int, help="Layers to build, 2 at least; as many as fit by default.")
@click.option("--vocabulary", type=click.IntRange(1), help="Vocabulary of the models; 128,000 is assumed.")
@click.option("--repeats", type=int, default=5, show_default=True, help="Repeats of a point.")
@click.option("--seconds-per-point", type=float, default=3.0, show_default=True, help="All repeats together, at least.")
@click.option("--max-seconds", type=float, default=1800.0, show_default=True, help="Bound of all together.")
@click.option("--meter", "asked", metavar="KIND[:ARG]", help="Energy meter of the device, or none.")
@click.option("--idle-seconds", type=float, default=10.0, show_default=True, help="Metering without work.")
@click.option("--yes", is_flag=True, help="Read a meter that is not on this machine without asking.")
@click.option("--source", default="own", show_default=True, help="Name of the rows' source.")
@click.option("--out", metavar="FILE", required=True, type=click.Path(path_type=Path), help="Observations to write.")
@click.option("--append", "add", is_flag=True, help="Add to a file that is there.")
@CATALOG
@JSON
def gpu_command(out: Path, add: bool, as_json: bool, **options: Any) -> None:
    """Measure this machine's accelerator with PyTorch: prompts, cached prefixes and decoding, without a server.

    Blocks of a model's shape get random weights; where not all layers fit, some are timed and scaled, and the row says
    so. Idle power comes first, empty and with weights; each point is a row as it ends; interrupted, it keeps the rows.
    """
    from inferprint.catalogue import resolve_gpu, resolve_model
    from inferprint.measure.gpu.rows import Subject
    from inferprint.measure.gpu.run import GpuRun
    from inferprint.measure.gpu.shapes import shape_of
    from inferprint.measure.meters.chosen import check_asked, metered
    from inferprint.measure.observations import ObservationWriter

    # What was asked for comes first: PyTorch takes a while to load, and is no cure for a name that is wrong.
    catalogue = catalogue_of(options["catalog"])
    gpu = resolve_gpu(catalogue, options["gpu"])
    models = [resolve_model(catalogue, name).model for name in options["models"] or (DEFAULT_MODEL,)]
    check_asked(options["asked"])
    plan = _plan_of(options)
    shapes = [(model.id, shape_of(model, options["vocabulary"])) for model in models]
    if not options["models"]:
        _say(f"model: {DEFAULT_MODEL}, which is dense; --model names others, such as {MIXTURE}, a mixture of experts")
    device, precisions = _device_of(gpu, options["device"], options["precisions"])
    usual = Subject(
        model_id="",
        gpu=gpu.id,
        precision="",
        engine_version=device.version,
        source=options["source"],
        known_as=lambda name: _known_as(catalogue, name),
    )
    runs = [
        (shape, replace(usual, model_id=model_id, precision=precision))
        for model_id, shape in shapes
        for precision in precisions
    ]
    summaries: list[Summary] = []
    own, count = _own_meter(device), None if device.kind == "cpu" else 1
    ask = None if options["yes"] else ask_for_meter
    with metered(options["asked"], (own,), _say, count=count, ask=ask) as meter:
        device.metered = _index_of(options["asked"] or own) if meter is not None else None
        with ObservationWriter(out, add=add) as writer:
            make = partial(GpuRun, device, writer=writer, meter=meter, idle_seconds=options["idle_seconds"])
            by = ended_by(lambda: _run_all(runs, device, plan, make, summaries))
    _show(summaries, out, as_json)
    exit_early(by, len(writer.rows), out)
    if not writer.rows or any(summary.stopped for summary in summaries):
        sys.exit(1)


def _run_all(
    runs: list[tuple[Shape, Subject]],
    device: Device,
    plan: GpuPlan,
    make: Callable[..., GpuRun],
    summaries: list[Summary],
) -> None:
    """Run the plan for each model in each format; each has an equal share of the time that is left."""
    left = plan.max_seconds
    for place, (shape, subject) in enumerate(runs):
        if left <= 0:
            _say(f"--max-seconds are over: {subject.model_id} in {subject.precision} is not measured")
            continue
        # Before the first run nothing may ask the driver: the power of the empty device is not metered yet.
        if place and _cannot(device, subject):
            continue
        share = replace(plan, max_seconds=left / (len(runs) - place))
        with watching("points") as watch:
            run = make(shape, subject, share, watch=watch)
            summaries.append(run.summary)
            run.run()
        device.release()
        left -= run.summary.seconds


def _cannot(device: Device, subject: Subject) -> bool:
    """Whether a device does not compute in a format that nobody asked for, which is said then."""
    reason = "" if subject.precision in device.needed else device.why_not(subject.precision)
    if reason:
        _say(f"{subject.model_id} in {subject.precision} is left out: {reason}")
    return bool(reason)


def _plan_of(options: dict[str, Any]) -> GpuPlan:
    from inferprint.measure.gpu.plan import GpuPlan

    names = ("batches", "prompt_tokens", "context_tokens")
    lists = {name: options[name] for name in names if options[name] is not None}
    if options["idle_seconds"] < 0:
        raise InvalidInput("--idle-seconds", f"{options['idle_seconds']:g} s is below 0")
    same = ("answer_tokens", "repeats", "seconds_per_point", "max_seconds", "layers")
    return GpuPlan(**lists, **{name: options[name] for name in same})


def _device_of(gpu: Gpu, asked: str | None, precisions: tuple[str, ...]) -> tuple[Device, tuple[str, ...]]:
    """The device that is the accelerator which was named, and the formats to measure: those asked for, else its own."""
    from inferprint.measure.gpu.device import open_device

    device = open_device(asked)
    if (device.kind == "cpu") != (gpu.device_class == "cpu"):
        raise InvalidInput(
            "--gpu",
            f"PyTorch computes on {device.kind} here, and {gpu.id} is of the class {gpu.device_class}",
            hint="Name what computes with --gpu, or choose it with --device.",
        )
    device.needed = tuple(dict.fromkeys(precisions))
    if device.kind != "cuda":
        # Where no driver has to be asked for it, nothing has to be metered first.
        for precision in device.needed:
            device.check(precision)
    return device, device.needed or PRECISIONS[device.kind]


def _own_meter(device: Device) -> str:
    """The meter of the first device, which is where PyTorch computes."""
    return {"cuda": "amd:0" if device.is_amd else "nvidia:0", "mps": "apple", "cpu": "rapl"}[device.kind]


def _index_of(meter: str) -> int | None:
    """Index of the NVIDIA device that a meter reads; None where it is another meter, or of several."""
    from inferprint.measure.meters.base import kind_of

    kind, argument = kind_of(meter)
    if kind.name != "nvidia":
        return None
    return int(argument or 0) if argument.isdecimal() or not argument else None


def _known_as(catalogue: Catalogue, name: str) -> str | None:
    """The accelerator that the catalogue takes a device's name for; None where it does not know it."""
    from inferprint.catalogue import resolve_gpu

    try:
        return resolve_gpu(catalogue, name).id
    except UnknownName:
        return None


def _say(text: str) -> None:
    print(text, file=sys.stderr)


HEADINGS = ("batch", "in", "cached", "out", "step ms", "tokens/s", "J/request", "J/token")


def _show(summaries: list[Summary], out: Path, as_json: bool) -> None:
    if as_json:
        runs = [summary.to_dict() for summary in summaries]
        shown = {"runs": runs, "observations": str(out) if any(summary.rows for summary in summaries) else None}
        sys.stdout.write(json.dumps(shown, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        return
    rows = [row for summary in summaries for row in summary.rows]
    if rows:
        print(f"{'model':<24}{'format':<6}" + "".join(f"{heading:>11}" for heading in HEADINGS))
    for row in rows:
        step_ms = row.itl_ms if row.itl_ms is not None else 1e3 * (row.ttft_s or 0.0)
        lengths = (row.concurrency, row.n_in_tokens, row.n_cached_tokens, row.n_out_tokens)
        energies = (row.energy_per_request_j, row.energy_per_output_token_j)
        values = (*lengths, step_ms, row.system_output_tokens_per_s, *energies)
        cells = "".join(f"{'-' if value is None else f'{value:,.4g}':>11}" for value in values)
        print(f"{row.model_id:<24}{row.precision_name:<6}{cells}")
    for summary in summaries:
        if summary.stopped:
            print(f"stopped: {summary.stopped}; {len(summary.not_measured)} points not measured", file=sys.stderr)
    if rows:
        print(f"{len(rows)} rows in {out}")
