"""Databases for tests: a file of SQLite, and a PostgreSQL server that can be stopped and started."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.postgres_here import Postgres

from inferprint.estimate import Estimator
from inferprint.service.caller import Caller
from inferprint.service.database import Database
from inferprint.service.engine import Engine, Outcome
from inferprint.service.ledger import Ledger
from inferprint.service.settings import Settings

DIALECTS = ("sqlite", "postgresql")


def url_of(server: Postgres, name: str = "postgres") -> str:
    """The URL of a database of a server, by its socket."""
    return f"postgresql://inferprint@/{name}?unix_sock={server.folder}/.s.PGSQL.5432"


def new_database(server: Postgres) -> str:
    """The URL of a new, empty database of a server."""
    name = f"test_{uuid.uuid4().hex}"
    server.run("createdb", "--host", str(server.folder), "--username", "inferprint", name)
    return url_of(server, name)


def url_for(dialect: str, folder: Path, server: Postgres) -> str:
    """The URL of a new, empty database."""
    return f"sqlite:///{folder / 'test.db'}" if dialect == "sqlite" else new_database(server)


class OneCatalogue:
    """Stands for the catalogues of owners: one estimator for all."""

    def __init__(self, estimator: Estimator | None = None) -> None:
        self.shared = estimator or Estimator()

    def estimator(self, owner_id: int) -> Estimator:
        return self.shared

    def apart(self, owner_id: int) -> Estimator:
        return self.shared


@dataclass
class Parts:
    """A ledger that runs, with what it stands on."""

    database: Database
    catalogues: Any
    engine: Engine
    ledger: Ledger

    def outcomes(self, rows: list[dict[str, Any]]) -> list[Outcome]:
        return self.engine.estimate(1, rows)


@contextmanager
def parts_on(url: str, catalogues: Any = None, **settings: Any) -> Iterator[Parts]:
    """A ledger that runs on a database."""
    database = Database(url)
    database.migrate()
    catalogues = catalogues or OneCatalogue()
    parts = Parts(database, catalogues, Engine(catalogues, Settings(**settings)), Ledger(database, catalogues))
    parts.ledger.start()
    try:
        yield parts
    finally:
        parts.ledger.stop()
        database.close()


def caller(owner_id: int = 1, owner: str = "local", *scopes: str) -> Caller:
    """A caller of an owner."""
    return Caller(owner_id, owner, "key", frozenset(scopes or ("read", "write")))


def row(i: int, **fields: Any) -> dict[str, Any]:
    """A row that can be estimated."""
    plain = {
        "request_id": f"r-{i}",
        "utc_datetime": "2026-09-01T08:00:12Z",
        "project_id": "support",
        "model_id": "llama-3.1-8b",
        "country": "FI",
        "input_tokens": 100 + i,
        "output_tokens": 50,
    }
    return {name: value for name, value in {**plain, **fields}.items() if value is not None}
