"""Llama 2 7B in plain PyTorch on an L4, batches of one to four."""

from inferprint.calibration.benchmarks.base import Benchmark

HPML_L4 = Benchmark("hpml-l4")
