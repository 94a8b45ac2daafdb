"""What a source of measurements is: how to read what its rows leave open. Its facts are in `data/benchmarks`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

Row = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One source of measurements.

    Attributes
    ----------
    name
        As in the column `source` and the folder of `data/benchmarks`.
    engine
        The serving software, one of `rates.engines.ENGINES`, or how to tell it from a row; None where what the row
        states says it.
    prompt_tokens
        Assumed prompt length [tokens] by a word in a row's task, in the order in which they are tried; for rows that
        state none. An empty word holds for all others.
    why
        Where those lengths are from.
    evaluations
        Evaluations of a denoiser per step by model, where they differ from its usual ones.
    """

    name: str
    engine: str | Callable[[Row], str] | None = None
    prompt_tokens: tuple[tuple[str, float], ...] = ()
    why: str = ""
    evaluations: tuple[tuple[str, float], ...] = ()


USUAL_PROMPTS = (
    ("image", 900.0),
    ("video", 4000.0),
    ("chat", 90.0),
    ("code", 700.0),
    ("sourcegraph", 700.0),
    ("gpqa", 250.0),
    ("", 250.0),
)
"""Prompt lengths to assume by task [tokens]: chat, reasoning, code infill, pictures and video in a chat."""

MEDIA_WORDS = ("image", "video", "vision", "multimodal")
"""Words in a task that mean pictures or video in the prompt."""

ENGINE_NAMES = (
    ("ollama", "llama.cpp"),
    ("llama", "llama.cpp"),
    ("vllm", "vllm"),
    ("sglang", "sglang"),
    ("trt", "tensorrt-llm"),
    ("tensorrt", "tensorrt-llm"),
    ("transformers", "eager"),
    ("fastchat", "eager"),
    ("pytorch", "eager"),
    ("deepspeed", "eager"),
)
"""Serving software by a word in a row's engine."""

NAMED_ENGINES = ("vllm-2024", "vllm-0.11", "llama.cpp-2023", "eager")
"""Serving software that a row may name as it is called here, with its age."""


def engine_of(benchmark: Benchmark, row: Row) -> str | None:
    """The serving software of a row; None where nobody says."""
    if benchmark.engine is None:
        return stated_engine(row)
    return benchmark.engine if isinstance(benchmark.engine, str) else benchmark.engine(row)


def stated_engine(row: Row) -> str | None:
    """The serving software that a row states, with its age; None where it states none that is known."""
    text = row.get("engine", "").strip().lower()
    if text in NAMED_ENGINES:
        return text
    found = next((engine for word, engine in ENGINE_NAMES if word in text), None)
    date, version = row.get("date", ""), row.get("engine_version", "")
    if found == "vllm" and ((date and date < "2025") or version.startswith(("0.3", "0.4", "0.5", "0.6"))):
        return "vllm-2024"
    if found == "vllm" and version.startswith("0.11"):
        return "vllm-0.11"
    if found == "llama.cpp" and date and date < "2024-03":
        return "llama.cpp-2023"
    return found
