"""Meters: how they are named and found, and what they read from files, exporters and drivers."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Thread

import pytest
from prometheus_client import CollectorRegistry, Gauge, start_http_server
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from inferprint.errors import InferprintError, MeterProblem, UnknownName
from inferprint.measure.meters.base import KeepsReadings, find_meter, meter_kinds, open_meter
from inferprint.measure.meters.dcgm import DCGM_ENERGY, DCGM_POWER
from inferprint.measure.meters.wall_csv import WallMeter
from inferprint.measure.meters.windows import Recorder, energy_between


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
    """The counters of two boards, of 300 W and 100 W, as an exporter of DCGM shows them: new values every 50 ms."""

    def __init__(self) -> None:
        self.begin, self.less_mj, self.boards = time.monotonic(), 0.0, (300.0, 100.0)

    def collect(self) -> Iterator[Metric]:
        seconds = math.floor((time.monotonic() - self.begin) / 0.05) * 0.05
        # The exporter calls it a counter without the ending that the client of Prometheus adds.
        family = Metric(DCGM_ENERGY, "Total energy since the driver was loaded (in mJ).", "gauge")
        for gpu, watts in enumerate(self.boards):
            for pod in ("a", "b"):  # one device that two pods share is shown twice
                labels = {"gpu": str(gpu), "UUID": f"GPU-{gpu}", "Hostname": "n1", "pod": pod}
                family.add_sample(DCGM_ENERGY, labels, 5e9 + watts * seconds * 1e3 - self.less_mj)
        yield family


def test_kinds_are_found_and_have_examples() -> None:
    kinds = meter_kinds()
    assert {"nvidia", "amd", "apple", "rapl", "dcgm", "prometheus", "wall"} <= set(kinds)
    assert all(kind.example.startswith(name) for name, kind in kinds.items())


def test_an_unknown_kind_names_those_there_are() -> None:
    with pytest.raises(UnknownName, match="unknown meter 'voltmeter'") as error:
        open_meter("voltmeter:1")
    assert "dcgm:http" in str(error.value)


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


def test_without_a_meter_the_reasons_are_told() -> None:
    meter, reasons = find_meter()
    if meter is not None:
        meter.close()
        pytest.skip("this machine has a meter")
    assert {reason.partition(":")[0] for reason in reasons} == {"nvidia", "amd", "apple"}


# --- DCGM -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked,watts", [("", 400.0), ("?gpu=0", 300.0), ("?gpu=1", 100.0), ("?gpu=0,1", 400.0)])
def test_dcgm_counts_each_board_once(exporter: Exporter, asked: str, watts: float) -> None:
    exporter.registry.register(Energy())
    meter = open_meter(f"dcgm:{exporter.url}{asked}")
    assert meter.boundary == "gpu_only"
    assert math.isinf(meter.resolution_s)
    with Recorder(meter, interval_s=0.01) as recorder:
        start = time.monotonic() + 0.1
        time.sleep(1.3)
        window = recorder.window(start, time.monotonic(), flag_short=True)
    assert window.watts == pytest.approx(watts, rel=0.03)
    assert meter.resolution_s == pytest.approx(0.2, abs=0.1)


def test_dcgm_that_is_reset_meanwhile(exporter: Exporter) -> None:
    energy = Energy()
    exporter.registry.register(energy)
    meter = open_meter(f"dcgm:{exporter.url}")
    energy.less_mj = 4e9
    with pytest.raises(MeterProblem, match=r"counter 1 of 2 runs backwards, from 5e\+06 J to 1\S*e\+06 J"):
        meter.read()


def test_dcgm_that_loses_a_board(exporter: Exporter) -> None:
    energy = Energy()
    exporter.registry.register(energy)
    meter = open_meter(f"dcgm:{exporter.url}")
    energy.boards = (300.0,)
    with pytest.raises(MeterProblem, match="has no n1 GPU-1 any more"):
        meter.read()


def test_dcgm_by_power(exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inferprint.measure.meters.dcgm.POLL_S", 0.02)
    power = exporter.gauge(DCGM_POWER, "gpu", "UUID")
    power.labels("0", "GPU-0").set(250.0)
    power.labels("1", "GPU-1").set(50.0)
    meter = open_meter(f"dcgm:{exporter.url}")
    try:
        assert isinstance(meter, KeepsReadings)
        start = time.monotonic()
        time.sleep(0.6)
        power.labels("0", "GPU-0").set(650.0)
        middle = time.monotonic()
        time.sleep(0.6)
        with Recorder(meter) as recorder:
            before, after = recorder.window(start, middle), recorder.window(middle + 0.05, time.monotonic())
        assert before.watts == pytest.approx(300.0, rel=0.05)
        assert after.watts == pytest.approx(700.0, rel=1e-6)
    finally:
        meter.close()


def test_any_metric_with_its_unit(exporter: Exporter) -> None:
    exporter.gauge("node_power_milliwatts", "chip").labels("a").set(80_000)
    exporter.gauge("psu_input", "psu").labels("1").set(2.0)
    meter = open_meter(f"prometheus:{exporter.url}?metric=node_power_milliwatts&boundary=cpu_package")
    assert meter.boundary == "cpu_package"
    meter.close()
    meter = open_meter(f"prometheus:{exporter.url}?metric=psu_input&unit=kW&label.psu=1")
    assert meter.boundary == "system_wall_ac"
    time.sleep(1.1)
    assert meter.read().joules == pytest.approx(2000.0 * 1.0, rel=0.2)
    meter.close()


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
    meter = open_meter(f"wall:{path}")
    with pytest.raises(MeterProblem, match="cannot read"):
        meter.read()
    now = time.time()
    path.write_text(f"time,watts\n{now - 2},100\n{now - 1},100\n{now},1", encoding="utf-8")  # half a line
    assert meter.read().joules == pytest.approx(100.0)
    with path.open("a", encoding="utf-8") as stream:
        stream.write("00\n")
    assert meter.read().joules == pytest.approx(200.0)
    assert meter.read().at_s == pytest.approx(time.monotonic() - (time.time() - now), abs=0.05)


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
    with pytest.raises(InferprintError, match="there is no folder"):
        open_meter(f"wall:{tmp_path / 'absent' / 'wall.csv'}")
