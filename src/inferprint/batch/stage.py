"""Logs and text tables to Parquet, so that what estimates them reads one kind of file.

A record keeps the file and row that it came from. Every record has an outcome: it is staged, skipped by a rule, merged
into another one, or rejected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from inferprint.batch.options import IDENTITY, RunOptions
from inferprint.batch.rejects import RejectWriter
from inferprint.batch.workspace import Workspace
from inferprint.usage.base import Format, Merged, Outcome, Record, Rejected, Skipped
from inferprint.usage.engine import literal, quoted
from inferprint.usage.source import OpenSource
from inferprint.usage.tables import Table

PART_ROWS = 250_000
TABLE_ROWS = 50_000

LOG_TEXTS = (
    *IDENTITY,
    "model_id",
    "task",
    "managed_service_id",
    "cloud_id",
    "cloud_region",
    "country",
    "service_tier",
)
LOG_NUMBERS = (
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "n_requests",
    "request_duration_ms",
    "time_to_first_token_ms",
    "cost_usd",
    "input_audio_seconds",
    "output_audio_seconds",
    "output_audio_tokens",
    "output_images",
)
assert {*LOG_TEXTS, *LOG_NUMBERS, "row"} == set(Record.__struct_fields__)


@dataclass(slots=True)
class Staged:
    """What staging left: plain data, kept where a run is interrupted.

    Attributes
    ----------
    parts
        Name and rows of each Parquet file.
    files_done
        Files of which nothing is left to read.
    row
        Row of the next file up to which it was read.
    records
        Records read, whatever became of them.
    skipped
        Records left out, by the name of the rule.
    reject_bytes
        Length of the file of rejected records.
    """

    parts: list[tuple[str, int]] = field(default_factory=list)
    files_done: int = 0
    row: int = 0
    records: int = 0
    merged: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    rejected: int = 0
    reject_bytes: int = 0


class Stage:
    """Writes records to Parquet and keeps count.

    Parameters
    ----------
    work
        Where to.
    name
        Of the step, and the beginning of the names of its files.
    connection
        DuckDB.
    """

    def __init__(self, work: Workspace, name: str, options: RunOptions, connection: Any) -> None:
        self._work, self.name, self._options, self._connection = work, name, options, connection
        self.state = Staged(**(work.done(name) or {}))
        self.rejects_path = work.folder / f"{name}-rejects.csv"
        self._rejects = RejectWriter(self.rejects_path, self.state.reject_bytes)
        self._bytes_before, self.size, self._ticks = 0.0, 0.0, 0

    # --- logs ---------------------------------------------------------------------------------------------------------

    def logs(self, sources: Sequence[tuple[OpenSource, Format]]) -> Staged:
        """Stage all records of logs; those of one format come after each other."""
        self.size = float(sum(source.size for source, _ in sources)) or 1.0
        if any(form.keeps_state for _, form in sources) and self.state.files_done < len(sources):
            self._start_afresh()
        states: dict[str, dict[str, Any]] = {}
        for number, (source, form) in enumerate(sources):
            if number >= self.state.files_done:
                source.skip = self.state.row
                self._log(source, form, states.setdefault(form.name, {}))
                self.state.files_done, self.state.row = number + 1, 0
                if self._is_due(number, len(sources)):
                    self._checkpoint()
            self._bytes_before += source.size
        return self._finished()

    def _is_due(self, number: int, files: int) -> bool:
        """Whether a file of a long list is worth a checkpoint of its own."""
        return files < 100 or number % 100 == 99 or number == files - 1

    def _start_afresh(self) -> None:
        """Give up what was staged: later files hang on what was read of earlier ones."""
        self.state = Staged()
        self._rejects.close()
        self._rejects = RejectWriter(self.rejects_path)

    def _log(self, source: OpenSource, form: Format, state: dict[str, Any]) -> None:
        by_record = not form.keeps_state
        batch: list[Record] = []
        last_row = 0
        for outcome in form.read(source, state):
            if len(batch) >= PART_ROWS and (not by_record or outcome.row != last_row):
                self._flush(source, batch)
                if by_record:
                    self.state.row = last_row
                    self._checkpoint()
            last_row = outcome.row
            if type(outcome) is Record:
                batch.append(outcome)
            else:
                self._count(source.path, outcome)
            if source.rejects:
                self._drain(source)
            self._tell(source)
        self._drain(source)
        self._flush(source, batch)

    def _count(self, path: Path, outcome: Outcome) -> None:
        """Account for a record that is not staged."""
        state = self.state
        state.records += 1
        if isinstance(outcome, Merged):
            state.merged += 1
        elif isinstance(outcome, Skipped):
            state.skipped[outcome.rule] = state.skipped.get(outcome.rule, 0) + 1
        elif isinstance(outcome, Rejected):
            state.rejected += 1
            self._rejects.write(str(path), outcome.row, outcome.field, outcome.reason, "")

    def _drain(self, source: OpenSource) -> None:
        """Take over what the source could not decode."""
        for rejected in source.rejects:
            self._count(source.path, rejected)
        source.rejects.clear()

    def _tell(self, source: OpenSource) -> None:
        self._ticks += 1
        if self._ticks % 10_000 == 0:
            self._options.reported("read", self._bytes_before + source.position, self.size)

    def _flush(self, source: OpenSource, batch: list[Record]) -> None:
        """Write a part."""
        if not batch:
            return
        columns: dict[str, Any] = {"row": np.array([record.row for record in batch], dtype=np.int64)}
        empty: dict[str, str] = {}
        for name in LOG_TEXTS:
            cells = [getattr(record, name) for record in batch]
            if any(cell is not None for cell in cells):
                columns[name] = np.array(cells, dtype=object)
            else:
                empty[name] = "VARCHAR"
        for name in LOG_NUMBERS:
            columns[name] = np.array([getattr(record, name) for record in batch], dtype=float)
        self._copy(columns, empty, str(source.path), len(batch))
        self.state.records += len(batch)
        batch.clear()

    # --- tables of text -----------------------------------------------------------------------------------------------

    def tables(self, tables: Sequence[tuple[Table, Mapping[str, str]]]) -> Staged:
        """Stage the mapped columns of tables, as text."""
        self.size = float(sum(table.path.stat().st_size for table, _ in tables)) or 1.0
        for number, (table, mapped) in enumerate(tables):
            if number >= self.state.files_done:
                self._table(table, dict(mapped))
                self.state.files_done, self.state.row = number + 1, 0
                self._checkpoint()
            self._bytes_before += table.path.stat().st_size
        return self._finished()

    def _table(self, table: Table, mapped: dict[str, str]) -> None:
        unread, skip = 0, self.state.row
        for chunk in table.chunks(mapped, TABLE_ROWS):
            for broken in chunk.broken:
                if broken.row > skip:
                    self.state.records += 1
                    self.state.rejected += 1
                    self._rejects.write(str(table.path), broken.row, "", broken.reason, broken.text)
            first = next((i for i, row in enumerate(chunk.rows) if row > skip), len(chunk.rows))
            rows = chunk.rows[first:]
            if rows:
                columns: dict[str, Any] = {"row": np.array(rows, dtype=np.int64)}
                columns |= {name: np.array(cells[first:], dtype=object) for name, cells in chunk.columns.items()}
                columns["text"] = np.array([chunk.texts[i] for i in range(first, len(chunk.rows))], dtype=object)
                self._copy(columns, {}, str(table.path), len(rows))
                self.state.records += len(rows)
                unread += len(rows)
            if unread >= PART_ROWS:
                self.state.row, unread = chunk.rows[-1], 0
                self._checkpoint()
            self._options.reported("read", self._bytes_before + table.position, self.size)

    # --- both ---------------------------------------------------------------------------------------------------------

    def _copy(self, columns: Mapping[str, Any], empty: Mapping[str, str], file: str, rows: int) -> None:
        """Write columns as a Parquet file; text that is no UTF-8 was set aside before."""
        name = f"{self.name}-{len(self.state.parts):06d}.parquet"
        select = [f"{literal(file)} AS file"]
        before = sum(size for _, size in self.state.parts)
        columns = {**columns, "record": np.arange(before, before + rows, dtype=np.int64)}
        for column, cells in columns.items():
            read = quoted(column)
            if cells.dtype.kind == "O":
                read = f"nullif(CAST({read} AS VARCHAR), '')"
            elif cells.dtype.kind == "f":
                read = f"nullif({read}, 'nan'::DOUBLE)" if column != "n_requests" else read
            select.append(f"{read} AS {quoted(column)}")
        select += [f"NULL::{kind} AS {quoted(column)}" for column, kind in empty.items()]
        self._connection.register("staged", dict(columns))
        path = literal(str(self._work.folder / name))
        self._connection.execute(f"COPY (SELECT {', '.join(select)} FROM staged) TO {path} (FORMAT parquet)")
        self._connection.unregister("staged")
        self.state.parts.append((name, rows))

    def _checkpoint(self) -> None:
        """Record how far this is."""
        self.state.reject_bytes = self._rejects.flush()
        self._work.finish(self.name, {name: getattr(self.state, name) for name in Staged.__slots__})

    def _finished(self) -> Staged:
        self._checkpoint()
        self._rejects.close()
        self._options.reported("read", self.size, self.size)
        return self.state


def skipped_of(stages: Sequence[Staged]) -> Counter[str]:
    """Records left out in several stages, by the name of the rule."""
    found: Counter[str] = Counter()
    for state in stages:
        found.update(state.skipped)
    return found


def pieces(parts: Sequence[tuple[str, int]], rows: int) -> Iterator[list[tuple[str, int]]]:
    """Consecutive parts that hold about so many rows together."""
    piece: list[tuple[str, int]] = []
    for part in parts:
        if piece and sum(size for _, size in piece) + part[1] > rows:
            yield piece
            piece = []
        piece.append(part)
    if piece:
        yield piece
