"""Transcripts of Claude Code: which line of a message counts, and what its counts mean."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inferprint.usage.base import Merged, Outcome, Record, Rejected, Skipped
from inferprint.usage.claude_code import CLAUDE_CODE
from inferprint.usage.source import open_source, sample_of

SAMPLES = Path(__file__).parent / "samples"


def _read(path: Path) -> tuple[list[Outcome], list[Rejected]]:
    source = open_source(path)
    return list(CLAUDE_CODE.read(source, {})), source.rejects


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    return _read(SAMPLES / "claude_code.jsonl")[0]


@pytest.fixture(scope="module")
def records(outcomes: list[Outcome]) -> list[Record]:
    return [outcome for outcome in outcomes if isinstance(outcome, Record)]


def test_every_line_has_one_outcome(outcomes: list[Outcome]) -> None:
    rejects = _read(SAMPLES / "claude_code.jsonl")[1]
    assert sorted(outcome.row for outcome in (*outcomes, *rejects)) == list(range(1, 14))


def test_fullest_line_of_a_streamed_message_counts(outcomes: list[Outcome], records: list[Record]) -> None:
    assert records[0].row == 5
    assert [o.row for o in outcomes if isinstance(o, Merged)] == [4, 7]


def test_counts_are_made_inclusive(records: list[Record]) -> None:
    first = records[0]
    assert first.input_tokens == 12 + 48000 + 900
    assert (first.cached_input_tokens, first.cache_write_tokens) == (48000, 900)
    assert (first.output_tokens, first.reasoning_tokens) == (640, 210)


def test_attribution(records: list[Record]) -> None:
    first = records[0]
    assert (first.model_id, first.request_id) == ("claude-sonnet-4-5-20250929", "msg_01A")
    assert (first.session_id, first.project_id, first.application_id) == ("s-1", "/home/ann/shop", "claude-code")
    assert (first.managed_service_id, first.country, first.service_tier) == ("anthropic", "US", None)
    assert first.utc_datetime == "2026-11-20T09:00:05.500Z"


def test_sampling_turns_of_one_message_are_requests(records: list[Record]) -> None:
    assert (records[1].n_requests, records[1].input_tokens, records[1].output_tokens) == (2, 99130, 500)
    assert (records[1].managed_service_id, records[1].service_tier) == ("aws-bedrock", "priority")
    assert len(records) == 2


def test_other_lines_are_left_out(outcomes: list[Outcome]) -> None:
    skipped = {outcome.row: outcome.rule for outcome in outcomes if isinstance(outcome, Skipped)}
    assert skipped == {**dict.fromkeys((1, 2, 3, 6, 8), "not-inference"), 9: "failed"}


def test_malformed_lines_are_rejected(outcomes: list[Outcome]) -> None:
    rejects = _read(SAMPLES / "claude_code.jsonl")[1]
    assert [(r.row, r.field) for r in rejects] == [(11, "message.usage.input_tokens"), (13, "")]
    assert [(r.row, r.field) for r in outcomes if isinstance(r, Rejected)] == [(12, "message.usage")]


def test_no_prompt_is_kept(outcomes: list[Outcome]) -> None:
    assert "PRIVATE" not in repr(outcomes)


def test_replay_in_a_side_conversation_has_the_id_of_its_parent(records: list[Record]) -> None:
    replayed, own = (o for o in _read(SAMPLES / "claude_code-sidechain.jsonl")[0] if isinstance(o, Record))
    assert replayed.request_id == records[0].request_id
    assert (own.request_id, own.input_tokens, own.cached_input_tokens) == ("2026112009100", 700, 0)
    assert own.managed_service_id is None, "another model behind the same interface: its host is not known"


def test_lines_of_the_first_versions() -> None:
    (record,) = _read(SAMPLES / "claude_code-old.jsonl")[0]
    assert isinstance(record, Record)
    assert (record.input_tokens, record.output_tokens, record.cost_usd) == (48912, 640, 0.0125)


def test_without_id_of_a_message_another_one_serves(tmp_path: Path) -> None:
    def line(answered: int, **ids: str) -> str:
        message = {"model": "m", "usage": {"input_tokens": 1, "output_tokens": answered}}
        return json.dumps({"type": "assistant", "sessionId": "s", "isSidechain": False, "message": message, **ids})

    path = tmp_path / "t.jsonl"
    path.write_text("\n".join([line(1, uuid="u-1"), line(2, requestId="r-1"), line(3), line(3)]))
    records = [o for o in _read(path)[0] if isinstance(o, Record)]
    assert {(r.request_id, r.output_tokens) for r in records} == {(None, 3), ("r-1", 2), ("u-1", 1)}
    assert len(records) == 4, "without any id none is taken for a copy"


@pytest.mark.parametrize("name", ["claude_code", "claude_code-sidechain", "claude_code-old"])
def test_recognised(name: str) -> None:
    assert CLAUDE_CODE.recognises(sample_of(open_source(SAMPLES / f"{name}.jsonl")))


def test_codex_is_not_recognised() -> None:
    assert not CLAUDE_CODE.recognises(sample_of(open_source(SAMPLES / "codex.jsonl")))
