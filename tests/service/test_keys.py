"""Keys: what is kept of them, who passes, and how soon a change is noticed."""

from __future__ import annotations

import hmac
import re
import sqlite3
import types
from datetime import UTC, datetime, timedelta
from threading import Thread

import pytest
from tests.postgres_here import postgres
from tests.service.databases import url_of

from inferprint.errors import InvalidInput, UnknownName
from inferprint.service import keys as module
from inferprint.service.caller import LOCAL_OWNER
from inferprint.service.database import Database
from inferprint.service.keys import CHECKED_S, Keys, id_of
from inferprint.service.problems import Away, Unauthorized

UNKNOWN = "ipk_aaaaaaaaaaaa_" + "A" * 43


class Clock:
    """Time that moves when it is told to."""

    def __init__(self):
        self.now = 1_900_000_000.0

    def time(self):
        return self.now

    monotonic = time


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", types.SimpleNamespace(time=clock.time, monotonic=clock.monotonic))
    return clock


@pytest.fixture
def database(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'keys.db'}")
    database.migrate()
    yield database
    database.close()


@pytest.fixture
def keys(database):
    return Keys(database)


def refusal(keys, token):
    with pytest.raises(Unauthorized) as refused:
        keys.check(token)
    return refused.value


def test_a_key_is_its_owner_s(keys):
    caller = keys.check(keys.create("acme", ["write"], label="gateway"))
    assert (caller.owner, caller.scopes) == ("acme", {"write"})
    assert caller.may("read")
    assert not caller.may("admin")


def test_two_keys_of_an_owner_share_what_is_reported(keys):
    first, second = (keys.check(keys.create("acme", [scope])) for scope in ("read", "admin"))
    assert first.owner_id == second.owner_id
    assert first.key_id != second.key_id
    assert keys.check(keys.create("other", ["read"])).owner_id != first.owner_id


def test_what_was_reported_before_the_first_key_can_be_reached(keys):
    assert keys.check(keys.create("local", ["write"])).owner_id == LOCAL_OWNER


def test_the_secret_is_kept_nowhere(keys, database, tmp_path):
    token = keys.create("acme", ["write"])
    secret = token.split("_", 2)[2]
    assert re.fullmatch(r"ipk_[a-z2-7]{12}_[A-Za-z0-9_-]{43}", token)
    keys.check(token)
    database.close()
    assert not [path for path in tmp_path.iterdir() if secret.encode() in path.read_bytes()]
    assert secret not in repr(vars(keys))


def test_keys_are_different():
    assert len({module.secrets.token_urlsafe(32) for _ in range(100)}) == 100


def test_all_refusals_use_the_same_words(keys):
    good = keys.create("acme", ["write"])
    revoked = keys.create("acme", ["write"])
    keys.revoke(revoked.split("_")[1])
    wrong = good[:-1] + ("A" if good[-1] != "A" else "B")
    malformed = ["", "ipk_", "sk-123", good + "A", good[:-1], good.upper(), good + "\n", " " + good, "ipk_" + "é" * 56]
    told = {str(refusal(keys, token).body) for token in (revoked, wrong, UNKNOWN, *malformed)}
    assert len(told) == 1
    assert refusal(keys, UNKNOWN).headers == {"WWW-Authenticate": "Bearer"}
    assert keys.check(good)


def test_an_unknown_id_takes_the_way_of_a_wrong_secret(keys, monkeypatch):
    compared = []

    def spy(ours, theirs):
        compared.append((ours, theirs))
        return hmac.compare_digest(ours, theirs)

    monkeypatch.setattr(module, "hmac", types.SimpleNamespace(compare_digest=spy))
    refusal(keys, UNKNOWN)
    assert len(compared) == 1
    assert all(len(digest) == 64 for digest in compared[0])


def test_only_who_has_the_secret_learns_that_a_key_has_expired(keys, clock):
    ends = datetime.fromtimestamp(clock.now, UTC) + timedelta(hours=1)
    token = keys.create("acme", ["write"], expires_at=ends)
    assert keys.check(token)
    clock.now += 3599.5
    assert keys.check(token)
    clock.now += 0.6  # what was found a moment ago ends with the key
    assert "expired" in refusal(keys, token).message
    wrong = token[:-3] + "AAA"
    assert refusal(keys, wrong).body == refusal(keys, UNKNOWN).body


def test_a_revoked_key_ends_at_once_here_and_within_five_seconds_elsewhere(keys, database, clock):
    assert CHECKED_S <= 5
    elsewhere = Keys(database)
    token = keys.create("acme", ["write"])
    for one in (keys, elsewhere):
        one.check(token)
    keys.revoke(token.split("_")[1])
    refusal(keys, token)
    clock.now += CHECKED_S - 0.1
    assert elsewhere.check(token)
    clock.now += 0.2
    refusal(elsewhere, token)
    assert token not in repr(elsewhere._checked)


def test_a_check_is_looked_up_once(keys, database, monkeypatch):
    token = keys.create("acme", ["write"])
    assert keys.recent(token) is None
    caller = keys.check(token)
    monkeypatch.setattr(database, "begin", lambda **_: pytest.fail("looked up again"))
    assert keys.check(token) is keys.recent(token) is caller


def test_what_is_remembered_is_bounded(keys, monkeypatch):
    monkeypatch.setattr(module, "MOST_KEPT", 3)
    tokens = [keys.create("acme", ["read"]) for _ in range(5)]
    for token in tokens:
        keys.check(token)
    assert [keys.recent(token) is not None for token in tokens] == [False, False, True, True, True]
    for i in range(5):
        refusal(keys, f"ipk_aaaaaaaaaaaa_{i:043d}")
    assert len(keys._refused) == 3


def test_a_wrong_key_is_looked_up_once_in_a_while(keys, database, clock, monkeypatch):
    ends = datetime.fromtimestamp(clock.now, UTC) + timedelta(hours=1)
    expired = keys.create("acme", ["read"], expires_at=ends)
    clock.now += 3601
    begin, looks = database.begin, []
    monkeypatch.setattr(database, "begin", lambda **further: looks.append(1) or begin(**further))
    first = [refusal(keys, token).body for token in (UNKNOWN, expired, "malformed")]
    assert len(looks) == 2
    assert [refusal(keys, token).body for token in (UNKNOWN, expired, "malformed")] == first
    assert len(looks) == 2
    clock.now += CHECKED_S
    refusal(keys, UNKNOWN)
    assert len(looks) == 3


def test_the_first_key_is_noticed_within_two_seconds(keys, database, clock):
    elsewhere = Keys(database)
    assert not elsewhere.any()
    keys.create("acme", ["read"])
    assert keys.any()
    clock.now += 0.5
    assert elsewhere.recent_any() is False
    clock.now += 1.5
    assert elsewhere.recent_any() is None
    assert elsewhere.any()


def test_a_server_that_had_keys_is_never_open_again(keys, database):
    keys.revoke(keys.create("acme", ["read"]).split("_")[1])
    assert keys.any()
    assert Keys(database).any()


def test_a_database_that_is_away_is_no_wrong_key(keys, database, clock, monkeypatch):
    token = keys.create("acme", ["write"])
    begin, calls = database.begin, []

    def away(**_):
        calls.append(1)
        raise Away("gone")

    monkeypatch.setattr(database, "begin", away)
    for _ in range(3):
        with pytest.raises(Away):
            keys.check(token)
        with pytest.raises(Away):
            Keys.check(keys, UNKNOWN)
    assert len(calls) == 1  # the others do not wait for it
    monkeypatch.setattr(database, "begin", begin)
    clock.now += 1.5
    assert keys.check(token)


def test_the_list_has_all_but_the_secret(keys, database):
    ends = datetime(2100, 1, 31, 1, tzinfo=UTC)
    elsewhere = ends.astimezone(module.datetime.strptime("+0900", "%z").tzinfo)
    token = keys.create("acme", ["write", "read", "write"], label="gateway", expires_at=elsewhere)
    keys.revoke(token.split("_")[1])
    (found,) = keys.all()
    assert (found.id, found.owner, found.scopes) == (token.split("_")[1], "acme", ("read", "write"))
    assert (found.label, found.expires_at) == ("gateway", ends)
    assert found.revoked_at >= found.created_at
    assert found.created_at.tzinfo is UTC
    assert not hasattr(found, "digest")


def test_revoking_twice_keeps_the_first_time(keys):
    key_id = keys.create("acme", ["read"]).split("_")[1]
    assert keys.revoke(key_id) is True
    first = keys.all()[0].revoked_at
    assert keys.revoke(key_id) is False
    assert keys.all()[0].revoked_at == first


def test_an_unknown_id_names_the_nearest(keys):
    key_id = keys.create("acme", ["read"]).split("_")[1]
    asked = key_id[:-1] + ("a" if key_id[-1] != "a" else "b")
    with pytest.raises(UnknownName, match=key_id):
        keys.revoke(asked)


def test_a_key_may_be_named_by_itself(keys):
    token = keys.create("acme", ["read"])
    assert id_of(f" {token}\n") == id_of(token.split("_")[1]) == token.split("_")[1]
    for given in ("", token.split("_", 2)[2], token[4:], token.upper(), "ipk_" + "x" * 13):
        with pytest.raises(InvalidInput, match="no id of a key") as told:
            id_of(given)
        assert not given or given not in str(told.value)


@pytest.mark.parametrize(
    "owner, scopes, label, message",
    [
        ("", ["read"], "", "owner"),
        ("x" * 201, ["read"], "", "owner"),
        ("a\nb", ["read"], "", "owner"),
        ("a\x1b[31m", ["read"], "", "owner"),
        (" a", ["read"], "", "owner"),
        ("inferprint", ["read"], "", "reserved"),
        ("acme", [], "", "scope: is missing"),
        ("acme", ["wrte"], "", "Nearest: write"),
        ("acme", ["read"], "x" * 201, "label"),
        ("acme", ["read"], "a\tb", "label"),
    ],
)
def test_what_no_key_can_have_is_refused(keys, owner, scopes, label, message):
    with pytest.raises(InvalidInput, match=message):
        keys.create(owner, scopes, label=label)
    assert not keys.all()


@pytest.mark.parametrize("expires_at", [datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1)])  # noqa: DTZ001
def test_a_key_ends_in_the_future_and_in_a_time_zone(keys, expires_at):
    with pytest.raises(InvalidInput, match="expires"):
        keys.create("acme", ["read"], expires_at=expires_at)


def test_a_digest_that_was_changed_lets_nobody_in(keys, tmp_path):
    token = keys.create("acme", ["read"])
    with sqlite3.connect(tmp_path / "keys.db") as connection:
        connection.execute("UPDATE keys SET digest = ''")
    connection.close()
    refusal(keys, token)


def test_owners_that_are_made_at_once_are_one_on_postgresql():
    with postgres() as server:
        database = Database(url_of(server))
        database.migrate()
        made = []
        threads = [Thread(target=lambda: made.append(Keys(database).create("acme", ["write"]))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        keys = Keys(database)
        assert len({keys.check(token).owner_id for token in made}) == 1
        assert len(made) == len(keys.all()) == 8
        keys.revoke(keys.all()[0].id)
        assert keys.all()[0].revoked_at.tzinfo is UTC
        database.close()
