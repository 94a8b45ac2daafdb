"""`inferprint serve` and `inferprint keys`, as a user starts them."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from click.testing import CliRunner
from tests.postgres_here import postgres
from tests.service.databases import url_of

from inferprint.cli import serve as module
from inferprint.cli.commands import app
from inferprint.cli.serve import database_url, moment_of, shown_database
from inferprint.errors import InferprintError, InvalidInput

PATIENCE_S = 60
PROGRAM = (sys.executable, "-m", "inferprint")


def environment():
    return {name: value for name, value in os.environ.items() if not name.startswith("INFERPRINT_")}


class Running:
    """A server that runs in a process of its own, and what it prints."""

    def __init__(self, *options):
        command = [*PROGRAM, "serve", "--port", "0", *options]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
        )
        self.out, self.err = [], []
        self.first = queue.Queue()
        self.readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.out)),
            threading.Thread(target=self._read, args=(self.process.stderr, self.err)),
        ]
        for reader in self.readers:
            reader.start()

    def _read(self, stream, lines):
        for line in stream:
            lines.append(line)
            if lines is self.out:
                self.first.put(line)
        stream.close()

    @property
    def url(self):
        return re.search(r"http://\S+", self.first.get(timeout=PATIENCE_S))[0]

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.ended()

    def ended(self):
        code = self.process.wait(PATIENCE_S)
        for reader in self.readers:
            reader.join(PATIENCE_S)
        return code


@contextmanager
def running(*options):
    server = Running(*options)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
        server.ended()


def refused(*options):
    """What a server that does not start says; it must not start."""
    found = subprocess.run(
        [*PROGRAM, "serve", "--port", "0", *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
        env=environment(),
    )
    assert (found.returncode, found.stdout) == (2, ""), found.stderr
    assert "Traceback" not in found.stderr
    return found.stderr


@pytest.fixture
def database(tmp_path):
    return str(tmp_path / "served.db")


@pytest.fixture
def call(monkeypatch):
    """Run a command of `keys`; what it prints. Errors are raised."""
    monkeypatch.delenv("INFERPRINT_DATABASE", raising=False)

    def run(*arguments):
        found = CliRunner().invoke(app, ["keys", *arguments])
        if isinstance(found.exception, InferprintError):
            raise found.exception
        assert found.exit_code == 0, found.output
        return found.output

    return run


# --- serve ------------------------------------------------------------------------------------------------------------


def test_a_server_says_where_it_is_and_ends_when_it_is_told_to(database):
    with running("--database", database) as server:
        url = server.url
        assert httpx.get(f"{url}/status").json() == {"ready": True}
        assert httpx.get(f"{url}/status", headers={"Host": "evil.example"}).status_code == 200  # it needs no key
        assert server.end() == 0
    assert server.out == [f"serving on {url} (SQLite {database})\n"]
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
    assert "inferprint keys create" in server.err[0]
    assert "'local'" in server.err[0]
    assert {json.loads(line)["route"] for line in server.err[1:]} == {"/status"}
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/status")


def test_an_interrupt_ends_a_server_as_well(database):
    with running("--database", database) as server:
        assert httpx.get(f"{server.url}/status").status_code == 200
        assert server.end(signal.SIGINT) == 0
    assert "Traceback" not in "".join(server.err)


def test_a_running_request_is_answered_before_the_end(database):
    with running("--database", database, "--log-level", "error") as server:
        port = int(server.url.rsplit(":", 1)[1])
        body = b'{"rows": [{"model_id": "llama-3.1-8b", "input_tokens": 10, "output_tokens": 5, "country": "FR"}]}'
        head = f"POST /v1/impact HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
            connection.sendall(head.encode() + body[:10])
            assert httpx.get(f"http://127.0.0.1:{port}/status").status_code == 200  # the first has reached the server
            server.process.send_signal(signal.SIGTERM)
            with pytest.raises(subprocess.TimeoutExpired):
                server.process.wait(0.5)
            connection.sendall(body[10:])
            reply = connection.makefile("rb").read()
        assert reply.startswith(b"HTTP/1.1 200 ")
        assert server.ended() == 0
    assert len(server.err) == 1  # nothing was logged


def test_a_key_that_is_made_closes_a_server_that_runs(database, call):
    with running("--database", database) as server:
        url = server.url
        assert httpx.get(f"{url}/metrics").status_code == 200
        made = call("create", "--owner", "acme", "--scope", "admin", "--database", database, "--json")
        token = json.loads(made)["key"]
        deadline = datetime.now(UTC) + timedelta(seconds=3)
        while httpx.get(f"{url}/metrics").status_code == 200:
            assert datetime.now(UTC) < deadline
        assert httpx.get(f"{url}/metrics").status_code == 401
        writer = json.loads(call("create", "--owner", "a", "--scope", "write", "--database", database, "--json"))["key"]
        for path in ("metrics", "reload"):
            for key, code in ((token, 200), (writer, 403)):
                reply = httpx.get(f"{url}/{path}", headers={"Authorization": f"Bearer {key}"})
                assert reply.status_code == code
        assert server.end() == 0
    assert token.split("_", 2)[2] not in "".join(server.err)


def test_an_open_address_takes_a_key(database, call):
    told = refused("--host", "0.0.0.0", "--database", database)
    assert told.startswith("error: host: 0.0.0.0 is open to others, and there is no key\n")
    assert "inferprint keys create" in told
    call("create", "--owner", "acme", "--scope", "read", "--database", database)
    with running("--host", "0.0.0.0", "--database", database) as server:
        port = server.url.rsplit(":", 1)[1]
        assert httpx.get(f"http://127.0.0.1:{port}/metrics").status_code == 401
        assert server.end() == 0


def test_a_port_that_is_taken_is_named(database):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        told = refused("--port", port, "--database", database)
    assert f"cannot listen on 127.0.0.1 port {port}" in told
    assert "Option" not in told


@pytest.mark.parametrize(
    "options, told",
    [
        (("--database", "postgresql://me:hidden@127.0.0.1:1/name"), "cannot be opened"),
        (("--database", "mysql://me:hidden@127.0.0.1/name"), "mysql"),
        (("--database", "/no/such/folder/a.db"), "cannot be opened"),
        (("--database", "postgresql://me:P@hidden:w/rd@127.0.0.1:5432/x"), "%40 %3A %2F"),
        (("--database", "postgresql://me:hidden@127.0.0.1:port/x"), "A port is a number"),
        (("--database", "postgresql://me:hidden@127.0.0.1:99999/x"), "A port is a number"),
        (("--database", "postgresql://me:p@hidden/p@127.0.0.1/x"), "%40 %3A %2F"),
        (("--database", "postgresql+psycopg://me:hidden@127.0.0.1/x"), "postgresql://user:password@host/name"),
        (("--database", "sqlite://x.db"), "Three slashes: sqlite:///x.db"),
        (("--database", "sqlite://x/y.db"), "Three slashes: sqlite:///x/y.db"),
        (("--database", "sqlite:///x.db?cache=shared"), "unknown parameter 'cache'"),
        (("--database", ""), "--database is empty"),
        (("--max-body-mb", "nan"), "nan is no number"),
        (("--host", "no-such-host.invalid"), "'no-such-host.invalid' has no address"),
        (("--catalog", "/no/such/folder"), "/no/such/folder"),
    ],
)
def test_what_cannot_start_says_why(tmp_path, monkeypatch, options, told):
    monkeypatch.chdir(tmp_path)
    found = refused(*options)
    assert found.startswith(("error: ", "Usage: "))  # nothing was logged before
    assert told in found.split("error: ", 1)[1]
    assert "pg8000" not in found
    assert "hidden" not in found


def test_a_small_bound_on_bodies_is_kept(database):
    with running("--database", database, "--max-body-mb", "0.001", "--requests-per-minute", "2") as server:
        url = server.url
        assert httpx.post(f"{url}/v1/impact", content=b"x" * 1050).status_code == 413
        codes = [httpx.get(f"{url}/metrics").status_code for _ in range(3)]
        assert codes == [200, 200, 429]
        assert server.end() == 0


def test_without_its_packages_a_server_says_what_to_install(monkeypatch, call):
    find = module.importlib.util.find_spec
    monkeypatch.setattr(
        module.importlib.util, "find_spec", lambda name, *rest: None if name == "fastapi" else find(name, *rest)
    )
    for arguments in (["serve"], ["keys", "list"]):
        found = CliRunner().invoke(app, arguments).exception
        assert isinstance(found, InferprintError)
        assert "needs fastapi" in found.message
        assert found.hint == "pip install 'inferprint[serve]'"


def test_other_commands_load_none_of_it():
    code = (
        "import sys; from inferprint.cli.commands import app\n"
        "heavy = {'fastapi', 'sqlalchemy', 'uvicorn', 'prometheus_client', 'alembic', 'pydantic', 'logging.config'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- keys -------------------------------------------------------------------------------------------------------------


def test_a_key_is_shown_once(database, call):
    text = call("create", "--owner", "acme", "--scope", "write", "--label", "gateway", "--database", database)
    token = re.search(r"ipk_[a-z2-7]{12}_\S{43}", text)[0]
    assert "not shown again" in text
    assert f"SQLite {database}" in text
    listed = call("list", "--database", database)
    assert token.split("_")[1] in listed
    assert token.split("_", 2)[2] not in listed + call("list", "--database", database, "--json")


def test_json_is_complete(database, call):
    made = json.loads(
        call("create", "--owner", "acme", "--scope", "write", "--scope", "admin", "--expires", "2100-01-31",
             "--database", database, "--json")
    )  # fmt: skip
    assert set(made) == {"id", "owner", "scopes", "label", "created_at", "expires_at", "revoked_at", "key"}
    assert made["scopes"] == ["write", "admin"]
    assert made["expires_at"] == "2100-01-31T00:00:00+00:00"
    assert made.pop("key").split("_")[1] == made["id"]
    assert json.loads(call("list", "--database", database, "--json")) == [made]
    ended = json.loads(call("revoke", made["id"], "--database", database, "--json"))
    assert ended | {"revoked_at": None} == made
    assert ended["revoked_at"]


def test_a_revoked_key_stays_in_the_list(database, call):
    key_id = json.loads(call("create", "--owner", "a", "--scope", "read", "--database", database, "--json"))["id"]
    assert "revoked" in call("revoke", key_id, "--database", database)
    row = call("list", "--database", database).splitlines()[1].split()
    assert row[0] == key_id
    assert row[-1].endswith("Z")


def test_an_unknown_id_is_an_error_with_the_nearest(database, call):
    key_id = json.loads(call("create", "--owner", "a", "--scope", "read", "--database", database, "--json"))["id"]
    with pytest.raises(InferprintError, match=f"Nearest: {key_id}") as found:
        call("revoke", key_id[:-2] + "zz", "--database", database)
    assert "inferprint keys list" in found.value.hint


@pytest.mark.parametrize("arguments", [("list",), ("revoke", "abc")])
def test_looking_makes_no_database(tmp_path, call, arguments):
    path = tmp_path / "typing-error.db"
    with pytest.raises(InferprintError, match=r"there is no SQLite .*typing-error\.db"):
        call(*arguments, "--database", str(path))
    assert not path.exists()


def test_the_database_may_stand_in_the_environment(database, call, monkeypatch, tmp_path):
    monkeypatch.setenv("INFERPRINT_DATABASE", database)
    call("create", "--owner", "a", "--scope", "read")
    assert "a" in call("list")
    with pytest.raises(InferprintError, match=r"other\.db"):
        call("list", "--database", str(tmp_path / "other.db"))


def test_a_variable_that_is_empty_is_an_error(call, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INFERPRINT_DATABASE", "")
    with pytest.raises(InvalidInput, match="the variable INFERPRINT_DATABASE is empty"):
        call("create", "--owner", "a", "--scope", "read")
    assert not list(tmp_path.iterdir())


def test_a_whole_key_names_its_id_and_is_not_repeated(database, call):
    made = json.loads(call("create", "--owner", "a", "--scope", "read", "--database", database, "--json"))
    assert "is revoked" in call("revoke", made["key"], "--database", database)
    again = call("revoke", made["key"], "--database", database)
    assert f"was revoked before, on 20{datetime.now(UTC):%y-%m-}" in again
    secret = made["key"].split("_", 2)[2]
    for given in (made["key"][:-43] + "A" * 43, secret, made["key"].replace(made["id"], "a" * 12)):
        try:
            # A secret may begin as an option does.
            told = call("revoke", "--database", database, "--", given)
        except InferprintError as error:
            told = str(error)
        assert secret not in told
        assert "A" * 43 not in told


def test_hints_keep_the_database(tmp_path, call):
    database = str(tmp_path / "a b.db")
    call("create", "--owner", "a", "--scope", "read", "--database", database)
    with pytest.raises(InferprintError) as found:
        call("revoke", "aaaaaaaaaaaa", "--database", database)
    assert found.value.hint.endswith(f"inferprint keys list --database '{database}'")
    assert f"--scope write --database {tmp_path}/b.db" in refused("--host", "0.0.0.0", "--database", f"{tmp_path}/b.db")


def test_a_password_and_a_database_of_postgresql_that_are_wrong_say_what_to_do(call):
    with postgres() as server:
        (server.folder / "data" / "pg_hba.conf").write_text("local all all scram-sha-256\n")
        right = url_of(server)
        setting = "ALTER USER inferprint PASSWORD 'right'; SELECT pg_reload_conf();"
        server.run("psql", "--host", str(server.folder), "--username", "inferprint", "postgres", text=setting)
        for wrong in ("inferprint:wrong@", "inferprint@", "stranger:right@"):
            with pytest.raises(InferprintError, match="28P01") as found:
                call("list", "--database", right.replace("inferprint@", wrong))
            assert "the password" in found.value.hint
        missing = right.replace("inferprint@", "inferprint:right@").replace("/postgres?", "/absent?")
        with pytest.raises(InferprintError, match="3D000") as found:
            call("list", "--database", missing)
        assert "createdb absent" in found.value.hint
        assert "folder" not in found.value.hint


@pytest.mark.parametrize(
    "options, told",
    [
        (("--owner", "inferprint", "--scope", "read"), "reserved"),
        (("--owner", "a", "--scope", "wirte"), "Nearest: write"),
        (("--owner", "a", "--scope", "read", "--expires", "soon"), "90d"),
        (("--owner", "a", "--scope", "read", "--expires", "2020-01-01"), "past"),
        (("--owner", "a", "--scope", "read", "--expires", "0d"), "past"),
    ],
)
def test_what_no_key_can_have_is_told(database, call, options, told):
    with pytest.raises(InvalidInput, match=told):
        call("create", *options, "--database", database)


def test_times_are_in_utc():
    assert moment_of("2027-01-31") == datetime(2027, 1, 31, tzinfo=UTC)
    assert moment_of("2027-01-31T12:00+02:00") == datetime(2027, 1, 31, 10, tzinfo=UTC)
    assert timedelta(days=89.9) < moment_of("90d") - datetime.now(UTC) < timedelta(days=90.1)
    with pytest.raises(InvalidInput, match="is no time"):
        moment_of("1e3d")


@pytest.mark.parametrize(
    "given, url, shown",
    [
        (None, "sqlite:///inferprint.db", "SQLite inferprint.db"),
        ("a b?c#d%.db", None, "SQLite a b?c#d%.db"),
        ("/data/a.db", "sqlite:////data/a.db", "SQLite /data/a.db"),
        ("postgresql://me:hidden@db:5433/x", "postgresql://me:hidden@db:5433/x", "PostgreSQL db:5433/x"),
        ("postgres://db/x?sslmode=require", "postgres://db/x?sslmode=require", "PostgreSQL db/x"),
    ],
)
def test_a_path_is_a_file_of_sqlite(given, url, shown):
    assert url in (None, database_url(given))
    assert shown_database(database_url(given)) == shown
