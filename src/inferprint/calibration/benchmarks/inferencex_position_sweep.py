"""InferenceX position sweep: long prompts and 128 answer tokens on eight H200, for checks."""

from inferprint.calibration.benchmarks.base import Benchmark

POSITION_SWEEP = Benchmark("inferencex-position-sweep", engine="vllm")
