"""What servers did by their metrics, and whose the metered energy is."""

from __future__ import annotations

import csv
import json
import math
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Event, Semaphore, Thread
from typing import Any

import pytest
from click.testing import CliRunner, Result
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from inferprint import Catalogue
from inferprint.calibration.observations import read_files
from inferprint.cli.measure_server import server_command
from inferprint.errors import FileProblem, InferprintError, InvalidInput, MeterProblem
from inferprint.estimate import Estimator
from inferprint.measure.meters.dcgm import DCGM_ENERGY
from inferprint.measure.power_files import energy_of_span, readings_of
from inferprint.measure.scrape import fetch, is_loopback
from inferprint.measure.server_metrics import ModelSpan, model_spans
from inferprint.measure.server_rows import Setup, row_of
from inferprint.measure.server_scrapes import Server, server_of_files, server_of_texts
from inferprint.measure.shares import shares_of, weights_by_card, weights_by_time

SAMPLES = Path(__file__).parents[1] / "usage" / "samples"
LLAMA, QWEN = "meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen3-32B"
BEGIN = 1_780_000_000.0


def vllm(model: str, work: float = 0.0, *, running: float = 8.0, requests: float = 100.0, born: float = 1.0) -> str:
    """Metrics of a vLLM that has done so many units of work.

    A unit: 100 requests of 1,000 prompt tokens, 400 of them cached, and 200 answer tokens, each 3 s long after 0.5 s in
    the queue, of which 0.4 s are the prompt; 600 s for a rate of 8 x 75 request-seconds.
    """
    labels = f'engine="0",model_name="{model}"'
    prompts, n = 1000.0 * requests, requests
    counters = {
        "prompt_tokens_total": prompts,
        "prompt_tokens_cached_total": 0.4 * prompts,
        "generation_tokens_total": 200 * n,
        "e2e_request_latency_seconds_sum": 3.5 * n,
        "e2e_request_latency_seconds_count": n,
        "request_queue_time_seconds_sum": 0.5 * n,
        "request_queue_time_seconds_count": n,
        "request_prefill_time_seconds_sum": 0.4 * n,
        "request_prefill_time_seconds_count": n,
        "request_decode_time_seconds_sum": 2.6 * n,
        "request_decode_time_seconds_count": n,
        "time_to_first_token_seconds_sum": 0.9 * n,
        "time_to_first_token_seconds_count": n,
        "inter_token_latency_seconds_sum": 2.6 * n,
        "inter_token_latency_seconds_count": 199 * n,
    }
    lines = [f"vllm:{name}{{{labels}}} {value * (1 + work)!r}" for name, value in counters.items()]
    lines.append(f'vllm:request_success_total{{finished_reason="stop",{labels}}} {0.75 * n * (1 + work)!r}')
    lines.append(f'vllm:request_success_total{{finished_reason="length",{labels}}} {0.25 * n * (1 + work)!r}')
    lines.append(f"vllm:prompt_tokens_created{{{labels}}} {born!r}")
    lines.append(f"vllm:num_requests_running{{{labels}}} {running!r}")
    return "\n".join(lines) + "\n"


def one(model: str = LLAMA, **changed: Any) -> ModelSpan:
    """A span of 37.5 s with 100 requests: 8 in progress by Little's law."""
    (span,) = model_spans(server_of_texts("node", [(0.0, vllm(model)), (37.5, vllm(model, 1.0, **changed))]))
    return span


def setup(model: str, count: int = 1) -> Setup:
    return Setup(model, "h100_sxm", count)


def test_a_span_of_vllm() -> None:
    span = one()
    assert (span.model, span.engine, span.seconds) == (LLAMA, "vllm", 37.5)
    assert (span.requests, span.prompt_tokens, span.cached_tokens, span.output_tokens) == (100, 1e5, 4e4, 2e4)
    assert (span.fresh_tokens, span.running) == (6e4, 8.0)
    # 100 requests of 3 s after the queue in 37.5 s
    assert span.in_flight == pytest.approx(8.0)
    assert span.concurrency == pytest.approx(8.0)
    assert (span.duration_s, span.ttft_s) == (pytest.approx(3.5), pytest.approx(0.9))
    assert span.per_token_s == pytest.approx(2.6 / 199)
    assert (span.prefill_s, span.decode_s) == (pytest.approx(40), pytest.approx(260))


def test_the_real_samples_are_read(tmp_path: Path) -> None:
    """The samples of the usage formats, and the same half as high before them."""
    for name, model in (("vllm.prom", LLAMA), ("sglang.prom", "qwen/qwen3-32b")):
        text = (SAMPLES / name).read_text(encoding="utf-8")
        halved = re.sub(r"(\} )(\d\S*)$", lambda m: f"{m[1]}{float(m[2]) / 2}", text, flags=re.MULTILINE)
        halved = re.sub(r"(_created\{\S+ )(\S+)", lambda m: f"{m[1]}{float(m[2]) * 2}", halved)
        (tmp_path / "before.prom").write_text(halved, encoding="utf-8")
        (tmp_path / "after.prom").write_text(text, encoding="utf-8")
        server = server_of_files([tmp_path / "before.prom", tmp_path / "after.prom"], BEGIN, BEGIN + 60)
        (span,) = model_spans(server)
        assert span.model == model
        assert (span.seconds, span.requests) == (60.0, {"vllm.prom": 60, "sglang.prom": 5614}[name])
    assert (span.prompt_tokens, span.cached_tokens, span.output_tokens) == (4064451, 1.75e6, 378778.5)
    assert span.ttft_s == pytest.approx(0.5)


def test_scrapes_in_one_file_with_timestamps(tmp_path: Path) -> None:
    path = tmp_path / "range.prom"
    stamped = [(vllm(LLAMA, share), BEGIN + 20 * i) for i, share in enumerate((0.0, 0.4, 1.0))]
    lines = [f"{line} {int(at * 1000)}" for text, at in stamped for line in text.splitlines()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    (span,) = model_spans(server_of_files([path]))
    assert (span.seconds, span.requests, span.n_scrapes) == (40.0, 100.0, 3)


def test_files_without_times_need_them(tmp_path: Path) -> None:
    paths = [tmp_path / "a.prom", tmp_path / "b.prom"]
    for path, work in zip(paths, (0.0, 1.0), strict=True):
        path.write_text(vllm(LLAMA, work), encoding="utf-8")
    with pytest.raises(InvalidInput, match="says not when it was scraped"):
        server_of_files(paths)
    with pytest.raises(MeterProblem, match="holds 1 scrape"):
        server_of_files(paths[:1], BEGIN, BEGIN + 1)
    with pytest.raises(MeterProblem, match="spans no time"):
        model_spans(server_of_files(paths, BEGIN, BEGIN))


def test_the_gauge_counts_where_it_was_seen_often() -> None:
    texts = [(i * 2.5, vllm(LLAMA, i / 15, running=12.0 if i % 2 else 8.0)) for i in range(16)]
    (span,) = model_spans(server_of_texts("node", texts))
    assert span.concurrency == span.running == pytest.approx(10.0)
    assert span.steady
    assert span.doubts() == []
    texts = [(i * 2.5, vllm(LLAMA, i / 15, running=80.0 if i < 4 else 0.0)) for i in range(16)]
    (span,) = model_spans(server_of_texts("node", texts))
    assert span.steady is False
    assert any("Little's law" in doubt for doubt in span.doubts())


def test_ranks_that_count_alike_are_one() -> None:
    def text(work: float) -> str:
        plain = (SAMPLES / "sglang.prom").read_text(encoding="utf-8").replace("5614.0", "11228.0")
        grown = re.sub(r"(\} )(\d\S*)$", lambda m: f"{m[1]}{float(m[2]) * (1 + work)}", plain, flags=re.MULTILINE)
        lines = [line for line in grown.splitlines() if not line.startswith("#")]
        ranks = [line.replace("{", f'{{tp_rank="{rank}",') for rank in range(4) for line in lines]
        return "\n".join([*ranks, *(f'sglang:num_running_reqs{{tp_rank="{r}",model_name="q"}} 5' for r in range(4))])

    texts = [(0.0, text(0.0)), (10.0, text(1.0))]
    span = next(span for span in model_spans(server_of_texts("node", texts)) if span.model != "q")
    assert (span.requests, span.cached_tokens) == (11228, 3.5e6)


def sglang(work: float, running: Mapping[str, float], gauge: str = "num_running_reqs", *, newer: bool = True) -> str:
    """Metrics of an SGLang that has done so many times 10 requests of 100 + 20 tokens, 30 of them cached.

    Newer ones split counters by whether the answer streams, and cached tokens by where they were.
    """
    labels = 'model_name="q",engine_type="unified"'
    streams = ('is_streaming="true",', 'is_streaming="false",') if newer else ("",)
    cached = {'cache_source="device",': 200.0, 'cache_source="host",': 100.0} if newer else {"": 300.0}
    lines = []
    for name, value in {
        "prompt_tokens_total": 1000.0,
        "generation_tokens_total": 200.0,
        "num_requests_total": 10.0,
        "e2e_request_latency_seconds_sum": 50.0,
        "e2e_request_latency_seconds_count": 10.0,
        "time_to_first_token_seconds_sum": 5.0,
        "time_to_first_token_seconds_count": 10.0,
    }.items():
        lines += [f"sglang:{name}{{{stream}{labels}}} {value * work / len(streams)}" for stream in streams]
    lines += [f"sglang:cached_tokens_total{{{source}{labels}}} {value * work}" for source, value in cached.items()]
    per_token = "inter_token_latency_seconds" if newer else "time_per_output_token_seconds"
    lines += [f"sglang:{per_token}_sum{{{labels}}} {45 * work}", f"sglang:{per_token}_count{{{labels}}} {190 * work}"]
    ranks = 'tp_rank="0",pp_rank="0",moe_ep_rank="0"'
    lines += [f"sglang:{gauge}{{{labels},{ranks}{label}}} {value}" for label, value in running.items()]
    return "\n".join(lines) + "\n"


PRIORITIES = {',priority=""': 5.0, ',priority="0"': 3.0, ',priority="10"': 2.0}
RANKS = {',dp_rank="0"': 2.0, ',dp_rank="1"': 3.0}


@pytest.mark.parametrize(
    "running,gauge,newer",
    [
        ({"": 5.0}, "num_running_reqs", True),
        (PRIORITIES, "num_running_reqs", True),
        (RANKS, "num_running_reqs", True),
        ({"": 5.0}, "num_running_reqs", False),
        ({"": 5.0}, "num_requests_running", False),
    ],
    ids=["newer", "by priority", "data parallel", "older", "of 2024"],
)
def test_newer_and_older_names_of_sglang(running: dict[str, float], gauge: str, newer: bool) -> None:
    texts = [(10.0 * i, sglang(float(i), running, gauge, newer=newer)) for i in (1, 2)]
    (span,) = model_spans(server_of_texts("node", texts))
    assert (span.engine, span.requests, span.prompt_tokens, span.output_tokens) == ("sglang", 10.0, 1000.0, 200.0)
    assert (span.cached_tokens, span.running) == (300.0, 5.0)
    assert (span.duration_s, span.ttft_s, span.per_token_s) == (5.0, 0.5, pytest.approx(45 / 190))


@pytest.mark.parametrize("cached", ["prefix_cache_hits_total", "gpu_prefix_cache_hits_total"])
def test_older_names_of_vllm(cached: str) -> None:
    older = {"prompt_tokens_cached_total": cached, "inter_token_latency_seconds": "time_per_output_token_seconds"}

    def text(work: float) -> str:
        found = vllm(LLAMA, work)
        for name, before in older.items():
            found = found.replace(f"vllm:{name}", f"vllm:{before}")
        return found

    (span,) = model_spans(server_of_texts("node", [(0.0, text(0.0)), (37.5, text(1.0))]))
    assert (span.cached_tokens, span.per_token_s) == (4e4, pytest.approx(2.6 / 199))


@pytest.mark.parametrize(
    "first,second,said",
    [
        (vllm(LLAMA, 1.0), vllm(LLAMA), r"fell from 200000 to 100000"),
        (vllm(LLAMA), vllm(LLAMA, 1.0, born=2.0), r"prompt_tokens_created \(.*\) is 2 and was 1"),
        (vllm(LLAMA) + vllm(QWEN), vllm(LLAMA, 1.0), r"was 100000 and is not there any more"),
        ("vllm:num_requests_running 1\n", "vllm:num_requests_running 1\n", "has no vllm:prompt_tokens_total, vllm:gen"),
        (
            "llamacpp:prompt_tokens_total 1\n",
            "",
            r"has metrics of llama\.cpp\n.*reads vLLM and SGLang.*measure endpoint",
        ),
        ("node_power_watts 1\n", "", r"no metrics of a model server that is known\n.*reads vLLM and SGLang"),
        (vllm(LLAMA) + "sglang:num_running_reqs 1\n", "", "metrics of several servers"),
        ("vllm:prompt_tokens_total nan\n", "", "is not a finite number"),
    ],
)
def test_metrics_that_do_not_do_are_refused(first: str, second: str, said: str) -> None:
    with pytest.raises(MeterProblem, match=said):
        model_spans(server_of_texts("node", [(0.0, first), (60.0, second)]))


def test_missing_requests_are_named() -> None:
    text = "\n".join(line for line in vllm(LLAMA).splitlines() if "tokens_total" in line)
    with pytest.raises(MeterProblem, match="has no vllm:request_success_total or vllm:e2e_request_latency"):
        model_spans(server_of_texts("node", [(0.0, text), (9.0, text)]))


# --- energy -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["card", "time"])
@pytest.mark.parametrize("joules", [123456.789, 0.1 + 0.2, 1e9 / 3])
def test_shares_add_up_to_the_meter(by: str, joules: float) -> None:
    spans = [one(LLAMA), one(QWEN)]
    estimator = Estimator(Catalogue.packaged())
    if by == "time":
        weights = [weights_by_time(span) for span in spans]
    else:
        weights = [weights_by_card(span, setup(span.model), estimator) for span in spans]
    shares = shares_of(joules, spans, weights)
    assert sum(share.joules for share in shares) == pytest.approx(joules, rel=1e-9, abs=0)
    assert math.fsum(share.joules for share in shares) == joules
    assert [(share.model, share.part) for share in shares] == [
        (model, part) for model in (LLAMA, QWEN) for part in ("prompt", "cached", "output")
    ]
    assert min(share.joules for share in shares) >= 0


def test_a_larger_model_and_its_answers_take_more() -> None:
    estimator = Estimator(Catalogue.packaged())
    spans = [one(LLAMA), one(QWEN)]
    shares = shares_of(1e5, spans, [weights_by_card(span, setup(span.model), estimator) for span in spans])
    by_model = {model: sum(s.joules for s in shares if s.model == model) for model in (LLAMA, QWEN)}
    assert by_model[QWEN] > 2 * by_model[LLAMA]
    each = {share.part: share.joules / share.tokens for share in shares if share.model == LLAMA}
    assert each["output"] > each["prompt"] > each["cached"] > 0


def test_by_time_the_prompt_takes_its_part() -> None:
    shares = {s.part: s.joules for s in shares_of(300.0, [one()], [weights_by_time(one())])}
    assert shares == {"prompt": pytest.approx(40.0), "cached": 0.0, "output": pytest.approx(260.0)}


def test_without_work_all_energy_is_idle() -> None:
    (span,) = model_spans(server_of_texts("node", [(0.0, vllm(LLAMA)), (60.0, vllm(LLAMA))]))
    assert not span.worked
    weights = [weights_by_card(span, setup(LLAMA), Estimator(Catalogue.packaged()))]
    (share,) = shares_of(5000.0, [span], weights)
    assert (share.part, share.joules) == ("idle", 5000.0)
    assert row_of(span, setup(LLAMA), BEGIN, None, alone=True) is None


def test_work_that_nothing_tells_whose_it_was_is_not_idle() -> None:
    """By time, before any request has finished."""
    (share,) = shares_of(5000.0, [one()], [(0.0, 0.0, 0.0)])
    assert (share.part, share.tokens, share.joules) == ("unknown", 1.2e5, 5000.0)


def test_time_without_requests_is_told_in_the_row() -> None:
    """From 10 s to 30 s of 40 s nothing runs; what begins and ends between two scrapes is work all the same."""
    works, running = (0.0, 1.0, 1.0, 1.0, 2.0), (8.0, 0.0, 0.0, 0.0, 0.0)
    texts = [(10.0 * i, vllm(LLAMA, w, running=r)) for i, (w, r) in enumerate(zip(works, running, strict=True))]
    (span,) = model_spans(server_of_texts("node", texts))
    assert span.idle == pytest.approx(0.5)
    row = row_of(span, setup(LLAMA), BEGIN, None, alone=True)
    assert row is not None
    assert "no request ran in 50 % of the span" in str(row.note)
    busy = one()
    assert busy.idle == 0.0
    assert not any("no request ran" in doubt for doubt in busy.doubts())


def test_replicas_of_a_model_have_rows_of_their_own() -> None:
    def id_at(name: str) -> str:
        (span,) = model_spans(server_of_texts(name, [(0.0, vllm(LLAMA)), (37.5, vllm(LLAMA, 1.0))]))
        row = row_of(span, setup(LLAMA), BEGIN, None, alone=False)
        assert row is not None
        return row.row_id

    names = ("http://a:8000/metrics", "http://a:8001/metrics", "https://a/one/metrics", "https://a/two/metrics")
    assert id_at(names[0]) == f"server-20260528T202640Z-a:8000-{LLAMA}"
    assert len({id_at(name) for name in names}) == 4


def power_series(watts: float, begin_s: float = BEGIN, **labels: str) -> dict[str, Any]:
    """Power of a board, a value each second for two minutes, which goes up and down by a watt."""
    labels = {"__name__": "DCGM_FI_DEV_POWER_USAGE"} | labels
    return {"metric": labels, "values": [[begin_s + i, str(watts + (-1) ** i)] for i in range(121)]}


def answered(path: Path, series: list[dict[str, Any]]) -> Path:
    path.write_text(json.dumps({"status": "success", "data": {"resultType": "matrix", "result": series}}))
    return path


def test_a_board_that_is_shown_for_each_pod_counts_once(tmp_path: Path) -> None:
    """Also where a pod comes in the middle; of metrics that are not of boards each series counts."""
    boards = [
        power_series(300.0, gpu="0", UUID="GPU-1", pod="a"),
        power_series(300.0, BEGIN + 60, gpu="0", UUID="GPU-1", pod="b"),
        power_series(100.0, gpu="0", UUID="GPU-2", pod="a"),
    ]
    for number, metric in enumerate(("DCGM_FI_DEV_POWER_USAGE", "")):
        named = [{**board, "metric": board["metric"] | {"__name__": metric}} for board in boards]
        readings, _ = readings_of(answered(tmp_path / f"{number}.json", named))
        assert energy_of_span(readings, BEGIN + 10, BEGIN + 70, "power").watts == pytest.approx(400.0)
    supplies = [power_series(300.0, __name__="psu_watts", device="a", psu=psu) for psu in "12"]
    readings, boundary = readings_of(answered(tmp_path / "supplies.json", supplies))
    assert energy_of_span(readings, BEGIN + 10, BEGIN + 70, "power").watts == pytest.approx(600.0)
    assert boundary == "system_wall_ac"


def test_a_recorded_power_that_never_changes_is_refused(tmp_path: Path) -> None:
    series = power_series(300.0, gpu="0")
    series["values"] = [[at, "300"] for at, _ in series["values"]]
    readings, _ = readings_of(answered(tmp_path / "power.json", [series]))
    with pytest.raises(MeterProblem, match=r"power stands still: it shows 300 W in all 61 readings of 60 s"):
        energy_of_span(readings, BEGIN + 10, BEGIN + 70, "power")


def test_power_from_a_query_of_prometheus(tmp_path: Path) -> None:
    series = [power_series(watts, gpu=str(gpu)) for gpu, watts in enumerate((300.0, 500.0))]
    path = answered(tmp_path / "power.json", series)
    readings, boundary = readings_of(path)
    window = energy_of_span(readings, BEGIN + 10, BEGIN + 70.5, "power")
    assert (window.joules, boundary) == (pytest.approx(800 * 60.5), "gpu_only")
    for text in ("{}", "[1]", "no", '{"data": {"result": [{"values": [[1, "a"]]}]}}'):
        path.write_text(text)
        with pytest.raises(FileProblem, match="is no answer of Prometheus"):
            readings_of(path)
    path.write_text('{"data": {"result": []}}')
    with pytest.raises(MeterProblem, match="holds no series"):
        readings_of(path)


# --- the command ------------------------------------------------------------------------------------------------------


def ran(*arguments: object) -> Result:
    return CliRunner().invoke(server_command, [str(argument) for argument in arguments])


def rows_in(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def recorded(tmp_path: Path) -> list[Path]:
    """Two scrapes 37.5 s apart, and a wall meter's file of 899 and 901 W in turn about them: 900 W on the whole."""
    paths = [tmp_path / "a.prom", tmp_path / "b.prom", tmp_path / "wall.csv"]
    for path, work in zip(paths, (0.0, 1.0), strict=False):
        path.write_text(vllm(LLAMA, work), encoding="utf-8")
    times = [datetime.fromtimestamp(BEGIN - 5 + i, UTC).isoformat() for i in range(60)]
    paths[2].write_text(
        "time,watts\n" + "".join(f"{at},{900 + (-1) ** i}\n" for i, at in enumerate(times)), encoding="utf-8"
    )
    return paths


def test_files_become_a_row_that_calibration_reads(recorded: list[Path], tmp_path: Path) -> None:
    *scrapes, wall = recorded
    out = tmp_path / "own.csv"
    times = ("--start", BEGIN, "--end", BEGIN + 37.5)
    result = ran(*scrapes, "--gpu", "h100_sxm", *times, "--power", wall, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["energy"]["joules"] == pytest.approx(900 * 37.5)
    assert sum(share["joules"] for share in found["energy"]["shares"]) == pytest.approx(
        found["energy"]["joules"], rel=1e-9
    )
    (row,) = rows_in(out)
    assert (row["model_id"], row["serving_mode"], row["energy_boundary"]) == (LLAMA, "aggregated", "system_wall_ac")
    assert (float(row["concurrency"]), float(row["n_cached_tokens"])) == (pytest.approx(8.0), 400)
    assert float(row["energy_per_request_j"]) == pytest.approx(900 * 37.5 / 100, rel=1e-6)
    read = read_files([out], Catalogue.packaged(), fit_unknown=True)
    (timed,) = read.of("served_time_per_token")
    assert timed.measured == pytest.approx(8.0 / (20_000 / 37.5), rel=1e-5)


def test_text_output_and_power_of_the_boards(recorded: list[Path]) -> None:
    *scrapes, wall = recorded
    times = ("--start", BEGIN, "--end", BEGIN + 37.5)
    power = ("--power", wall, "--power-boundary", "gpu_only", "--by", "time")
    result = ran(*scrapes, "--gpu", "h100_sxm", *times, *power)
    assert result.exit_code == 0, result.output
    assert "33,750 J (gpu_only), 900 W mean, by wall.csv" in result.output
    assert re.search(r"output +20,000 +29,250 +1\.4", result.output)


@pytest.mark.parametrize(
    "more,kind,said",
    [
        (("--model", "no-such-model"), InferprintError, "unknown model 'no-such-model'"),
        (("--model", "other=llama-3.1-8b"), InvalidInput, "the servers have meta-llama"),
        (("--gpus-of", f"{LLAMA}=two"), InvalidInput, "'two' is no number"),
        (("--start", "yesterday"), InvalidInput, "'yesterday' is no time"),
        (("--meter", "nvidia"), InvalidInput, "a meter beside files"),
        (("--power-boundary", "house"), InvalidInput, "'house' is unknown"),
        (("--power-unit", "hp"), InvalidInput, "'hp' is unknown"),
        (("http://127.0.0.1:9/metrics",), InvalidInput, "addresses and files together"),
        (("--end", BEGIN + 1000), MeterProblem, "has no later reading"),
    ],
)
def test_what_does_not_fit(recorded: list[Path], more: tuple[object, ...], kind: type[Exception], said: str) -> None:
    *scrapes, wall = recorded
    times = ("--start", BEGIN, "--end", BEGIN + 37.5)
    result = ran(*scrapes, "--gpu", "h100_sxm", *times, "--power", wall, *more)
    assert isinstance(result.exception, kind)
    assert said in str(result.exception)


def test_several_models_share_the_meter_without_rows_of_energy(recorded: list[Path], tmp_path: Path) -> None:
    *scrapes, wall = recorded
    for path, work in zip(scrapes, (0.0, 1.0), strict=True):
        path.write_text(vllm(LLAMA, work) + vllm(QWEN, work), encoding="utf-8")
    out = tmp_path / "own.csv"
    times = ("--start", BEGIN, "--end", BEGIN + 37.5, "--gpus-of", f"{QWEN}=2")
    result = ran(*scrapes, "--gpu", "h100_sxm", *times, "--power", wall, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    shares = json.loads(result.stdout)["energy"]["shares"]
    assert math.fsum(share["joules"] for share in shares) == pytest.approx(900 * 37.5, rel=1e-9)
    rows = rows_in(out)
    assert [(row["gpu_count"], row["energy_per_request_j"]) for row in rows] == [("2", ""), ("1", "")]
    assert all("several models shared the meter" in row["note"] for row in rows)


class Node(Collector):
    """A server that works steadily and its boards of 500 W, as Prometheus scrapes them."""

    def __init__(self) -> None:
        self.begin = time.monotonic()

    def collect(self) -> Iterator[Metric]:
        seconds = time.monotonic() - self.begin
        energy = Metric(DCGM_ENERGY, "mJ", "gauge")
        energy.add_sample(DCGM_ENERGY, {"gpu": "0", "UUID": "GPU-0"}, 1e9 + 500e3 * seconds)
        yield energy
        for name, labels, value in _samples(vllm(LLAMA, seconds / 37.5)):
            metric = Metric(name, "of a server", "unknown")
            metric.add_sample(name, labels, value)
            yield metric


def _samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for line in text.splitlines():
        name, labels, value = re.fullmatch(r"(\S+)\{(.*)\} (\S+)", line).groups()  # type: ignore[union-attr]
        yield name, dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(value)


def test_a_live_server_with_its_meter(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    registry.register(Node())
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    url = f"http://127.0.0.1:{server.server_port}/metrics"
    try:
        live = (url, "--gpu", "h100_sxm", "--seconds", 3, "--every", 0.25, "--meter", f"dcgm:{url}")
        result = ran(*live, "--out", tmp_path / "own.csv", "--json")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert result.exit_code == 0, (result.output, result.exception)
    found = json.loads(result.stdout)
    (model,), energy = found["models"], found["energy"]
    assert model["seconds"] > 2.5
    # Scrapes and readings of a machine that is busy may be late by some tenths of a second.
    assert energy["watts"] == pytest.approx(500.0, rel=0.3)
    assert model["concurrency"] == pytest.approx(8.0)
    assert model["in_flight"] == pytest.approx(8.0, rel=0.3)
    assert sum(share["joules"] for share in energy["shares"]) == pytest.approx(energy["joules"], rel=1e-9)
    (row,) = found["rows"]
    assert row["avg_gpu_power_w_all_gpus"] == pytest.approx(energy["watts"], rel=1e-6)


@pytest.fixture
def served() -> Iterator[Callable[..., str]]:
    """Serves texts, one after the other, as the metrics of a server, the last for ever or an error after it."""
    servers = []

    def serve(*texts: str, then_fails: bool = False) -> str:
        left = list(texts)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200 if left else 500)
                self.end_headers()
                self.wfile.write((left[0] if left else "").encode())
                if len(left) > 1 or then_fails:
                    del left[:1]

            def log_message(self, *args: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        thread = Thread(target=server.serve_forever)
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/metrics"

    yield serve
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    "text,more,said",
    [
        ("llamacpp:prompt_tokens_total 1\n", (), r"metrics of llama\.cpp\n.*reads vLLM and SGLang.*measure endpoint"),
        (vllm("my-own"), (), r"calls its model 'my-own'.*\n.*--model 'my-own=ID'"),
        (vllm("my-own"), ("--model", "other=llama-3.1-8b"), r"--model: 'other=llama-3\.1-8b': the servers have my-own"),
    ],
    ids=["another server", "unknown model", "unknown served name"],
)
def test_what_does_not_do_is_told_by_the_first_scrape(
    served: Callable[[str], str], text: str, more: tuple[str, ...], said: str
) -> None:
    """And not after the thousand seconds that were asked for."""
    result = ran(served(text), "--gpu", "h100_sxm", "--meter", "none", "--seconds", 1000, *more)
    assert isinstance(result.exception, InferprintError)
    assert re.search(said, str(result.exception))


def test_a_server_that_dies_ends_the_span(served: Callable[..., str], tmp_path: Path) -> None:
    url = served(*(vllm(LLAMA, work) for work in (0.0, 1.0, 2.0)), then_fails=True)
    out = tmp_path / "own.csv"
    result = ran(url, "--gpu", "h100_sxm", "--meter", "none", "--seconds", 1000, "--every", 0.1, "--out", out)
    assert result.exit_code == 0, (result.output, result.exception)
    assert "answers 500" in result.stderr
    assert "the span ends with the scrape before" in result.stderr
    (row,) = rows_in(out)
    assert float(row["n_repeats"]) == pytest.approx(200)


def test_a_server_that_dies_at_once_has_no_span(served: Callable[..., str]) -> None:
    url = served(vllm(LLAMA), then_fails=True)
    result = ran(url, "--gpu", "h100_sxm", "--meter", "none", "--seconds", 1000, "--every", 0.1)
    assert isinstance(result.exception, MeterProblem)
    assert "answers 500" in str(result.exception)


@pytest.mark.parametrize(
    "more,said",
    [
        (("--meter", "foo"), "unknown meter 'foo'"),
        (("--meter", "wall:missing.csv"), r"there is no file missing\.csv"),
        (("--model", "no-such-model"), "unknown model 'no-such-model'"),
        (("--precision", "fp7"), "unknown precision 'fp7'"),
    ],
)
def test_what_was_asked_for_is_checked_before_a_server_is(more: tuple[str, ...], said: str) -> None:
    """Nobody listens at the address, and nobody is asked whether to scrape it."""
    result = ran("http://192.0.2.1/metrics", "--gpu", "h100_sxm", *more)
    assert isinstance(result.exception, InferprintError)
    assert re.search(said, str(result.exception))


def test_help_says_what_happens_without_a_file() -> None:
    assert re.search(r"Without --out they are\s+shown, and kept\s+nowhere", ran("--help").output)


def test_a_server_elsewhere_is_not_scraped_unasked() -> None:
    result = ran("http://192.0.2.1/metrics", "--gpu", "h100_sxm")
    assert isinstance(result.exception, InvalidInput)
    assert "is not on this machine" in str(result.exception)


def test_a_meter_elsewhere_is_not_contacted_unasked(
    served: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    contacted: list[str] = []

    def fetched(url: str) -> tuple[float, str]:
        contacted.append(url)
        return 0.0, ""

    monkeypatch.setattr("inferprint.measure.meters.dcgm.fetch", fetched)
    live = (served(vllm(LLAMA)), "--gpu", "h100_sxm", "--meter", "dcgm:http://192.0.2.1:9400/metrics?token=secret")
    result = ran(*live)
    assert isinstance(result.exception, InvalidInput)
    assert "--meter: http://192.0.2.1:9400/metrics is not on this machine" in str(result.exception)
    assert contacted == []
    result = ran(*live, "--yes")
    assert isinstance(result.exception, MeterProblem)
    assert len(contacted) == 1


@pytest.mark.parametrize("url,here", [("http://localhost:1/a", True), ("http://[::1]:1", True), ("http://a.b", False)])
def test_what_is_on_this_machine(url: str, here: bool) -> None:
    assert is_loopback(url) is here


# --- what answers, and when -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begins", [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b"HTTP/1.1 200"])
def test_a_server_that_drips_is_left_in_time(begins: bytes) -> None:
    """Each piece comes in time, and all of them never do: the first drips its metrics, the second its head."""
    listening = socket.create_server(("127.0.0.1", 0))
    over = Event()

    def drip() -> None:
        connected, _ = listening.accept()
        with connected, suppress(OSError):
            connected.recv(65536)
            connected.sendall(begins)
            for _ in range(500):
                if over.wait(0.02):
                    return
                connected.sendall(b"#")

    thread = Thread(target=drip)
    thread.start()
    try:
        with pytest.raises(MeterProblem, match="does not answer: timed out"):
            fetch(f"http://127.0.0.1:{listening.getsockname()[1]}/metrics", timeout_s=0.3)
    finally:
        over.set()
        thread.join()
        listening.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("scrapes", [1, 4])
def test_a_signal_ends_the_span_and_the_command_says_so(tmp_path: Path, number: signal.Signals, scrapes: int) -> None:
    """Sent when so many scrapes were asked for, of which the last may not count any more."""
    asked = Semaphore(0)
    begin = time.monotonic()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(vllm(LLAMA, time.monotonic() - begin).encode())
            asked.release()

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    out = tmp_path / "own.csv"
    every = 0.2 if scrapes > 1 else 1000
    url = f"http://127.0.0.1:{server.server_port}/metrics"
    options = ["--gpu", "h100_sxm", "--meter", "none", "--seconds", "5000", "--every", str(every), "--out", str(out)]
    command = [sys.executable, "-m", "inferprint", "measure", "server", url, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        for _ in range(scrapes):
            assert asked.acquire(timeout=120)
        process.send_signal(number)
        shown, said = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
        server.shutdown()
        server.server_close()
        thread.join()
    assert process.returncode == 128 + number, said
    if scrapes == 1:
        assert "interrupted: nothing was measured" in said
        assert not out.exists()
        return
    assert re.search(rf"interrupted: the span ends after \S+ s, and is in {re.escape(str(out))}", said)
    assert LLAMA in shown
    (row,) = rows_in(out)
    assert float(row["n_repeats"]) > 0


def test_a_file_that_is_there_is_kept_and_nothing_is_scraped(recorded: list[Path]) -> None:
    before = recorded[2].read_bytes()
    result = ran("http://127.0.0.1:9/metrics", "--gpu", "h100_sxm", "--out", recorded[2])
    assert isinstance(result.exception, FileProblem)
    assert "is there already" in str(result.exception)
    assert recorded[2].read_bytes() == before


def test_a_server_that_is_not_there() -> None:
    result = ran("http://127.0.0.1:9/metrics", "--gpu", "h100_sxm", "--meter", "none")
    assert isinstance(result.exception, MeterProblem)
    assert "does not answer" in str(result.exception)


def test_a_span_of_one_scrape() -> None:
    server = server_of_texts("node", [(0.0, vllm(LLAMA))])
    assert isinstance(server, Server)
    with pytest.raises(MeterProblem, match="spans no time"):
        model_spans(server)
