"""The rate of a key or an address."""

from __future__ import annotations

import math
import types

import pytest

from inferprint.service import limiter as module
from inferprint.service.limiter import Limiter, network_of
from inferprint.service.problems import TooMany


@pytest.fixture
def clock(monkeypatch):
    """Time that moves when it is told to."""
    moment = {"now": 60.0 * 30_000}
    monkeypatch.setattr(module, "time", types.SimpleNamespace(monotonic=lambda: moment["now"]))
    return moment


def taken(limiter, name, tries):
    """How many of some requests had room."""
    count = 0
    for _ in range(tries):
        try:
            limiter.take(name)
            count += 1
        except TooMany:
            pass
    return count


def test_each_name_has_its_own_room(clock):
    limiter = Limiter(10)
    assert taken(limiter, "a", 25) == 10
    assert taken(limiter, "b", 25) == 10


@pytest.mark.parametrize("per_minute", [1, 7, 60, 6000])
def test_after_the_stated_time_there_is_room_and_not_much_sooner(clock, per_minute):
    limiter = Limiter(per_minute)
    assert taken(limiter, "a", per_minute + 5) == per_minute
    for _ in range(5):
        with pytest.raises(TooMany) as refused:
            limiter.take("a")
        wait = int(refused.value.headers["Retry-After"])
        assert 1 <= wait <= math.ceil(60 / per_minute)
        clock["now"] += wait - 1
        assert wait == 1 or taken(limiter, "a", 1) == 0
        clock["now"] += 1
        assert taken(limiter, "a", 1000) >= max(1, wait * per_minute // 60)


def test_the_rate_is_kept_over_an_hour(clock):
    limiter = Limiter(60)
    count = 0
    for _ in range(3600):
        count += taken(limiter, "a", 3)
        clock["now"] += 1
    assert 3600 <= count <= 3660  # what the bucket held at first, and 60 a minute


def test_what_is_refused_is_not_counted(clock):
    limiter = Limiter(10)
    taken(limiter, "a", 1000)
    clock["now"] += 61
    assert taken(limiter, "a", 100) == 10


def test_what_is_given_back_was_not_taken(clock):
    limiter = Limiter(2)
    for _ in range(10):
        limiter.take("a")
        limiter.give_back("a")
    limiter.give_back("stranger")
    assert taken(limiter, "a", 5) == 2


def test_zero_is_no_limit():
    assert taken(Limiter(0), "a", 10_000) == 10_000


def test_strangers_do_not_fill_the_memory(clock, monkeypatch):
    monkeypatch.setattr(module, "MOST_NAMES", 16)
    limiter = Limiter(5)
    taken(limiter, "busy", 5)
    for i in range(100):
        limiter.take(f"stranger {i}")
        assert taken(limiter, "busy", 1) == 0
    assert len(limiter._full_at) == 16


@pytest.mark.parametrize(
    "host, network",
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("testclient", "testclient"),
    ],
)
def test_an_ipv6_customer_has_one_place(host, network):
    assert network_of(host) == network
