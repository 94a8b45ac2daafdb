"""Options that describe a request: written once, used by every command that takes one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from inferprint.catalogue import Catalogue
from inferprint.errors import FileProblem, InvalidInput
from inferprint.estimate import Estimator, default_catalogue
from inferprint.estimate.media import MAX_IMAGES
from inferprint.quantities import METHODS


@dataclass(frozen=True, slots=True)
class Choice:
    """An option: the request field that it fills, its flag, its type and its help text."""

    field: str
    flag: str
    kind: Any
    help: str
    multiple: bool = False


IMAGE_COUNT = "image_count"
"""What `--image-count` fills: no field of a request, but a part of its `output_images`."""

WORK = (
    Choice("input_tokens", "--input-tokens", float, "Prompt tokens, cached ones included"),
    Choice("output_tokens", "--output-tokens", float, "Answer tokens, reasoning included"),
    Choice("cached_input_tokens", "--cached-input-tokens", float, "Prompt tokens read from a cache"),
    Choice("cache_write_tokens", "--cache-write-tokens", float, "Prompt tokens written to a cache"),
    Choice("reasoning_tokens", "--reasoning-tokens", float, "Hidden part of the answer"),
    Choice("n_requests", "--n-requests", float, "Requests that these totals stand for"),
)

MEDIA = (
    Choice(
        "task", "--task", str, "What the model is used for, such as image-generation; gives a model where none is named"
    ),
    Choice("output_images", "--image", str, "Picture to make, WxH in pixels; may be repeated", True),
    Choice(IMAGE_COUNT, "--image-count", int, "Pictures to make, of the stated or the model's usual size"),
    Choice("input_images", "--input-image", str, "Picture that is given, WxH in pixels; may be repeated", True),
    Choice("image_detail", "--image-detail", str, "How closely the model looks at pictures: auto, low, medium, high"),
    Choice("input_steps", "--steps", float, "Steps of the denoiser"),
    Choice("guidance_evaluations", "--guidance-evaluations", float, "Evaluations of the denoiser in a step: 1 to 4"),
    Choice("strength", "--strength", float, "Share of the steps that a changed picture takes"),
    Choice("output_video_frames", "--video-frames", float, "Frames of the clip to make"),
    Choice("output_video_seconds", "--video-seconds", float, "Length of the clip to make"),
    Choice("output_video_frames_per_s", "--video-fps", float, "Frames per second of the clip to make"),
    Choice("output_video_resolution", "--video-resolution", str, "Frame of the clip to make: lines, or WxH"),
    Choice("input_video_seconds", "--input-video-seconds", float, "Length of a clip that is given"),
    Choice("input_video_resolution", "--input-video-resolution", str, "Frame of that clip: lines, or WxH"),
    Choice("input_audio_seconds", "--input-audio-seconds", float, "Length of a sound that is given"),
    Choice("output_audio_seconds", "--output-audio-seconds", float, "Length of the sound to make"),
    Choice("output_audio_tokens", "--output-audio-tokens", float, "Tokens of the sound to make"),
    Choice("media_tokens_included", "--media-tokens-included", bool, "Input tokens count pictures and sound already"),
)
"""Options for pictures, video and sound."""

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
    Choice("usual_input_tokens", "--usual-input-tokens", float, "Mean prompt of the other requests of a batch"),
    Choice("usual_output_tokens", "--usual-output-tokens", float, "Mean answer of the other requests of a batch"),
    Choice("engine", "--engine", str, "Serving software: vllm, vllm-2024, tensorrt-llm, sglang, llama.cpp ..."),
    Choice("service_tier", "--service-tier", str, "What was bought: standard, batch, provisioned, flex, priority"),
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


LISTS = "list or repeat"

PLAN = (
    Choice("gpu_id", "--gpu", str, f"Accelerator; {LISTS}. Default: current data-centre ones", True),
    Choice("node_id", "--node", str, f"Machine of the catalogue; {LISTS}", True),
    Choice("gpu_count", "--gpu-count", str, f"Devices of a replica, such as 1,2,4 or 1..8; {LISTS}", True),
    Choice("precision", "--precision", str, f"Number format of the weights; {LISTS}", True),
    Choice("batch_size", "--batch-size", str, f"Requests per step, such as 1,8,64 or 1..256; {LISTS}", True),
    Choice("techniques", "--technique", str, "Techniques joined by '+', or none; repeat for alternatives", True),
    Choice("cloud_region", "--region", str, f"Cloud region, such as aws:us-east-1; {LISTS}", True),
    Choice("country", "--country", str, f"ISO 3166 code of a country; {LISTS}", True),
    Choice("grid_zone", "--grid-zone", str, f"Grid zone; {LISTS}", True),
    *(choice for choice in WORK[:3]),
    Choice("max_time_per_output_token_ms", "--max-time-per-output-token-ms", float, "Limit on the mean time per token"),
    Choice("max_ttft_ms", "--max-ttft-ms", float, "Limit on the time to the first token"),
    Choice("max_memory_gb", "--max-memory-gb", float, "Limit on the memory in use on a replica [1e9 bytes]"),
    Choice("max_devices", "--max-devices", int, "Limit on the devices of a replica"),
    Choice("min_tokens_per_s", "--min-tokens-per-s", float, "Output tokens per second of a replica, at least"),
    Choice("usd_per_gpu_hour", "--usd-per-gpu-hour", str, "Price of a device hour: USD, or GPU=USD; may repeat", True),
    *(choice for choice in SETUP if choice.field in ("active_share", "pue", "grid_gco2e_per_kwh", "engine")),
    *(choice for choice in SETUP if choice.field in ("total_params_b", "active_params_b")),
    Choice("objectives", "--objective", str, f"What to make small or large; {LISTS}, the first one sorts", True),
    Choice("top", "--top", int, "Configurations of the front that are shown; 20 by default"),
)
"""Options of a plan: the axes that it searches, its limits and its objectives."""

SWEEP = (
    Choice("over", "--over", str, "AXIS=VALUES, such as batch-size=1..64 or gpu=ID,ID; once or twice", True),
    Choice("quantity", "--quantity", str, "What to show; usage_energy_wh by default"),
)


FOLLOWS_FROM_LOAD = (
    "active_share",
    "time_per_output_token_ms",
    "request_duration_ms",
    "managed_service_id",
    "conservative",
    "usual_input_tokens",
    "usual_output_tokens",
)
"""Fields of a request that follow from the load, or that a fleet of one's own has no use for."""

FLEET = (
    Choice("requests_per_second", "--requests-per-second", float, "Mean load"),
    Choice("peak_requests_per_second", "--peak-requests-per-second", float, "Load of the busiest hour; else assumed"),
    Choice("length_spread", "--length-spread", float, "Standard deviation of the lengths over their mean"),
    Choice("log", "--log", str, "Usage table with times, in place of a rate and lengths; may be repeated", True),
    Choice("columns", "--column", str, "FIELD=COLUMN of the log; may be repeated", True),
    Choice("headroom", "--headroom", float, "Share of the capacity that is kept free in the busiest hour"),
    Choice("usd_per_gpu_hour", "--usd-per-gpu-hour", float, "Price of a powered accelerator"),
    *(choice for choice in WORK[:3]),
    *(choice for choice in SETUP if choice.field not in FOLLOWS_FROM_LOAD),
)
"""Options of a fleet: its load and how it is served."""


def flag_of(field: str) -> str:
    """The option that fills a request field; empty where none does."""
    return next((choice.flag for choice in (*WORK, *MEDIA, *SETUP, *PLAN, *SWEEP, *FLEET) if choice.field == field), "")


CATALOG = click.option(
    "--catalog",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder of your own records, on top of the packaged ones.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, in the shape of the API.")

Command = Callable[..., None]


def with_count(given: dict[str, Any]) -> dict[str, Any]:
    """What was given, with a count of pictures as that many sizes, or as a number where no size was."""
    if IMAGE_COUNT not in given:
        return given
    given = dict(given)
    count, sizes = given.pop(IMAGE_COUNT), given.get("output_images", ())
    if len(sizes) > 1:
        hint = "Give one size with a count, or each picture its size."
        raise InvalidInput("output_images", f"{len(sizes)} sizes beside a count of {count}", hint=hint)
    # A count that cannot be is left as it is: the request refuses it by its number.
    return given | {"output_images": sizes * count if sizes and 0 < count <= MAX_IMAGES else count}


def takes_request(*choices: Choice) -> Callable[[Command], Command]:
    """Give a command the options of `choices`; it receives those that were used as `given`, by request field."""

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def wrapped(**values: Any) -> None:
            options = {choice.field: values.pop(choice.field) for choice in choices}
            given = {name: v for name, v in options.items() if v not in (None, ()) and v is not False}
            command(given=with_count(given), **values)

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


def column_mapping(pairs: Iterable[str]) -> dict[str, str]:
    """Pairs "field=column" as a mapping."""
    mapping = {}
    for pair in pairs:
        field, equals, column = pair.partition("=")
        if not (field and equals and column):
            raise FileProblem(f"--column '{pair}' is not FIELD=COLUMN", hint="For example input_tokens=ContextTokens.")
        if field in mapping:
            raise FileProblem(f"--column names {field} twice", hint="Keep one of the columns.")
        mapping[field] = column
    return mapping
