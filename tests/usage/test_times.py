"""Moments and durations as logs write them, against the datetime of the standard library."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferprint.usage.times import elapsed_ms, moment, utc

AT = datetime.fromisoformat
NINE = datetime(2026, 11, 20, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    "written,expected",
    [
        ("2026-11-20T09:00:00Z", "2026-11-20T09:00:00Z"),
        ("2026-11-20 09:00:00", "2026-11-20T09:00:00Z"),
        ("2026-11-20T09:00", "2026-11-20T09:00:00Z"),
        ("2026-11-20T09:00Z", "2026-11-20T09:00:00Z"),
        ("2026-11-20T09Z", "2026-11-20T09:00:00Z"),
        ("2026-11-20T09:00+02", "2026-11-20T07:00:00Z"),
        ("2026-11-20T23:30:00-05:00", "2026-11-21T04:30:00Z"),
        ("2026-11-20 09:00:00 UTC", "2026-11-20T09:00:00Z"),
        ("2026-11-20 09:00:00+00", "2026-11-20T09:00:00Z"),
        (" 2026-11-20T09:00:00Z ", "2026-11-20T09:00:00Z"),
        ("2026-11-20T09:00:00.000Z", "2026-11-20T09:00:00.000Z"),
        ("2026-11-20 09:00:00.5", "2026-11-20T09:00:00.5Z"),
        ("2026-11-20T09:00:00.123456789Z", "2026-11-20T09:00:00.123Z"),
        ("2026-11-20T09:00:00,250Z", "2026-11-20T09:00:00.250Z"),
        ("2026-11-20", "2026-11-20T00:00:00Z"),
        ("20261120T090000Z", "2026-11-20T09:00:00Z"),
        # Seconds, milliseconds, microseconds and nanoseconds since 1970, told by their size.
        (1795165200, "2026-11-20T09:00:00Z"),
        (1795165200.25, "2026-11-20T09:00:00.250Z"),
        (1795165200000, "2026-11-20T09:00:00Z"),
        (1795165200000000, "2026-11-20T09:00:00Z"),
        (1795165200000000000, "2026-11-20T09:00:00Z"),
        ("1795165200", "2026-11-20T09:00:00Z"),
        ("1795165200000", "2026-11-20T09:00:00Z"),
        (-86400, "1969-12-31T00:00:00Z"),
        (None, None),
        ("", None),
    ],
)
def test_a_moment_is_told_in_utc(written, expected):
    assert utc(written) == expected


@pytest.mark.parametrize(
    "written",
    [
        "20-11-2026 09:00:00", "2026-13-20T09:00:00Z", "2026-11-20T25:00:00Z", "hello worlTfoo barrrr", "soon", "nan",
        "2026-11-20T09:00:00+2:00:00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-05:00", "1e300", "9" * 400,
        "\uff12\uff10\uff12\uff16-11-20T09:00:00Z", " ",
    ],
)  # fmt: skip
def test_what_is_no_moment_stays_as_it_is(written):
    assert utc(written) == written
    assert moment(written) is None


@pytest.mark.parametrize("written", [float("nan"), float("inf"), 10**40, {"a": 1}, [1]])
def test_what_is_no_moment_is_text(written):
    assert utc(written) == str(written)
    assert moment(written) is None


@given(
    st.datetimes(min_value=AT("0001-01-03"), max_value=AT("9999-12-29")),
    st.one_of(st.none(), st.integers(-14 * 60, 14 * 60)),
    st.sampled_from(["T", " "]),
)
def test_iso_text_of_any_offset_is_the_same_moment(naive, minutes, between):
    """To the millisecond, and as text that reads back."""
    offset = UTC if minutes is None else timezone(timedelta(minutes=minutes))
    written = naive.isoformat(between) if minutes is None else naive.replace(tzinfo=offset).isoformat(between)
    expected = naive.replace(tzinfo=offset).astimezone(UTC)
    assert moment(written) == expected
    told = utc(written)
    assert told[10] == "T"
    assert told.endswith("Z")
    assert timedelta(0) <= expected - datetime.fromisoformat(told) < timedelta(milliseconds=1)


@given(st.datetimes(min_value=AT("1975-01-01"), max_value=AT("2600-01-01")))
def test_a_number_is_the_same_moment_in_every_unit(naive):
    seconds = (naive.replace(tzinfo=UTC, microsecond=0) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    expected = naive.replace(microsecond=0).isoformat() + "Z"
    assert {utc(seconds), utc(int(seconds * 1e3)), utc(int(seconds) * 10**6), utc(int(seconds) * 10**9)} == {expected}


def test_what_passed_between_two_moments():
    assert elapsed_ms("2026-11-20T09:00:00Z", "2026-11-20 11:00:02.5+02:00") == 2500
    assert elapsed_ms(1795165200, "2026-11-20T09:00:00.040Z") == 40
    assert moment(1795165200) == NINE
    for start, end in (("2026-11-20T09:00:01Z", "2026-11-20T09:00:00Z"), (None, 5), ("soon", 5), (5, 5)):
        assert elapsed_ms(start, end) is None
