"""TokenPowerBench: vLLM and DeepSpeed on two H100 NVL, with power of CPU, memory and the whole server."""

from inferprint.calibration.benchmarks.base import Benchmark, Row, stated_engine


def _engine(row: Row) -> str:
    return "eager" if stated_engine(row) == "eager" else "vllm-0.11"


TOKENPOWERBENCH = Benchmark(
    "tokenpowerbench",
    engine=_engine,
    prompt_tokens=(("", 60.0),),
    why="prompt lengths are not stated: short instructions",
)
