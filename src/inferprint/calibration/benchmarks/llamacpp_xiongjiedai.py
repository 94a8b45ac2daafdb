"""llama.cpp on 21 consumer, workstation and data-centre GPUs and Apple chips, one request at a time."""

from inferprint.calibration.benchmarks.base import Benchmark, stated_engine

LLAMACPP = Benchmark("llamacpp-xiongjiedai", engine=lambda row: stated_engine(row) or "llama.cpp")
