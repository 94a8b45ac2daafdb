"""Where transcripts of coding agents are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from inferprint.usage.agents import Found, transcripts


def _file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}\n")
    return path


def _paths(found: list[Found], home: Path) -> list[str]:
    return [str(one.path.relative_to(home)) for one in found]


def test_default_folders(tmp_path: Path) -> None:
    for name in (
        ".claude/projects/-shop/s-1/subagents/agent-a.jsonl",
        ".claude/projects/-shop/s-1.jsonl",
        ".claude/projects/-shop/notes.md",
        ".claude/history.jsonl",
        ".config/claude/projects/-api/s-2.jsonl",
        ".codex/sessions/2026/11/20/rollout-2026-11-20T09-00-00-a.jsonl",
        ".codex/archived_sessions/rollout-2026-11-19T09-00-00-b.jsonl",
        ".codex/history.jsonl",
    ):
        _file(tmp_path / name)
    found = transcripts({}, tmp_path)
    assert _paths(found, tmp_path) == [
        ".claude/projects/-shop/s-1.jsonl",
        ".claude/projects/-shop/s-1/subagents/agent-a.jsonl",
        ".config/claude/projects/-api/s-2.jsonl",
        ".codex/archived_sessions/rollout-2026-11-19T09-00-00-b.jsonl",
        ".codex/sessions/2026/11/20/rollout-2026-11-20T09-00-00-a.jsonl",
    ]
    assert [one.format_name for one in found] == ["claude_code"] * 3 + ["codex"] * 2


def test_nothing_there(tmp_path: Path) -> None:
    assert transcripts({"CODEX_HOME": str(tmp_path / "none")}, tmp_path) == []


def test_variables_replace_the_default_folders(tmp_path: Path) -> None:
    _file(tmp_path / ".claude/projects/p/no.jsonl")
    _file(tmp_path / ".codex/sessions/no.jsonl")
    one, two = _file(tmp_path / "one/projects/p/a.jsonl"), _file(tmp_path / "two/projects/p/b.jsonl")
    codex = _file(tmp_path / "codex/sessions/c.jsonl")
    environ = {"CLAUDE_CONFIG_DIR": f"~/one, {tmp_path}/two/projects,,", "CODEX_HOME": str(tmp_path / "codex")}
    assert [found.path for found in transcripts(environ, tmp_path)] == [one, two, codex]


def test_xdg_config_home(tmp_path: Path) -> None:
    path = _file(tmp_path / "xdg/claude/projects/p/a.jsonl")
    found = transcripts({"XDG_CONFIG_HOME": str(tmp_path / "xdg"), "CLAUDE_CONFIG_DIR": ""}, tmp_path)
    assert found == [Found(path, "claude_code")]


def test_a_folder_named_twice_counts_once(tmp_path: Path) -> None:
    _file(tmp_path / "one/projects/p/a.jsonl")
    (tmp_path / "link").symlink_to(tmp_path / "one")
    named = f"{tmp_path}/one,{tmp_path}/one/projects,{tmp_path}/link"
    assert _paths(transcripts({"CLAUDE_CONFIG_DIR": named}, tmp_path), tmp_path) == ["one/projects/p/a.jsonl"]


def test_links_within_are_not_followed(tmp_path: Path) -> None:
    outside = _file(tmp_path / "outside/b.jsonl")
    _file(tmp_path / ".claude/projects/p/a.jsonl")
    (tmp_path / ".claude/projects/q").symlink_to(outside.parent)
    (tmp_path / ".claude/projects/p/b.jsonl").symlink_to(outside)
    assert _paths(transcripts({}, tmp_path), tmp_path) == [".claude/projects/p/a.jsonl"]


@pytest.mark.parametrize("active", ["sessions/2026/11/20/r.jsonl", "sessions/r.jsonl", "sessions/r.jsonl.zst"])
def test_active_copy_of_a_session_wins(tmp_path: Path, active: str) -> None:
    _file(tmp_path / ".codex/archived_sessions/r.jsonl.zst")
    _file(tmp_path / ".codex" / active)
    assert _paths(transcripts({}, tmp_path), tmp_path) == [f".codex/{active}"]


def test_plain_copy_of_a_session_wins(tmp_path: Path) -> None:
    _file(tmp_path / ".codex/sessions/r.jsonl.zst")
    _file(tmp_path / ".codex/sessions/r.jsonl")
    _file(tmp_path / ".codex/sessions/s.jsonl.zst")
    assert _paths(transcripts({}, tmp_path), tmp_path) == [".codex/sessions/r.jsonl", ".codex/sessions/s.jsonl.zst"]
