"""Sessions of Codex: which counts are requests, and which repeat others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from inferprint.usage.base import Merged, Outcome, Record, Rejected, Skipped
from inferprint.usage.codex import CODEX
from inferprint.usage.source import open_source, sample_of

SAMPLES = Path(__file__).parent / "samples"


def _read(path: Path) -> list[Outcome]:
    return list(CODEX.read(open_source(path), {}))


def _records(path: Path) -> list[Record]:
    return [outcome for outcome in _read(path) if isinstance(outcome, Record)]


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    return _read(SAMPLES / "codex.jsonl")


def test_every_line_has_one_outcome(outcomes: list[Outcome]) -> None:
    assert [outcome.row for outcome in outcomes] == list(range(1, 12))
    skipped = {outcome.row: outcome.rule for outcome in outcomes if isinstance(outcome, Skipped)}
    assert skipped == dict.fromkeys((1, 2, 3, 4, 7, 8), "not-inference")


def test_counts_of_a_request(outcomes: list[Outcome]) -> None:
    first = outcomes[4]
    assert isinstance(first, Record)
    assert (first.input_tokens, first.cached_input_tokens, first.cache_write_tokens) == (6000, 4400, 0)
    assert (first.output_tokens, first.reasoning_tokens) == (600, 250)
    assert (first.model_id, first.managed_service_id, first.service_tier) == ("gpt-5.4", "openai", None)
    assert (first.session_id, first.project_id) == ("019a0000-parent", "/home/ann/shop")
    assert (first.application_id, first.utc_datetime) == ("codex_cli_rs", "2026-11-20T09:00:05.000Z")


def test_a_count_that_repeats_the_total_is_merged(outcomes: list[Outcome]) -> None:
    assert outcomes[5] == Merged(6)


def test_settings_change_model_and_tier(outcomes: list[Outcome]) -> None:
    second = outcomes[8]
    assert isinstance(second, Record)
    assert (second.input_tokens, second.output_tokens) == (3000, 200)
    assert (second.model_id, second.service_tier) == ("gpt-5.4-mini", "priority")


def test_difference_of_totals_where_nothing_else_is_given(outcomes: list[Outcome]) -> None:
    third = outcomes[9]
    assert isinstance(third, Record)
    assert (third.input_tokens, third.cached_input_tokens) == (9500 - 9000, 7100 - 7000)
    assert (third.output_tokens, third.reasoning_tokens) == (850 - 800, 310 - 300)


def test_malformed_count_is_rejected(outcomes: list[Outcome]) -> None:
    last = outcomes[10]
    assert isinstance(last, Rejected)
    assert last.field == "payload.info.total_token_usage.input_tokens"


def test_no_prompt_is_kept(outcomes: list[Outcome]) -> None:
    assert "PRIVATE" not in repr(outcomes)


def test_subagent_repeats_its_parent_under_the_same_ids(outcomes: list[Outcome]) -> None:
    parent = [outcome.request_id for outcome in outcomes if isinstance(outcome, Record)]
    *replayed, own = _records(SAMPLES / "codex-subagent.jsonl")
    assert [record.request_id for record in replayed] == parent[:2]
    assert own.request_id not in parent
    assert (own.input_tokens, own.output_tokens) == (4000, 100)
    assert (own.session_id, own.project_id) == ("019a0001-child", "/home/ann/shop/api")


def _session(path: Path, metas: list[dict[str, Any]], totals: list[tuple[int, int]]) -> Path:
    lines = [{"timestamp": "2026-11-20T10:00:00Z", "type": "session_meta", "payload": meta} for meta in metas]
    for given, answered in totals:
        info = {"total_token_usage": {"input_tokens": given, "output_tokens": answered}}
        payload = {"type": "token_count", "info": info}
        lines.append({"timestamp": "2026-11-20T10:00:01Z", "type": "event_msg", "payload": payload})
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return path


def test_lines_of_descent_share_ids(tmp_path: Path) -> None:
    a, b, c = {"id": "a"}, {"id": "b", "forked_from_id": "a"}, {"id": "c", "forked_from_id": "b"}
    first = _records(_session(tmp_path / "a.jsonl", [a], [(10, 1)]))
    fork = _records(_session(tmp_path / "b.jsonl", [b, a], [(10, 1), (30, 3)]))
    grandchild = _records(_session(tmp_path / "c.jsonl", [c, b, a], [(10, 1), (30, 3), (60, 6)]))
    without_heads = _records(_session(tmp_path / "d.jsonl", [b], [(10, 1), (30, 3)]))
    ids = [record.request_id for record in grandchild]
    assert len(set(ids)) == 3
    assert [record.request_id for record in fork] == [record.request_id for record in without_heads] == ids[:2]
    assert [record.request_id for record in first] == ids[:1]
    assert [record.input_tokens for record in grandchild] == [10, 20, 30]


def test_sessions_of_their_own_do_not_share_ids(tmp_path: Path) -> None:
    one = _records(_session(tmp_path / "a.jsonl", [{"id": "a"}], [(10, 1)]))
    other = _records(_session(tmp_path / "b.jsonl", [{"id": "b", "source": "exec"}], [(10, 1)]))
    assert one[0].request_id != other[0].request_id


def test_total_that_falls_begins_anew(tmp_path: Path) -> None:
    records = _records(_session(tmp_path / "a.jsonl", [{"id": "a"}], [(100, 10), (40, 4)]))
    assert [(record.input_tokens, record.output_tokens) for record in records] == [(100, 10), (40, 4)]


@pytest.mark.parametrize("name", ["codex", "codex-subagent"])
def test_recognised(name: str) -> None:
    assert CODEX.recognises(sample_of(open_source(SAMPLES / f"{name}.jsonl")))


def test_claude_code_is_not_recognised() -> None:
    assert not CODEX.recognises(sample_of(open_source(SAMPLES / "claude_code.jsonl")))
