"""Blocks of published shapes: sizes, plan, scaling and messages without PyTorch; the blocks themselves with it."""

from __future__ import annotations

import importlib
import json
import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from inferprint.calibration.observations import read_files
from inferprint.catalogue import Model, resolve_model
from inferprint.cli.measure_gpu import gpu_command
from inferprint.errors import FileProblem, InferprintError, InvalidInput, MeterProblem, Undisclosed
from inferprint.estimate import default_catalogue
from inferprint.measure.gpu import device as devices
from inferprint.measure.gpu import run as runs
from inferprint.measure.gpu.device import Device, open_device
from inferprint.measure.gpu.plan import GpuPlan, GpuPoint, layers_for, layers_that_fit
from inferprint.measure.gpu.rows import Idle, Part, Subject, point_row, scaled
from inferprint.measure.gpu.shapes import Shape, shape_of
from inferprint.measure.gpu.timing import Timing, measure
from inferprint.measure.meters import windows
from inferprint.measure.meters.base import Boundary, Reading
from inferprint.measure.meters.windows import Window
from inferprint.measure.observations import ObservationWriter

TINY = Shape(layers=4, hidden=64, heads=4, kv_heads=2, head_size=16, vocabulary=256, inner=128)
MIXED = replace(TINY, inner=0, experts=8, experts_per_token=2, expert_inner=48)
SUBJECT = Subject("llama-3.1-8b", "h100_sxm", "bf16", "2.9.0")


def model(name: str) -> Model:
    return resolve_model(default_catalogue(), name).model


# --- shapes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name,vocabulary,inner",
    [("llama-3.1-8b", 128_256, 14_336), ("qwen3-8b", 151_936, 12_288)],  # published configurations
)
def test_the_inner_width_is_the_published_one(name: str, vocabulary: int, inner: int) -> None:
    assert shape_of(model(name), vocabulary).inner == inner


@pytest.mark.parametrize("name,vocabulary,expert", [("qwen3-30b-a3b", 151_936, 768), ("mixtral-8x7b", 32_000, 14_336)])
def test_the_width_of_an_expert_is_the_published_one(name: str, vocabulary: int, expert: int) -> None:
    shape = shape_of(model(name), vocabulary)
    assert shape.expert_inner == pytest.approx(expert, rel=0.01)
    # Neither has a shared expert; what rounding leaves of the parameters is small.
    assert 3 * shape.hidden * shape.inner < 0.06 * shape.active_block_params


@pytest.mark.parametrize(
    "name,vocabulary",
    [("llama-3.1-8b", None), ("qwen3-8b", None), ("qwen3-30b-a3b", None), ("mixtral-8x7b", 32_000), ("glm-4.5", None)],
)
def test_the_parameters_are_the_models(name: str, vocabulary: int | None) -> None:
    record = model(name)
    shape = shape_of(record, vocabulary)
    assert record.total_params_b is not None
    assert record.active_params_b is not None
    outside = 2 * shape.head_params
    assert shape.layers * shape.block_params + outside == pytest.approx(1e9 * record.total_params_b, rel=0.01)
    active = 1e9 * record.active_params_b - outside
    assert shape.layers * shape.active_block_params == pytest.approx(active, rel=0.01)


def test_what_was_assumed_is_said() -> None:
    assert shape_of(model("llama-3.1-8b")).remarks == ("vocabulary of 128,000 assumed",)
    assert shape_of(model("llama-3.1-8b"), 128_256).remarks == ()
    assert any("spread over all 92" in remark for remark in shape_of(model("glm-4.5")).remarks)
    assert shape_of(model("gpt-oss-20b")).window == 128


def test_a_model_of_another_kind_is_refused() -> None:
    with pytest.raises(Undisclosed, match="does not say its kv_heads"):
        shape_of(model("deepseek-v3"))
    with pytest.raises(InvalidInput, match="attend as those that are built"):
        shape_of(model("nemotron-3-nano-30b-a3b"))
    with pytest.raises(InvalidInput, match="leave nothing for the inner width"):
        shape_of(model("llama-3.1-8b"), 2_000_000)


# --- plan -------------------------------------------------------------------------------------------------------------


def test_the_points_are_prompts_decoding_and_prefixes() -> None:
    points = GpuPlan(prompt_tokens=(8,), context_tokens=(100, 50), batches=(4, 1), answer_tokens=10).points()
    assert points == [
        GpuPoint("prefill", 1, 8, 0),
        GpuPoint("decode", 1, 1, 55),
        GpuPoint("decode", 1, 1, 105),
        GpuPoint("decode", 4, 1, 55),
        GpuPoint("decode", 4, 1, 105),
        GpuPoint("prefill", 1, 8, 50),
        GpuPoint("prefill", 1, 8, 100),
    ]


@pytest.mark.parametrize(
    "bad,said",
    [
        ({"batches": (0,)}, "--batch: 0 is not between 1"),
        ({"prompt_tokens": ()}, "--prompt-tokens: none is given"),
        ({"context_tokens": (-1,)}, "--context-tokens: -1 is not between 1"),
        ({"layers": 1}, "--layers: 1 is not between 2"),
        ({"repeats": 1}, "--repeats: 1 is not between 2"),
        ({"max_seconds": math.nan}, "--max-seconds: nan is not above 0"),
        ({"seconds_per_point": 0.0}, "--seconds-per-point: 0 is not above 0"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(bad: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        GpuPlan(**bad)


def test_as_many_layers_are_built_as_fit() -> None:
    shape = shape_of(model("llama-3.1-8b"))  # 16 GB in bf16
    assert layers_that_fit(shape, "bf16", 80e9, None) == 32
    some = layers_that_fit(shape, "bf16", 8e9, None)
    assert some * shape.block_params * 2 + shape.head_params * 2 <= 0.6 * 8e9
    assert 2 < some < 32
    assert layers_that_fit(shape, "fp8", 8e9, None) == pytest.approx(2 * some, abs=1)
    assert layers_that_fit(shape, "bf16", 2.5e9, None) == 2
    assert layers_that_fit(shape, "bf16", 4e9, 5) == 5
    with pytest.raises(InvalidInput, match=r"2 layers and the output head take 1\.92 GB in bf16, and 1 GB are free"):
        layers_that_fit(shape, "bf16", 1e9, None)
    with pytest.raises(InvalidInput, match="33 layers: the model has 32"):
        layers_that_fit(shape, "bf16", 80e9, 33)


def test_large_caches_leave_room_for_fewer_layers() -> None:
    shape = shape_of(model("llama-3.1-8b"))  # 4 KiB of cache for a token of a layer in bf16
    point = GpuPoint("decode", 64, 1, 4095)
    assert layers_for(point, shape, "bf16", 32, 0.95 * 64 * 4096 * 4096 * 10) == 8
    assert layers_for(point, shape, "bf16", 32, 1e15) == 32
    with pytest.raises(MemoryError, match="of cache"):
        layers_for(point, shape, "bf16", 32, 1e9)


# --- timing -----------------------------------------------------------------------------------------------------------


class Clock:
    """A device whose steps take stated times, and the clock that they move."""

    def __init__(self, step_s: Callable[[int], float]) -> None:
        self.now, self.done, self._step_s = 0.0, 0, step_s

    def __call__(self) -> float:
        return self.now

    def timed(self, steps: int) -> float:
        seconds = math.fsum(self._step_s(self.done + i) for i in range(steps))
        self.done += steps
        self.now += seconds
        return seconds


def test_the_cold_steps_are_in_no_time() -> None:
    clock = Clock(lambda done: 0.5 / (done + 1) if done < 3 else 0.01)
    timing = measure(clock.timed, repeats=5, seconds=3.0, clock=clock)
    assert timing is not None
    assert timing.was_steady
    assert timing.step_s == pytest.approx(0.01)
    assert timing.spread == pytest.approx(0.0, abs=1e-9)
    assert timing.steps == 60
    assert len(timing.seconds) == 5
    assert timing.end_s - timing.start_s == pytest.approx(3.0)


def test_falling_clocks_and_what_holds_them_down_are_said() -> None:
    clock = Clock(lambda done: 0.01 * (1 + max(0, done - 100) / 500))
    timing = measure(clock.timed, repeats=5, seconds=3.0, clock=clock, slowed_by=lambda: ["the temperature"])
    assert timing is not None
    assert timing.spread > 0.05
    said = "; ".join(timing.remarks())
    assert "slower than the first" in said
    assert "held down by the temperature" in said


def test_what_never_rests_is_said_and_the_bound_is_kept() -> None:
    restless = Clock(lambda done: 0.01 * 2 ** (math.floor(math.log2(done + 1)) % 2))
    timing = measure(restless.timed, repeats=2, seconds=100.0, end_s=30.0, clock=restless)
    assert timing is None or len(timing.seconds) == 1
    over = Clock(lambda _: 1.0)
    assert measure(over.timed, repeats=5, seconds=1.0, end_s=0.5, clock=over) is None


# --- rows -------------------------------------------------------------------------------------------------------------


def part(step_s: float, watts: float | None = None) -> Part:
    timing = Timing(10, (step_s, step_s), 0.0, 20 * step_s)
    return Part(timing, None if watts is None else Window(0.0, 20 * step_s, watts * 20 * step_s, 0.1))


def test_layers_are_scaled_and_the_head_is_not() -> None:
    assert scaled(2.0, 1.0, TINY, 2) == 5.0
    point, idle = GpuPoint("decode", 8, 1, 1000 + 64), Idle("gpu_only", 70.0, 120.0)
    row = point_row(SUBJECT, TINY, point, 2, (part(0.01, 400.0), part(0.005, 200.0)), 128, idle, ["more"])
    assert (row.serving_mode, row.concurrency, row.n_in_tokens, row.n_out_tokens) == ("aggregated", 8.0, 1000.0, 128.0)
    assert row.n_cached_tokens == 1000.0
    assert row.itl_ms == pytest.approx(25.0)
    assert row.system_output_tokens_per_s == pytest.approx(320.0)
    assert row.energy_per_output_token_j == pytest.approx((2 * 4.0 + 1.0) / 8)
    assert row.energy_per_request_j == pytest.approx(128 * (2 * 4.0 + 1.0) / 8)
    assert row.avg_gpu_power_w_all_gpus == pytest.approx(9.0 / 0.025)
    assert row.idle_gpu_power_w == 70.0
    assert row.note is not None
    for said in ("2 of 4 layers timed", "chip's cache may hold", "idle with weights 120 W", "more"):
        assert said in row.note


def test_a_prompt_and_a_prefix_are_rows_of_prompts() -> None:
    row = point_row(SUBJECT, TINY, GpuPoint("prefill", 1, 100, 50), 4, (part(0.2), part(0.01)), 128, Idle(), [])
    assert (row.serving_mode, row.n_in_tokens, row.n_cached_tokens, row.n_out_tokens) == ("prefill_only", 150, 50, 1)
    assert row.ttft_s == pytest.approx(0.21)
    assert row.energy_per_request_j is None
    assert row.energy_boundary is None
    assert row.note is not None
    assert "layers timed" not in row.note


def test_energy_and_time_of_a_step_leave_out_what_is_between_repeats() -> None:
    """Two repeats of ten steps of 10 ms in 250 ms: the power of the whole for the time of a step."""
    with_gaps = Part(Timing(10, (0.01, 0.01), 5.0, 5.25), Window(5.0, 5.25, 100.0, 0.001))
    assert with_gaps.step_j == pytest.approx(100.0 / 0.25 * 0.01)
    row = point_row(SUBJECT, TINY, GpuPoint("decode", 1, 1, 64), 4, (with_gaps, with_gaps), 128, Idle("gpu_only"), [])
    assert row.avg_gpu_power_w_all_gpus == pytest.approx(400.0)
    assert "20% of the metered time was between repeats" in (row.note or "")
    without = point_row(SUBJECT, TINY, GpuPoint("decode", 1, 1, 64), 4, (part(0.1, 1.0), with_gaps), 128, Idle(), [])
    assert "between repeats" not in (without.note or "")


# --- a run without PyTorch --------------------------------------------------------------------------------------------


class PretendDevice(Device):
    """A device that waits in place of computing."""

    def __init__(self) -> None:
        super().__init__(SimpleNamespace(__version__="2.9.0", cuda=SimpleNamespace()), "cpu")

    @property
    def name(self) -> str:
        return "pretended"

    def free_bytes(self) -> float:
        return 1e12

    def timed(self, step: Callable[[], object], steps: int) -> float:
        begun = time.perf_counter()
        for _ in range(steps):
            step()
        return time.perf_counter() - begun


class PretendStack:
    """Layers of which each takes a millisecond; a batch of 99 does not fit."""

    attention = SimpleNamespace(said="attention as pretended")

    def __init__(self, *_: object) -> None: ...

    def step(self, point: GpuPoint, layers: int) -> Callable[[], object]:
        if point.batch == 99:
            raise RuntimeError("CUDA out of memory. Tried to allocate 1 TiB")
        if point.batch == 98:
            raise KeyboardInterrupt
        if point.batch == 97:
            raise RuntimeError("an illegal memory access")
        return lambda: time.sleep(1e-3 * layers)

    def head(self, _batch: int) -> Callable[[], object]:
        return lambda: time.sleep(1e-3)

    def experts_touched(self) -> float | None:
        return None


class SteadyMeter:
    """A meter of constant power that keeps a reading of every hundredth of a second; 0 W stands still."""

    name, resolution_s = "steady", 0.001

    def __init__(self, watts: float) -> None:
        self.boundary: Boundary = "gpu_only"
        self._watts, self._begun = watts, time.monotonic()

    def read(self) -> Reading:
        return self.readings()[-1]

    def readings(self) -> list[Reading]:
        passed = math.floor(100 * (time.monotonic() - self._begun))
        return [Reading(self._begun + i / 100, self._watts * i / 100) for i in range(passed + 1)]

    def close(self) -> None: ...


def pretended(
    path: Path, monkeypatch: pytest.MonkeyPatch, watts: float | None = None, subject: Subject = SUBJECT, **plan: Any
) -> tuple[runs.GpuRun, ObservationWriter]:
    monkeypatch.setattr(runs, "Stack", PretendStack)
    usual: dict[str, Any] = {"prompt_tokens": (8,), "context_tokens": (100,), "batches": (1, 4), "answer_tokens": 10}
    usual |= {"seconds_per_point": 0.6, "repeats": 2, "layers": 2}
    writer = ObservationWriter(path / "own.csv")
    meter = None if watts is None else SteadyMeter(watts)
    full = GpuPlan(**(usual | plan))
    run = runs.GpuRun(PretendDevice(), TINY, subject, full, writer, meter=meter, idle_seconds=0.3)
    return run, writer


def test_a_run_meters_idle_power_and_writes_rows_that_fits_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, writer = pretended(tmp_path, monkeypatch, watts=300.0)
    with writer:
        summary = run.run()
    assert not summary.stopped
    assert len(summary.rows) == 4
    assert summary.meter is not None
    assert summary.meter["idle_w"] == pytest.approx(300.0, rel=0.02)
    assert summary.meter["idle_with_weights_w"] == pytest.approx(300.0, rel=0.02)
    decode = summary.rows[1]
    assert decode.serving_mode == "single_stream"
    # Two layers of four and a head: the sleeping is longer than asked by what the system needs.
    assert (decode.itl_ms or 0.0) >= 5.0
    assert decode.energy_per_output_token_j == pytest.approx(300.0 * 1e-3 * (decode.itl_ms or 0.0), rel=0.3)
    found = read_files([tmp_path / "own.csv"], default_catalogue(), fit_unknown=True)
    assert not found.refused
    kinds = {item.quantity: item for item in found.kept}
    assert {"prompt_energy", "single_request_duration", "served_time_per_token", "energy_per_output_token"} <= set(
        kinds
    )
    assert all(item.setup.engine == "eager" and item.weight == 1.0 for item in found.kept)
    assert kinds["single_request_duration"].cached == 100.0


def test_a_meter_that_stands_still_gives_no_energy_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, writer = pretended(tmp_path, monkeypatch, watts=0.0, batches=(1,), seconds_per_point=0.1)
    monkeypatch.setattr(windows, "SURPLUS_S", 0.1)
    with writer:
        summary = run.run()
    assert summary.rows
    assert all(row.energy_per_request_j is None for row in summary.rows)
    assert "stands still" in (summary.rows[0].note or "")


def test_what_does_not_fit_is_skipped_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, writer = pretended(tmp_path, monkeypatch, batches=(1, 99), seconds_per_point=0.02)
    with writer:
        summary = run.run()
    assert [outcome.reason for outcome in summary.outcomes if outcome.row is None] == [
        "it does not fit into the memory of pretended"
    ]
    assert len(summary.rows) == 3
    assert runs.NO_METER in summary.notes


def test_another_error_is_none_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, writer = pretended(tmp_path, monkeypatch, batches=(97,), seconds_per_point=0.02)
    with writer, pytest.raises(RuntimeError, match="illegal memory access"):
        run.run()
    assert len(writer.rows) == 1


def test_an_interrupted_run_keeps_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, writer = pretended(tmp_path, monkeypatch, batches=(1, 98), seconds_per_point=0.02)
    with writer, pytest.raises(KeyboardInterrupt):
        run.run()
    assert run.summary.stopped == "interrupted"
    assert len(run.summary.not_measured) == 2
    assert (tmp_path / "own.csv").read_text(encoding="utf-8").count("\n") == 3


def test_the_run_ends_with_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, writer = pretended(tmp_path, monkeypatch, batches=range(1, 40), seconds_per_point=0.2, max_seconds=2.0)
    with writer:
        summary = run.run()
    assert "its 2 s of --max-seconds are over" in summary.stopped
    assert summary.not_measured
    assert summary.rows
    assert summary.seconds < 60.0


def test_a_context_beyond_a_window_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, writer = pretended(tmp_path, monkeypatch, seconds_per_point=0.02)
    run._shape = replace(TINY, window=64)
    with writer:
        summary = run.run()
    assert len(summary.rows) == 1
    assert "attend to 64 tokens alone, of 106" in summary.outcomes[1].reason


def test_rows_and_summary_say_what_was_measured_and_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, writer = pretended(tmp_path, monkeypatch, batches=(1,), seconds_per_point=0.02)
    with writer:
        summary = run.run()
    said = {row.serving_mode: "attention as pretended" in (row.note or "") for row in summary.rows}
    assert said == {"prefill_only": True, "single_stream": False}
    shown = summary.to_dict()
    assert (shown["model_id"], shown["precision"]) == ("llama-3.1-8b", "bf16")


@pytest.mark.parametrize("found,differs", [("h200_141gb_sxm", True), ("h100_sxm", False), (None, False)])
def test_a_name_of_another_accelerator_is_in_every_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: str | None, differs: bool
) -> None:
    subject = replace(SUBJECT, known_as={"pretended": found}.__getitem__)
    run, writer = pretended(tmp_path, monkeypatch, subject=subject, seconds_per_point=0.02)
    with writer:
        summary = run.run()
    said = "calls itself pretended, which the catalogue takes for h200_141gb_sxm"
    assert len(summary.rows) == 4
    assert all((said in (row.note or "")) == differs for row in summary.rows)
    assert any(said in note and "--gpu is h100_sxm" in note for note in summary.notes) == differs


# --- messages ---------------------------------------------------------------------------------------------------------


def fake_torch(**parts: Any) -> SimpleNamespace:
    cuda = SimpleNamespace(is_available=lambda: True, get_device_name=lambda _: "L40", **parts.pop("cuda", {}))
    return SimpleNamespace(__version__="2.9.0", cuda=cuda, version=SimpleNamespace(hip=None), **parts)


def test_without_pytorch_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "find_spec", lambda _name: None)
    with pytest.raises(FileProblem, match=r"PyTorch is not installed.*\n.*pip install torch"):
        open_device("cpu")


def test_fp8_is_refused_with_the_reason() -> None:
    with pytest.raises(InvalidInput, match="accelerators alone, and this is cpu"):
        Device(fake_torch(), "cpu").check("fp8")
    with pytest.raises(InvalidInput, match="has no multiplication at 8 bit"):
        Device(fake_torch(), "cuda").check("fp8")
    there = {"_scaled_mm": None, "float8_e4m3fn": None}
    old = fake_torch(cuda={"get_device_capability": lambda _: (8, 0)}, **there)
    with pytest.raises(InvalidInput, match=r"compute capability 8\.0, and 8\.9 is the least"):
        Device(old, "cuda").check("fp8")
    Device(fake_torch(cuda={"get_device_capability": lambda _: (9, 0)}, **there), "cuda").check("fp8")


def with_driver(monkeypatch: pytest.MonkeyPatch, uuids: list[str], **more: Any) -> None:
    """A driver that counts devices with these identities."""
    nvml = SimpleNamespace(
        NVMLError=OSError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetHandleByIndex=uuids.__getitem__,
        nvmlDeviceGetUUID=lambda uuid: uuid,
        **more,
    )
    monkeypatch.setattr(devices, "find_spec", lambda _name: object())
    monkeypatch.setattr(importlib, "import_module", lambda _name: nvml)


def computing_on(uuid: str) -> Device:
    return Device(fake_torch(cuda={"get_device_properties": lambda _: SimpleNamespace(uuid=uuid)}), "cuda")


def test_held_down_clocks_are_read_from_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    held = {"nvmlDeviceGetCurrentClocksEventReasons": lambda uuid: 0x24 if uuid == "GPU-abc" else 0}
    with_driver(monkeypatch, [], **held)
    assert computing_on("abc").slowed_by() == ["its power limit", "the temperature"]
    assert Device(fake_torch(), "cpu").slowed_by() == []


@pytest.mark.parametrize(
    "metered,visible,refused",
    [(0, None, True), (1, None, False), (0, "1", False), (1, "1,0", True), (None, None, False)],
)
def test_a_meter_of_another_device_is_refused(
    monkeypatch: pytest.MonkeyPatch, metered: int | None, visible: str | None, refused: bool
) -> None:
    """Of two devices PyTorch computes on the one that the driver counts second."""
    with_driver(monkeypatch, ["GPU-first", "GPU-second"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible or "")
    device = computing_on("second")
    device.metered = metered
    if refused:
        with pytest.raises(MeterProblem, match=rf"nvidia:{metered} reads the device first, and .* on second"):
            device.begin()
    else:
        device.begin()
    assert device.in_use


def test_every_format_that_was_asked_for_is_checked_before_the_first_is_measured() -> None:
    device = Device(fake_torch(cuda={"is_bf16_supported": lambda: True}), "cuda")
    device.needed = ("bf16", "fp8")
    with pytest.raises(InvalidInput, match="fp8 cannot be measured here"):
        device.begin()


@pytest.mark.parametrize("before,after", [(None, "PCI_BUS_ID"), ("FASTEST_FIRST", "FASTEST_FIRST")])
def test_cuda_counts_devices_as_the_driver_does_before_pytorch_is_loaded(
    monkeypatch: pytest.MonkeyPatch, before: str | None, after: str
) -> None:
    environment = {} if before is None else {"CUDA_DEVICE_ORDER": before}
    monkeypatch.setattr(os, "environ", environment)
    seen: list[str | None] = []

    def load(_name: str) -> Any:
        seen.append(environment.get("CUDA_DEVICE_ORDER"))
        return fake_torch(backends=SimpleNamespace())

    monkeypatch.setattr(devices, "find_spec", lambda _name: object())
    monkeypatch.setattr(importlib, "import_module", load)
    assert open_device().kind == "cuda"
    assert seen == [after]


# --- with PyTorch -----------------------------------------------------------------------------------------------------


@pytest.fixture
def cpu() -> Device:
    pytest.importorskip("torch", reason="PyTorch is not installed: no blocks can be computed")
    return open_device("cpu")


def test_a_device_that_is_not_there_is_refused(cpu: Device) -> None:
    if cpu.torch.cuda.is_available():
        pytest.skip("this machine has the device that is to be missing")
    with pytest.raises(InvalidInput, match="finds no cuda device here"):
        open_device("cuda")


@pytest.mark.parametrize(
    "said",
    ["CUDA out of memory. Tried to allocate 2 GiB", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"],
)
def test_memory_that_does_not_suffice_is_known_by_what_is_said(said: str) -> None:
    assert Device(fake_torch(), "cuda").ran_out(RuntimeError(said))
    assert not Device(fake_torch(), "cuda").ran_out(RuntimeError("CUDA error: an illegal memory access"))


class WithBias(Device):
    """A processor that is said to have a kernel that takes a causal bias."""

    fuses_causal = True


@dataclass(frozen=True)
class Bias:
    """A causal bias as PyTorch's: `last` fresh tokens of a whole, of which the last sees everything."""

    fresh: int
    whole: int
    first: int = 0

    def mask(self, torch: Any) -> Any:
        return torch.ones(self.fresh, self.whole).tril(self.whole - self.fresh - self.first).bool()


def fuse(monkeypatch: pytest.MonkeyPatch, torch: Any, bias: Any = None) -> list[Any]:
    """Attention head by head as its definition says, in place of PyTorch's fused one; what each call is given."""
    given: list[Any] = []

    def attend(q: Any, k: Any, v: Any, attn_mask: Any = None) -> Any:
        given.append(attn_mask)
        assert q.shape[:2] == k.shape[:2] == v.shape[:2]
        mask = attn_mask.mask(torch) if isinstance(attn_mask, Bias) else attn_mask
        out = torch.empty_like(q)
        for batch in range(q.shape[0]):
            for head in range(q.shape[1]):
                scores = q[batch, head] @ k[batch, head].t() / math.sqrt(q.shape[-1])
                scores = scores if mask is None else scores.masked_fill(~mask, -math.inf)
                out[batch, head] = scores.softmax(-1) @ v[batch, head]
        return out

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", attend, raising=False)
    there = None if bias is None else SimpleNamespace(causal_lower_right=bias)
    monkeypatch.setitem(sys.modules, "torch.nn.attention.bias", there)
    return given


@pytest.mark.parametrize("shape", [TINY, MIXED], ids=["dense", "experts"])
@pytest.mark.parametrize("way", ["plain", "mask", "bias"])
@pytest.mark.parametrize("fresh", [1, 5])
def test_a_prefix_from_the_cache_changes_nothing(
    cpu: Device, monkeypatch: pytest.MonkeyPatch, shape: Shape, way: str, fresh: int
) -> None:
    """A prompt at once, and its end after the cache of its beginning, give the same: mask, positions and layout."""
    from inferprint.measure.gpu.blocks import Stack

    torch = cpu.torch
    given = fuse(monkeypatch, torch, Bias if way == "bias" else None)
    if way == "plain":
        monkeypatch.delattr(torch.nn.functional, "scaled_dot_product_attention")
    device = WithBias(torch, "cpu") if way == "bias" else cpu
    at_once, after = whole_and_end(Stack(device, shape, "fp32", 2), fresh)
    assert torch.allclose(at_once[:, -fresh:], after, atol=1e-5)
    assert not torch.allclose(at_once[:, :fresh], after, atol=1e-3)
    assert bool(given) == (way != "plain")


def whole_and_end(stack: Any, fresh: int) -> tuple[Any, Any]:
    """A prompt of 20 tokens through a block, and its end again after the cache of the rest."""
    from inferprint.measure.gpu.blocks import Work

    torch, shape = stack.device.torch, stack.shape
    x = torch.randn(1, 20, shape.hidden)
    cache = tuple(torch.zeros(1, shape.kv_heads, 20, shape.head_size) for _ in range(2))
    with torch.no_grad():
        whole, end = (
            Work(stack.device, shape, GpuPoint("prefill", 1, some, 20 - some), torch.float32, stack.attention)
            for some in (20, fresh)
        )
        return stack.blocks[0](x, cache, whole), stack.blocks[0](x[:, -fresh:], cache, end)


def test_prompts_with_and_without_a_prefix_go_to_the_same_kernel(cpu: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    from inferprint.measure.gpu import attention
    from inferprint.measure.gpu.blocks import Stack

    torch = cpu.torch
    switched: list[bool] = []
    monkeypatch.setattr(torch.backends.cuda, "enable_cudnn_sdp", switched.append, raising=False)
    given = fuse(monkeypatch, torch, Bias)
    masked = Stack(cpu, TINY, "fp32", 2)
    whole_and_end(masked, 5)
    assert masked.attention.said == attention.BY_MASK
    assert [mask.dtype for mask in given] == [torch.bool] * 2
    assert switched == []
    biased = Stack(WithBias(torch, "cpu"), TINY, "fp32", 2)
    given.clear()
    whole_and_end(biased, 5)
    assert biased.attention.said == attention.BY_BIAS
    assert given == [Bias(20, 20), Bias(5, 20)]
    # Not the kernel of cuDNN, which would take the whole prompts alone.
    assert switched == [False]


def _fails(*_: int) -> Any:
    raise RuntimeError("no kernel for it")


@pytest.mark.parametrize(
    "bias",
    [None, _fails, lambda fresh, whole: Bias(fresh, whole, first=whole - fresh)],
    ids=["missing", "fails", "upper left"],
)
def test_a_bias_that_does_not_give_what_the_mask_gives_is_not_used(
    cpu: Device, monkeypatch: pytest.MonkeyPatch, bias: Any
) -> None:
    from inferprint.measure.gpu import attention

    fuse(monkeypatch, cpu.torch, bias)
    assert attention.Attention(WithBias(cpu.torch, "cpu"), TINY, cpu.torch.float32).said == attention.BY_MASK


def test_the_bias_of_this_pytorch_gives_what_the_mask_gives(cpu: Device) -> None:
    pytest.importorskip("torch.nn.attention.bias", reason="PyTorch before 2.3 has no causal bias")
    from inferprint.measure.gpu import attention
    from inferprint.measure.gpu.blocks import Stack

    stack = Stack(WithBias(cpu.torch, "cpu"), TINY, "fp32", 2)
    assert stack.attention.said == attention.BY_BIAS
    at_once, after = whole_and_end(stack, 5)
    assert cpu.torch.allclose(at_once[:, -5:], after, atol=1e-5)


@pytest.mark.parametrize("shape", [TINY, MIXED], ids=["dense", "experts"])
def test_the_built_weights_are_those_of_the_shape(cpu: Device, shape: Shape) -> None:
    from inferprint.measure.gpu.blocks import Stack

    counted = {id(item): item.numel() for item in tensors(Stack(cpu, shape, "fp32", 2).blocks, cpu.torch)}
    assert sum(counted.values()) == 2 * shape.block_params


def tensors(thing: Any, torch: Any) -> list[Any]:
    if isinstance(thing, torch.Tensor):
        return [thing]
    if isinstance(thing, list):
        return [found for item in thing for found in tensors(item, torch)]
    if type(thing).__module__.startswith("inferprint.measure.gpu.blocks"):
        return [found for item in vars(thing).values() for found in tensors(item, torch)]
    return []


def test_operations_are_those_of_the_shape(cpu: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    from inferprint.measure.gpu import blocks

    done = [0.0]
    torch = cpu.torch
    plain = torch.nn.functional.linear

    def counted(x: Any, weight: Any) -> Any:
        done[0] += 2.0 * x.numel() // x.shape[-1] * weight.numel()
        return plain(x, weight)

    monkeypatch.setattr(torch.nn.functional, "linear", counted)
    for shape in (TINY, MIXED):
        done[0] = 0.0
        blocks.Stack(cpu, shape, "fp32", 2).step(GpuPoint("prefill", 1, 50, 0), 2)()
        # Two layers; a product and a sum for each weight that a token passes, which those of the norms are not.
        assert done[0] == 2 * 2 * 50 * (shape.active_block_params - 2 * shape.hidden)


def test_only_chosen_experts_are_touched(cpu: Device) -> None:
    from inferprint.measure.gpu.blocks import Stack

    shape = replace(MIXED, experts=64)
    stack = Stack(cpu, shape, "fp32", 4)
    for batch in (1, 16):
        step = stack.step(GpuPoint("decode", batch, 1, 8), 4)
        for _ in range(32):
            step()
        touched = stack.experts_touched()
        # Each token chooses 2 of 64, at random.
        assert touched == pytest.approx(64 * (1 - (1 - 2 / 64) ** batch), rel=0.15)
    assert stack.experts_touched() is None


def test_a_matrix_at_8_bit_is_scaled_there_and_back(cpu: Device) -> None:
    from inferprint.measure.gpu.blocks import _Fp8Linear, _Linear

    torch = cpu.torch

    class With8Bit:
        """PyTorch with a multiplication at 8 bit that keeps all bits."""

        float8_e4m3fn = torch.float32

        def __getattr__(self, name: str) -> Any:
            return getattr(torch, name)

        @staticmethod
        def _scaled_mm(a: Any, b: Any, *, scale_a: Any, scale_b: Any, out_dtype: Any, use_fast_accum: bool) -> Any:
            assert use_fast_accum
            assert max(float(a.abs().max()), float(b.abs().max())) <= 448.01
            assert a.is_contiguous()
            assert b.t().is_contiguous()
            return ((a @ b) * scale_a * scale_b).to(out_dtype)

    there = Device(With8Bit(), "cpu")
    torch.manual_seed(1)
    plain = _Linear(cpu, 32, 48, torch.float32)
    torch.manual_seed(1)
    x = torch.empty(48, 32).normal_()[:3].reshape(1, 3, 32)
    torch.manual_seed(1)
    assert torch.allclose(_Fp8Linear(there, 32, 48, torch.float32)(x), plain(x), atol=1e-5)


def test_times_grow_as_they_must(cpu: Device) -> None:
    from inferprint.measure.gpu.blocks import Stack

    shape = Shape(layers=2, hidden=128, heads=4, kv_heads=2, head_size=32, vocabulary=256, inner=256)
    stack = Stack(cpu, shape, "fp32", 2)

    def seconds(point: GpuPoint) -> float:
        step = stack.step(point, 2)
        timing = measure(lambda steps: cpu.timed(step, steps), repeats=5, seconds=0.5)
        assert timing is not None
        return min(timing.seconds)

    decode = seconds(GpuPoint("decode", 1, 1, 256))
    assert seconds(GpuPoint("decode", 1, 1, 8192)) > 1.5 * decode
    assert seconds(GpuPoint("decode", 32, 1, 256)) > 3 * decode
    prompts = seconds(GpuPoint("prefill", 1, 64, 0)), seconds(GpuPoint("prefill", 1, 256, 0))
    assert 2 < prompts[1] / prompts[0] < 10
    assert seconds(GpuPoint("prefill", 1, 64, 192)) < 0.7 * prompts[1]


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_refuses_before_it_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "own.csv"
    monkeypatch.setattr(devices, "find_spec", lambda _name: None)
    with pytest.raises(FileProblem, match="PyTorch is not installed"):
        gpu_command(["--gpu", "h100_sxm", "--out", str(out)], standalone_mode=False)
    assert not out.exists()


@pytest.mark.parametrize(
    "asked,said",
    [
        (("--gpu", "nope"), "unknown GPU 'nope'"),
        (("--model", "nope"), "unknown model 'nope'"),
        (("--meter", "foo"), "unknown meter 'foo'"),
        (("--batch", "0"), "--batch: 0 is not between"),
        (("--model", "deepseek-v3"), "does not say its kv_heads"),
    ],
)
def test_a_name_that_is_wrong_is_told_before_pytorch_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: tuple[str, str], said: str
) -> None:
    monkeypatch.setattr(devices, "find_spec", lambda _name: None)
    with pytest.raises(InferprintError, match=said):
        gpu_command(["--gpu", "h100_sxm", "--out", str(tmp_path / "own.csv"), *asked], standalone_mode=False)


def test_the_command_measures_on_this_processor(
    cpu: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = importlib.import_module("inferprint.cli.measure_gpu")
    monkeypatch.setattr("inferprint.measure.gpu.shapes.shape_of", lambda _model, _vocabulary: TINY)
    assert command.DEFAULT_MODEL in default_catalogue().models
    out = tmp_path / "own.csv"
    usual = ["--batch", "1,2", "--prompt-tokens", "8", "--context-tokens", "16", "--seconds-per-point", "0.05"]
    where = ["--device", "cpu", "--meter", "none", "--out", str(out), "--json"]
    gpu_command([*usual, *where, "--gpu", "cpu_generic_laptop"], standalone_mode=False)
    assert capsys.readouterr().out.count('"row_id"') == 4
    found = read_files([out], default_catalogue(), fit_unknown=True)
    assert {item.setup.precision for item in found.kept} == {"fp32"}
    with pytest.raises(InvalidInput, match="h100_80gb_sxm is of the class datacenter"):
        gpu_command([*usual, *where, "--append", "--gpu", "h100_sxm"], standalone_mode=False)
    with pytest.raises(MeterProblem):
        gpu_command(
            [*usual, *where, "--append", "--gpu", "cpu_generic_laptop", "--meter", "wall"], standalone_mode=False
        )


def test_the_command_measures_several_formats_and_refuses_what_is_not_there(
    cpu: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inferprint.measure.gpu.shapes.shape_of", lambda _model, _vocabulary: TINY)
    out = tmp_path / "own.csv"
    usual = ["--batch", "1", "--prompt-tokens", "8", "--context-tokens", "16", "--seconds-per-point", "0.05"]
    where = ["--device", cpu.kind, "--gpu", "cpu_generic_laptop", "--meter", "none", "--out", str(out), "--json"]
    with pytest.raises(InvalidInput, match="fp8 cannot be measured here"):
        gpu_command([*usual, *where, "--precision", "fp32", "--precision", "fp8"], standalone_mode=False)
    assert not out.exists()
    gpu_command([*usual, *where, "--precision", "fp32", "--precision", "bf16"], standalone_mode=False)
    shown = capsys.readouterr()
    found = json.loads(shown.out)["runs"]
    assert [run["precision"] for run in found] == ["fp32", "bf16"]
    assert all(row["precision_name"] == run["precision"] for run in found for row in run["rows"])
    assert "--model names others, such as qwen3-30b-a3b, a mixture of experts" in shown.err


class Noted:
    """A run that takes stated times and notes its share of the bound."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.done: list[tuple[str, str, float]] = []

    def __call__(self, _shape: Shape, subject: Subject, plan: GpuPlan, *, watch: object) -> Any:
        self.done.append((subject.model_id, subject.precision, plan.max_seconds))
        return SimpleNamespace(summary=SimpleNamespace(seconds=self.seconds), run=lambda: None)


def all_runs(device: Device, seconds: float) -> list[tuple[str, str, float]]:
    command = importlib.import_module("inferprint.cli.measure_gpu")
    noted = Noted(seconds)
    runs = [
        (TINY, replace(SUBJECT, model_id=name, precision=precision))
        for name in ("one", "two")
        for precision in command.PRECISIONS["cuda"]
    ]
    device.release = lambda: None  # type: ignore[method-assign]
    command._run_all(runs, device, GpuPlan(max_seconds=100.0), noted, [])
    return noted.done


def test_each_run_has_an_equal_share_of_the_time_that_is_left() -> None:
    there = {"_scaled_mm": None, "float8_e4m3fn": None}
    cuda = {"get_device_capability": lambda _: (9, 0), "is_bf16_supported": lambda: True}
    found = all_runs(Device(fake_torch(cuda=cuda, **there), "cuda"), seconds=10.0)
    assert found == [("one", "bf16", 25.0), ("one", "fp8", 30.0), ("two", "bf16", 40.0), ("two", "fp8", 70.0)]


def test_a_format_that_nobody_asked_for_is_left_out_where_the_device_lacks_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    device = Device(fake_torch(cuda={"is_bf16_supported": lambda: True}), "cuda")
    assert [found[:2] for found in all_runs(device, seconds=10.0)] == [("one", "bf16"), ("two", "bf16")]
    assert "one in fp8 is left out: fp8 cannot be measured here" in capsys.readouterr().err


@pytest.mark.parametrize(
    "meter,index", [("nvidia:0", 0), ("nvidia", 0), ("nvidia:3", 3), ("nvidia:0,1", None), ("rapl", None)]
)
def test_the_device_of_a_meter_is_known_by_what_was_asked_for(meter: str, index: int | None) -> None:
    assert importlib.import_module("inferprint.cli.measure_gpu")._index_of(meter) == index


def test_the_catalogue_knows_devices_by_the_names_that_pytorch_has() -> None:
    known = importlib.import_module("inferprint.cli.measure_gpu")._known_as
    assert known(default_catalogue(), "NVIDIA H100 80GB HBM3") == "h100_80gb_sxm"
    assert known(default_catalogue(), "NVIDIA A100-SXM4-40GB") == "a100_40gb_sxm"
    assert known(default_catalogue(), "CPU with 4 threads") is None
