"""Usage as one Parquet file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec
from sqlalchemy import Connection, DateTime, Float, select
from sqlalchemy.sql.elements import ColumnElement

from inferprint.service.caller import Caller
from inferprint.service.database import utc
from inferprint.service.problems import Away
from inferprint.service.tables import FEATURES, USAGE
from inferprint.service.usage_queries import filtered, owner_of
from inferprint.usage.engine import connected, literal, write_errors

if TYPE_CHECKING:
    from inferprint.service.ledger import Ledger

INTERNAL = frozenset(("id", "owner_id", "digest", "setup_id", *FEATURES))
"""Columns of the table that mean nothing outside."""

COLUMNS = tuple(column.name for column in USAGE.columns if column.name not in INTERNAL)

FETCHED_ROWS = 5_000
"""Rows in memory at a time."""

PART_ROWS = 100_000
"""Rows that lie on disk as text at a time."""

BLOCK_BYTES = 256 * 1024

_MOMENTS = tuple(name for name in COLUMNS if isinstance(USAGE.c[name].type, DateTime))


def exported(ledger: Ledger, caller: Caller, question: Mapping[str, str]) -> IO[bytes]:
    """Rows of usage in the order in which they came, as a Parquet file that vanishes when it is closed.

    Columns are those of the ledger; moments are in UTC, and `request`, `error` and `versions` are JSON as text.

    Parameters
    ----------
    question
        Which rows; see `inferprint.service.usage_queries.filters`.

    Raises
    ------
    Away
        The database cannot be read, or there is no room for the file.
    """
    with tempfile.TemporaryDirectory(prefix="inferprint-export-") as name:
        folder = Path(name)
        try:
            with ledger.database.begin(write=False) as connection:
                conditions = filtered(owner_of(connection, caller, question.get("owner")), question)
                whole = _written(_pages(connection, conditions), folder)
            # The file has no name any more once the folder is gone, so that nothing stays whoever hangs up.
            return whole.open("rb")
        except write_errors() as error:
            raise Away("there is no room for the export now", reason="Ask for fewer days at a time.") from error


def blocks(file: IO[bytes]) -> Iterator[bytes]:
    """A file block by block; it is closed at the end."""
    with file:
        while block := file.read(BLOCK_BYTES):
            yield block


def _pages(connection: Connection, conditions: list[ColumnElement[bool]]) -> Iterator[list[dict[str, Any]]]:
    """Rows page by page, all of one moment."""
    last = -1
    statement = select(USAGE.c.id, *(USAGE.c[name] for name in COLUMNS)).where(*conditions).order_by(USAGE.c.id)
    while True:
        found = connection.execute(statement.where(USAGE.c.id > last).limit(FETCHED_ROWS)).mappings().all()
        if not found:
            return
        last = found[-1]["id"]
        yield [_plain(row) for row in found]


def _plain(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row as JSON holds it."""
    moments = {name: utc(row[name]) for name in _MOMENTS if row[name] is not None}
    return {**{name: row[name] for name in COLUMNS}, **moments}


def _written(pages: Iterator[list[dict[str, Any]]], folder: Path) -> Path:
    """The Parquet file of pages of rows: in parts first, so that little lies on disk as text."""
    whole, text = folder / "usage.parquet", folder / "rows.json"
    encoder = msgspec.json.Encoder()
    parts: list[Path] = []
    with connected(spill=folder / "spill") as engine:

        def close() -> None:
            parts.append(folder / f"part-{len(parts):06d}.parquet")
            engine.execute(f"COPY ({_read(text)}) TO {literal(str(parts[-1]))} (FORMAT parquet, COMPRESSION zstd)")

        rows, file = 0, text.open("wb")
        with file:
            for page in pages:
                file.write(encoder.encode_lines(page))
                rows += len(page)
                if rows >= PART_ROWS:
                    file.flush()
                    close()
                    rows = 0
                    file.seek(0)
                    file.truncate()
        if rows or not parts:
            close()
        if len(parts) == 1:
            return parts[0]
        listed = ", ".join(literal(str(part)) for part in parts)
        engine.execute(
            f"COPY (FROM read_parquet([{listed}])) TO {literal(str(whole))} (FORMAT parquet, COMPRESSION zstd)"
        )
    return whole


def _read(text: Path) -> str:
    """The statement that reads rows as they were written."""
    kinds = {name: "TIMESTAMPTZ" if name in _MOMENTS else _kind(name) for name in COLUMNS}
    columns = ", ".join(f"{name}: {literal(kind)}" for name, kind in kinds.items())
    return f"FROM read_json({literal(str(text))}, format = 'newline_delimited', columns = {{{columns}}})"


def _kind(name: str) -> str:
    return "DOUBLE" if isinstance(USAGE.c[name].type, Float) else "VARCHAR"
