"""Acknowledged means stored: servers are killed, and databases stopped, while a client writes."""

import itertools
import random
import threading
import time
from contextlib import ExitStack

import httpx
import pytest
from sqlalchemy import select
from tests.postgres_here import postgres
from tests.service.databases import DIALECTS, new_database
from tests.service.server_here import start

from inferprint.service.database import Database
from inferprint.service.tables import USAGE

ROUNDS = 20
WRITERS = 3
SEED = 20261130


class Writers:
    """Clients that report usage without pause, and remember what was acknowledged.

    What was not acknowledged is sent again, as a client would: with the same request_id.
    """

    def __init__(self) -> None:
        self.url = ""
        self.acknowledged: set[str] = set()
        self.statuses: dict[str, int] = {}
        self._numbers = itertools.count()
        self._stop = threading.Event()
        self.problems: list[str] = []
        self._threads = [threading.Thread(target=self._write, args=(i,)) for i in range(WRITERS)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        assert not self.problems, self.problems[:3]

    def _count(self, what: str) -> None:
        self.statuses[what] = self.statuses.get(what, 0) + 1

    def _write(self, which: int) -> None:
        pending: list[str] = []
        with httpx.Client(timeout=10) as client:
            while not self._stop.is_set():
                if not pending:
                    pending = [f"w{which}-{next(self._numbers)}" for _ in range(1 + which * 3)]
                rows = [
                    {"request_id": name, "model_id": "gpt-4o", "input_tokens": 100, "output_tokens": 10}
                    for name in pending
                ]
                try:
                    answer = client.post(f"{self.url}/v1/usage", json={"rows": rows})
                except httpx.HTTPError:
                    self._count("cut")
                    time.sleep(0.02)
                    continue
                self._count(str(answer.status_code))
                if answer.status_code == 200:
                    told = answer.json()["rows"]
                    if not {row["status"] for row in told} <= {"stored", "repeated"}:
                        self.problems.append(answer.text)
                    self.acknowledged.update(row["request_id"] for row in told)
                    pending = []
                else:
                    if answer.status_code != 503 or "Retry-After" not in answer.headers:
                        self.problems.append(answer.text)
                    time.sleep(0.02)


def stored_ids(url: str) -> list[str]:
    """The request ids of all rows, as the database has them."""
    database = Database(url)
    with database.begin() as connection:
        found = [name for (name,) in connection.execute(select(USAGE.c.request_id))]
    database.close()
    return found


def recovered(writers: Writers, since: int, what: str) -> None:
    """Wait until more is acknowledged than before."""
    deadline = time.monotonic() + 20
    while len(writers.acknowledged) <= since:
        assert time.monotonic() < deadline, f"no recovery after {what}"
        time.sleep(0.01)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_killed_servers_lose_nothing_and_count_nothing_twice(dialect, tmp_path):
    chance = random.Random(SEED)
    with ExitStack() as stack:
        engine = stack.enter_context(postgres()) if dialect == "postgresql" else None
        url = new_database(engine) if engine is not None else f"sqlite:///{tmp_path / 'ledger.db'}"
        server = start(url)
        with Writers() as writers:
            writers.url = server.url
            for number in range(ROUNDS):
                recovered(writers, 0, "the start")
                time.sleep(0.05 + 0.3 * chance.random())
                if engine is not None and number % 2:
                    engine.stop("immediate")
                    time.sleep(0.1)
                    before = len(writers.acknowledged)
                    time.sleep(0.1)
                    assert len(writers.acknowledged) == before, "acknowledged without a database"
                    engine.start()
                else:
                    server.kill()
                    before = len(writers.acknowledged)
                    server = start(url)
                    writers.url = server.url
                recovered(writers, before, f"round {number}")
        assert server.stop() == 0
        found = stored_ids(url)
    assert len(found) == len(set(found)), "stored twice"
    lost = writers.acknowledged - set(found)
    assert not lost, f"{len(lost)} of {len(writers.acknowledged)} acknowledged rows are gone"
    assert len(writers.acknowledged) > ROUNDS
    assert writers.statuses.get("cut", 0) > 0
    if engine is not None:
        assert writers.statuses.get("503", 0) > 0


def test_a_stopped_server_answers_what_it_had_begun(tmp_path):
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    server = start(url)
    with Writers() as writers:
        writers.url = server.url
        time.sleep(0.7)
        code = server.stop()
    assert code == 0
    assert writers.acknowledged <= set(stored_ids(url))
    assert not any("Traceback" in line for line in server.said), "".join(server.said)
