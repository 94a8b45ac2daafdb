"""`inferprint serve` and `inferprint keys`: the HTTP service, and who may use it."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inferprint.cli.options import CATALOG, JSON
from inferprint.errors import FileProblem, InferprintError, InvalidInput
from inferprint.service.settings import MIB, Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from inferprint.service.keys import KeyInfo, Keys

DEFAULTS = Settings()
NEEDED = (
    "alembic",
    "fastapi",
    "httptools",
    "msgspec",
    "pg8000",
    "prometheus_client",
    "sqlalchemy",
    "uvicorn",
)
LEVELS = ("debug", "info", "warning", "error")

VARIABLE = "INFERPRINT_DATABASE"
DATABASE = click.option(
    "--database",
    metavar="URL",
    envvar=VARIABLE,
    help="SQLite file, or postgresql://user:password@host/name; the variable INFERPRINT_DATABASE by default, "
    "else inferprint.db.",
)


def check_installed() -> None:
    """Raise `InferprintError` where a package that a server needs is not installed."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InferprintError(
            f"a server needs {', '.join(missing)}, which is not installed", hint="pip install 'inferprint[serve]'"
        )


# --- serve ------------------------------------------------------------------------------------------------------------


@click.command("serve")
@click.option("--host", metavar="ADDRESS", default=DEFAULTS.host, show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=DEFAULTS.port,
    show_default=True,
    help="Port to listen on; 0 takes a free one.",
)
@DATABASE
@click.option(
    "--max-body-mb",
    type=click.FloatRange(min=0, min_open=True, max=1024),
    default=DEFAULTS.max_body_bytes / MIB,
    show_default=True,
    help="Longest body of a request, as sent and unpacked [MiB].",
)
@click.option(
    "--requests-per-minute",
    type=click.IntRange(min=0),
    default=DEFAULTS.requests_per_minute,
    show_default=True,
    help="Of one key, or of one address without keys; 0 for no limit.",
)
@click.option(
    "--use-times",
    is_flag=True,
    help="Take request_duration_ms, which a client or proxy measured, for the time of the work, although it "
    "holds queue and network.",
)
@click.option("--log-level", type=click.Choice(LEVELS), default="info", show_default=True, help="What is logged.")
@CATALOG
def serve_command(
    *,
    host: str,
    port: int,
    database: str | None,
    max_body_mb: float,
    requests_per_minute: int,
    use_times: bool,
    log_level: str,
    catalog: Path | None,
) -> None:
    """Answer over HTTP: the Scope3 AI API, a ledger of usage, and traces of OpenTelemetry.

    Before the first key (inferprint keys create), only programs on this machine are answered. The log goes to standard
    error, a line of JSON for each request.
    """
    check_installed()
    if math.isnan(max_body_mb):
        raise InvalidInput("max_body_mb", "nan is no number", hint="Above 0, up to 1,024 [MiB].")
    import logging.config

    from inferprint.service.listening import bound, port_of, serve
    from inferprint.service.observe import log_config

    settings = Settings(
        database_url=database_url(database),
        catalog=catalog,
        host=host,
        port=port,
        max_body_bytes=round(max_body_mb * MIB),
        requests_per_minute=requests_per_minute,
        use_times=use_times,
    )
    sockets = bound(host, port)
    try:
        app = _app(settings, _option(database))
        logging.config.dictConfig(log_config(log_level))
        shown = f"[{host}]" if ":" in host else host
        line = f"serving on http://{shown}:{port_of(sockets)} ({shown_database(settings.database_url)})"
        serve(app, sockets, lambda: print(line, flush=True))
    finally:
        for one in sockets:
            one.close()


def _app(settings: Settings, option: str) -> FastAPI:
    """The application, where those whom it would answer may be answered; `option` names its database."""
    from inferprint.service.app import create_app
    from inferprint.service.guard import is_loopback

    _print_no_log()
    with _told():
        app = create_app(settings)
        keyed = app.state.service.keys.any()
    if keyed:
        return app
    example = f"inferprint keys create --owner NAME --scope write{option}"
    if not is_loopback(settings.host):
        app.state.service.database.close()
        hint = f"Create one first: {example}. Or listen on 127.0.0.1, for this machine alone."
        raise InvalidInput("host", f"{settings.host} is open to others, and there is no key", hint=hint)
    print(
        f"no keys: only this machine is answered, and everybody on it is the owner 'local'; a key ends that: {example}",
        file=sys.stderr,
    )
    return app


# --- keys -------------------------------------------------------------------------------------------------------------


@click.group("keys")
def keys_command() -> None:
    """Create, list and revoke the keys of a server; it notices within seconds."""


@keys_command.command("create")
@click.option("--owner", metavar="NAME", required=True, help="Whom usage and records of the key belong to.")
@click.option(
    "--scope",
    "scopes",
    metavar="SCOPE",
    multiple=True,
    required=True,
    help="read: estimate and look; write: report usage and keep records, too; admin: keep records for all, and see "
    "all. May be repeated.",
)
@click.option("--expires", metavar="TIME", help="When it ends: 2027-01-31 (its first moment in UTC), or 90d from now.")
@click.option("--label", metavar="TEXT", default="", help="What the key is for.")
@DATABASE
@JSON
def create_command(
    *, owner: str, scopes: tuple[str, ...], expires: str | None, label: str, database: str | None, as_json: bool
) -> None:
    """Create a key, and print it this once."""
    expires_at = None if expires is None else moment_of(expires)
    url = database_url(database)
    with _keys(url) as keys:
        token = keys.create(owner, scopes, label=label, expires_at=expires_at)
        made = next(key for key in keys.all() if key.id == token.split("_")[1])
    if as_json:
        _print(as_data(made) | {"key": token})
        return
    until = "" if made.expires_at is None else f", until {_time(made.expires_at)}"
    print(f"key {made.id} of {made.owner} ({', '.join(made.scopes)}){until}, in {shown_database(url)}:\n\n  {token}\n")
    print("It is not shown again. Send it with each request: Authorization: Bearer ipk_...")


@keys_command.command("list")
@DATABASE
@JSON
def list_command(*, database: str | None, as_json: bool) -> None:
    """List the keys that were made, without their secrets."""
    from inferprint.cli.text import table

    url = database_url(database)
    with _keys(url, _option(database), new=False) as keys:
        found = keys.all()
    if as_json:
        _print([as_data(key) for key in found])
    elif not found:
        print(f"no keys in {shown_database(url)}", file=sys.stderr)
    else:
        heads = ["id", "owner", "scopes", "label", "created", "expires", "revoked"]
        print(table([heads, *(_cells(key) for key in found)]))


@keys_command.command("revoke")
@click.argument("key_id", metavar="ID")
@DATABASE
@JSON
def revoke_command(*, key_id: str, database: str | None, as_json: bool) -> None:
    """End a key, named by its id: servers refuse it within seconds."""
    option = _option(database)
    with _keys(database_url(database), option, new=False) as keys:
        from inferprint.service.keys import id_of

        found = id_of(key_id)
        was_good = keys.revoke(found, f"inferprint keys list{option}")
        ended = next(key for key in keys.all() if key.id == found)
    if as_json:
        _print(as_data(ended))
    elif not was_good:
        print(f"key {ended.id} of {ended.owner} was revoked before, on {_time(ended.revoked_at)}; it stays so")
    else:
        print(f"key {ended.id} of {ended.owner} is revoked; servers refuse it within 5 seconds")


@contextmanager
def _keys(url: str, option: str = "", *, new: bool = True) -> Iterator[Keys]:
    """The keys of a database, which the option names; `new` says whether it may be made."""
    check_installed()
    from sqlalchemy.engine import make_url

    from inferprint.service.database import Database
    from inferprint.service.keys import Keys

    _print_no_log()
    database = Database(url)
    if not new and database.dialect == "sqlite" and not Path(make_url(url).database or "").exists():
        hint = f"Name the one that the server uses: {'another' if option else 'a'} --database, or {VARIABLE}."
        raise FileProblem(f"there is no {shown_database(url)}", hint=hint)
    try:
        with _told():
            database.migrate()
            yield Keys(database)
    finally:
        database.close()


def _print_no_log() -> None:
    """Let nothing of ours be logged until the log is set up: what is wrong is printed as an error."""
    import logging

    logging.getLogger("inferprint").addHandler(logging.NullHandler())


@contextmanager
def _told() -> Iterator[None]:
    """Turn a database that is away into an error of the command line."""
    from inferprint.service.problems import Away

    try:
        yield
    except Away as error:
        raise FileProblem(error.message, hint="Check --database, and that its server runs.") from error


# --- texts ------------------------------------------------------------------------------------------------------------


def database_url(given: str | None) -> str:
    """The URL of a database; a path alone is a file of SQLite.

    Raises
    ------
    InvalidInput
        One that is empty, here or in the environment.
    """
    if given == "" or (given is None and os.environ.get(VARIABLE) == ""):
        where = f"the variable {VARIABLE}" if given is None else "--database"
        hint = f"Name a file or a URL; without {where} it is {DEFAULTS.database_url}."
        raise InvalidInput("database", f"{where} is empty", hint=hint)
    if given is None:
        return DEFAULTS.database_url
    if "://" in given:
        return given
    check_installed()
    from sqlalchemy.engine import URL

    return URL.create("sqlite", database=given).render_as_string()


def _option(database: str | None) -> str:
    """The option for a command on the same database; a URL may hold a password, and is not repeated."""
    if database is None or database == os.environ.get(VARIABLE):
        return ""
    return " --database URL" if "@" in database else f" --database {shlex.quote(database)}"


def shown_database(url: str) -> str:
    """A database by its kind and name, without users and passwords."""
    from sqlalchemy.engine import make_url

    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return f"SQLite {parsed.database}"
    port = f":{parsed.port}" if parsed.port else ""
    return f"PostgreSQL {parsed.host or 'localhost'}{port}/{parsed.database or ''}"


def moment_of(text: str) -> datetime:
    """A time that was given as date, time, or days from now.

    Raises
    ------
    InvalidInput
        It is none of them.
    """
    days = re.fullmatch(r"(\d{1,5})d", text, re.ASCII)
    if days:
        return datetime.now(UTC).replace(microsecond=0) + timedelta(days=int(days[1]))
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        hint = "A date (2027-01-31), a time (2027-01-31T12:00+00:00), or days from now (90d)."
        raise InvalidInput("expires", f"'{text}' is no time", hint=hint) from error
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def as_data(key: KeyInfo) -> dict[str, Any]:
    """A key as plain data."""
    data: Mapping[str, Any] = asdict(key)
    return {
        name: value.isoformat() if isinstance(value, datetime) else list(value) if name == "scopes" else value
        for name, value in data.items()
    }


def _cells(key: KeyInfo) -> list[str]:
    times = [_time(moment) for moment in (key.created_at, key.expires_at, key.revoked_at)]
    return [key.id, key.owner, ",".join(key.scopes), key.label or "-", *times]


def _time(moment: datetime | None) -> str:
    return "-" if moment is None else moment.isoformat(sep=" ", timespec="minutes").replace("+00:00", "Z")


def _print(data: Any) -> None:
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
