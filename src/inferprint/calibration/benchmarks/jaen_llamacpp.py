"""llama.cpp in seven formats on a GB10 and a server with one A2."""

from inferprint.calibration.benchmarks.base import Benchmark

JAEN_LLAMACPP = Benchmark("jaen-llamacpp")
