"""Encoder models on one of eight A100."""

from inferprint.calibration.benchmarks.base import Benchmark

LUCCIONI_2023 = Benchmark("luccioni-2023")
