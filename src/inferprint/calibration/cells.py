"""Cells of a row of measurements: what a number, a date and an engine may be."""

from __future__ import annotations

import datetime
import difflib
import math
from collections.abc import Mapping

from inferprint.calibration.benchmarks.base import stated_engine
from inferprint.rates.engines import ENGINES

Row = Mapping[str, str]


class Refused(ValueError):
    """A row is not an observation of a quantity, for the reason given."""


NUMBERS = (
    *(
        "gpu_count",
        "tensor_parallel",
        "pipeline_parallel",
        "expert_parallel",
        "data_parallel",
        "weight_bytes_per_param",
    ),
    *("concurrency", "n_in_tokens", "n_cached_tokens", "n_out_tokens", "n_repeats"),
    *("ttft_s", "itl_ms", "system_output_tokens_per_s", "duration_s"),
    *("energy_per_request_j", "energy_per_output_token_j", "avg_gpu_power_w_all_gpus", "avg_gpu_power_w_per_gpu"),
    *("avg_system_power_w", "idle_gpu_power_w"),
    *("batch_size", "width_px", "height_px", "num_frames", "inference_steps", "batch_latency_s"),
    *("energy_per_image_j", "energy_per_video_j"),
)
"""Columns of numbers. One that cannot be makes its row a mistake, whichever of its quantities is looked at."""

MOST: Mapping[str, float] = {
    **dict.fromkeys(("n_in_tokens", "n_cached_tokens", "n_out_tokens"), 1e7),
    **dict.fromkeys(("concurrency", "batch_size", "gpu_count"), 1e5),
}
"""Most tokens of a request, requests in flight and accelerators that a row may state."""


def number(row: Row, name: str) -> float | None:
    """A number of a row; None where it states none.

    Raises
    ------
    Refused
        It is not a number, negative, or more than any row may state.
    """
    text = row.get(name, "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        raise Refused(f"{name} is '{text}', not a number") from None
    if not math.isfinite(value) or value < 0:
        raise Refused(f"{name} is {text}: it cannot be negative or infinite")
    if name in MOST and value > MOST[name]:
        raise Refused(f"{name} is {text}, more than {MOST[name]:,.0f}")
    return value


def needed(row: Row, name: str) -> float:
    """A number that a quantity cannot do without."""
    value = number(row, name)
    if value is None:
        raise Refused(f"{name} is not stated")
    return value


def positive(row: Row, name: str) -> float:
    """A number above zero."""
    value = needed(row, name)
    if value <= 0:
        raise Refused(f"{name} is {value:g}: it must be above 0")
    return value


def check_date(row: Row) -> None:
    """Refuse a date that is none: a year, a month of it or a day, perhaps with a time."""
    text = row.get("date", "").strip()
    try:
        if text:
            datetime.date.fromisoformat(f"{text}-01-01"[:10])
    except ValueError:
        raise Refused(f"date is '{text}', which is not YYYY, YYYY-MM or YYYY-MM-DD") from None


def check_engine(row: Row) -> None:
    """Refuse serving software that nothing is known of: taken for a current server it would be another."""
    text = row.get("engine", "").strip()
    if not text or stated_engine(row) is not None:
        return
    known = [name for name, engine in ENGINES.items() if name != "diffusers" and engine.kind in ("server", "local")]
    near = difflib.get_close_matches(text.lower(), known, n=1, cutoff=0.0)
    raise Refused(f"engine is '{text}', nearest {near[0]}: one of {', '.join(known)}, or empty")
