"""Logs and text tables to Parquet, so that what estimates them reads one kind of file.

A record keeps the file and row that it came from. Every record has an outcome: it is staged, skipped by a rule, merged
into another one, or rejected.
"""

from __future__ import annotations

import gc
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from inferprint.batch.options import IDENTITY, RunOptions
from inferprint.batch.rejects import RejectWriter
from inferprint.batch.workspace import Workspace
from inferprint.usage.base import Format, Merged, Outcome, Record, Rejected, Skipped
from inferprint.usage.engine import connected, literal, quoted
from inferprint.usage.formats import format_named
from inferprint.usage.source import OpenSource, Part
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


RANGE_BYTES = 48 * 1024 * 1024
"""Bytes of a log that are read by one process at a time."""

_RECORD_BITS = 24
"""Bits of a record's number that count the records of its part; the others are the number of the part."""


@dataclass(slots=True)
class Staged:
    """What staging left: plain data, kept where a run is interrupted.

    Attributes
    ----------
    parts
        Name and rows of each Parquet file.
    numbers
        Parts that were begun, whether they hold anything or not.
    files_done
        Files of which nothing is left to read.
    row
        Row of the next file up to which it was read.
    ranges
        Ranges of the next file that were read.
    records
        Records read, whatever became of them.
    skipped
        Records left out, by the name of the rule.
    reject_bytes
        Length of the file of rejected records.
    """

    parts: list[tuple[str, int]] = field(default_factory=list)
    numbers: int = 0
    files_done: int = 0
    row: int = 0
    ranges: int = 0
    records: int = 0
    merged: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    rejected: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    reject_bytes: int = 0

    def count(self, outcome: Outcome) -> None:
        """Account for a record that is not staged."""
        self.records += 1
        if isinstance(outcome, Merged):
            self.merged += 1
        elif isinstance(outcome, Skipped):
            self.skipped[outcome.rule] = self.skipped.get(outcome.rule, 0) + 1
        else:
            self.rejected += 1


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
        self._rejects.reasons.update(self.state.reasons)
        self._bytes_before, self.size, self._ticks = 0.0, 0.0, 0

    def close(self) -> None:
        """Give up the file of rejected records, where the run is interrupted too."""
        self._rejects.close()

    # --- logs ---------------------------------------------------------------------------------------------------------

    def logs(self, sources: Sequence[tuple[OpenSource, Format]]) -> Staged:
        """Stage all records of logs; those of one format come after each other."""
        self.size = float(sum(source.size for source, _ in sources)) or 1.0
        if any(form.keeps_state for _, form in sources) and self.state.files_done < len(sources):
            self._start_afresh()
        states: dict[str, dict[str, Any]] = {}
        for number, (source, form) in enumerate(sources):
            if number >= self.state.files_done:
                if not form.keeps_state and source.can_be_parted(RANGE_BYTES):
                    self._in_ranges(source, form)
                else:
                    source.skip = self.state.row
                    self._log(source, form, states.setdefault(form.name, {}))
                self.state.files_done, self.state.row, self.state.ranges = number + 1, 0, 0
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

    def _in_ranges(self, source: OpenSource, form: Format) -> None:
        """Read a large file range by range, several at a time."""
        first = self.state.numbers - self.state.ranges
        jobs = (
            _Job(self._work.folder, self.name, first + i, source.path, form.name, part)
            for i, part in enumerate(source.parts(RANGE_BYTES))
            if i >= self.state.ranges
        )
        with _workers(self._options.processes) as each:
            for job, done in each(_read_range, jobs):
                state = self.state
                state.parts += done.parts
                state.records, state.merged = state.records + done.records, state.merged + done.merged
                state.rejected += done.rejected
                for rule, records in done.skipped.items():
                    state.skipped[rule] = state.skipped.get(rule, 0) + records
                for outcome in done.rejects:
                    self._rejects.write(str(source.path), outcome.row, outcome.field, outcome.reason, "")
                state.numbers, state.ranges = job.number + 1, state.ranges + 1
                self._checkpoint()
                self._options.reported("read", self._bytes_before + float(job.part.end or source.size), self.size)

    def _log(self, source: OpenSource, form: Format, state: dict[str, Any]) -> None:
        """Read a file as a whole, or on from where an interrupted run was."""
        batch: list[Record] = []
        last_row = 0
        for outcome in form.read(source, state):
            if len(batch) >= PART_ROWS and (form.keeps_state or outcome.row != last_row):
                self._flush(source.path, batch)
                if not form.keeps_state:
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
        self._flush(source.path, batch)

    def _count(self, path: Path, outcome: Outcome) -> None:
        """Account for a record that is not staged."""
        self.state.count(outcome)
        if isinstance(outcome, Rejected):
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

    def _flush(self, path: Path, batch: list[Record]) -> None:
        """Write a part."""
        if batch:
            columns, empty = _columns_of(batch)
            self._part(columns, empty, str(path), len(batch))
            self.state.records += len(batch)
            batch.clear()

    def _part(self, columns: Mapping[str, Any], empty: Mapping[str, str], file: str, rows: int) -> None:
        """Write columns as the next part."""
        name = f"{self.name}-{self.state.numbers:06d}.parquet"
        _write(self._connection, self._work.folder / name, (columns, empty), file, self.state.numbers)
        self.state.parts.append((name, rows))
        self.state.numbers += 1

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
                self._part(columns, {}, str(table.path), len(rows))
                self.state.records += len(rows)
                unread += len(rows)
            if unread >= PART_ROWS:
                ends = [rows[-1] for rows in (chunk.rows, [broken.row for broken in chunk.broken]) if rows]
                self.state.row, unread = max(ends), 0
                self._checkpoint()
            self._options.reported("read", self._bytes_before + table.position, self.size)

    # --- both ---------------------------------------------------------------------------------------------------------

    def _checkpoint(self) -> None:
        """Record how far this is."""
        self.state.reject_bytes = self._rejects.flush()
        self.state.reasons = dict(self._rejects.reasons)
        self._work.finish(self.name, {f.name: getattr(self.state, f.name) for f in fields(Staged)})

    def _finished(self) -> Staged:
        self._checkpoint()
        self._rejects.close()
        self._options.reported("read", self.size, self.size)
        return self.state


def _columns_of(batch: Sequence[Record]) -> tuple[dict[str, Any], dict[str, str]]:
    """Records as columns, and the types of those that are empty."""
    cells = dict(zip(Record.__struct_fields__, zip(*map(msgspec.structs.astuple, batch), strict=True), strict=True))
    columns: dict[str, Any] = {"row": np.array(cells["row"], dtype=np.int64)}
    empty: dict[str, str] = {}
    for name in (*LOG_TEXTS, *LOG_NUMBERS):
        is_text = name in LOG_TEXTS
        if cells[name].count(None) == len(batch):
            empty[name] = "VARCHAR" if is_text else "DOUBLE"
        else:
            columns[name] = np.array(cells[name], dtype=object if is_text else float)
    return columns, empty


def _write(
    connection: Any, path: Path, cells: tuple[Mapping[str, Any], Mapping[str, str]], file: str, number: int
) -> None:
    """Write columns as a Parquet file; text that is no UTF-8 was set aside before."""
    columns, empty = cells
    first = number << _RECORD_BITS
    rows = len(columns["row"])
    columns = {**columns, "record": np.arange(first, first + rows, dtype=np.int64)}
    select = [f"{literal(file)} AS file"]
    for column, values in columns.items():
        read = quoted(column)
        if values.dtype.kind == "O":
            read = f"nullif(CAST({read} AS VARCHAR), '')"
        elif values.dtype.kind == "f":
            # DuckDB takes a NaN for NULL; an unknown number of requests is NaN again, which says so.
            read = f"coalesce({read}, 'nan'::DOUBLE)" if column == "n_requests" else read
        select.append(f"{read} AS {quoted(column)}")
    select += [f"NULL::{kind} AS {quoted(column)}" for column, kind in empty.items()]
    connection.register("staged", columns)
    connection.execute(f"COPY (SELECT {', '.join(select)} FROM staged) TO {literal(str(path))} (FORMAT parquet)")
    connection.unregister("staged")


# --- one range of a file, perhaps in another process ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Job:
    """A range of a log to stage as the part of this number."""

    folder: Path
    name: str
    number: int
    path: Path
    form: str
    part: Part


@dataclass(slots=True)
class _Done(Staged):
    """What staging a range left, and what it rejected."""

    rejects: list[Rejected] = field(default_factory=list)


def _read_range(job: _Job) -> _Done:
    """Stage one range; records make no cycles, and there are too many of them to look for some."""
    gc.disable()
    try:
        return _staged(job)
    finally:
        gc.enable()


def _staged(job: _Job) -> _Done:
    done = _Done()
    source = OpenSource(job.path, "json-lines")
    source.part = job.part
    batch: list[Record] = []
    for outcome in format_named(job.form).read(source, {}):
        if type(outcome) is Record:
            batch.append(outcome)
        else:
            done.count(outcome)
            if type(outcome) is Rejected:
                done.rejects.append(outcome)
    for rejected in source.rejects:
        done.count(rejected)
    done.rejects = sorted([*done.rejects, *source.rejects], key=attrgetter("row"))
    if batch:
        name = f"{job.name}-{job.number:06d}.parquet"
        with connected() as connection:
            _write(connection, job.folder / name, _columns_of(batch), str(job.path), job.number)
        done.parts.append((name, len(batch)))
        done.records += len(batch)
    return done


Done = Iterator[tuple[_Job, _Done]]


@contextmanager
def _workers(processes: int) -> Iterator[Callable[[Callable[[_Job], _Done], Iterator[_Job]], Done]]:
    """What does jobs in their order, by several processes, while further ones are found; or in this one."""
    if processes < 2:
        yield lambda do, jobs: ((job, do(job)) for job in jobs)
        return
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:

        def each(do: Callable[[_Job], _Done], jobs: Iterator[_Job]) -> Done:
            begun = [(job, pool.submit(do, job)) for job in jobs]
            for job, future in begun:
                yield job, future.result()

        yield each


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
