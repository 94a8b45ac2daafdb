"""Options that describe a request: written once, used by every command that takes one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from inferprint.catalogue import Catalogue
from inferprint.estimate import Estimator, default_catalogue
from inferprint.quantities import METHODS


@dataclass(frozen=True, slots=True)
class Choice:
    """An option: the request field that it fills, its flag, its type and its help text."""

    field: str
    flag: str
    kind: Any
    help: str
    multiple: bool = False


WORK = (
    Choice("input_tokens", "--input-tokens", float, "Prompt tokens, cached ones included"),
    Choice("output_tokens", "--output-tokens", float, "Answer tokens, reasoning included"),
    Choice("cached_input_tokens", "--cached-input-tokens", float, "Prompt tokens read from a cache"),
    Choice("cache_write_tokens", "--cache-write-tokens", float, "Prompt tokens written to a cache"),
    Choice("reasoning_tokens", "--reasoning-tokens", float, "Hidden part of the answer"),
    Choice("n_requests", "--n-requests", float, "Requests that these totals stand for"),
)

SETUP = (
    Choice("managed_service_id", "--service", str, "Managed endpoint, such as openai or aws-bedrock"),
    Choice("node_id", "--node", str, "Machine of the catalogue, such as generic:hgx-h100-8"),
    Choice("cloud_id", "--cloud", str, "Cloud of --instance or --region, such as aws"),
    Choice("cloud_instance_id", "--instance", str, "Cloud instance, such as p5.48xlarge"),
    Choice("gpu_id", "--gpu", str, "Accelerator of one's own, such as rtx_4090"),
    Choice("gpu_count", "--gpu-count", int, "Accelerators that are there"),
    Choice("replica_gpu_count", "--replica-gpu-count", int, "Accelerators that hold one copy of the model"),
    Choice("cloud_region", "--region", str, "Cloud region, such as us-east-1 or aws:us-east-1"),
    Choice("country", "--country", str, "ISO 3166 code of the country whose grid applies"),
    Choice("grid_zone", "--grid-zone", str, "Grid zone, such as US-EGRID-SRVC"),
    Choice("batch_size", "--batch-size", float, "Requests that share a decode step of a replica"),
    Choice("time_per_output_token_ms", "--time-per-output-token-ms", float, "Measured; the batch is solved from it"),
    Choice(
        "request_duration_ms",
        "--duration-ms",
        float,
        "Measured, mean per request; gives the batch, or device time",
    ),
    Choice(
        "max_time_per_output_token_ms",
        "--max-time-per-output-token-ms",
        float,
        "Limit that the service keeps: gives the batch",
    ),
    Choice("max_ttft_ms", "--max-ttft-ms", float, "Limit on the time to the first token; likewise"),
    Choice("engine", "--engine", str, "Serving software: vllm, vllm-2024, tensorrt-llm, sglang, llama.cpp ..."),
    Choice("precision", "--precision", str, "Number format of the weights, such as fp8 or q4_k_m"),
    Choice("techniques", "--technique", str, "Serving technique, NAME[:key=value,...]; may be repeated", True),
    Choice("active_share", "--active-share", float, "Share of powered time with at least one request"),
    Choice("pue", "--pue", float, "Power usage effectiveness of the facility"),
    Choice("wue_l_per_kwh", "--wue", float, "Site water per kWh of IT energy [L/kWh]"),
    Choice("grid_gco2e_per_kwh", "--grid-gco2e-per-kwh", float, "Intensity of the grid, location-based"),
    Choice("grid_market_gco2e_per_kwh", "--grid-market-gco2e-per-kwh", float, "Intensity by contract, market-based"),
    Choice("grid_water_l_per_kwh", "--grid-water-l-per-kwh", float, "Water of power generation"),
    Choice("total_params_b", "--total-params-b", float, "Size of the model [1e9 parameters]"),
    Choice("active_params_b", "--active-params-b", float, "Parameters that one token uses [1e9]"),
    Choice("conservative", "--conservative", bool, "Upper end of a size that comes from a price"),
    Choice("method", "--method", click.Choice(METHODS), "How duration and energy are computed"),
)


def flag_of(field: str) -> str:
    """The option that fills a request field; empty where none does."""
    return next((choice.flag for choice in (*WORK, *SETUP) if choice.field == field), "")


CATALOG = click.option(
    "--catalog",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder of your own records, on top of the packaged ones.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, in the shape of the API.")

Command = Callable[..., None]


def takes_request(*choices: Choice) -> Callable[[Command], Command]:
    """Give a command the options of `choices`; it receives those that were used as `given`, by request field."""

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def wrapped(**values: Any) -> None:
            options = {choice.field: values.pop(choice.field) for choice in choices}
            given = {name: v for name, v in options.items() if v not in (None, ()) and v is not False}
            command(given=given, **values)

        for choice in reversed(choices):
            shape: dict[str, Any] = {"type": choice.kind, "multiple": choice.multiple}
            if choice.kind is bool:
                shape = {"is_flag": True}
            wrapped = click.option(choice.flag, choice.field, help=f"{choice.help}.", **shape)(wrapped)
        return wrapped

    return decorate


def catalogue_of(folder: Path | None) -> Catalogue:
    """The default catalogue, with a folder on top."""
    return default_catalogue().with_folder(folder) if folder is not None else default_catalogue()


def estimator_of(folder: Path | None) -> Estimator:
    """An estimator on the chosen catalogue."""
    return Estimator(catalogue_of(folder))
