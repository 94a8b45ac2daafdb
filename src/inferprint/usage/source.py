"""Files of usage records of any kind, record by record."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from inferprint.errors import FileProblem
from inferprint.usage.base import Kind, Raw, Rejected, Sample
from inferprint.usage.opening import PARQUET, damage, head_of, opened, reading
from inferprint.usage.tables import CUT_SHORT, CsvTable, ParquetTable
from inferprint.usage.wording import field_and_reason

MAX_LINE_BYTES = 64 * 1024 * 1024
"""A line longer than this is rejected unread."""

MAX_DOCUMENT_BYTES = 2 * 1024**3
"""A JSON document is read as a whole; a longer one is refused."""

SAMPLED = 20
TABLE_ROWS = 10_000
SAMPLE_TEXT = 65_536


class Part(NamedTuple):
    """Lines of a file: where they begin and end [bytes], None for its end, and how many are before them."""

    start: int
    end: int | None
    lines_before: int


class OpenSource:
    """A file whose records are read in order.

    Attributes
    ----------
    skip
        Rows up to this one were read before: they are passed over.
    part
        The part of a plain file of lines to read; None for all of it.
    rejects
        Records that could not be decoded, for the caller to take away.
    position, size
        Bytes on disk that were read so far, and in all.
    """

    def __init__(self, path: Path, kind: Kind) -> None:
        self.path, self.kind = path, kind
        self.skip = 0
        self.part: Part | None = None
        self.rejects: list[Rejected] = []
        self.position, self.size = 0, path.stat().st_size

    def decoded(self, schema: type[Raw]) -> Iterator[tuple[int, Raw]]:
        """Each record's row and content; see `inferprint.usage.base.Source`."""
        if self.kind == "json-lines":
            return self._json_lines(schema)
        if self.kind == "json":
            return self._document(schema)
        return self._table(schema)

    def lines(self) -> Iterator[tuple[int, str]]:
        """Each line of text with its number, from 1."""
        for number, line in self._byte_lines():
            yield number, line.decode("utf-8", errors="replace").rstrip("\r\n")

    def _byte_lines(self) -> Iterator[tuple[int, bytes]]:
        """Lines as bytes; one that is too long, or where the file is damaged, is rejected."""
        number, part = 0, self.part or Part(0, None, 0)
        with opened(self.path) as file:
            if part.start:
                file.stream.seek(part.start)
                self.position = part.start
            try:
                for number in itertools.count(part.lines_before + 1):
                    line = file.stream.readline(MAX_LINE_BYTES)
                    if not line or (part.end is not None and self.position >= part.end):
                        break
                    self.position = file.position
                    if len(line) < MAX_LINE_BYTES or line.endswith(b"\n"):
                        if number > self.skip:
                            yield number, line
                        continue
                    _pass_over(file.stream)
                    self.position = file.position
                    if number > self.skip:
                        limit = MAX_LINE_BYTES // 2**20
                        self.rejects.append(Rejected(number, "", f"the line is longer than {limit} MiB"))
            except damage() as error:
                self.rejects.append(Rejected(number, "", f"{CUT_SHORT}: {error}"))

    def _json_lines(self, schema: type[Raw]) -> Iterator[tuple[int, Raw]]:
        decode = msgspec.json.Decoder(schema, strict=False).decode
        for number, line in self._byte_lines():
            try:
                record = decode(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)
            except msgspec.ValidationError as error:
                self._reject(number, error)
            except _NOT_JSON as error:
                if line.strip():
                    self.rejects.append(Rejected(number, "", f"is not JSON: {_why(error)}"))
            else:
                yield number, record

    def _reject(self, row: int, error: msgspec.ValidationError) -> None:
        """Reject a record whose content is not of the schema; the field stands at the end of the message."""
        self.rejects.append(Rejected(row, *field_and_reason(error)))

    def _document(self, schema: type[Raw]) -> Iterator[tuple[int, Raw]]:
        """Elements of a list, or a document as one record."""
        try:
            with opened(self.path) as file:
                text = file.stream.read(MAX_DOCUMENT_BYTES + 1).removeprefix(b"\xef\xbb\xbf")
        except damage() as error:
            self.rejects.append(Rejected(1, "", f"{CUT_SHORT}: {error}"))
            return
        self.position = self.size
        if len(text) > MAX_DOCUMENT_BYTES:
            raise FileProblem(f"{self.path}: one JSON document of over 2 GiB", hint="Save it as JSON lines.")
        try:
            is_list = text.lstrip()[:1] == b"["
            records = msgspec.json.decode(text, type=list[msgspec.Raw]) if is_list else [text]
        except _NOT_JSON as error:
            self.rejects.append(Rejected(1, "", f"the document is not JSON: {_why(error)}"))
            return
        decode = msgspec.json.Decoder(schema, strict=False).decode
        for row, record in enumerate(records, 1):
            if row <= self.skip:
                continue
            try:
                yield row, decode(record)
            except msgspec.ValidationError as error:
                self._reject(row, error)
            except _NOT_JSON as error:
                self.rejects.append(Rejected(row, "", f"is not JSON: {_why(error)}"))

    def _table(self, schema: type[Raw]) -> Iterator[tuple[int, Raw]]:
        """Rows of a table as mappings without blank cells, then as the schema."""
        table = ParquetTable(self.path) if self.kind == "parquet" else CsvTable(self.path)
        for chunk in table.chunks({name: name for name in table.names}, TABLE_ROWS):
            read = chunk.rows[-1] if chunk.rows else 0
            self.position = table.position or self.size * read // max(table.rows or 1, 1)
            # Broken rows are rejected when their turn comes, so that reading can be taken up again anywhere.
            broken = [Rejected(b.row, "", b.reason) for b in chunk.broken if b.row > self.skip][::-1]
            names = list(chunk.columns)
            for row, *cells in zip(chunk.rows, *chunk.columns.values(), strict=True):
                if row <= self.skip:
                    continue
                while broken and broken[-1].row < row:
                    self.rejects.append(broken.pop())
                given = {name: cell for name, cell in zip(names, cells, strict=True) if cell is not None}
                try:
                    yield row, msgspec.convert(given, schema, strict=False)
                except msgspec.ValidationError as error:
                    self._reject(row, error)
            self.rejects += broken[::-1]

    def can_be_parted(self, size: int) -> bool:
        """Whether the file holds several parts of this size that can be read apart: plain JSON lines."""
        with opened(self.path) as file:
            return self.kind == "json-lines" and not file.is_compressed and self.size >= 2 * size

    def parts(self, size: int) -> Iterator[Part]:
        """A plain file of lines as parts of about `size` bytes; each is known once the lines before it are counted."""
        start, lines = 0, 0
        with opened(self.path) as file:
            while block := file.stream.read(size):
                rest = file.stream.readline()
                yield Part(start, file.position, lines)
                start = file.position
                lines += block.count(b"\n") + rest.count(b"\n")


_NOT_JSON = (msgspec.DecodeError, RecursionError)
"""What text raises that is no JSON, or JSON that no log holds."""


def _why(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def _pass_over(stream: IO[bytes]) -> None:
    """Read to the end of a line that is too long."""
    while part := stream.readline(MAX_LINE_BYTES):
        if part.endswith(b"\n"):
            return


def open_source(path: Path) -> OpenSource:
    """The file as a source of records, of the kind that its first bytes show.

    Raises
    ------
    FileProblem
        Nothing is there, or nothing that can be read.
    """
    return OpenSource(path, _kind_of(path, head_of(path)))


def _kind_of(path: Path, head: bytes) -> Kind:
    if head.startswith(PARQUET):
        return "parquet"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith((b"{", b"[")):
        return "json-lines" if _is_lines(path) else "json"
    if any(_SERIES.match(line) for line in text.split(b"\n", 5)):
        return "prometheus"
    # A log may be cut off at its beginning, within a line.
    return "json-lines" if b"\n{" in text and _is_lines(path) else "csv"


_SERIES = re.compile(rb"# (HELP|TYPE) |[a-zA-Z_:][a-zA-Z0-9_:]*\{[^}]*\} [-+0-9.eEInfNa]+\s*(\d+\s*)?$")
"""A line of Prometheus metrics: a comment, or a series with labels and its value."""


def _is_lines(path: Path) -> bool:
    """Whether lines are objects by themselves: the first one, or half of them at least where that one is damaged.

    Of a document that holds a list, one line to an element, the last element alone is an object by itself.
    """
    lines = objects = 0
    with reading(path), opened(path) as file:
        for _ in range(SAMPLED):
            try:
                line = file.stream.readline(MAX_LINE_BYTES).removeprefix(b"\xef\xbb\xbf").strip()
            except damage():
                break
            if not line:
                continue
            lines, objects = lines + 1, objects + _is_object(line)
            if lines == 1 and (objects or line in (b"[", b"{")):
                return bool(objects)
    return 0 < lines <= 2 * objects


def _is_object(line: bytes) -> bool:
    try:
        msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    except _NOT_JSON:
        return False
    return True


def sample_of(source: OpenSource) -> Sample:
    """The beginning of a source."""
    text = "" if source.kind == "parquet" else head_of(source.path)[:SAMPLE_TEXT].decode("utf-8", errors="replace")
    looked = OpenSource(source.path, source.kind)
    if source.kind == "prometheus":
        return Sample(source.path, source.kind, frozenset(), (), text)
    objects = tuple(record for _, record in itertools.islice(looked.decoded(Any), SAMPLED))
    names = {name for record in objects if isinstance(record, dict) for name in record}
    if source.kind in ("csv", "parquet"):
        table = ParquetTable(source.path) if source.kind == "parquet" else CsvTable(source.path)
        names = set(table.names)
    return Sample(source.path, source.kind, frozenset(names), objects, text)
