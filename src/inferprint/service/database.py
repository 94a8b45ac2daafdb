"""The database of a server: SQLite in a file, or PostgreSQL; transactions that end in a commit or in an error."""

from __future__ import annotations

import getpass
import logging
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DBAPIError,
    InterfaceError,
    InternalError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from inferprint.errors import FileProblem, InvalidInput
from inferprint.service.migrations import HEAD, VERSION_TABLE
from inferprint.service.problems import Away

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect, ExceptionContext

LOG = logging.getLogger("inferprint.service")

CONNECT_S = 5.0
"""Seconds to wait for a connection to a server, or for one of the pool."""

BUSY_S = 10.0
"""Seconds to wait for another one's lock."""

STATEMENT_S, ANSWER_S = 110.0, 120.0
"""Seconds after which PostgreSQL ends a statement by itself, and after which a silent server is given up."""

POOL_SIZE, POOL_OVERFLOW = 5, 15
"""Connections that are kept, and those beside them while there is much to do."""

_WRITES = "inferprint_writes"
_MIGRATION_LOCK = 0x496E6665727072
"""Key of the advisory lock under which one server at a time brings the tables up to date."""

_AWAY_STATES = ("08", "25006", "28", "3D", "40", "53", "55P03", "57", "58", "XX")
"""SQLSTATEs, and classes of them, of a server that is away, full, stopping, or held by others."""

_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_PARAMETERS = ("application_name", "sslmode", "unix_sock")
_LIKE_THIS = "Use sqlite:///file.db or postgresql://user:password@host/name."
_ENCODE = (
    "In a user or password, percent-encode @ : / as %40 %3A %2F, and % as %25. A port is a number. "
    "For example postgresql://user:p%40ss@host:5432/name."
)


class Database:
    """Connections to one database.

    Parameters
    ----------
    url
        "sqlite:///file.db", or "postgresql://user:password@host/name" with the parameters sslmode (as in libpq),
        unix_sock and application_name.

    Raises
    ------
    InvalidInput
        A URL that is none, or of another database.
    """

    def __init__(self, url: str) -> None:
        parsed = _parsed(url)
        self.dialect = parsed.get_backend_name()
        self._name = parsed.database or parsed.username or ""
        self._shown = parsed.set(drivername=self.dialect).render_as_string(hide_password=True)
        self._engine = _sqlite(parsed) if self.dialect == "sqlite" else _postgresql(parsed)

    @contextmanager
    def begin(self, *, write: bool = True) -> Iterator[Connection]:
        """One transaction: committed at the end, rolled back where anything is raised.

        Parameters
        ----------
        write
            Whether it may write. Else all of its statements see one moment, and it waits for nobody who writes.

        Raises
        ------
        Away
            The database cannot be reached or written, or failed in the middle. Where that was during the commit, nobody
            knows what became of it: what is sent again must be idempotent.
        """
        try:
            with self._engine.connect() as opened:
                connection = opened.execution_options(**{_WRITES: write})
                with connection.begin():
                    yield connection
        except (SQLAlchemyError, OSError) as error:
            if not _is_away(error):
                raise
            LOG.warning("database: %s", _told(error))
            raise Away(
                "the database cannot be reached or written now",
                reason="Send the same again later: what was stored already is not counted twice.",
            ) from error

    def migrate(self) -> None:
        """Make the tables, or bring those of an older release up to date; safe where several servers start at once.

        Raises
        ------
        FileProblem
            A database that cannot be reached or written, or that a newer release made.
        """
        try:
            with self.begin(write=False) as connection:
                if _version(connection) == HEAD:
                    return
            with self.begin() as connection:
                if self.dialect == "postgresql":
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
                _upgrade(connection, self._shown)
        except Away as away:
            told = _told(away.__cause__) if away.__cause__ is not None else away.message
            raise FileProblem(f"the database {self._shown} cannot be opened: {told}", hint=self._hint(away)) from away

    def _hint(self, away: Away) -> str:
        """What to do about a database that cannot be opened."""
        if self.dialect == "sqlite":
            return "Check --database, and that its folder exists and can be written."
        state = _state(getattr(away.__cause__, "orig", None))
        if state.startswith("28"):
            return f"Check the user and the password in --database. {_ENCODE}"
        if state == "3D000":
            return f"Make it with createdb {self._name}, or name another one in --database."
        return "Check host and port in --database, and that its server runs."

    def close(self) -> None:
        """Give the connections up."""
        self._engine.dispose()


def utc(moment: datetime) -> datetime:
    """A moment that the database gave, in UTC: SQLite keeps no offset, and all are written in UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


# --- engines ----------------------------------------------------------------------------------------------------------


def _parsed(url: str) -> URL:
    """The URL with the driver that is installed."""
    try:
        parsed = make_url(url.replace("postgres://", "postgresql://", 1) if url.startswith("postgres://") else url)
    except ArgumentError as error:
        raise InvalidInput("database", "is not a database URL", hint=_LIKE_THIS) from error
    except ValueError as error:  # of the port; it may be a part of the password, and is not repeated
        raise InvalidInput("database", "is not a database URL: its port is no number", hint=_ENCODE) from error
    if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        _check_sqlite(parsed)
        return parsed
    if parsed.drivername in ("postgresql", "postgresql+pg8000"):
        _check_postgresql(parsed)
        return parsed.set(drivername="postgresql+pg8000")
    raise InvalidInput("database", f"'{parsed.drivername}' is not supported", hint=_LIKE_THIS)


def _check_sqlite(url: URL) -> None:
    if url.host:
        path = "/".join(part for part in (url.host, url.database) if part)
        message = f"after two slashes, '{url.host}' is a host, and SQLite has none"
        raise InvalidInput("database", message, hint=f"Three slashes: sqlite:///{path}")
    if url.database in (None, "", ":memory:") or str(url.database).startswith("file:"):
        message = "a database in memory forgets what was acknowledged"
        raise InvalidInput("database", message, hint="Name a file: sqlite:///inferprint.db.")
    if url.query:
        message = f"unknown parameter '{next(iter(url.query))}'"
        raise InvalidInput("database", message, hint="A file of SQLite has none: sqlite:///file.db.")


def _check_postgresql(url: URL) -> None:
    if "@" in f"{url.host}{url.database}" or not 0 < (url.port or 1) < 65536:
        raise InvalidInput("database", "is not a database URL: its host or port cannot be", hint=_ENCODE)
    for name in url.query:
        if name not in _PARAMETERS:
            raise InvalidInput("database", f"unknown parameter '{name}'", hint=f"One of {', '.join(_PARAMETERS)}.")


def _sqlite(url: URL) -> Engine:
    """An engine that syncs every commit to disk, and whose readers and writer do not wait for each other."""
    engine = sqlalchemy.create_engine(
        url,
        hide_parameters=True,
        pool_size=POOL_SIZE,
        max_overflow=POOL_OVERFLOW,
        pool_timeout=CONNECT_S,
        connect_args={"timeout": BUSY_S, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: DBAPIConnection, _record: Any) -> None:
        # The driver would begin transactions late and by its own rules; they begin in `start`.
        connection.isolation_level = None
        cursor = connection.cursor()
        for setting in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            cursor.execute(f"PRAGMA {setting}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        # A transaction that reads first and writes later would fail where another one wrote in between.
        writes = connection.get_execution_options().get(_WRITES, True)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql(url: URL) -> Engine:
    """An engine that notices a server that went, and takes up with it again."""
    mode = str(url.query.get("sslmode", "prefer"))
    if mode not in _SSL_MODES:
        raise InvalidInput("database", f"sslmode '{mode}' is unknown", hint=f"One of {', '.join(_SSL_MODES)}.")
    engine = sqlalchemy.create_engine(
        url.difference_update_query(["sslmode"]).update_query_dict({"application_name": "inferprint"}),
        hide_parameters=True,
        pool_size=POOL_SIZE,
        max_overflow=POOL_OVERFLOW,
        pool_timeout=CONNECT_S,
        pool_pre_ping=True,
        client_encoding="utf8",
        connect_args={"ssl_context": False if "unix_sock" in url.query else _ssl_context(mode)},
    )

    event.listen(engine, "do_connect", _opened)

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection._usock.settimeout(ANSWER_S)  # the driver has one time for connecting and for answers
        cursor = connection.cursor()
        for setting, milliseconds in (
            ("statement_timeout", STATEMENT_S * 1000),
            ("idle_in_transaction_session_timeout", STATEMENT_S * 1000),
            ("lock_timeout", BUSY_S * 1000),
        ):
            cursor.execute(f"SET {setting} = {milliseconds:.0f}")
        cursor.execute("SET TIME ZONE 'UTC'")
        cursor.close()
        connection.commit()

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        if not connection.get_execution_options().get(_WRITES, True):
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")

    @event.listens_for(engine, "handle_error")
    def mark(context: ExceptionContext) -> None:
        # The dialect knows some of the ways in which a server goes; a connection that is half read is none any more.
        error = context.original_exception
        if isinstance(error, OSError) or _state(error).startswith(("08", "57P")):
            context.is_disconnect = True

    return engine


def _opened(_dialect: Dialect, _record: Any, _arguments: Any, named: dict[str, Any]) -> Any:
    """A connection. The driver's own socket would stay open where a server that is starting turns it away."""
    from pg8000.legacy import Connection as Opened  # type: ignore[import-untyped]

    host = named.setdefault("host", "localhost")
    named.setdefault("user", getpass.getuser())
    named.setdefault("password", "")  # without one the driver breaks, where the server would say what is missing
    opened = _socket(named.pop("unix_sock", None), host, named.get("port") or 5432)
    try:
        return Opened(sock=opened, **named)
    except BaseException as error:
        if (number := opened.detach()) >= 0:
            os.close(number)
        if (refusal := _refusal(error)) is not None:
            raise refusal from None
        raise


def _socket(path: str | None, host: str, port: int) -> socket.socket:
    """A socket to a server, by a path on this machine or by its address."""
    if path is None:
        return socket.create_connection((host, port), CONNECT_S)
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    opened.settimeout(CONNECT_S)
    try:
        opened.connect(path)
    except OSError:
        opened.close()
        raise
    return opened


def _ssl_context(mode: str) -> ssl.SSLContext | bool | None:
    """What libpq's modes say, for the driver: False for plain, None for encrypted where the server can."""
    if mode in ("disable", "allow"):
        return False
    if mode == "prefer":
        return None
    context = ssl.create_default_context()
    context.check_hostname = mode == "verify-full"
    if mode == "require":
        context.verify_mode = ssl.CERT_NONE
    return context


# --- errors -----------------------------------------------------------------------------------------------------------


def _state(error: BaseException | None) -> str:
    """SQLSTATE of an error of pg8000; empty where there is none."""
    told = error.args[0] if error is not None and error.args else None
    return str(told.get("C", "")) if isinstance(told, dict) else ""


def _refusal(error: BaseException | None) -> BaseException | None:
    """What the server said when it refused a connection; the driver's farewell may fail after it, and hide it."""
    while error is not None and not _state(error):
        error = error.__context__
    return error


def _is_away(error: Exception) -> bool:
    """Whether the database is at fault, and not what was asked of it."""
    if isinstance(error, (OSError, NoConnectionFree)):
        return True
    if not isinstance(error, DBAPIError):
        return False
    if state := _state(error.orig):
        return state.startswith(_AWAY_STATES)
    kinds = (OperationalError, InterfaceError, InternalError)
    # SQLite says of a damaged file that it is a DatabaseError, of no further kind.
    return error.connection_invalidated or isinstance(error, kinds) or type(error) is DatabaseError


def _told(error: BaseException) -> str:
    """What a driver says of a fault, without the statement and the values that SQLAlchemy adds."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    told = error.args[0] if error.args else ""
    if isinstance(error, OSError):
        told = error.strerror or str(error)
    if isinstance(told, dict):
        told = f"{told.get('M', '')} ({told.get('C', '')})"
    return f"{type(error).__name__}: {str(told).splitlines()[0] if str(told) else ''}"


# --- migrations -------------------------------------------------------------------------------------------------------


def _version(connection: Connection) -> str | None:
    """The revision of the tables; None where there are none."""
    if not sqlalchemy.inspect(connection).has_table(VERSION_TABLE):
        return None
    found: str | None = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    return found


def _upgrade(connection: Connection, shown: str) -> None:
    """Bring the tables up to date within the transaction of the connection."""
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    if connection.dialect.name == "postgresql":
        encoding = connection.execute(text("SHOW server_encoding")).scalar()
        if encoding != "UTF8":
            hint = "Make one with CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0."
            raise FileProblem(f"the database {shown} holds text in {encoding}, not in UTF8", hint=hint)
    config = Config()
    config.set_main_option("script_location", "inferprint.service:migrations")
    config.attributes["connection"] = connection
    found = _version(connection)
    known = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    if found is not None and found not in known:
        raise FileProblem(
            f"the database {shown} is of a newer release: its tables are at revision {found}, known here is {HEAD}",
            hint="Start that release or a newer one, or name another database.",
        )
    if found != HEAD:
        command.upgrade(config, "head")
