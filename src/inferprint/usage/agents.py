"""Where coding agents keep the transcripts of a machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

CLAUDE_CODE, CODEX = "claude_code", "codex"
_PLAIN, _COMPRESSED = ".jsonl", ".jsonl.zst"


@dataclass(frozen=True, order=True)
class Found:
    """A transcript, and the name of its format."""

    path: Path
    format_name: str


def transcripts(environ: Mapping[str, str], home: Path) -> list[Found]:
    """The transcripts of Claude Code and Codex, in the order in which to read them.

    Claude Code: `projects` in the folders that CLAUDE_CONFIG_DIR names, else in ~/.config/claude and ~/.claude. Codex:
    `sessions` and `archived_sessions` in the folders that CODEX_HOME names, else in ~/.codex. Several folders are
    separated by commas. No link within them is followed.

    Parameters
    ----------
    environ
        Variables of the environment.
    home
        The user's home folder.
    """
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    claude = _named(environ.get("CLAUDE_CONFIG_DIR"), home) or [config / "claude", home / ".claude"]
    codex = _named(environ.get("CODEX_HOME"), home) or [home / ".codex"]
    return [
        *(Found(path, CLAUDE_CODE) for path in _claude_code(claude)),
        *(Found(path, CODEX) for path in _codex(codex)),
    ]


def _claude_code(folders: list[Path]) -> list[Path]:
    """By name as text: a session comes before the folder of its sub-agents, which may repeat it."""
    projects = [folder if folder.name == "projects" else folder / "projects" for folder in folders]
    return sorted((path for folder in _distinct(projects) for path in _files(folder, _PLAIN)), key=str)


def _codex(folders: list[Path]) -> list[Path]:
    """By file name, which begins with the moment of the start: a parent comes before its forks.

    Of two copies the active one wins over the archived one, and the plain one over the compressed one.
    """
    found: dict[tuple[Path, str], Path] = {}
    for folder in _distinct(folders):
        for suffix in (_PLAIN, _COMPRESSED):
            for part in ("sessions", "archived_sessions"):
                for path in _files(folder / part, suffix):
                    found.setdefault((folder, path.name.removesuffix(suffix)), path)
    return sorted(found.values(), key=lambda path: (path.name, str(path)))


def _files(folder: Path, suffix: str) -> Iterator[Path]:
    """Regular files below a folder; a folder that cannot be read has none."""
    for at, _, names in os.walk(folder):
        for name in names:
            path = Path(at, name)
            if name.endswith(suffix) and path.is_file() and not path.is_symlink():
                yield path


def _named(value: str | None, home: Path) -> list[Path]:
    """The folders that a variable names, "~" being the home folder."""
    parts = [part.strip() for part in (value or "").split(",")]
    return [home / part[2:] if part.startswith("~/") else home if part == "~" else Path(part) for part in parts if part]


def _distinct(folders: list[Path]) -> list[Path]:
    """Each folder once, also where one is a link to another."""
    return list({folder.resolve(): folder for folder in reversed(folders)}.values())
