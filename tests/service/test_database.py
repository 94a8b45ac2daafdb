"""Transactions, and what becomes of them where the database goes."""

from __future__ import annotations

import gc
import socket
import ssl
import threading
import time
from datetime import UTC, datetime

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError
from tests.postgres_here import postgres
from tests.service.databases import DIALECTS, new_database, url_for, url_of

from inferprint.errors import InvalidInput
from inferprint.service import database as module
from inferprint.service.database import Database, utc
from inferprint.service.problems import Away, NotFound
from inferprint.service.tables import KEYS, OWNERS


@pytest.fixture(scope="module")
def server():
    with postgres() as started:
        yield started


@pytest.fixture(params=DIALECTS)
def database(request, tmp_path, server):
    made = Database(url_for(request.param, tmp_path, server))
    made.migrate()
    yield made
    made.close()


def owners(database: Database) -> list[str]:
    with database.begin(write=False) as connection:
        return list(connection.execute(select(OWNERS.c.name).order_by(OWNERS.c.id)).scalars())


def owner(name: str) -> dict[str, object]:
    return {"name": name, "created_at": datetime.now(UTC)}


def test_a_transaction_is_whole(database):
    def fail() -> None:
        with database.begin() as connection:
            connection.execute(OWNERS.insert().values(owner("lost")))
            raise NotFound("in the middle")

    with pytest.raises(NotFound):
        fail()
    with database.begin() as connection:
        connection.execute(OWNERS.insert().values(owner("kept")))
    assert owners(database) == ["inferprint", "local", "kept"]


def test_the_fault_of_a_statement_stays_what_it_is(database):
    with pytest.raises(IntegrityError), database.begin() as connection:
        connection.execute(OWNERS.insert().values(owner("local")))
    with pytest.raises((ProgrammingError, Away)), database.begin() as connection:
        connection.execute(text("SELECT * FROM no_such_table"))
    assert owners(database) == ["inferprint", "local"]


def test_foreign_keys_hold(database):
    key = {"id": "k", "owner_id": 77, "digest": "", "scopes": "", "label": "", "created_at": datetime.now(UTC)}
    with pytest.raises((IntegrityError, ProgrammingError)), database.begin() as connection:
        connection.execute(KEYS.insert().values(key))


def test_readers_see_one_moment_and_wait_for_nobody(database):
    with database.begin(write=False) as reading:
        before = reading.execute(text("SELECT count(*) FROM owners")).scalar()
        with database.begin() as writing:
            writing.execute(OWNERS.insert().values(owner("meanwhile")))
        assert reading.execute(text("SELECT count(*) FROM owners")).scalar() == before
    assert "meanwhile" in owners(database)


def test_who_reads_may_not_write_by_mistake(server):
    database = Database(new_database(server))
    database.migrate()
    with pytest.raises(Away), database.begin(write=False) as connection:
        connection.execute(OWNERS.insert().values(owner("x")))
    database.close()


def test_writers_take_turns(database):
    def write(k: int) -> None:
        for i in range(10):
            with database.begin() as connection:
                n = connection.execute(text("SELECT count(*) FROM owners")).scalar()
                connection.execute(OWNERS.insert().values(owner(f"{k}-{i}-{n}")))

    threads = [threading.Thread(target=write, args=[k]) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(owners(database)) == 82


def test_commits_of_sqlite_are_synced(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/x.db")
    with database.begin(write=False) as connection:
        found = {name: connection.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous")}
        assert found == {"journal_mode": "wal", "synchronous": 2}
    database.close()


def test_a_lock_that_is_held_too_long_is_away(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BUSY_S", 0.2)
    one, other = Database(f"sqlite:///{tmp_path}/x.db"), Database(f"sqlite:///{tmp_path}/x.db")
    one.migrate()
    with one.begin() as held:
        held.execute(OWNERS.insert().values(owner("first")))
        with pytest.raises(Away) as told, other.begin():
            pass
        assert isinstance(told.value.__cause__, OperationalError)
    with other.begin() as connection:
        connection.execute(OWNERS.insert().values(owner("second")))
    assert owners(other) == ["inferprint", "local", "first", "second"]
    one.close()
    other.close()


def test_a_damaged_file_is_away(tmp_path):
    path = tmp_path / "x.db"
    path.write_bytes(b"this is no database" * 1000)
    database = Database(f"sqlite:///{path}")
    with pytest.raises(Away), database.begin():
        pass
    database.close()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_server_that_goes_and_comes_again(server, mode):
    database = Database(new_database(server))
    database.migrate()

    def interrupted() -> None:
        with database.begin() as connection:
            connection.execute(OWNERS.insert().values(owner("lost")))
            server.stop(mode)
            connection.execute(OWNERS.insert().values(owner("lost too")))

    with pytest.raises(Away) as told:
        interrupted()
    try:
        assert str(server.folder) not in told.value.message
        started = time.monotonic()
        for _ in range(3):
            with pytest.raises(Away):
                owners(database)
        assert time.monotonic() - started < 5
    finally:
        server.start()
    assert owners(database) == ["inferprint", "local"]
    with database.begin() as connection:
        connection.execute(OWNERS.insert().values(owner("after")))
    assert owners(database) == ["inferprint", "local", "after"]
    database.close()


def test_a_server_that_says_nothing_is_given_up(monkeypatch):
    monkeypatch.setattr(module, "CONNECT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        database = Database(f"postgresql://somebody@127.0.0.1:{silent.getsockname()[1]}/name")
        started = time.monotonic()
        with pytest.raises(Away), database.begin():
            pass
        assert time.monotonic() - started < 3
        database.close()


def test_every_connection_of_the_pool_is_mended(server):
    database = Database(new_database(server))
    database.migrate()

    def together() -> None:
        barrier = threading.Barrier(6)

        def use() -> None:
            with database.begin(write=False) as connection:
                connection.execute(text("SELECT 1"))
                barrier.wait(10)

        threads = [threading.Thread(target=use) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not barrier.broken

    together()
    server.stop()
    server.start()
    together()
    for _ in range(8):
        assert owners(database) == ["inferprint", "local"]
    database.close()


def test_a_pool_without_a_free_connection_is_away(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "POOL_SIZE", 1)
    monkeypatch.setattr(module, "POOL_OVERFLOW", 0)
    monkeypatch.setattr(module, "CONNECT_S", 0.1)
    database = Database(f"sqlite:///{tmp_path}/x.db")
    with database.begin(write=False), pytest.raises(Away), database.begin(write=False):
        pass
    database.close()


@pytest.mark.parametrize(
    "url, wrong",
    [
        ("sqlite://", "memory"),
        ("sqlite:///:memory:", "memory"),
        ("sqlite:///file:x?mode=memory&uri=true", "memory"),
        ("mysql://somebody:s3cret@host/name", "mysql"),
        ("no url", "not a database URL"),
        ("postgresql://somebody:s3cret@host/name?sslmode=perhaps", "sslmode"),
        ("postgresql://somebody:s3cret@host/name?fallback=yes", "fallback"),
    ],
)
def test_what_is_no_database_is_refused(url, wrong):
    with pytest.raises(InvalidInput, match=wrong) as told:
        Database(url)
    assert "s3cret" not in str(told.value)


@pytest.mark.parametrize("url", ["postgres://u:p@host/n", "postgresql://u:p@host/n", "postgresql+pg8000://u:p@host/n"])
def test_urls_of_postgresql(url):
    assert Database(url).dialect == "postgresql"


def test_modes_of_encryption():
    assert module._ssl_context("disable") is False
    assert module._ssl_context("prefer") is None
    checks = {mode: module._ssl_context(mode) for mode in ("require", "verify-ca", "verify-full")}
    assert {mode: context.check_hostname for mode, context in checks.items()} == {
        "require": False,
        "verify-ca": False,
        "verify-full": True,
    }
    assert {mode: context.verify_mode == ssl.CERT_REQUIRED for mode, context in checks.items()} == {
        "require": False,
        "verify-ca": True,
        "verify-full": True,
    }


def test_a_server_that_turns_one_away_is_left_without_a_leak(server):
    """The driver would leave its socket to the garbage collector, whose warning is an error here."""
    database = Database(url_of(server, "no_such_database"))
    for _ in range(3):
        with pytest.raises(Away):
            owners(database)
    gc.collect()
    database.close()


def test_moments_are_in_utc():
    assert utc(datetime.fromisoformat("2026-09-01T08:00:00")) == datetime(2026, 9, 1, 8, tzinfo=UTC)
    assert utc(datetime.fromisoformat("2026-09-01T10:00:00+02:00")).isoformat() == "2026-09-01T08:00:00+00:00"
