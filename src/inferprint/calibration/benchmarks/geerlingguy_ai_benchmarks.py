"""Single-board computers, PCs and Macs: decode rate and the highest reading at the wall."""

from inferprint.calibration.benchmarks.base import Benchmark

GEERLINGGUY_AI_BENCHMARKS = Benchmark("geerlingguy-ai-benchmarks")
