"""Tables as they lie on disk: CSV, plain or compressed, and Parquet, read in chunks.

A record that cannot be parsed is reported in place, so that every record of a file is accounted for.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TextIO, cast

from inferprint.batch.engine import connected, duckdb_error, quoted
from inferprint.errors import FileProblem
from inferprint.estimate.request import TIME_FIELDS, TOKEN_FIELDS

MAX_RECORD_LINES = 1000
"""A quoted field that runs over more lines than this was never closed."""

DELIMITERS = ",;\t|"
HEAD_BYTES = 4096
NUMERIC_FIELDS = (*TOKEN_FIELDS, "n_requests", *TIME_FIELDS)
"""Fields of which every row may have its own number."""

_NUMERIC_TYPES = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL", "REAL")
_FLOAT_TYPES = ("FLOAT", "DOUBLE", "REAL")


@dataclass(frozen=True, slots=True)
class Broken:
    """A record that is no row of the table: its number, what is wrong, and its text."""

    row: int
    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive records of one file.

    Attributes
    ----------
    rows
        Number of each row, as a person counts the records of the file, from 1.
    columns
        Cells by our field: text, or numbers where the file has types; None where blank.
    texts
        Each row as text.
    broken
        Records among them that could not be parsed.
    """

    rows: list[int]
    columns: dict[str, list[Any]]
    texts: Sequence[str]
    broken: list[Broken]

    @property
    def records(self) -> int:
        """All records, parsed or not."""
        return len(self.rows) + len(self.broken)


class Table(Protocol):
    """One file: its columns, its number of rows where it says so, and its rows."""

    path: Path
    names: tuple[str, ...]
    rows: int | None

    def chunks(self, mapped: dict[str, str], size: int) -> Iterator[Chunk]:
        """The rows, about `size` at a time; `mapped` names the column of each field."""
        ...


def open_table(path: Path) -> Table:
    """The table in a file, known by its content.

    Raises
    ------
    FileProblem
        Nothing is there, or nothing that is a table.
    """
    head = _head(path)
    if head.startswith(b"PAR1"):
        return ParquetTable(path)
    compressed = head.startswith(b"\x1f\x8b")
    if compressed:
        with reading(path), gzip.open(path) as file:
            head = file.read(HEAD_BYTES)
    _check_text(path, head)
    return CsvTable(path, compressed)


def _head(path: Path) -> bytes:
    """The first bytes of a regular file."""
    if not path.exists():
        there = sorted(p.name for p in path.parent.glob(f"*{path.suffix}"))[:5] if path.parent.is_dir() else []
        hint = f"The folder has: {', '.join(there)}." if there else "Check the path."
        raise FileProblem(f"{path}: no such file", hint=hint)
    if path.is_dir():
        raise FileProblem(f"{path}: is a folder", hint="Name the files in it.")
    if not path.is_file():
        raise FileProblem(f"{path}: is not a regular file", hint="Save its content to a file first.")
    with reading(path), path.open("rb") as file:
        return file.read(HEAD_BYTES)


def _check_text(path: Path, head: bytes) -> None:
    """Refuse what is no text in UTF-8."""
    if not head.strip():
        raise FileProblem(f"{path}: is empty", hint="Expected a CSV file with a header line, or a Parquet file.")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise FileProblem(f"{path}: is in UTF-16", hint="Save it as UTF-8.")
    if b"\x00" in head:
        raise FileProblem(f"{path}: is a binary file", hint="Expected CSV (plain or .gz) or Parquet.")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the system says about an unreadable file into a `FileProblem`."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise FileProblem(f"{path}: cannot be read: {reason}", hint="Is it complete and yours to read?") from error


def as_line(cells: Sequence[Any]) -> str:
    """Cells as one line of CSV."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(cells)
    return buffer.getvalue()


# --- CSV --------------------------------------------------------------------------------------------------------------


class CsvTable:
    """A CSV file with a header line, in UTF-8, plain or gzip."""

    rows: int | None = None

    def __init__(self, path: Path, compressed: bool) -> None:
        self.path = path
        self._compressed = compressed
        with reading(path), self._open() as file:
            header = _first_line(file)
        self._delimiter = max(DELIMITERS, key=header.count)
        names = _cells(header, self._delimiter)
        if isinstance(names, str):
            raise FileProblem(f"{path}: the header line cannot be parsed: {names}", hint=f"It reads: {header[:200]}")
        self.names = tuple(name.strip() for name in names)
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise FileProblem(f"{path}: columns named alike: {', '.join(twice)}", hint="Rename all but one.")

    def _open(self) -> TextIO:
        # Bytes that are no UTF-8 become surrogates, which mark the row that they are in.
        how: dict[str, Any] = {"encoding": "utf-8-sig", "errors": "surrogateescape", "newline": ""}
        if self._compressed:
            return cast(TextIO, gzip.open(self.path, "rt", **how))
        return cast(TextIO, self.path.open("r", **how))

    def chunks(self, mapped: dict[str, str], size: int) -> Iterator[Chunk]:
        """The rows, about `size` at a time."""
        done = 0
        with self._open() as file:
            with reading(self.path):
                _first_line(file)
            carried: list[str] = []
            while True:
                with reading(self.path):
                    fresh = list(islice(file, size))
                records, carried = self._joined(carried + fresh, at_end=len(fresh) < size)
                if records:
                    yield self._parsed(records, done, mapped)
                    done += len(records)
                if len(fresh) < size:
                    return

    def _joined(self, lines: list[str], *, at_end: bool) -> tuple[list[str], list[str]]:
        """Lines as records, of several lines where a quoted field has line breaks; and lines to wait with."""
        if not any('"' in line for line in lines):
            return [line for line in lines if line.strip("\r\n")], []
        records: list[str] = []
        first = 0
        while first < len(lines):
            end = _closed(lines, first)
            if end is None and not at_end and len(lines) - first < MAX_RECORD_LINES:
                return records, lines[first:]
            record = "".join(lines[first : end or first + 1])
            # A stray quote must not swallow the lines after it: they only belong together where that makes a row.
            if end is not None and end > first + 1 and self._problem(_cells(record, self._delimiter), record):
                end, record = None, lines[first]
            if record.strip("\r\n"):
                records.append(record)
            first = end or first + 1
        return records, []

    def _parsed(self, records: list[str], done: int, mapped: dict[str, str]) -> Chunk:
        """Records as a chunk."""
        try:
            cells: list[Any] = list(csv.reader(records, delimiter=self._delimiter, strict=True))
        except csv.Error:
            cells = []
        if len(cells) != len(records):
            cells = [_cells(record, self._delimiter) for record in records]
        reasons = [""] * len(records)
        if not (all(map(str.isascii, records)) and all(type(row) is list for row in cells)
                and set(map(len, cells)) == {len(self.names)}):  # fmt: skip
            reasons = [self._problem(row, record) for row, record in zip(cells, records, strict=True)]
        good = [i for i, reason in enumerate(reasons) if not reason]
        columns = list(zip(*(cells[i] for i in good), strict=True)) if good else [()] * len(self.names)
        return Chunk(
            rows=[done + i + 1 for i in good],
            columns={ours: [c or None for c in columns[self.names.index(name)]] for ours, name in mapped.items()},
            texts=[records[i].rstrip("\r\n") for i in good],
            broken=[
                Broken(done + i + 1, reason, records[i].rstrip("\r\n")) for i, reason in enumerate(reasons) if reason
            ],
        )

    def _problem(self, row: list[str] | str, record: str) -> str:
        """What is wrong with a record, if anything."""
        if not record.isascii() and any("\udc80" <= letter <= "\udcff" for letter in record):
            return "is not UTF-8"
        if isinstance(row, str):
            return f"cannot be parsed: {row}"
        if len(row) != len(self.names):
            return f"has {len(row)} columns instead of {len(self.names)}"
        return ""


def _first_line(file: TextIO) -> str:
    """The header: the first line that is not blank."""
    return next((line for line in file if line.strip()), "").strip("\r\n")


def _cells(record: str, delimiter: str) -> list[str] | str:
    """Cells of one record, or what is wrong with it."""
    try:
        rows = list(csv.reader([record], delimiter=delimiter, strict=True))
    except csv.Error as error:
        return str(error)
    return rows[0] if len(rows) == 1 else "several rows"


def _closed(lines: list[str], first: int) -> int | None:
    """Index after the line in which the record that starts at `first` ends; None where its quotes never pair."""
    is_open = False
    for end in range(first, min(first + MAX_RECORD_LINES, len(lines))):
        is_open ^= lines[end].count('"') % 2 == 1
        if not is_open:
            return end + 1
    return None


# --- Parquet ----------------------------------------------------------------------------------------------------------


class ParquetTable:
    """A Parquet file. The text of a row, for the reject file, has the columns that were read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._types: dict[str, str] = {}
        with self._reading() as connection:
            for name, kind, *_ in connection.execute("DESCRIBE FROM read_parquet(?)", [str(path)]).fetchall():
                self._types[name] = kind
            counted = connection.execute("SELECT count(*) FROM read_parquet(?)", [str(path)]).fetchone()
        self.names = tuple(self._types)
        self.rows: int | None = counted[0]

    @contextmanager
    def _reading(self) -> Iterator[Any]:
        with connected() as connection:
            try:
                yield connection
            except duckdb_error() as error:
                why = str(error).splitlines()[0]
                raise FileProblem(f"{self.path}: cannot be read: {why}", hint="Is it complete?") from error

    def chunks(self, mapped: dict[str, str], size: int) -> Iterator[Chunk]:
        """The rows, `size` at a time."""
        select = ", ".join(self._expression(ours, name) for ours, name in mapped.items())
        done = 0
        with self._reading() as connection:
            # Without a column to read, the rows still count.
            result = connection.execute(f"SELECT {select or 'NULL'} FROM read_parquet(?)", [str(self.path)])
            while rows := result.fetchmany(size):
                columns = [list(column) for column in zip(*rows, strict=True)]
                numbers = list(range(done + 1, done + len(rows) + 1))
                yield Chunk(numbers, dict(zip(mapped, columns, strict=False)), _Lines(rows), [])
                done += len(rows)

    def _expression(self, ours: str, name: str) -> str:
        """SQL for a column: a number as such where each row has its own, else text; blank and NaN are NULL."""
        column, kind = quoted(name), self._types[name]
        if kind.endswith("[]"):
            return f"array_to_string({column}, ';')"
        if kind in _FLOAT_TYPES:
            column = f"nullif({column}, 'nan'::DOUBLE)"
        if ours in NUMERIC_FIELDS and kind.removeprefix("U").split("(")[0] in _NUMERIC_TYPES:
            return f"CAST({column} AS DOUBLE)"
        return f"nullif(CAST({column} AS VARCHAR), '')"


class _Lines(Sequence[str]):
    """Rows as lines of CSV, made when they are asked for."""

    def __init__(self, rows: Sequence[Sequence[Any]]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return as_line(self._rows[index])
