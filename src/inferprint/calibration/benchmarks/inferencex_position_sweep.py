"""InferenceX position sweep: long prompts and 128 answer tokens on eight H200. For checks: two to three times slower
than every other source.
"""

from inferprint.calibration.benchmarks.base import Benchmark

POSITION_SWEEP = Benchmark("inferencex-position-sweep", engine=lambda row: "vllm")
