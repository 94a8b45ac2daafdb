"""Wilkins et al.: generation without a cache, so that every token is a pass over the whole prompt."""

from inferprint.calibration.benchmarks.base import Benchmark

WILKINS = Benchmark("wilkins-no-kv-cache", engine="eager")
