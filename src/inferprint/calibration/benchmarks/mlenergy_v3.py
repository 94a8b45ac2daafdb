"""ML.ENERGY leaderboard, version 3: vLLM 0.11 on H100 and B200 at many batch sizes, energy of the GPUs."""

from inferprint.calibration.benchmarks.base import USUAL_PROMPTS, Benchmark

MLENERGY_V3 = Benchmark(
    "mlenergy-v3",
    engine="vllm-0.11",
    prompt_tokens=USUAL_PROMPTS,
    why="prompt lengths are not published: assumed by task",
)
