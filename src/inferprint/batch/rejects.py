"""The file of rejected records: where each stands, what is wrong, and its text where that is no log's."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

HEADER = ["file", "row", "field", "reason", "text"]
MAX_TEXT = 2_000
"""Characters of a record that are shown: enough to find it."""


class RejectWriter:
    """Writes rejected records to a part of the file, which the caller puts together.

    Parameters
    ----------
    path
        The part; it exists only when something was rejected.
    keep
        Bytes of it that an interrupted run had written for good.
    """

    def __init__(self, path: Path, keep: int = 0) -> None:
        self._path = path
        self._file: TextIO | None = None
        self.count = 0
        self.reasons: Counter[str] = Counter()
        if path.exists():
            if keep:
                with path.open("r+b") as file:
                    file.truncate(keep)
            else:
                path.unlink()

    def write(self, file: str, row: int, field: str, reason: str, text: str) -> None:
        """Write one record."""
        if self._file is None:
            # Bytes that are no UTF-8 are written as their codes.
            self._file = self._path.open("a", encoding="utf-8", errors="backslashreplace", newline="")
        shown = text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}... ({len(text):,} characters)"
        csv.writer(self._file, lineterminator="\n").writerow([file, row, field, reason, shown])
        self.count += 1
        self.reasons[short_reason(field, reason, self.reasons)] += 1

    def flush(self) -> int:
        """Hand what was written to the system; the bytes that the part has."""
        if self._file is None:
            return self._path.stat().st_size if self._path.exists() else 0
        self._file.flush()
        return self._file.tell()

    def close(self) -> None:
        """Finish the part."""
        if self._file is not None:
            self._file.close()


class SortedRejects:
    """Hands rejected records on in the order of file and row, as far as they are few."""

    def __init__(self, writer: RejectWriter) -> None:
        self._writer = writer
        self._waiting: list[tuple[str, int, str, str, str]] = []
        self._many = False

    def add(self, line: tuple[str, int, str, str, str]) -> None:
        """Take file, row, field, reason and text of a record."""
        if self._many:
            self._writer.write(*line)
            return
        self._waiting.append(line)
        if len(self._waiting) > MOST_SORTED:
            self.finish()
            self._many = True

    def finish(self) -> None:
        """Hand on what waits."""
        for line in sorted(self._waiting, key=lambda line: line[:2]):
            self._writer.write(*line)
        self._waiting.clear()


MOST_SORTED = 100_000


def short_reason(field: str, reason: str, known: Mapping[str, int]) -> str:
    """Field and reason without its hint, by which rejected records are counted; beyond many, they are told together."""
    first = reason.split(". ", 1)[0].rstrip(".")
    short = f"{field}: {first}" if field and not first.startswith(field) else first
    return short if short in known or len(known) < MOST_REASONS else OTHERS


MOST_REASONS = 500
OTHERS = "other reasons"


def join_rejects(parts: list[Path], whole: Path) -> None:
    """Make one file of the parts that exist; none where there are none."""
    there = [part for part in parts if part.exists()]
    if not there:
        return
    with whole.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerow(HEADER)
        for part in there:
            with part.open(encoding="utf-8", newline="") as source:
                while block := source.read(1 << 20):
                    file.write(block)
