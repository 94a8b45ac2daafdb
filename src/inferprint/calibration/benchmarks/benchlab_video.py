"""Seven video models on an H100."""

from inferprint.calibration.benchmarks.base import Benchmark

BENCHLAB_VIDEO = Benchmark("benchlab-video")
