"""MLPerf power submissions 2.0 to 4.1: systems tuned for energy, power at the wall."""

from inferprint.calibration.benchmarks.base import Benchmark

MLPERF_POWER = Benchmark("mlperf-power")
