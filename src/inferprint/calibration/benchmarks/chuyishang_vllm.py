"""vLLM with eight clients on A100, RTX 6000 Ada and RTX 3090."""

from inferprint.calibration.benchmarks.base import Benchmark

CHUYISHANG_VLLM = Benchmark("chuyishang-vllm")
