"""Meters: how they are named and found, and what they read from files, exporters and drivers."""

from __future__ import annotations

import gc
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Gauge, start_http_server
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from inferprint.cli.measure import meters_command
from inferprint.errors import MeterProblem
from inferprint.measure.meters import base
from inferprint.measure.meters.base import (
    Boundary,
    CountsDevices,
    KeepsReadings,
    Meter,
    Reading,
    meter_kinds,
    open_meter,
)
from inferprint.measure.meters.chosen import check_asked, metered, usual_meters
from inferprint.measure.meters.dcgm import DCGM_ENERGY, DCGM_POWER
from inferprint.measure.meters.integrated import PowerMeter
from inferprint.measure.meters.wall_csv import WallMeter
from inferprint.measure.meters.windows import energy_between


class Exporter:
    """A server of metrics on this machine."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.server, self.thread = start_http_server(0, addr="127.0.0.1", registry=self.registry)
        self.url = f"http://127.0.0.1:{self.server.server_port}/metrics"

    def gauge(self, name: str, *labels: str) -> Gauge:
        return Gauge(name, "as a test sets it", labels, registry=self.registry)


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    served = Exporter()
    yield served
    served.server.shutdown()
    served.server.server_close()
    served.thread.join()


class Energy(Collector):
    """The counters of two boards, of 300 W and 100 W, after so many seconds, as an exporter of DCGM shows them."""

    def __init__(self) -> None:
        self.seconds, self.less_mj, self.boards = 0.0, 0.0, (300.0, 100.0)

    def collect(self) -> Iterator[Metric]:
        # The exporter calls it a counter without the ending that the client of Prometheus adds.
        family = Metric(DCGM_ENERGY, "Total energy since the driver was loaded (in mJ).", "gauge")
        for gpu, watts in enumerate(self.boards):
            for pod in ("a", "b"):  # one device that two pods share is shown twice
                labels = {"gpu": str(gpu), "UUID": f"GPU-{gpu}", "Hostname": "n1", "pod": pod}
                family.add_sample(DCGM_ENERGY, labels, 5e9 + watts * self.seconds * 1e3 - self.less_mj)
        yield family


def waited(enough: Callable[[], bool]) -> None:
    """Wait for a thread, however slow the machine is."""
    until = time.monotonic() + 60
    while not enough():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_kinds_are_found_and_have_examples() -> None:
    kinds = meter_kinds()
    assert {"nvidia", "amd", "apple", "rapl", "dcgm", "prometheus", "wall"} <= set(kinds)
    assert all(kind.example.startswith(name) for name, kind in kinds.items())


def test_the_kinds_of_this_machine_come_first() -> None:
    assert list(meter_kinds())[:7] == ["nvidia", "amd", "apple", "rapl", "dcgm", "prometheus", "wall"]


@pytest.mark.parametrize("asked", ["foo", "voltmeter:1", ""])
def test_an_unknown_kind_names_those_there_are_each_with_an_example(asked: str) -> None:
    with pytest.raises(MeterProblem, match=f"unknown meter '{asked.partition(':')[0]}'") as error:
        check_asked(asked)
    for kind in meter_kinds().values():
        assert f"\n    {kind.name}" in error.value.hint
        assert kind.example in error.value.hint
    with pytest.raises(MeterProblem, match="unknown meter"):
        open_meter(asked)


@pytest.mark.parametrize("kind", ["nvidia", "amd", "apple", "rapl"])
def test_a_meter_that_is_not_here_says_so(kind: str) -> None:
    if kind == "nvidia" and Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has an accelerator")
    with pytest.raises(MeterProblem, match=r"zeus|accelerator|processors|chip|device") as error:
        open_meter(kind)
    assert error.value.hint


@pytest.mark.skipif(find_spec("zeus") is not None, reason="zeus is installed here")
def test_without_zeus_the_extra_is_named() -> None:
    with pytest.raises(MeterProblem, match="needs the package zeus") as error:
        open_meter("nvidia")
    assert "pip install 'inferprint[measure]'" in error.value.hint


# --- which is taken ---------------------------------------------------------------------------------------------------


class Pretended:
    """A meter that shows nothing, and remembers whether it was closed."""

    name, resolution_s = "pretended", 0.1

    def __init__(self, devices: int | None, boundary: Boundary = "gpu_only") -> None:
        self.devices, self.boundary, self.closed = devices, boundary, False

    def read(self) -> Reading:
        return Reading(0.0, 0.0)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def kinds(monkeypatch: pytest.MonkeyPatch) -> dict[str, Pretended]:
    """Meters that are there, by kind; others say that they are not. Both are remembered in the order of asking."""
    there: dict[str, Pretended] = {}

    def opened(name: str) -> Callable[[str], Meter]:
        def open_(argument: str) -> Meter:
            if name not in there:
                raise MeterProblem(f"there is no {name} here", hint="None at all.")
            return there[name]

        return open_

    pretended = {name: replace(kind, open=opened(name)) for name, kind in meter_kinds().items()}
    monkeypatch.setattr(base, "meter_kinds", lambda: pretended)
    return there


def gpu(**changed: Any) -> Any:
    return SimpleNamespace(**({"device_class": "datacenter", "power_boundary": "board"} | changed))


def test_without_a_meter_the_reasons_are_told_in_order(kinds: dict[str, Pretended]) -> None:
    kinds["rapl"] = Pretended(1, "cpu_package")
    said: list[str] = []
    with metered(None, usual_meters(gpu()), said.append) as meter:
        assert meter is None
    assert said[0] == (
        "no meter of this machine: nvidia: there is no nvidia here; amd: there is no amd here; "
        "apple: there is no apple here"
    )
    assert "--meter names one" in said[1]


def test_accelerators_are_tried_in_order_and_what_is_inside_is_said(kinds: dict[str, Pretended]) -> None:
    kinds |= {"apple": Pretended(1, "soc_package"), "amd": Pretended(2)}
    said: list[str] = []
    with metered(None, usual_meters(gpu()), said.append, count=2) as meter:
        assert meter is kinds["amd"]
    assert said == ["meter: pretended (gpu_only: the boards of the accelerators)"]
    assert kinds["amd"].closed


def test_energy_that_fits_refuse_is_not_taken_silently(kinds: dict[str, Pretended]) -> None:
    kinds["apple"] = Pretended(1, "soc_package")
    said: list[str] = []
    with metered(None, usual_meters(gpu(power_boundary="system")), said.append) as meter:
        assert meter is kinds["apple"]
    assert "fits take the times of the rows, and not their energy" in said[1]


def test_a_processor_is_metered_by_its_own_counters_alone(kinds: dict[str, Pretended]) -> None:
    """Boards that idle beside a processor are none of its energy; for a record of a whole machine it is too little."""
    kinds |= {"nvidia": Pretended(1), "rapl": Pretended(2, "cpu_package")}
    said: list[str] = []
    with metered(None, usual_meters(gpu(device_class="cpu")), said.append, count=2) as meter:
        assert meter is kinds["rapl"]
    assert said == ["meter: pretended (cpu_package: the processor packages)"]
    with metered(None, usual_meters(gpu(device_class="cpu", power_boundary="system")), said.append) as meter:
        assert meter is None
    assert "of a whole machine, which a meter at the wall reads" in said[1]


def test_more_devices_than_compute_are_not_taken_unasked(kinds: dict[str, Pretended]) -> None:
    kinds["nvidia"] = Pretended(8)
    said: list[str] = []
    with metered(None, usual_meters(gpu()), said.append, count=2) as meter:
        assert meter is None
    assert "nvidia: it would count 8 devices, and 2 compute: say which, as --meter nvidia:0,1" in said[0]
    assert kinds["nvidia"].closed


@pytest.mark.parametrize(
    "asked,count,instead",
    [
        ("nvidia", 1, "nvidia:0"),
        ("amd", 3, "amd:0,1,2"),
        ("dcgm:http://localhost:9400/metrics", 2, "dcgm:http://localhost:9400/metrics?gpu=0,1"),
        ("dcgm:http://localhost:9400/m?a=b", 1, "dcgm:http://localhost:9400/m?a=b&gpu=0"),
    ],
)
def test_a_named_meter_of_more_accelerators_than_compute_is_refused(
    kinds: dict[str, Pretended], asked: str, count: int, instead: str
) -> None:
    """Unless they are listed; and as the message says it, it is taken."""
    meter = kinds[asked.partition(":")[0]] = Pretended(8)
    said: list[str] = []
    with pytest.raises(MeterProblem, match=f"the meter .* would count 8 devices, and {count} compute") as error:
        metered(asked, (), said.append, count=count).__enter__()
    assert meter.closed
    assert error.value.hint == f"List those that compute, as --meter {instead}"
    meter.devices = count
    with metered(instead, (), said.append, count=count) as taken:
        assert taken is meter
    assert said == ["meter: pretended (gpu_only: the boards of the accelerators)"]


@pytest.mark.parametrize(
    "asked,devices,boundary,told",
    [
        ("nvidia:0,1,2", 3, "gpu_only", "the meter nvidia:0,1,2 counts 3 devices, and 2 compute"),
        ("nvidia", 1, "gpu_only", "the meter nvidia counts 1 device, and 2 compute"),
        ("rapl", 4, "cpu_package", ""),
        ("prometheus:http://localhost:9/m?metric=a_watts", None, "gpu_only", ""),
        ("nvidia", 2, "gpu_only", ""),
    ],
)
def test_other_numbers_of_devices_are_told_at_most(
    kinds: dict[str, Pretended], asked: str, devices: int | None, boundary: Boundary, told: str
) -> None:
    kinds[asked.partition(":")[0]] = Pretended(devices, boundary)
    said: list[str] = []
    with metered(asked, (), said.append, count=2) as meter:
        assert meter is not None
    assert [text for text in said if text.startswith("the meter")] == (
        [f"{told}: energy per request is that of what it counts"] if told else []
    )


def test_a_meter_elsewhere_is_asked_about_before_it_is_contacted(kinds: dict[str, Pretended]) -> None:
    kinds |= {"dcgm": Pretended(1), "prometheus": Pretended(None), "nvidia": Pretended(1), "wall": Pretended(1)}
    there = ("dcgm:http://10.0.0.1:9400?gpu=0", "prometheus:https://box/metrics?token=secret&metric=a_watts")
    here = ("dcgm:http://127.0.0.1:9400", "prometheus:http://localhost/m?metric=a_watts", "nvidia", "wall:a.csv")
    asked: list[str] = []
    for name in (*there, *here):
        with metered(name, (), str, ask=asked.append):
            pass
    assert asked == ["http://10.0.0.1:9400", "https://box/metrics"]

    def refuse(where: str) -> None:
        raise MeterProblem(f"not {where}")

    del kinds["dcgm"]  # opening it would say that it is not there
    with pytest.raises(MeterProblem, match=r"not http://10\.0\.0\.1:9400"):
        metered(there[0], (), str, ask=refuse).__enter__()


def test_none_is_none_and_another_machine_is_not_metered_here(kinds: dict[str, Pretended]) -> None:
    kinds["nvidia"] = Pretended(1)
    said: list[str] = []
    with metered("none", usual_meters(gpu()), said.append) as meter:
        assert meter is None
    assert said == []
    with metered(None, usual_meters(gpu()), said.append, here=False) as meter:
        assert meter is None
    assert "is not this machine" in said[0]


def test_the_command_says_what_works_here_and_why_not(
    kinds: dict[str, Pretended], capsys: pytest.CaptureFixture[str]
) -> None:
    kinds["rapl"] = Pretended(1, "cpu_package")
    meters_command(["--json"], standalone_mode=False)
    shown = {kind["name"]: (kind["available"], kind["reason"]) for kind in json.loads(capsys.readouterr().out)}
    assert shown["rapl"] == (True, None)
    assert shown["nvidia"] == (False, "there is no nvidia here: None at all.")
    assert shown["dcgm"] == shown["prometheus"] == (None, "needs an address")
    assert shown["wall"] == (None, "needs a file")
    assert kinds["rapl"].closed
    meters_command([], standalone_mode=False)
    text = capsys.readouterr().out
    assert "there is no amd here: None at all." in text
    assert "--meter wall:FILE.csv" in text


# --- DCGM -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked,watts", [("", 400.0), ("?gpu=0", 300.0), ("?gpu=1", 100.0), ("?gpu=0,1", 400.0)])
def test_dcgm_counts_each_board_once(exporter: Exporter, asked: str, watts: float) -> None:
    energy = Energy()
    exporter.registry.register(energy)
    meter = open_meter(f"dcgm:{exporter.url}{asked}")
    assert meter.boundary == "gpu_only"
    assert isinstance(meter, CountsDevices)
    assert meter.devices == (2 if watts == 400.0 else 1)
    assert math.isinf(meter.resolution_s)
    for seconds in (10.0, 30.0):
        energy.seconds = seconds
        assert meter.read().joules == pytest.approx(watts * seconds)
    assert math.isfinite(meter.resolution_s)


def test_dcgm_that_is_reset_meanwhile(exporter: Exporter) -> None:
    energy = Energy()
    exporter.registry.register(energy)
    meter = open_meter(f"dcgm:{exporter.url}")
    energy.less_mj = 4e9
    with pytest.raises(MeterProblem, match=r"counter 1 of 2 runs backwards, from 5e\+06 J to 1\S*e\+06 J"):
        meter.read()
    energy.less_mj = -1e9
    with pytest.raises(MeterProblem, match=r"counter 1 of 2 runs backwards, from 5e\+06 J to 1\S*e\+06 J"):
        meter.read()


def test_dcgm_that_loses_a_board(exporter: Exporter) -> None:
    energy = Energy()
    exporter.registry.register(energy)
    meter = open_meter(f"dcgm:{exporter.url}")
    energy.boards = (300.0,)
    with pytest.raises(MeterProblem, match="has no n1 GPU-1 any more"):
        meter.read()


def watts_of(readings: Sequence[Reading]) -> list[float]:
    """Mean power between readings [W]."""
    return [(b.joules - a.joules) / (b.at_s - a.at_s) for a, b in pairwise(readings)]


def test_dcgm_by_power(exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inferprint.measure.meters.dcgm.POLL_S", 0.005)
    power = exporter.gauge(DCGM_POWER, "gpu", "UUID")
    power.labels("0", "GPU-0").set(250.0)
    power.labels("1", "GPU-1").set(50.0)
    meter = open_meter(f"dcgm:{exporter.url}")
    assert isinstance(meter, KeepsReadings)
    try:
        waited(lambda: len(meter.readings()) > 5)
        power.labels("0", "GPU-0").set(650.0)
        waited(lambda: watts_of(meter.readings())[-1] > 690.0)
    finally:
        meter.close()
    watts = watts_of(meter.readings())
    assert watts[0] == pytest.approx(300.0)
    assert watts[-1] == pytest.approx(700.0)
    # One span in which it went up, and no other power.
    assert sum(not (watt == pytest.approx(300.0) or watt == pytest.approx(700.0)) for watt in watts) <= 1


def test_any_metric_with_its_unit(exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inferprint.measure.meters.dcgm.POLL_S", 0.005)
    exporter.gauge("node_power_milliwatts", "chip").labels("a").set(80_000)
    exporter.gauge("psu_input", "psu").labels("1").set(2.0)
    meter = open_meter(f"prometheus:{exporter.url}?metric=node_power_milliwatts&boundary=cpu_package")
    assert meter.boundary == "cpu_package"
    meter.close()
    meter = open_meter(f"prometheus:{exporter.url}?metric=psu_input&unit=kW&label.psu=1")
    assert meter.boundary == "system_wall_ac"
    assert isinstance(meter, KeepsReadings)
    try:
        waited(lambda: len(meter.readings()) > 3)
    finally:
        meter.close()
    assert watts_of(meter.readings()) == pytest.approx([2000.0] * (len(meter.readings()) - 1))


@pytest.mark.parametrize(
    "asked,said",
    [
        ("dcgm:", "needs an address"),
        ("dcgm:localhost:9400", "is no address over HTTP"),
        ("dcgm:{url}", f"has neither {DCGM_ENERGY} nor {DCGM_POWER}"),
        ("prometheus:{url}", "names no metric"),
        ("prometheus:{url}?metric=power", "its name does not tell its unit"),
        ("prometheus:{url}?metric=power&unit=bananas", "its unit 'bananas' is unknown"),
        ("prometheus:{url}?metric=power&unit=W&boundary=house", "'house' is no boundary"),
        ("prometheus:{url}?metric=absent_watts", "has no absent_watts"),
        ("prometheus:{url}?metric=power&unit=W&label.psu=9", "has no power, psu=9"),
        ("prometheus:{url}?metric=negative_watts", "shows -4 W"),
        ("prometheus:http://user:secret@127.0.0.1/metrics?metric=a_watts", "holds a user's name"),
    ],
)
def test_an_address_that_does_not_do(exporter: Exporter, asked: str, said: str) -> None:
    exporter.gauge("power").set(3.0)
    exporter.gauge("negative_watts").set(-4.0)
    with pytest.raises(MeterProblem, match=said) as error:
        open_meter(asked.format(url=exporter.url))
    assert "secret" not in str(error.value)


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(MeterProblem, match="does not answer"):
        open_meter("dcgm:http://127.0.0.1:9/metrics")


def test_a_redirect_is_not_followed() -> None:
    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:9/metrics")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Elsewhere)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        with pytest.raises(MeterProblem, match="answers 302"):
            open_meter(f"dcgm:http://127.0.0.1:{server.server_port}/metrics")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# --- drivers, read with the package zeus ------------------------------------------------------------------------------


class Driver:
    """NVIDIA's driver as far as a meter asks it: two boards whose counters grow with every look."""

    def __init__(self, nvml: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.nvml, self.grows_mj, self.counts = nvml, (40.0, 10.0), [1e9, 2e9]
        self.energy_error: int | None = None
        self.milliwatts = (400_000, 100_000)
        self.opened = 0  # the driver lets go when it was shut down as often as opened
        functions = {
            "nvmlInit": lambda: self.open(1),
            "nvmlShutdown": lambda: self.open(-1),
            "nvmlDeviceGetCount": lambda: 2,
            "nvmlDeviceGetHandleByIndex": lambda index: index,
            "nvmlDeviceGetName": lambda _handle: "H200",
            "nvmlDeviceGetArchitecture": lambda _handle: nvml.NVML_DEVICE_ARCH_HOPPER,
            "nvmlDeviceGetC2cModeInfoV": self.not_supported,
            "nvmlDeviceGetTotalEnergyConsumption": self.energy,
            "nvmlDeviceGetFieldValues": self.power,
        }
        for name, function in functions.items():
            monkeypatch.setattr(nvml, name, function)

    def not_supported(self, _handle: int) -> None:
        raise self.nvml.NVMLError(self.nvml.NVML_ERROR_NOT_SUPPORTED)

    def open(self, more: int) -> None:
        self.opened += more

    def energy(self, handle: int) -> int:
        if self.opened <= 0:
            raise self.nvml.NVMLError(self.nvml.NVML_ERROR_UNINITIALIZED)
        if self.energy_error is not None:
            raise self.nvml.NVMLError(self.energy_error)
        self.counts[handle] += self.grows_mj[handle]
        return int(self.counts[handle])

    def power(self, handle: int, _fields: object) -> list[SimpleNamespace]:
        value = SimpleNamespace(uiVal=self.milliwatts[handle])
        return [SimpleNamespace(nvmlReturn=self.nvml.NVML_SUCCESS, value=value)]


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Driver]:
    """Replaces the lowest layer, so that the classes of zeus run as they are."""
    pytest.importorskip("zeus", reason="the package zeus is not installed")
    nvml, nvidia = pytest.importorskip("pynvml"), pytest.importorskip("zeus.device.gpu.nvidia")
    for name in ("CUDA_VISIBLE_DEVICES", "ZEUSD_SOCK_PATH", "ZEUSD_HOST_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("inferprint.measure.meters.zeus_gpu.AT_MOST_S", 0.05)
    nvidia.nvml_is_available.cache_clear()
    yield Driver(nvml, monkeypatch)
    nvidia.nvml_is_available.cache_clear()


@pytest.mark.parametrize("asked,each_look_j", [("nvidia", 0.05), ("nvidia:0", 0.04), ("nvidia:1", 0.01)])
def test_counters_of_boards_add_up(driver: Driver, asked: str, each_look_j: float) -> None:
    meter = open_meter(asked)
    assert (meter.boundary, math.isfinite(meter.resolution_s)) == ("gpu_only", True)
    before = meter.read().joules
    assert meter.read().joules - before == pytest.approx(each_look_j)
    gc.collect()
    meter.read()
    assert meter.name == f"NVIDIA H200 ({asked.partition(':')[2] or '0, 1'})"


def test_a_board_that_counts_nothing_stands_still(driver: Driver) -> None:
    driver.grows_mj = (0.0, 0.0)
    with pytest.raises(MeterProblem, match=r"stands still: its counter is at 3e\+06 J for 0\.05 s"):
        open_meter("nvidia")


def test_a_counter_that_falls_was_reset(driver: Driver) -> None:
    meter = open_meter("nvidia")
    driver.counts[1] = 0.0
    with pytest.raises(MeterProblem, match="counter 2 of 2 runs backwards"):
        meter.read()
    driver.counts[1] = 9e9
    with pytest.raises(MeterProblem, match="counter 2 of 2 runs backwards"):
        meter.read()


def test_a_board_that_is_not_allowed_says_what_to_do(driver: Driver) -> None:
    driver.energy_error = driver.nvml.NVML_ERROR_NO_PERMISSION
    with pytest.raises(MeterProblem, match="NVIDIA accelerators cannot be read") as error:
        open_meter("nvidia")
    assert "with the rights to read its counters" in error.value.hint


def test_a_board_without_a_counter_is_read_by_its_power(driver: Driver) -> None:
    driver.energy_error = driver.nvml.NVML_ERROR_NOT_SUPPORTED
    meter = open_meter("nvidia")
    assert isinstance(meter, PowerMeter)
    try:
        waited(lambda: len(meter.readings()) > 2)
        assert watts_of(meter.readings())[0] == pytest.approx(500.0)
    finally:
        meter.close()


def test_visible_devices_that_are_no_indices(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert open_meter("nvidia").name == "NVIDIA H200 (0)"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1234")
    with pytest.raises(MeterProblem, match="cannot be read") as error:
        open_meter("nvidia")
    assert "CUDA_VISIBLE_DEVICES may name devices by their index alone" in error.value.hint


class Packages:
    """A processor with its memory, as Linux shows their counters in files; both grow with every look."""

    RANGE_UJ = 262_143_328_850

    def __init__(self, folder: Path, rapl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wraps, self.tracked = 0, True
        self.counts: dict[Path, int] = {}
        self.folder = folder
        self.add("intel-rapl:0", "package-0", 1_000_000)
        self.add("intel-rapl:0/intel-rapl:0:0", "dram", 500_000)
        monkeypatch.setattr(rapl, "RAPL_DIR", str(folder))
        # In place of a process that zeus starts for each file, to count how often its counter began anew.
        monkeypatch.setattr(rapl, "RaplWraparoundTracker", lambda *_: self)
        monkeypatch.setattr(rapl, "open", self.open, raising=False)
        self.denied = False

    def add(self, path: str, name: str, grows_uj: int) -> None:
        zone = self.folder / path
        zone.mkdir()
        (zone / "name").write_text(name)
        (zone / "max_energy_range_uj").write_text(str(self.RANGE_UJ))
        (zone / "energy_uj").write_text("0")
        self.counts[zone / "energy_uj"] = grows_uj

    def open(self, path: str, mode: str = "r") -> Any:
        file = Path(path)
        if file in self.counts:
            if self.denied:
                raise PermissionError(13, "Permission denied", path)
            after = int(file.read_text()) + self.counts[file]
            file.write_text(str(after % self.RANGE_UJ))
        return file.open(mode)

    def get_num_wraparounds(self) -> int:
        return self.wraps


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Packages]:
    pytest.importorskip("zeus", reason="the package zeus is not installed")
    cpu, rapl = pytest.importorskip("zeus.device.cpu"), pytest.importorskip("zeus.device.cpu.rapl")
    monkeypatch.setattr(cpu, "_cpus", None)  # zeus keeps the processors that it found first
    for name in ("ZEUSD_SOCK_PATH", "ZEUSD_HOST_PORT"):
        monkeypatch.delenv(name, raising=False)
    rapl.rapl_is_available.cache_clear()
    yield Packages(tmp_path, rapl, monkeypatch)
    rapl.rapl_is_available.cache_clear()


def test_a_processor_and_its_memory_add_up(packages: Packages) -> None:
    meter = open_meter("rapl")
    assert (meter.name, meter.boundary) == ("processor packages 0 (RAPL, with memory)", "cpu_package_dram")
    before = meter.read().joules
    assert meter.read().joules - before == pytest.approx(1.5)


def test_a_counter_that_begins_anew_goes_on(packages: Packages) -> None:
    """Zeus adds the range as soon as it has seen the counter begin anew; until then it seems to run backwards."""
    meter = open_meter("rapl")
    before, shown = meter.read().joules, sum(int(file.read_text()) for file in packages.counts)
    for file, grows in packages.counts.items():
        file.write_text(str(packages.RANGE_UJ - 2 * grows))
    meter.read()
    with pytest.raises(MeterProblem, match="runs backwards"):
        meter.read()
    packages.wraps = 1
    grown = 2 * packages.RANGE_UJ + sum(packages.counts.values()) - shown
    assert meter.read().joules - before == pytest.approx(grown * 1e-6, rel=1e-9)


def test_a_processor_that_is_reset_is_not_one_whose_counter_came_to_its_end(packages: Packages) -> None:
    """Far from the end, and higher than before at the next look."""
    meter = open_meter("rapl")
    for file in packages.counts:
        file.write_text("0")
    with pytest.raises(MeterProblem, match="counter 1 of 2 runs backwards"):
        meter.read()
    for file in packages.counts:
        file.write_text("200000000000")
    with pytest.raises(MeterProblem, match="counter 1 of 2 runs backwards"):
        meter.read()


def test_counters_for_root_alone_say_what_to_do(packages: Packages) -> None:
    packages.denied = True
    with pytest.raises(MeterProblem, match="permission") as error:
        open_meter("rapl")
    assert "sudo chmod -R a+r /sys/class/powercap/intel-rapl" in error.value.hint


# --- wall -------------------------------------------------------------------------------------------------------------

BEGIN = 1_780_000_000.0


def curve(seconds: float) -> float:
    """Power of a machine that goes up and down [W]."""
    return 600 + 250 * math.sin(seconds / 9)


def integral(start: float, end: float) -> float:
    """Its energy [J]."""
    return 600 * (end - start) - 2250 * (math.cos(end / 9) - math.cos(start / 9))


def written(path: Path, *, iso: bool, seconds: int = 200, leave_out: range = range(0)) -> Path:
    lines = ["time,watts"]
    for i in range(seconds + 1):
        if i not in leave_out:
            at = datetime.fromtimestamp(BEGIN + i, UTC).isoformat() if iso else f"{BEGIN + i:.3f}"
            lines.append(f"{at},{curve(i):.6f}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("iso", [True, False])
def test_a_wall_meter_has_the_integral_of_its_curve(tmp_path: Path, iso: bool) -> None:
    meter = WallMeter(written(tmp_path / "wall.csv", iso=iso), clock_s=-BEGIN)
    window = energy_between(meter.readings(), 20.4, 170.9, name=meter.name)
    assert window.joules == pytest.approx(integral(20.4, 170.9), rel=1e-3)
    assert (meter.resolution_s, meter.boundary) == (pytest.approx(1.0), "system_wall_ac")


def test_a_gap_of_a_wall_meter_is_refused(tmp_path: Path) -> None:
    meter = WallMeter(written(tmp_path / "wall.csv", iso=False, leave_out=range(80, 90)), clock_s=-BEGIN)
    with pytest.raises(MeterProblem, match="no new value for 11 s"):
        energy_between(meter.readings(), 20, 170, name=meter.name)
    assert energy_between(meter.readings(), 100, 170).joules == pytest.approx(integral(100, 170), rel=1e-3)


def test_a_wall_meter_that_is_still_writing(tmp_path: Path) -> None:
    path = tmp_path / "wall.csv"
    now = 1_790_000_000.0
    path.write_text(f"time,watts\n{now - 2},100\n{now - 1},100\n{now},1", encoding="utf-8")  # half a line
    meter = open_meter(f"wall:{path}")
    assert isinstance(meter, WallMeter)
    assert meter.read().joules == pytest.approx(100.0)
    with path.open("a", encoding="utf-8") as stream:
        stream.write("00\n")
    assert meter.read().joules == pytest.approx(200.0)
    assert meter.read().at_s == now + meter.clock_s
    path.unlink()
    with pytest.raises(MeterProblem, match=r"cannot read.*\n  Leave the file where it is"):
        meter.read()
    assert meter.resolution_s == pytest.approx(1.0)  # as it was


@pytest.mark.parametrize("hours, said", [(1, "3,600 s after the beginning"), (-1, "ends 3,410 s after its last value")])
def test_a_wall_meter_that_writes_local_time(tmp_path: Path, hours: int, said: str) -> None:
    meter = WallMeter(written(tmp_path / "wall.csv", iso=True), clock_s=3600 * hours - BEGIN)
    with pytest.raises(MeterProblem, match=said) as error:
        energy_between(meter.readings(), 0.0, 10.0, name=meter.name)
    assert "They are to be in UTC, or to name their offset" in error.value.hint


@pytest.mark.parametrize(
    "text,said",
    [
        ("time,volts\n1,2\n", "columns time, volts; needed are time and watts"),
        ("", "columns none"),
        ("time,watts\n", "has no reading yet"),
        ("time,watts\n2026-01-01T00:00:00Z,lots\n", "line 2: '2026-01-01T00:00:00Z,lots' has no time or no power"),
        ("time,watts\nyesterday,5\n", "'yesterday' is no time"),
        ("time,watts\n10,5\n10,6\n", "line 3: 10 with 6 W is not after"),
        ("time,watts\n10,-5\n", "shows -5 W"),
        ("time,watts\n10,nan\n", "shows nan W"),
        ("time,watts\n10,5\noops\n", "line 3: 'oops' has no time or no power: 1 of 2 columns"),
        ("time,watts\n10,42,5\n", "line 2: '10,42,5' has no time or no power: 3 values for 2 columns"),
        ('time,watts\n10,"42,5"\n', "'42,5' is no number of watts\n.*a decimal point"),
    ],
)
def test_a_file_that_is_no_record_of_a_wall_meter(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "wall.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(MeterProblem, match=said):
        open_meter(f"wall:{path}")


def test_no_file_and_no_folder(tmp_path: Path) -> None:
    with pytest.raises(MeterProblem, match="needs a file"):
        open_meter("wall")
    with pytest.raises(MeterProblem, match=r"there is no file missing\.csv") as error:
        open_meter(f"wall:{tmp_path / 'missing.csv'}")
    assert "Begin to record before the run" in error.value.hint
    with pytest.raises(MeterProblem, match="there is no folder"):
        open_meter(f"wall:{tmp_path / 'absent' / 'wall.csv'}")
