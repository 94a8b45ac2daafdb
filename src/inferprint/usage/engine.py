"""DuckDB, loaded when it is needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from inferprint.errors import FileProblem


def _duckdb() -> Any:
    try:
        import duckdb
    except ImportError as error:
        raise FileProblem("tables need DuckDB, which is not installed", hint="pip install 'inferprint[run]'") from error
    return duckdb


def check_installed() -> None:
    """Raise `FileProblem` where DuckDB is not installed."""
    _duckdb()


MEMORY_LIMIT_BYTES = 2 * 1024**3
"""Memory of the engine; what needs more goes to disk."""


@contextmanager
def connected(threads: int = 1, spill: Path | None = None) -> Iterator[Any]:
    """A connection to an engine of one's own, in memory.

    Parameters
    ----------
    threads
        Each further one keeps row groups of its own in memory.
    spill
        Where what does not fit into memory goes; nowhere by default.
    """
    connection = _duckdb().connect(":memory:")
    try:
        connection.execute("SET enable_progress_bar = false")
        connection.execute(f"SET threads = {threads}")
        connection.execute("SET TimeZone = 'UTC'")
        # Joins as they are written, with the small side on the right.
        connection.execute("SET disabled_optimizers = 'join_order,build_side_probe_side'")
        connection.execute(f"SET memory_limit = '{MEMORY_LIMIT_BYTES}B'")
        connection.execute(f"SET temp_directory = {literal('' if spill is None else str(spill))}")
        yield connection
    finally:
        connection.close()


def duckdb_error() -> type[Exception]:
    """The base of what DuckDB raises."""
    error: type[Exception] = _duckdb().Error
    return error


def write_errors() -> tuple[type[Exception], ...]:
    """What the system and DuckDB raise where there is no room."""
    duckdb = _duckdb()
    return OSError, duckdb.IOException, duckdb.OutOfMemoryException


def duckdb_read_error() -> type[Exception]:
    """What DuckDB raises where a file turns out to be damaged."""
    error: type[Exception] = _duckdb().InvalidInputException
    return error


def quoted(name: str) -> str:
    """A name as SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as SQL literal."""
    return "'" + text.replace("'", "''") + "'"
