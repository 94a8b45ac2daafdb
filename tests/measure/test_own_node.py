"""The whole way on a real server: a sweep, a node of one's own from it, and a fresh sweep that it predicts.

A llama.cpp server with a small random model serves on this machine. No machine here has a meter at the wall, so one is
recorded: power that follows the processor time of the server. What is predicted are times and energies of a second
sweep; how well says the spread of the same loads from sweep to sweep, which no prediction can be better than.
"""

from __future__ import annotations

import csv
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest
from click.testing import CliRunner
from tests.measure.server_here import real_server
from tests.measure.tiny_model import Size, write_tiny_model

from inferprint.calibration.observations import read_files
from inferprint.calibration.scores import score
from inferprint.calibration.validate import validate
from inferprint.catalogue import Catalogue
from inferprint.cli.commands import app

pytest.importorskip("xllamacpp", reason="no llama.cpp")

SIZE = Size(layers=2, width=256, heads=8, kv_heads=4, inner=2816)
"""Few layers with large inner sides: as in models of billions, their weights outweigh attention to a short context."""
IDLE_W, BUSY_W, NOISE_W, READING_S = 20.0, 35.0, 0.1, 0.05
TARGET = 0.15

LOG = logging.getLogger(__name__)
"""Tells the errors: --log-cli-level=INFO."""

RECORDS = {
    "models/small.toml": f"""
[[model]]
id = "random-5m"
developer = "nobody"
architecture = "dense"
total_params_b = {SIZE.params / 1e9}
active_params_b = {SIZE.params / 1e9}
native_precision = "fp32"
layers = {SIZE.layers}
hidden_size = {SIZE.width}
attention_heads = {SIZE.heads}
kv_heads = {SIZE.kv_heads}
head_size = {SIZE.head_size}
full_attention_layers = {SIZE.layers}
kv_elements_per_token = {2 * SIZE.layers * SIZE.kv_heads * SIZE.head_size}
context_length = 8192
""",
    "gpus/box.toml": f"""
[[gpu]]
id = "test-box"
name = "This machine, one thread"
vendor = "nobody"
device_class = "cpu"
generation = "cpu"
memory_gb = 8
memory_kind = "ddr"
memory_bandwidth_gb_per_s = 20
fp16_dense_tflops = 0.05
max_power_w = {IDLE_W + BUSY_W}
idle_power_w = {IDLE_W}
power_boundary = "system"
""",
    "sources/here.toml": '[[source]]\nid = "here"\ntitle = "Made for a test"\nurl = ""\nlicence = ""\n',
}
HEAD = 'source = "here"\ndate = "2026-11-30"\nquality = "high"\n'


@dataclass(frozen=True)
class Measured:
    """Two sweeps of one server, the folder with the node that the first one made, and the recorded power."""

    first: Path
    second: Path
    folder: Path
    power: Path

    def rows(self, which: Path) -> list[dict[str, str]]:
        return list(csv.DictReader(which.read_text().splitlines()))


@contextmanager
def recorded_power(path: Path, process: int) -> Iterator[None]:
    """A wall meter's record: idle power, and more by the processor time of a process."""
    over = Event()
    tick = os.sysconf("SC_CLK_TCK")

    def busy_s() -> float:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / tick

    def record() -> None:
        noise = np.random.default_rng(3)
        before, used = time.time(), busy_s()
        with path.open("a") as stream:
            while not over.wait(READING_S):
                now, spent = time.time(), busy_s()
                # No meter shows the same twice for long.
                watts = IDLE_W + BUSY_W * (spent - used) / (now - before) + noise.normal(0.0, NOISE_W)
                stream.write(f"{now!r},{watts!r}\n")
                stream.flush()
                before, used = now, spent

    path.write_text(f"time,watts\n{time.time()!r},{IDLE_W!r}\n")
    thread = Thread(target=record)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def ran(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    here = tmp_path_factory.mktemp("own-node")
    folder, model, power = here / "mine", here / "small.gguf", here / "wall.csv"
    for name, text in RECORDS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if name.startswith("sources") else HEAD + text)
    write_tiny_model(model, context_tokens=8192, size=SIZE)
    with real_server(model) as server, recorded_power(power, server.process.pid):
        for name in ("first", "second"):
            ran(
                *("measure", "endpoint", f"{server.url}/v1", "--model", "random-5m", "--gpu", "test-box"),
                *("--engine", "llama.cpp-server", "--concurrency", "1,2,4", "--prompt-tokens", "64,256"),
                *("--answer-tokens", "1,32,128", "--cached-share", "0,0.75", "--requests", 8, "--idle-seconds", 3),
                *("--meter", f"wall:{power}", "--catalog", folder, "--out", here / f"{name}.csv"),
            )
    ran(
        *("catalog", "add-node", "test-node", "--observations", here / "first.csv", "--gpu", "test-box"),
        *("--host-idle-power-w", 0, "--host-active-power-w", 0, "--catalog", folder),
    )
    return Measured(here / "first.csv", here / "second.csv", folder, power)


def repeated(measured: Measured, column: str) -> float:
    """Median relative difference of the same loads in the two sweeps: what chance alone does."""
    lengths = ("concurrency", "n_in_tokens", "n_cached_tokens", "n_out_tokens")
    first, second = (
        {
            tuple(round(float(row[name]), -1 if name == "n_cached_tokens" else 0) for name in lengths): row
            for row in rows
        }
        for rows in map(measured.rows, (measured.first, measured.second))
    )
    same = [abs(float(second[load][column]) / float(first[load][column]) - 1) for load in first.keys() & second.keys()]
    assert len(same) > len(first) / 2
    return float(np.median(same))


@pytest.mark.parametrize("quantity", ["single_request_duration", "served_time_per_token", "energy_per_output_token"])
def test_a_node_predicts_a_fresh_sweep(measured: Measured, quantity: str) -> None:
    catalogue = Catalogue.packaged().with_folder(measured.folder)
    errors = {}
    for name, node in (("general", None), ("own", "test-node")):
        observed = read_files([measured.second], catalogue, on_node=node)
        rows = [item for item in validate(observed, catalogue).judged if item.item.quantity == quantity]
        value, low, high = np.array([row.default for row in rows]).T
        errors[name] = score(np.array([row.item.measured for row in rows]), value, low, high)
    chance = repeated(measured, "duration_s")
    LOG.info("%s: sweep to sweep %.1f %%, general %s, own %s", quantity, 100 * chance, errors["general"], errors["own"])
    own = errors["own"]
    assert own.rows >= 8
    assert own.mdape_pct <= 100 * max(TARGET, 2 * chance)
    assert own.mdape_pct < errors["general"].mdape_pct
    assert own.coverage95_pct >= 80
