"""ML.ENERGY leaderboard, version 2: vLLM of 2024 on A100 and H100."""

from inferprint.calibration.benchmarks.base import USUAL_PROMPTS, Benchmark

MLENERGY_V2 = Benchmark(
    "mlenergy-v2",
    engine="vllm-2024",
    prompt_tokens=USUAL_PROMPTS,
    why="prompt lengths of code and pictures are not published: those of the same tasks in version 3",
    # The pipeline ran with its default guidance, which a turbo model does not need; its energy says so too.
    evaluations=(("sdxl-turbo", 2.0),),
)
