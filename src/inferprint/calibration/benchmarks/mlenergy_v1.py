"""ML.ENERGY leaderboard, version 1: one request at a time in plain PyTorch on A40, A100 and V100."""

from inferprint.calibration.benchmarks.base import Benchmark

MLENERGY_V1 = Benchmark("mlenergy-v1", engine="eager")
