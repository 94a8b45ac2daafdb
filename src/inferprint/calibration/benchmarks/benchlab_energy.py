"""Llama 3.1 8B in 32 bit on an H100."""

from inferprint.calibration.benchmarks.base import Benchmark

BENCHLAB_ENERGY = Benchmark("benchlab-energy")
