"""vLLM on a Jetson AGX Orin, one request at a time."""

from inferprint.calibration.benchmarks.base import Benchmark

EDGEREASONING_ORIN = Benchmark("edgereasoning-orin")
