"""DuckDB, loaded when it is needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def connected() -> Iterator[Any]:
    """A connection to an engine of one's own, in memory."""
    connection = _duckdb().connect(":memory:")
    try:
        connection.execute("SET enable_progress_bar = false")
        # One thread: every further one keeps row groups of its own in memory.
        connection.execute("SET threads = 1")
        yield connection
    finally:
        connection.close()


def duckdb_error() -> type[Exception]:
    """The base of what DuckDB raises."""
    error: type[Exception] = _duckdb().Error
    return error


def quoted(name: str) -> str:
    """A name as SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as SQL literal."""
    return "'" + text.replace("'", "''") + "'"
