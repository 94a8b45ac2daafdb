"""Metrics of vLLM servers."""

from __future__ import annotations

from functools import partial

from inferprint.usage.base import Counts, Format
from inferprint.usage.prometheus import Counters, outcomes, recognised

COUNTERS = Counters(
    prefix="vllm:",
    input="vllm:prompt_tokens_total",
    output="vllm:generation_tokens_total",
    cached=(
        # Counted where a prefill has finished; the hits of lookups grow also while a request still waits.
        ("vllm:prompt_tokens_cached_total",),
        ("vllm:prefix_cache_hits_total", "vllm:external_prefix_cache_hits_total"),
        ("vllm:gpu_prefix_cache_hits_total",),
    ),
    requests=(
        "vllm:request_success_total",
        "vllm:e2e_request_latency_seconds_count",
        "vllm:request_prompt_tokens_count",
        "vllm:time_to_first_token_seconds_count",
    ),
    running="vllm:num_requests_running",
    duration="vllm:e2e_request_latency_seconds",
    first_token="vllm:time_to_first_token_seconds",
)

VLLM = Format(
    name="vllm",
    title="vLLM metrics",
    counts=Counts(input_includes_cache=True, output_includes_reasoning=True),
    kinds=("prometheus",),
    recognises=partial(recognised, COUNTERS),
    read=partial(outcomes, COUNTERS),
    keeps_state=True,
    reference=(
        "vllm-project/vllm: vllm/v1/metrics/loggers.py and stats.py; issues 25780, 56361; "
        "pull requests 25787, 38709, 56923, measured on vLLM 0.28"
    ),
    doubts=(
        "The first scrape counts everything since the server's start.",
        "Files given together are scrapes of one server, in order, unless labels or times of creation tell others.",
        "Tokens count at once, requests when they have finished; where none has, those running stand for them.",
        "A request for n answers counts as n requests, and its prompt n times.",
        "What a preempted request computes again is not counted; up to vLLM 0.10 it counts as found in the cache.",
        "Where prefill and decoding have servers of their own, both count the prompt and the request.",
        "Means over an interval hide how long single prompts are.",
    ),
)
