"""The points of a sweep and its bounds."""

from __future__ import annotations

import math

import pytest

from inferprint.errors import InvalidInput
from inferprint.measure.plan import Point, SweepPlan


def test_points_one_request_first_and_prompts_once() -> None:
    plan = SweepPlan(concurrencies=(4, 1, 4), prompt_tokens=(100,), answer_tokens=(8, 1), cached_shares=(0.5, 0))
    assert plan.points() == [
        Point(1, 100, 1, 0),
        Point(1, 100, 8, 0),
        Point(1, 100, 1, 0.5),
        Point(1, 100, 8, 0.5),
        Point(4, 100, 8, 0),
        Point(4, 100, 8, 0.5),
    ]


def test_words() -> None:
    assert str(Point(4, 100, 8, 0.75)) == "4 x (100 in, 75% of it cached, 8 out)"


def test_counts() -> None:
    plan = SweepPlan(concurrencies=(1, 16), prompt_tokens=(100,), answer_tokens=(10,), cached_shares=(0,))
    alone, many = plan.points()
    assert (plan.counted(alone), plan.counted(many)) == (8, 64)
    # The first of each worker, two where there are several; those that count, and those of the others at the end.
    assert (plan.sent(alone), plan.sent(many)) == (1 + 8 + 0, 32 + 64 + 15)
    assert SweepPlan(requests_per_point=3).counted(many) == 3


def test_bounds_hold_for_requests_and_tokens() -> None:
    plan = SweepPlan(concurrencies=(1,), prompt_tokens=(100,), answer_tokens=(10,), cached_shares=(0,), max_requests=20)
    assert plan.usual_requests == 8 + 9
    assert plan.most_requests() == 20
    assert plan.most_requests(metered=True) == 20
    assert plan.most_tokens(metered=True) == 20 * 110
    wide = SweepPlan(concurrencies=(1,), prompt_tokens=(100,), answer_tokens=(10,), cached_shares=(0,))
    assert wide.usual_requests < wide.most_requests() < wide.max_requests
    assert wide.most_requests(metered=True) == wide.max_requests


def test_a_point_leaves_later_ones_what_they_usually_take() -> None:
    plan = SweepPlan(concurrencies=(1,), prompt_tokens=(100, 200), answer_tokens=(5, 6), cached_shares=(0,))
    # Each point takes 9; the second length takes 3 to be found.
    assert [plan.usual_after(place) for place in range(4)] == [9 + 18 + 3, 18 + 3, 9, 0]
    assert plan.usual_after(0, found=(200,)) == 27
    # Half of what is spare, and all of it at the end.
    assert plan.share(0, 9 + 30 + 100) == 9 + 50
    assert plan.share(3, 9 + 100) == 9 + 100
    # Where the sweep has less than it usually takes, a point has what it usually takes itself.
    assert plan.share(0, 20) == 9


def test_the_bound_is_enough_for_the_first_point() -> None:
    SweepPlan(cached_shares=(0,), max_requests=17)
    with pytest.raises(InvalidInput, match=r"16: .* 1 x \(512 in, 1 out\), takes up to 17"):
        SweepPlan(cached_shares=(0,), max_requests=16)


def test_default_fits_its_bounds() -> None:
    plan = SweepPlan()
    assert plan.usual_requests < plan.max_requests
    assert {point.concurrency for point in plan.points()} == {1, 2, 4, 8, 16}
    assert any(point.cached_share for point in plan.points())
    # A prefix that costs what two prompts differ by.
    computed = {point.prompt_tokens * (1 - point.cached_share): point for point in plan.points() if point.cached_share}
    assert any(point.prompt_tokens in computed for point in plan.points() if not point.cached_share)
    assert any(point.answer_tokens == 1 for point in plan.points())


@pytest.mark.parametrize(
    "wrong",
    [
        {"concurrencies": ()},
        {"concurrencies": (0,)},
        {"prompt_tokens": (-5,)},
        {"answer_tokens": (10**9,)},
        {"cached_shares": (1.0,)},
        {"cached_shares": (math.nan,)},
        {"requests_per_point": 0},
        {"seconds_per_point": math.inf},
        {"max_requests": 0},
        {"max_requests": 16, "cached_shares": (0,)},
        {"max_seconds": -1.0},
        {"max_seconds": math.nan},
    ],
)
def test_refused(wrong) -> None:
    with pytest.raises(InvalidInput) as caught:
        SweepPlan(**wrong)
    assert next(iter(wrong)) in str(caught.value)
