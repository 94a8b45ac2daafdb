"""Options that describe a request: written once, used by every command that takes one."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from inferprint.catalogue import Catalogue
from inferprint.estimate import Estimator, default_catalogue


@dataclass(frozen=True, slots=True)
class Choice:
    """An option: the request field that it fills, its flag, its type and its help text."""

    field: str
    flag: str
    kind: Any
    help: str


WORK = (
    Choice("input_tokens", "--input-tokens", float, "prompt tokens, cached ones included"),
    Choice("output_tokens", "--output-tokens", float, "answer tokens, reasoning included"),
    Choice("cached_input_tokens", "--cached-input-tokens", float, "prompt tokens read from a cache"),
    Choice("cache_write_tokens", "--cache-write-tokens", float, "prompt tokens written to a cache"),
    Choice("reasoning_tokens", "--reasoning-tokens", float, "hidden part of the answer"),
    Choice("n_requests", "--n-requests", float, "requests that these totals stand for"),
)

SETUP = (
    Choice("managed_service_id", "--service", str, "managed endpoint, such as openai or aws-bedrock"),
    Choice("node_id", "--node", str, "machine of the catalogue, such as generic:hgx-h100-8"),
    Choice("cloud_id", "--cloud", str, "cloud of --instance or --region, such as aws"),
    Choice("cloud_instance_id", "--instance", str, "cloud instance, such as p5.48xlarge"),
    Choice("gpu_id", "--gpu", str, "accelerator of one's own, such as rtx_4090"),
    Choice("gpu_count", "--gpu-count", int, "accelerators that are there"),
    Choice("replica_gpu_count", "--replica-gpu-count", int, "accelerators that hold one copy of the model"),
    Choice("cloud_region", "--region", str, "cloud region, such as us-east-1 or aws:us-east-1"),
    Choice("country", "--country", str, "ISO 3166 code of the country whose grid applies"),
    Choice("grid_zone", "--grid-zone", str, "grid zone, such as US-EGRID-SRVC"),
    Choice("batch_size", "--batch-size", float, "requests that share a decode step of a replica"),
    Choice("time_per_output_token_ms", "--time-per-output-token-ms", float, "measured; the batch is solved from it"),
    Choice("request_duration_ms", "--duration-ms", float, "measured; the batch is solved from it, or it is device time"),
    Choice("precision", "--precision", str, "number format of the weights, such as fp8 or q4_k_m"),
    Choice("techniques", "--technique", list[str], "serving technique, NAME[:key=value,...]; may be repeated"),
    Choice("active_share", "--active-share", float, "share of powered time with at least one request"),
    Choice("pue", "--pue", float, "power usage effectiveness of the facility"),
    Choice("wue_l_per_kwh", "--wue", float, "site water per kWh of IT energy [L/kWh]"),
    Choice("grid_gco2e_per_kwh", "--grid-gco2e-per-kwh", float, "intensity of the grid, location-based"),
    Choice("grid_market_gco2e_per_kwh", "--grid-market-gco2e-per-kwh", float, "intensity by contract, market-based"),
    Choice("grid_water_l_per_kwh", "--grid-water-l-per-kwh", float, "water of power generation"),
    Choice("total_params_b", "--total-params-b", float, "size of the model [1e9 parameters]"),
    Choice("active_params_b", "--active-params-b", float, "parameters that one token uses [1e9]"),
    Choice("method", "--method", str, "default, two-term or seed"),
)

CATALOG = Annotated[
    Path | None,
    typer.Option("--catalog", metavar="DIR", help="folder of your own records, on top of the packaged ones"),
]
JSON = Annotated[bool, typer.Option("--json", help="print JSON, in the shape of the API")]


def takes_request(*choices: Choice) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of `choices`; it receives those that were used as `given`, by request field."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def wrapped(**values: Any) -> None:
            given = {c.field: values.pop(c.field) for c in choices}
            used = {name: value for name, value in given.items() if value is not None and value != []}
            if "techniques" in used:
                used["techniques"] = tuple(used["techniques"])
            command(given=used, **values)

        signature = inspect.signature(command, eval_str=True)
        own = [p for p in signature.parameters.values() if p.name != "given"]
        options = [
            inspect.Parameter(
                c.field,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[c.kind | None, typer.Option(c.flag, help=c.help, show_default=False)],
            )
            for c in choices
        ]
        wrapped.__signature__ = signature.replace(parameters=[*_keyword_only(own), *options])  # type: ignore[attr-defined]
        wrapped.__annotations__ = {p.name: p.annotation for p in [*own, *options]}
        return wrapped

    return decorate


def _keyword_only(parameters: list[inspect.Parameter]) -> list[inspect.Parameter]:
    return [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]


def catalogue_of(folder: Path | None) -> Catalogue:
    """The default catalogue, with a folder on top."""
    return default_catalogue().with_folder(folder) if folder is not None else default_catalogue()


def estimator_of(folder: Path | None) -> Estimator:
    """An estimator on the chosen catalogue."""
    return Estimator(catalogue_of(folder))
