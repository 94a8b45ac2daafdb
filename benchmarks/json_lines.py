"""A log of JSON lines of about 1 GB through `inferprint run`: megabytes and rows per second.

Compared: the whole run, from a LiteLLM log to impacts, totals and summary on disk, against the mere decoding of the
same lines by msgspec into dictionaries, which any program in Python that looks at the lines at all has to pay; and the
speed at which the machine copies memory. Two logs: lines of about 2 KB, of which most is messages, and lines of up to
500 bytes without any.

Why it is fair: both read the same file, in fresh processes that take turns; the run counts its start-up, the cards that
it resolves and all that it writes.

    python benchmarks/json_lines.py [MEGABYTES [ROUNDS]]
"""

from __future__ import annotations

import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from timing import copy_bandwidth, machine

MEGABYTES, ROUNDS = 1_000, 3
TARGET_MB, TARGET_ROWS = 100.0, 100_000.0
MODELS = ("gpt-4o", "claude-sonnet-4-5", "llama-3.1-70b", "gpt-oss-120b", "mistral-large-2411")
HOSTS = {
    "gpt-4o": ("openai", "https://api.openai.com"),
    "claude-sonnet-4-5": ("anthropic", "https://api.anthropic.com"),
    "llama-3.1-70b": ("together_ai", ""),
    "gpt-oss-120b": ("fireworks_ai", ""),
    "mistral-large-2411": ("mistral", ""),
}


def make_log(path: Path, megabytes: float, *, messages: bool) -> int:
    """Write standard logging payloads of LiteLLM, as its file and bucket loggers do; the number of lines."""
    rng = random.Random(3)
    words = " ".join(rng.choice(("the", "grid", "cools", "a", "model", "while", "it", "rains")) for _ in range(300))
    rows, size = 0, 0
    with path.open("w", encoding="utf-8") as file:
        while size < megabytes * 1e6:
            model = rng.choice(MODELS)
            n_in, n_out = rng.randrange(50, 9000), rng.randrange(1, 1500)
            day, second = 1 + rows % 28, rows % 60
            record = {
                "id": f"chatcmpl-{rows:012x}",
                "call_type": "acompletion",
                "status": "success",
                "custom_llm_provider": HOSTS[model][0],
                "api_base": HOSTS[model][1],
                "model": model,
                "prompt_tokens": n_in,
                "completion_tokens": n_out,
                "total_tokens": n_in + n_out,
                "response_cost": round(n_out * 1e-5, 7),
                "startTime": 1.7936e9 + day * 86400 + second,
                "endTime": 1.7936e9 + day * 86400 + second + 4.25,
                "cache_hit": False,
                "end_user": f"user-{rows % 500}",
                "metadata": {"user_api_key_team_id": f"team-{rows % 12}"},
            }
            if messages:
                record["messages"] = [{"role": "user", "content": words}]
            line = json.dumps(record, separators=(",", ":")) + "\n"
            file.write(line)
            rows, size = rows + 1, size + len(line)
    return rows


RUN = """
if __name__ == "__main__":
    import os
    from inferprint.batch import RunOptions, run
    summary = run({path!r}, {out!r}, RunOptions(overwrite=True, processes=os.cpu_count()))
    assert summary.counts.estimated == {rows}, summary.counts
    print(summary.counts)
"""
DECODE = """
import msgspec
decode = msgspec.json.Decoder().decode
with open({path!r}, "rb") as file:
    print(sum(decode(line)["prompt_tokens"] for line in file))
"""


def seconds(code: str) -> float:
    """Seconds of a fresh process."""
    with tempfile.NamedTemporaryFile("w", suffix=".py", delete=False) as script:
        script.write(code)
    start = time.perf_counter()
    subprocess.run([sys.executable, script.name], check=True, stdout=subprocess.DEVNULL)
    passed = time.perf_counter() - start
    Path(script.name).unlink()
    return passed


def main() -> None:
    """Measure and print."""
    megabytes = float(sys.argv[1]) if len(sys.argv) > 1 else MEGABYTES
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else ROUNDS
    folder = Path(tempfile.mkdtemp(prefix="inferprint-json-lines-"))
    print(f"{machine()}; memory copies at {copy_bandwidth():.1f} GB/s")
    try:
        for messages in (True, False):
            path = folder / "log.jsonl"
            rows = make_log(path, megabytes, messages=messages)
            size = path.stat().st_size / 1e6
            codes = [
                RUN.format(path=str(path), out=str(folder / "out"), rows=rows),
                DECODE.format(path=str(path)),
            ]
            each = [[seconds(code) for code in (codes if turn % 2 == 0 else codes[::-1])] for turn in range(rounds)]
            each = [pair if turn % 2 == 0 else pair[::-1] for turn, pair in enumerate(each)]
            ours, decoding = (statistics.median(pair[i] for pair in each) for i in (0, 1))
            print(f"{rows:,} lines of {1e6 * size / rows:,.0f} bytes, {size:,.0f} MB")
            print(f"  run      {ours:6.1f} s, {size / ours:6.1f} MB/s, {rows / ours:9,.0f} rows/s")
            print(f"  decoding {decoding:6.1f} s, {size / decoding:6.1f} MB/s, {rows / decoding:9,.0f} rows/s")
            print(f"  ratio {ours / decoding:.1f}; targets {TARGET_MB:g} MB/s, {TARGET_ROWS:,.0f} rows/s")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
