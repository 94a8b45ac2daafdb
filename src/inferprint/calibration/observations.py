"""Measured points, as one table: what was measured, on what, and how the models of this package are asked for it.

A file has the columns of `data/benchmarks/*/text.csv` (its README lists them); one row may hold several quantities.
A row that lacks a field its quantity needs, names something unknown or states what cannot be is refused with its id and
the reason; a missing prompt length is assumed by task, and marked.
"""

from __future__ import annotations

import csv
import math
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Literal

from inferprint.calibration.benchmarks.base import MEDIA_WORDS, USUAL_PROMPTS, Benchmark, engine_of
from inferprint.calibration.cells import NUMBERS, Refused, Row, check_date, check_engine, needed, number, positive
from inferprint.calibration.device_energy import MAX_POWER_SHARE, Devices, device_joules
from inferprint.catalogue import Catalogue, resolve_gpu, resolve_model, resolve_node, resolve_precision
from inferprint.catalogue.compose import fold
from inferprint.discovery import members
from inferprint.errors import FileProblem, InferprintError
from inferprint.modalities.media import MediaWork, Size
from inferprint.rates import MachineSetup
from inferprint.rates.ideal import TextWork

Quantity = Literal[
    "single_request_duration",
    "served_time_per_token",
    "energy_per_output_token",
    "prompt_energy",
    "image_energy",
    "image_time",
    "video_energy",
    "video_time",
    "wall_power",
]
MEDIA: tuple[Quantity, ...] = ("image_energy", "image_time", "video_energy", "video_time")
"""Quantities of what a denoiser makes."""

SCORED: tuple[Quantity, ...] = (
    "single_request_duration",
    "served_time_per_token",
    "energy_per_output_token",
    "prompt_energy",
    *MEDIA,
)
"""Quantities that are scored on files of measurements, in the order of the tables."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One measured value.

    Attributes
    ----------
    measured
        In the unit of the quantity: [s], [s/token] or [J] per token, request, image or video.
    work
        Prompt and answer length [tokens], and 1 with pictures or video in the prompt; or what a denoiser makes.
    setup
        The machine as the cards take it.
    weight
        In a fit; 0 for a row that is only compared with.
    assumed
        What the row did not state and was filled in.
    cached
        Tokens of the prompt that were read from a cache [tokens].
    """

    row_id: str
    source: str
    quantity: Quantity
    measured: float
    work: TextWork | MediaWork
    setup: MachineSetup
    weight: float
    assumed: tuple[str, ...] = ()
    cached: float = 0.0

    @property
    def tokens(self) -> TextWork:
        """The work of a request of text."""
        if isinstance(self.work, MediaWork):
            raise TypeError(f"{self.row_id} is no request of text")
        return self.work


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that cannot be used for a quantity, and why."""

    row_id: str
    source: str
    quantity: Quantity
    reason: str


@dataclass(slots=True)
class Observations:
    """What a set of files holds; `silent` rows measure nothing that is known here.

    `unknown_nodes` counts the rows of nodes that the catalogue does not hold: their accelerator alone is looked at;
    `other_nodes` those that were refused as of another node than the one that was asked for.
    """

    kept: list[Observation] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    silent: int = 0
    unknown_nodes: Counter[str] = field(default_factory=Counter)
    other_nodes: Counter[str] = field(default_factory=Counter)

    def of(self, quantity: Quantity) -> list[Observation]:
        """The values of one quantity."""
        return [item for item in self.kept if item.quantity == quantity]


def data_folder() -> Path:
    """The folder of the measurements that come with this package.

    Raises
    ------
    FileProblem
        It is not there: only the source tree holds it.
    """
    folder = Path(__file__).resolve().parents[3] / "data" / "benchmarks"
    if not folder.is_dir():
        raise FileProblem(
            "the project's own measurements are not installed with the package",
            hint="In a clone of the repository: pip install -e '.[fit]'. `fit` learns from them and yours together;"
            " `validate --observations FILE` and `catalog add-node` need yours alone.",
        )
    return folder


def benchmarks() -> dict[str, Benchmark]:
    """Known sources of measurements, by name."""
    return members("inferprint.calibration.benchmarks", Benchmark)


@cache
def _stated_use(source: str) -> Mapping[str, object]:
    """What `source.toml` says of a source; nothing for a source that this package does not hold."""
    try:
        path = data_folder() / source / "source.toml"
    except FileProblem:
        return {}
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def read_own(catalogue: Catalogue) -> Observations:
    """The measurements of this package."""
    return read_files(sorted(data_folder().glob("*/*.csv")), catalogue)


def read_files(
    paths: Iterable[Path],
    catalogue: Catalogue,
    *,
    fit_unknown: bool = False,
    on_nodes: bool = False,
    on_node: str | None = None,
    of_node: str | None = None,
    host_w: float | None = None,
) -> Observations:
    """Measured values of several files; a measurement that two of them hold is taken once.

    `fit_unknown` gives rows of sources that this package does not hold a weight in fits: they are the caller's own.
    With `on_nodes` a row that names a node of the catalogue is of that node; else of its accelerator alone. With
    `on_node`, an id of the catalogue, all rows are of that node. With `of_node` rows that name another are refused.
    `host_w` is what a machine draws at work beside its accelerators [W], by which energy at the wall becomes theirs;
    where it is not given, what the record of the node says that a row names.

    Raises
    ------
    FileProblem
        A file that cannot be read, or that is no table of measurements.
    """
    found, seen = Observations(), dict[tuple[object, ...], Path]()
    for path in dict.fromkeys(paths):
        for row in rows_of(path):
            other = row.get("node_id", "").strip()
            name = on_node or other
            node = catalogue.nodes.get(catalogue.names("nodes").get(fold(name), "")) if name else None
            if name and node is None and on_nodes:
                found.unknown_nodes[name] += 1
            row["node_id"] = node.id if node is not None and (on_nodes or on_node) else ""
            of_host = host_w if host_w is not None or node is None else node.host_active_power_w
            items = _read_row(row, catalogue, of_host)
            if of_node is not None and other and fold(other) != fold(of_node):
                found.other_nodes[other] += 1
                reason = f"measured on the node {other}"
                items = [Refusal(item.row_id, item.source, item.quantity, reason) for item in items]
            found.silent += not items
            for item in items:
                # Equal rows of one file are repeats; of two files, one measurement that both hold.
                if seen.setdefault(_identity(item), path) != path:
                    continue
                if isinstance(item, Observation):
                    own = fit_unknown and not _stated_use(item.source)
                    found.kept.append(replace(item, weight=1.0) if own else item)
                else:
                    found.refused.append(item)
    return found


def _identity(item: Observation | Refusal) -> tuple[object, ...]:
    if isinstance(item, Refusal):
        return item.source, item.row_id, item.quantity
    return item.source, item.quantity, item.setup, item.work, item.cached, round(math.log(item.measured), 6)


NEEDED_COLUMNS = ("row_id", "gpu")


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a file, with the source's name in each."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in NEEDED_COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise FileProblem(
                    f"{path.name} is no table of measurements: it has no column {' and no '.join(missing)}",
                    hint="data/benchmarks/README.md lists the columns.",
                )
            rows = [{key: value or "" for key, value in row.items() if key} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FileProblem(f"cannot read {path}: {error}", hint="Give a CSV file in UTF-8.") from error
    for row in rows:
        row.setdefault("source", path.parent.name)
    return rows


def _read_row(row: Row, catalogue: Catalogue, host_w: float | None) -> list[Observation | Refusal]:
    """Everything that a row measures."""
    found: list[Observation | Refusal] = []
    for quantity, measures in QUANTITIES.items():
        if not measures(row):
            continue
        try:
            found.append(_observation(row, quantity, catalogue, host_w))
        except (Refused, InferprintError) as error:
            reason = error.message if isinstance(error, InferprintError) else str(error)
            found.append(Refusal(row.get("row_id", ""), row.get("source", ""), quantity, reason))
    return found


def _alone(row: Row) -> bool:
    return row.get("serving_mode", "").startswith("single_stream")


def _prompt_alone(row: Row) -> bool:
    """Whether a row is one prompt at a time, whose pass gives the only token of the answer."""
    return row.get("serving_mode") == "prefill_only" and row.get("concurrency", "").strip() in ("1", "1.0")


def _is_text(row: Row) -> bool:
    return any(name in row for name in ("n_out_tokens", "serving_mode", "energy_per_output_token_j"))


QUANTITIES: Mapping[Quantity, Callable[[Row], bool]] = {
    "single_request_duration": lambda row: (
        _is_text(row) and (_alone(row) or _prompt_alone(row)) and bool(row.get("duration_s"))
    ),
    "served_time_per_token": lambda row: (
        _is_text(row)
        and row.get("serving_mode") != "prefill_only"
        and bool(row.get("system_output_tokens_per_s") or (row.get("duration_s") and not _alone(row)))
    ),
    "energy_per_output_token": lambda row: _is_text(row) and bool(row.get("energy_per_output_token_j")),
    "prompt_energy": lambda row: row.get("serving_mode") == "prefill_only" and bool(row.get("energy_per_request_j")),
    "image_energy": lambda row: bool(row.get("energy_per_image_j")),
    "image_time": lambda row: "energy_per_image_j" in row and bool(row.get("batch_latency_s")),
    "video_energy": lambda row: bool(row.get("energy_per_video_j")),
    "video_time": lambda row: "energy_per_video_j" in row and bool(row.get("batch_latency_s")),
}
"""Whether a row measures a quantity."""


def _observation(row: Row, quantity: Quantity, catalogue: Catalogue, host_w: float | None) -> Observation:
    """One value of a row.

    Raises
    ------
    Refused, InferprintError
        The row lacks what the quantity needs, or states what cannot be.
    """
    if row.get("repeats_row_id"):
        raise Refused(f"the same run as {row['repeats_row_id']}")
    for name in NUMBERS:
        number(row, name)
    benchmark = _benchmark(row)
    if quantity in MEDIA:
        return _media_observation(row, quantity, benchmark, catalogue, host_w)
    work, assumed = _work(row, quantity, benchmark)
    cached = _cached(row, work)
    setup = _setup(row, quantity, benchmark, work, catalogue)
    if setup.precision is None and catalogue.models[setup.model_id].native_precision is None:
        # Else the card takes the format in which the model was published.
        assumed = (*assumed, "precision_name")
    if cached and (setup.batch_size or 1.0) > 1:
        # The others of the batch find as much of their prompts.
        setup = replace(setup, techniques=(*setup.techniques, f"prefix-caching:hit_rate={cached / work[0]!r}"))
    measured = _measured(row, quantity, Devices(catalogue.gpus[setup.gpu_id or ""], setup.gpu_count or 1, host_w))
    weight = _weight(row, quantity, setup)
    return Observation(
        row.get("row_id", ""), benchmark.name, quantity, measured, work, setup, weight, assumed, cached=cached
    )


def _benchmark(row: Row) -> Benchmark:
    """The source of a row. The words of a source that this package does not hold are checked: nobody has read them.

    Raises
    ------
    Refused
        Its date or engine is none.
    """
    name = row.get("source", "")
    known = benchmarks().get(name)
    if known is None:
        check_date(row)
        if _is_text(row):
            check_engine(row)
    return known or Benchmark(name)


def _measured(row: Row, quantity: Quantity, devices: Devices) -> float:
    """The value of a quantity: a time, or what the accelerators took."""
    if quantity in ENERGIES:
        return device_joules(row, ENERGIES[quantity], devices)
    return TIMES[quantity](row)


ENERGIES: Mapping[Quantity, str] = {
    "energy_per_output_token": "energy_per_output_token_j",
    "prompt_energy": "energy_per_request_j",
    "image_energy": "energy_per_image_j",
    "video_energy": "energy_per_video_j",
}
"""Column of an energy."""


def _cached(row: Row, work: TextWork) -> float:
    """Tokens of the prompt that were read from a cache; none where the row does not say."""
    cached = number(row, "n_cached_tokens") or 0.0
    if cached > work[0]:
        raise Refused(f"n_cached_tokens is {cached:g}, more than the {work[0]:g} of the prompt")
    return cached


def _media_observation(
    row: Row, quantity: Quantity, benchmark: Benchmark, catalogue: Catalogue, host_w: float | None
) -> Observation:
    """One value of a row about pictures or clips."""
    gpu = resolve_gpu(catalogue, row.get("gpu", ""))
    model = resolve_model(catalogue, row.get("model_id") or row.get("model_key", "")).model
    count = positive(row, "gpu_count")
    _check_power(row, gpu.max_power_w, count)
    size = Size(int(positive(row, "width_px")), int(positive(row, "height_px")))
    video = quantity.startswith("video")
    work = MediaWork(
        steps=positive(row, "inference_steps"),
        evaluations_per_step=dict(benchmark.evaluations).get(model.id),
        output_images=() if video else (size,),
        output_video_frames=positive(row, "num_frames") if video else None,
        output_video_size=size if video else None,
    )
    precision = row.get("precision_name", "")
    setup = MachineSetup(
        model_id=model.id,
        gpu_id=gpu.id,
        gpu_count=int(count),
        replica_gpu_count=int(count),
        batch_size=positive(row, "batch_size"),
        precision=resolve_precision(catalogue, precision).id if precision else None,
        engine="diffusers",
    )
    measured = _measured(row, quantity, Devices(gpu, count, host_w))
    weight = _weight(row, quantity, setup)
    assumed = () if precision or model.native_precision else ("precision_name",)
    return Observation(row.get("row_id", ""), benchmark.name, quantity, measured, work, setup, weight, assumed)


def _served_time(row: Row) -> float:
    """Time per output token that a request of the batch sees [s]."""
    if number(row, "system_output_tokens_per_s"):
        return positive(row, "concurrency") / positive(row, "system_output_tokens_per_s")
    return positive(row, "duration_s") / positive(row, "n_out_tokens")


TIMES: Mapping[Quantity, Callable[[Row], float]] = {
    "single_request_duration": lambda row: positive(row, "duration_s"),
    "served_time_per_token": _served_time,
    "image_time": lambda row: positive(row, "batch_latency_s"),
    "video_time": lambda row: positive(row, "batch_latency_s"),
}
"""How a time is read [s]."""


def _work(row: Row, quantity: Quantity, benchmark: Benchmark) -> tuple[TextWork, tuple[str, ...]]:
    """Prompt and answer length [tokens] and whether pictures are in the prompt; and what of it is assumed."""
    prompt = quantity == "prompt_energy" or (quantity == "single_request_duration" and _prompt_alone(row))
    n_out = 0.0 if prompt else needed(row, "n_out_tokens")
    if n_out == 0 and quantity in ("served_time_per_token", "energy_per_output_token"):
        raise Refused("n_out_tokens is 0: there is no time or energy per output token")
    task = row.get("task", "").lower()
    media = float(any(word in task for word in MEDIA_WORDS))
    n_in = number(row, "n_in_tokens")
    if n_in is not None:
        if n_in + n_out == 0:
            raise Refused("neither prompt nor answer has a token")
        return (n_in, n_out, media), ()
    rules = benchmark.prompt_tokens or USUAL_PROMPTS
    return (next(tokens for word, tokens in rules if word in task), n_out, media), ("n_in_tokens",)


def _setup(row: Row, quantity: Quantity, benchmark: Benchmark, work: TextWork, catalogue: Catalogue) -> MachineSetup:
    """The machine of a row."""
    gpu = resolve_gpu(catalogue, row.get("gpu", ""))
    model = resolve_model(catalogue, row.get("model_key") or row.get("model_id", "")).model
    precision = row.get("precision_name", "")
    count = positive(row, "gpu_count")
    if count != int(count):
        raise Refused(f"gpu_count is {count:g}: devices come whole")
    bytes_per_param = number(row, "weight_bytes_per_param")
    if bytes_per_param == 0:
        raise Refused("weight_bytes_per_param is 0: weights have a size")
    _check_power(row, gpu.max_power_w, count)
    if row.get("serving_mode") == "disaggregated":
        raise Refused("prompts and answers run on separate workers, whose split is not stated")
    one = quantity in ("single_request_duration", "prompt_energy")
    requests = 1.0 if one else needed(row, "concurrency")
    if _alone(row):
        # The mean over a while, pauses between the requests included.
        requests = max(requests, 1.0)
    if requests < 1:
        raise Refused(f"concurrency is {requests:g}: a batch has at least one request")
    replica, ranks = _layout(row, count)
    node = row.get("node_id", "")
    return MachineSetup(
        model_id=model.id,
        node_id=resolve_node(catalogue, node).id if node else None,
        gpu_id=gpu.id,
        gpu_count=int(count),
        replica_gpu_count=int(replica),
        batch_size=max(1.0, requests * replica / count),
        precision=resolve_precision(catalogue, precision).id if precision else None,
        bytes_per_param=bytes_per_param,
        engine=engine_of(benchmark, row),
        techniques=_ranks(ranks),
        traffic=work if work[1] else None,
    )


def _layout(row: Row, count: float) -> tuple[float, float]:
    """Devices of a replica, and the ranks among which its sequences are split.

    Experts spread over more devices than the attention is split over hold one copy of the model together; where the
    source calls the rest data parallel, each rank has its own sequences.
    """
    tensor = number(row, "tensor_parallel") or count
    pipeline, expert = number(row, "pipeline_parallel") or 1.0, number(row, "expert_parallel") or 1.0
    replica = min(max(tensor * pipeline, expert), count)
    data = number(row, "data_parallel") or 1.0
    ranks = data if expert > tensor else 1.0
    return replica, min(max(ranks, 1.0), replica)


def _ranks(ranks: float) -> tuple[str, ...]:
    """The technique by which sequences are split among ranks; none where there is one."""
    return (f"data-parallel:ranks={ranks:g}",) if ranks > 1 else ()


def _check_power(row: Row, limit_w: float | None, count: float) -> None:
    """Refuse a row whose GPUs are said to draw more than they can."""
    together = number(row, "avg_gpu_power_w_all_gpus")
    for power in (number(row, "avg_gpu_power_w_per_gpu"), together / count if together is not None else None):
        if power is not None and limit_w and power > MAX_POWER_SHARE * limit_w:
            raise Refused(f"{power:g} W per GPU is more than twice its limit of {limit_w:g} W")


def _weight(row: Row, quantity: Quantity, setup: MachineSetup) -> float:
    """Weight of a row in a fit, by what its source says of the quantity; 0 where it is only compared with."""
    stated = _stated_use(row.get("source", ""))
    use = stated.get("use", {})
    only = stated.get("check_only", {})
    if not isinstance(use, Mapping) or use.get(quantity) != "fit":
        return 0.0
    if isinstance(only, Mapping) and any(row.get(column) in values for column, values in only.items()):
        return 0.0
    # Layers one after the other on several devices: the waiting ones are inside, which no form describes.
    if setup.engine == "eager" and (setup.gpu_count or 1) > 1:
        return 0.0
    weight = stated.get("weight", 1.0)
    return float(weight) if isinstance(weight, int | float) else 1.0
