"""Requests whose results are kept, and how they are computed and stored."""

from __future__ import annotations

import json
from pathlib import Path

from tests.setups import ESTIMATOR, SETUPS

from inferprint import Request
from inferprint.quantities import RESULTS

FILE = Path(__file__).with_name("results.json")

CASES: dict[str, dict[str, object]] = {
    **SETUPS,
    "prompt alone": {**SETUPS["node, dense"], "output_tokens": 0},
    "cached prompt": {**SETUPS["service, latent attention"], "cached_input_tokens": 900},
    "long prompt, windowed attention": {**SETUPS["service, windowed attention"], "input_tokens": 60_000},
    "measured duration": {**SETUPS["node, dense"], "request_duration_ms": 9000},
    "measured duration, known batch": {**SETUPS["own GPU, dense"], "request_duration_ms": 9000},
    "limits": {**SETUPS["node, dense"], "max_time_per_output_token_ms": 40, "max_ttft_ms": 2000},
    "techniques": {
        **SETUPS["node, dense"],
        "batch_size": 16,
        "techniques": (
            "prefix-caching:hit_rate=0.4",
            "chunked-prefill:chunk_tokens=512",
            "kv-quantisation:bits=8",
            "speculative-decoding:draft_tokens=3",
        ),
    },
    "wide experts, prompts elsewhere": {
        "model_id": "deepseek-v3",
        "gpu_id": "h200_141gb_sxm",
        "gpu_count": 32,
        "batch_size": 2048,
        "country": "US",
        "techniques": (
            "tensor-parallel:devices=1",
            "data-parallel:ranks=32",
            "expert-parallel:devices=32,network_gb_per_s=50",
            "disaggregation:prefill_devices=16",
        ),
    },
    "two-term method": {**SETUPS["service, windowed attention"], "method": "two-term"},
    "seed method": {**SETUPS["service, windowed attention"], "method": "seed"},
    "size from price": {"model_id": "claude-opus-4-5"},
    "size from price, conservative": {"model_id": "gpt-4o", "conservative": True},
    "a row of fifty": {**SETUPS["unstated"], "input_tokens": 60_000, "output_tokens": 15_000, "n_requests": 50},
}

Values = dict[str, list[float] | None]


def results(case: str) -> Values:
    """Value, low and high of every result of a case; null where it is unknown."""
    asked = Request(**{"input_tokens": 1200, "output_tokens": 300, **CASES[case]})  # type: ignore[arg-type]
    found = ESTIMATOR.estimate(asked)
    ranges = {quantity.name: found.range(quantity.name) for quantity in RESULTS}
    return {name: list(value) if value is not None else None for name, value in ranges.items()}


def kept() -> dict[str, Values]:
    """What is kept."""
    found: dict[str, Values] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def renew() -> None:
    """Write what the program gives now."""
    found = {case: results(case) for case in CASES}
    FILE.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
