"""The migrations make the tables that the program works with."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import select, text
from tests.postgres_here import postgres
from tests.service.databases import DIALECTS, new_database, url_for, url_of

from inferprint.errors import FileProblem
from inferprint.service.caller import GLOBAL_NAME, GLOBAL_OWNER, LOCAL_NAME, LOCAL_OWNER
from inferprint.service.database import Database
from inferprint.service.migrations import HEAD, VERSION_TABLE
from inferprint.service.tables import METADATA, OWNERS


@pytest.fixture(scope="module")
def server():
    with postgres() as started:
        yield started


@pytest.fixture(params=DIALECTS)
def url(request, tmp_path, server):
    return url_for(request.param, tmp_path, server)


@pytest.fixture
def database(url):
    made = Database(url)
    made.migrate()
    yield made
    made.close()


def test_migrations_make_the_tables(database):
    with database.begin(write=False) as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), METADATA) == []


def test_head_is_the_newest_migration():
    config = Config()
    config.set_main_option("script_location", "inferprint.service:migrations")
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_the_first_owners_are_there_and_others_come_after(database):
    with database.begin() as connection:
        found = {row.id: row.name for row in connection.execute(select(OWNERS))}
        assert found == {GLOBAL_OWNER: GLOBAL_NAME, LOCAL_OWNER: LOCAL_NAME}
        made = connection.execute(OWNERS.insert().values(name="new", created_at=datetime.now(UTC)))
        assert made.inserted_primary_key is not None
        assert made.inserted_primary_key[0] == 2


def test_a_second_start_changes_nothing(database):
    database.migrate()
    with database.begin(write=False) as connection:
        assert len(connection.execute(select(OWNERS)).all()) == 2


def test_servers_may_start_together(url):
    errors: list[BaseException] = []
    databases = [Database(url) for _ in range(6)]
    start = threading.Barrier(len(databases))

    def migrate(database: Database) -> None:
        start.wait()
        try:
            database.migrate()
        except BaseException as error:  # noqa: BLE001 - told by the test
            errors.append(error)

    threads = [threading.Thread(target=migrate, args=[database]) for database in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with databases[0].begin(write=False) as connection:
        assert len(connection.execute(select(OWNERS)).all()) == 2
    for database in databases:
        database.close()


def test_a_newer_database_is_refused(url):
    database = Database(url)
    database.migrate()
    with database.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(FileProblem, match=r"newer release.*9999"):
        database.migrate()
    database.close()


def test_a_database_of_another_encoding_is_refused(server):
    server.sql("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    database = Database(url_of(server, "latin"))
    with pytest.raises(FileProblem, match="LATIN1"):
        database.migrate()
    database.close()


def test_what_cannot_be_opened_says_so_without_the_password(tmp_path):
    for url in (
        "postgresql://somebody:s3cret@127.0.0.1:9/name",
        f"sqlite:///{tmp_path}/no/such/folder/x.db",
    ):
        database = Database(url)
        with pytest.raises(FileProblem, match="cannot be opened") as told:
            database.migrate()
        assert "s3cret" not in str(told.value)
        database.close()


def test_other_tables_stay(server):
    url = new_database(server)
    database = Database(url)
    with database.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num text)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('of another program')"))
    database.migrate()
    with database.begin(write=False) as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "of another program"
    database.close()
