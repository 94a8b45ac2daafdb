"""Serving software: which learned form describes it, and under which name the forms hold its effect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from inferprint.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Engine:
    """A serving engine.

    Attributes
    ----------
    kind
        "server": many requests share each step. "local": one request at a time, layers on one device after the other.
    split
        How several devices share a model: "tensors", all work on every layer; "layers", they take turns.
    meaning
        What it is, with its age: engines of 2024 spend several times as long between the steps.
    """

    id: str
    kind: Literal["server", "local"]
    split: Literal["tensors", "layers"]
    meaning: str


ENGINES = {
    engine.id: engine
    for engine in (
        Engine("vllm", "server", "tensors", "vLLM, 2025-10 to 2026-04"),
        Engine("vllm-0.11", "server", "tensors", "vLLM 0.11, 2025-11"),
        Engine("vllm-2024", "server", "tensors", "vLLM 0.4 to 0.5, 2024"),
        Engine("sglang", "server", "tensors", "SGLang, 2025-10 to 2026-04"),
        Engine("tensorrt-llm", "server", "tensors", "TensorRT-LLM, 2025-10 to 2026-04"),
        Engine("eager", "server", "layers", "PyTorch without a serving engine, one request or static batches"),
        Engine("diffusers", "server", "tensors", "Diffusers or xDiT, 2024 to 2025, for pictures and video"),
        Engine("llama.cpp", "local", "layers", "llama.cpp and what is built on it, 2024"),
        Engine("llama.cpp-server", "server", "layers", "llama.cpp serving several requests at a time"),
        Engine("llama.cpp-2023", "local", "tensors", "llama.cpp of 2023: several devices meet after every layer"),
    )
}


def find_engine(name: str) -> Engine:
    """The engine called `name`.

    Raises
    ------
    InvalidInput
        No engine has that name.
    """
    if name not in ENGINES:
        raise InvalidInput("engine", f"unknown engine '{name}'", hint=f"One of {', '.join(ENGINES)}.")
    return ENGINES[name]
