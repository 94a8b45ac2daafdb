"""MLPerf Inference 5.1, closed division: throughput at an unstated batch, wall power of one system."""

from inferprint.calibration.benchmarks.base import Benchmark

MLPERF_INFERENCE_5_1 = Benchmark("mlperf-inference-5.1")
