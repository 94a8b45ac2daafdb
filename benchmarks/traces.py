"""Two public traces of hosted inference, read, estimated and written: as fresh processes and within one.

Compared: `inferprint run` over the conversation and the code trace of Azure (28,185 requests in all), each as
llama-2-70b on a node of eight H100, with intervals, totals and the impacts of every request on disk, against the target
of two seconds. There is no peer in this comparison: the time includes start-up, reading the CSV and writing Parquet.

Why it is fair: every run reads the files again and writes to an empty folder; nothing is kept between processes. The
runs in one process show what is left without start-up; the first of them is not counted, because it loads DuckDB.

    python benchmarks/traces.py [FOLDER]

FOLDER holds AzureLLMInferenceTrace_conv.csv and AzureLLMInferenceTrace_code.csv, as Microsoft publishes them
(github.com/Azure/AzurePublicDataset); without it, the folder that the tests look at is tried.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from inferprint import Estimator
from inferprint.batch import RunOptions, run
from timing import machine, process, spread

TRACES = ("AzureLLMInferenceTrace_conv.csv", "AzureLLMInferenceTrace_code.csv")
BESIDE = Path(__file__).resolve().parents[2] / "shared" / "usage"
ROUNDS = 7
TARGET_S = 2.0
COLUMNS = {"input_tokens": "ContextTokens", "output_tokens": "GeneratedTokens"}
FILLS = {"model_id": "llama-2-70b", "node_id": "generic:hgx-h100-8", "country": "US"}


def _program(trace: Path, out: Path) -> list[str]:
    """The command line of one run."""
    columns = [word for name, column in COLUMNS.items() for word in ("--column", f"{name}={column}")]
    setup = ["--model", FILLS["model_id"], "--node", FILLS["node_id"], "--country", FILLS["country"]]
    program = str(Path(sys.executable).with_name("inferprint"))
    return [program, "run", str(trace), *columns, *setup, "--out", str(out)]


def _timed(call: Callable[[Path], object]) -> list[float]:
    """Seconds of each round; each writes to a folder of its own."""
    seconds = []
    for _ in range(ROUNDS + 1):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            call(Path(folder) / "out")
            seconds.append(time.perf_counter() - start)
    return seconds[1:]


def _fresh(trace: Path) -> Callable[[Path], object]:
    return lambda out: process(_program(trace, out))()


def _within(trace: Path) -> Callable[[Path], object]:
    return lambda out: run([trace], out, RunOptions(columns=COLUMNS, fills=FILLS, estimator=Estimator()))


def main() -> None:
    """Print seconds for each trace, both ways."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else BESIDE
    missing = [name for name in TRACES if not (folder / name).exists()]
    if missing:
        print(f"NOT RUN: {folder} lacks {' and '.join(missing)}; name the folder as the argument")
        return
    print(f"{machine()}; median of {ROUNDS} runs")
    for name in TRACES:
        trace = folder / name
        with trace.open(encoding="utf-8") as lines:
            rows = sum(1 for _ in lines) - 1
        for how, call in (("fresh process", _fresh(trace)), ("within one", _within(trace))):
            seconds = _timed(call)
            verdict = "reached" if statistics.median(seconds) < TARGET_S else "MISSED"
            print(f"{name:<32} {rows:>6} rows  {how:<13} {spread(seconds)}  target {TARGET_S:g} s: {verdict}")


if __name__ == "__main__":
    main()
