"""Serving runs collected by aiconfigurator, mostly from InferenceX: TensorRT-LLM, vLLM and SGLang on NVIDIA servers."""

from inferprint.calibration.benchmarks.base import Benchmark, Row, stated_engine


def _engine(row: Row) -> str:
    return stated_engine({"engine": row.get("engine", "")}) or "vllm"


AICONFIGURATOR = Benchmark("aiconfigurator-silicon", engine=_engine)
