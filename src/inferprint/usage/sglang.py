"""Metrics of SGLang servers."""

from __future__ import annotations

from functools import partial

from inferprint.usage.base import Counts, Format
from inferprint.usage.prometheus import Counters, outcomes, recognised

COUNTERS = Counters(
    prefix="sglang:",
    input="sglang:prompt_tokens_total",
    output="sglang:generation_tokens_total",
    cached=(("sglang:cached_tokens_total",),),
    requests=("sglang:num_requests_total", "sglang:e2e_request_latency_seconds_count"),
    duration="sglang:e2e_request_latency_seconds",
    first_token="sglang:time_to_first_token_seconds",
)

SGLANG = Format(
    name="sglang",
    title="SGLang metrics",
    counts=Counts(input_includes_cache=True, output_includes_reasoning=True),
    kinds=("prometheus",),
    recognises=partial(recognised, COUNTERS),
    read=partial(outcomes, COUNTERS),
    keeps_state=True,
    reference=(
        "sgl-project/sglang: production metrics reference; "
        "python/sglang/srt/observability/metrics_collector.py (observe_one_finished_request)"
    ),
    doubts=(
        "The first scrape counts everything since the server's start.",
        "Files given together are scrapes of one server, in order, unless labels or times of creation tell others.",
        "Everything is counted when a request has finished; what aborted requests used is not counted.",
        "What a retracted request computes again is not counted.",
        "Where prefill and decoding have servers of their own, both may count a request.",
        "Means over an interval hide how long single prompts are.",
    ),
)
