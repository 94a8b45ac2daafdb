"""TensorRT-LLM's own overview: most throughput at an unstated batch."""

from inferprint.calibration.benchmarks.base import Benchmark

TENSORRT_LLM_PERF_OVERVIEW = Benchmark("tensorrt-llm-perf-overview")
