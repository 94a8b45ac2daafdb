"""Counters scraped from /metrics: what lies between two scrapes, restarts, and what cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inferprint.usage.base import Outcome, Record, Rejected
from inferprint.usage.source import open_source
from inferprint.usage.vllm import VLLM

_HEAD = "# TYPE vllm:prompt_tokens_total counter\n"


def _scrape(prompt: float, answer: float, requests: float, *, labels: str = 'model_name="m"', more: str = "") -> str:
    return (
        f"vllm:prompt_tokens_total{{{labels}}} {prompt}\n"
        f"vllm:generation_tokens_total{{{labels}}} {answer}\n"
        f'vllm:request_success_total{{{labels},finished_reason="stop"}} {requests}\n{more}'
    )


def _read(path: Path, text: str, state: dict[str, Any] | None = None) -> list[Outcome]:
    path.write_text(_HEAD + text)
    return list(VLLM.read(open_source(path), {} if state is None else state))


def _counts(outcomes: list[Outcome]) -> list[tuple[float | None, float | None, float]]:
    records = [outcome for outcome in outcomes if isinstance(outcome, Record)]
    assert len(records) == len(outcomes)
    return [(record.input_tokens, record.output_tokens, record.n_requests) for record in records]


def test_scrapes_in_one_file(tmp_path: Path) -> None:
    text = _scrape(100, 10, 1) + _scrape(350, 40, 3) + _scrape(350, 40, 3)
    outcomes = _read(tmp_path / "m.prom", text)
    assert _counts(outcomes) == [(100, 10, 1), (250, 30, 2), (0, 0, 1)]
    assert [outcome.row for outcome in outcomes] == [2, 5, 8]


def test_scrapes_in_files_of_their_own(tmp_path: Path) -> None:
    state: dict[str, Any] = {}
    first = _read(tmp_path / "1.prom", _scrape(100, 10, 1), state)
    second = _read(tmp_path / "2.prom", _scrape(350, 40, 3), state)
    assert _counts(first + second) == [(100, 10, 1), (250, 30, 2)]


def test_restart_counts_from_zero(tmp_path: Path) -> None:
    assert _counts(_read(tmp_path / "m.prom", _scrape(900, 90, 9) + _scrape(300, 30, 2)))[1] == (300, 30, 2)


def test_restart_is_told_by_the_creation_of_the_counter(tmp_path: Path) -> None:
    def created(second: int) -> str:
        names = ("prompt_tokens_created", "generation_tokens_created")
        given = "".join(f'vllm:{name}{{model_name="m"}} {second}\n' for name in names)
        return given + f'vllm:request_success_created{{model_name="m",finished_reason="stop"}} {second}\n'

    text = _scrape(100, 10, 1, more=created(1)) + _scrape(350, 40, 3, more=created(2))
    assert _counts(_read(tmp_path / "m.prom", text)) == [(100, 10, 1), (350, 40, 3)]


def test_each_model_has_a_record(tmp_path: Path) -> None:
    outcomes = _read(tmp_path / "m.prom", _scrape(100, 10, 1) + _scrape(7, 5, 2, labels='model_name="n"'))
    assert [(o.model_id, o.input_tokens) for o in outcomes if isinstance(o, Record)] == [("m", 100), ("n", 7)]


def test_a_new_engine_counts_from_its_start(tmp_path: Path) -> None:
    second = _scrape(150, 20, 2, labels='model_name="m",engine="0"') + _scrape(
        80, 8, 1, labels='model_name="m",engine="1"'
    )
    text = _scrape(100, 10, 1, labels='model_name="m",engine="0"') + second
    assert _counts(_read(tmp_path / "m.prom", text)) == [(100, 10, 1), (50 + 80, 10 + 8, 1 + 1)]


def test_requests_in_progress_stand_for_tokens_of_none(tmp_path: Path) -> None:
    running = 'vllm:num_requests_running{model_name="m"} 5\n'
    assert _counts(_read(tmp_path / "m.prom", _scrape(400, 60, 0, more=running))) == [(400, 60, 5)]


def test_without_count_of_requests_nothing_is_known(tmp_path: Path) -> None:
    (outcome,) = _read(tmp_path / "m.prom", 'vllm:prompt_tokens_total{model_name="m"} 8.1e6\n')
    assert isinstance(outcome, Rejected)
    assert outcome.field == "vllm:request_success_total"


def test_what_was_rejected_counts_with_the_next_scrape(tmp_path: Path) -> None:
    without = 'vllm:prompt_tokens_total{model_name="m"} 150\n'
    outcomes = _read(tmp_path / "m.prom", _scrape(100, 10, 1) + without + "# EOF\n" + _scrape(300, 30, 3))
    assert isinstance(outcomes[1], Rejected)
    assert _counts([outcomes[0], outcomes[2]]) == [(100, 10, 1), (200, 20, 2)]


def test_lines_that_cannot_be_read_are_rejected(tmp_path: Path) -> None:
    broken = 'vllm:prompt_tokens_total{model_name="m\nvllm:generation_tokens_total{model_name="n"} NaN\n'
    outcomes = _read(tmp_path / "m.prom", _scrape(100, 10, 1) + broken)
    assert _counts(outcomes[:1]) == [(100, 10, 1)]
    assert [(o.row, o.field) for o in outcomes[1:] if isinstance(o, Rejected)] == [
        (5, ""),
        (6, "vllm:generation_tokens_total"),
    ]


def test_a_missing_series_waits_for_the_next_scrape(tmp_path: Path) -> None:
    head = "# TYPE process_open_fds gauge\n"
    part = _scrape(0, 20, 2).partition("\n")[2]
    outcomes = _read(tmp_path / "m.prom", head + _scrape(100, 10, 1) + head + part + head + _scrape(300, 30, 3))
    assert _counts(outcomes) == [(100, 10, 1), (None, 10, 1), (200, 10, 1)]


def test_openmetrics_with_exemplars_and_timestamps(tmp_path: Path) -> None:
    lines = [f'{line} 1763629200.5 # {{trace_id="}}"}} 1.0' for line in _scrape(100, 10, 1).splitlines()]
    (record,) = _read(tmp_path / "m.prom", "\n".join([*lines, "# EOF"]))
    assert isinstance(record, Record)
    assert (record.input_tokens, record.utc_datetime) == (100, "2025-11-20T09:00:00.500Z")


def test_end_of_openmetrics_ends_a_scrape(tmp_path: Path) -> None:
    text = _scrape(100, 10, 1) + "# EOF\n" + _scrape(0, 20, 2).partition("\n")[2] + "# EOF\n"
    assert _counts(_read(tmp_path / "m.prom", text)) == [(100, 10, 1), (None, 10, 1)]
