"""Tables as they lie on disk: CSV, plain or compressed, and Parquet, read in chunks.

A record that cannot be parsed is reported in place, so that every record of a file is accounted for.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TextIO

from inferprint.errors import FileProblem
from inferprint.estimate.request import TIME_FIELDS, TOKEN_FIELDS
from inferprint.usage.engine import connected, duckdb_error, quoted
from inferprint.usage.opening import PARQUET, Opened, damage, head_of, opened, reading

MAX_RECORD_LINES = 20_000
"""A quoted field that runs over more lines than this was never closed."""

MAX_FIELD, MAX_CHUNK = 64 * 1024 * 1024, 64 * 1024 * 1024
"""Characters of a field, and about those of the lines that are in memory at a time: exports hold whole prompts."""

DELIMITERS = ",;\t|"
CUT_SHORT = "the file is damaged from here on, and what follows is lost"
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
    """One file: its columns, its number of rows where it says so, and its rows.

    `position` is the number of its bytes that were read, where its number of rows is not known.
    """

    path: Path
    names: tuple[str, ...]
    rows: int | None
    position: int

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
    head = head_of(path)
    if head.startswith(PARQUET):
        return ParquetTable(path)
    return CsvTable(path)


def as_line(cells: Sequence[Any]) -> str:
    """Cells as one line of CSV."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(cells)
    return buffer.getvalue()


# --- CSV --------------------------------------------------------------------------------------------------------------


class CsvTable:
    """A CSV file with a header line, in UTF-8, plain or compressed."""

    rows: int | None = None
    position = 0

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with reading(path), self._open() as (file, _):
                header = _first_line(file)
        except damage() as error:
            raise FileProblem(f"{path}: cannot be read: {error}", hint="Is it complete?") from error
        if not _is_utf8(header):
            raise FileProblem(f"{path}: the header line is not UTF-8", hint="Save the file as UTF-8.")
        self._delimiter = max(DELIMITERS, key=header.count)
        names = _cells(header, self._delimiter)
        if isinstance(names, str):
            raise FileProblem(f"{path}: the header line cannot be parsed: {names}", hint=f"It reads: {header[:200]}")
        self.names = tuple(name.strip() for name in names)
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise FileProblem(f"{path}: columns named alike: {', '.join(twice)}", hint="Rename all but one.")

    @contextmanager
    def _open(self) -> Iterator[tuple[TextIO, Opened]]:
        with opened(self.path) as file:
            # Bytes that are no UTF-8 become surrogates, which mark the row that they are in.
            yield io.TextIOWrapper(file.stream, encoding="utf-8-sig", errors="surrogateescape", newline=""), file

    def chunks(self, mapped: dict[str, str], size: int) -> Iterator[Chunk]:
        """The rows, about `size` at a time."""
        done = 0
        with self._open() as (file, bytes_read):
            with reading(self.path):
                _first_line(file)
            carried: list[str] = []
            damaged, at_end = "", False
            while not at_end:
                fresh: list[str] = []
                try:
                    at_end = _more_lines(file, fresh, size)
                except damage() as error:
                    damaged, at_end = str(error), True
                records, carried = self._joined(carried + fresh, at_end=at_end)
                if records:
                    self.position = bytes_read.position
                    yield self._parsed(records, done, mapped)
                    done += len(records)
            if damaged:
                yield Chunk([], {name: [] for name in mapped}, [], [Broken(done + 1, f"{CUT_SHORT}: {damaged}", "")])

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
            with _large_fields():
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
        if not _is_utf8(record):
            return "is not UTF-8"
        if isinstance(row, str):
            return f"cannot be parsed: {row}"
        if len(row) != len(self.names):
            return f"has {len(row)} columns instead of {len(self.names)}"
        return ""


def _more_lines(file: TextIO, lines: list[str], size: int) -> bool:
    """Add so many lines at most, fewer where they are long; whether they were the last ones."""
    letters = 0
    while len(lines) < size and letters < MAX_CHUNK:
        asked, before = min(1000, size - len(lines)), len(lines)
        lines.extend(islice(file, asked))
        if len(lines) - before < asked:
            return True
        letters += sum(map(len, lines[before:]))
    return False


def _is_utf8(text: str) -> bool:
    """Whether no letter stands for a byte that is no UTF-8."""
    return text.isascii() or not any("\udc80" <= letter <= "\udcff" for letter in text)


@contextmanager
def _large_fields() -> Iterator[None]:
    """Fields as long as a line may be; the limit is one for the whole process, and others count on it."""
    before = csv.field_size_limit(MAX_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _first_line(file: TextIO) -> str:
    """The header: the first line that is not blank."""
    return next((line for line in file if line.strip()), "").strip("\r\n")


def _cells(record: str, delimiter: str) -> list[str] | str:
    """Cells of one record, or what is wrong with it."""
    try:
        with _large_fields():
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

    position = 0

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
        select = ", ".join(self.cell(ours, name) for ours, name in mapped.items())
        done = 0
        with self._reading() as connection:
            # Without a column to read, the rows still count.
            result = connection.execute(f"SELECT {select or 'NULL'} FROM read_parquet(?)", [str(self.path)])
            while rows := result.fetchmany(size):
                columns = [list(column) for column in zip(*rows, strict=True)]
                numbers = list(range(done + 1, done + len(rows) + 1))
                yield Chunk(numbers, dict(zip(mapped, columns, strict=False)), _Lines(rows), [])
                done += len(rows)

    def cell(self, ours: str, name: str) -> str:
        """SQL for a column: a number as such where each row has its own, else text; blank and NaN are NULL."""
        column, kind = quoted(name), self._types[name]
        if kind.endswith("[]"):
            return f"array_to_string({column}, ';')"
        if kind in _FLOAT_TYPES:
            column = f"nullif({column}, 'nan'::DOUBLE)"
        if self.is_number(ours, name):
            return f"CAST({column} AS DOUBLE)"
        return f"nullif(CAST({column} AS VARCHAR), '')"

    def is_text(self, name: str) -> bool:
        """Whether the column holds text."""
        return self._types[name] == "VARCHAR"

    def is_number(self, ours: str, name: str) -> bool:
        """Whether the column holds numbers, and the field is one of which each row has its own."""
        return ours in NUMERIC_FIELDS and self._types[name].removeprefix("U").split("(")[0] in _NUMERIC_TYPES


class _Lines(Sequence[str]):
    """Rows as lines of CSV, made when they are asked for."""

    def __init__(self, rows: Sequence[Sequence[Any]]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return as_line(self._rows[index])
