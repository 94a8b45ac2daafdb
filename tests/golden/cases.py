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

NO_TOKENS = {"input_tokens": None, "output_tokens": None}
H100 = {"gpu_id": "h100_80gb_sxm", "country": "US"}

CASES |= {
    "picture": {**NO_TOKENS, **H100, "model_id": "flux.1-dev", "output_images": ("1024x1024",)},
    "pictures of a batch": {**NO_TOKENS, **H100, "model_id": "sdxl", "output_images": 6, "batch_size": 4},
    "changed picture": {
        **NO_TOKENS,
        **H100,
        "model_id": "sd-1.5",
        "input_images": ("512x512",),
        "output_images": ("512x512",),
        "strength": 0.6,
    },
    "picture of an undisclosed model": {**NO_TOKENS, "model_id": "gpt-image-1", "output_images": ("1024x1024",)},
    "clip": {
        **NO_TOKENS,
        **H100,
        "model_id": "wan2.1-14b",
        "output_video_frames": 81,
        "output_video_resolution": 720,
        "replica_gpu_count": 8,
        "gpu_count": 8,
    },
    "clip of an undisclosed model": {**NO_TOKENS, "model_id": "veo-3", "output_video_seconds": 8},
    "picture in a chat": {"model_id": "qwen2.5-vl-7b", **H100, "input_images": ("1920x1080",)},
    "sound in a chat": {"model_id": "voxtral-mini-3b", **H100, "input_audio_seconds": 30},
    "speech to text": {**NO_TOKENS, **H100, "model_id": "whisper-large-v3", "input_audio_seconds": 90},
    "text to speech": {**NO_TOKENS, **H100, "model_id": "orpheus-3b", "output_audio_seconds": 12},
    "music": {**NO_TOKENS, **H100, "model_id": "stable-audio-open-1.0", "output_audio_seconds": 40},
    "embedding": {"model_id": "bge-m3", **H100, "output_tokens": None},
    "task without a model": {**NO_TOKENS, "model_id": None, "task": "object-detection", "input_images": ("640x480",)},
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
