from __future__ import annotations

import pytest

from inferprint.impact.embodied import embodied_share
from inferprint.units import SECONDS_PER_YEAR

FIVE_YEARS = 5 * 365.25 * 86400.0


def test_worked_check():
    # (8 x 164 + 4720) kg x 10 s / (64 x 0.5 x 157,788,000 s) = 1.195e-5 kg
    grams = 1000 * embodied_share(10.0 / 64, 8.0, 164.0, 1.0, 4720.0, 0.5, FIVE_YEARS)
    assert grams == pytest.approx(0.01195, abs=5e-6)


def test_a_life_of_continuous_work_uses_up_the_hardware():
    assert embodied_share(FIVE_YEARS, 8.0, 164.0, 1.0, 4720.0, 1.0, FIVE_YEARS) == pytest.approx(6032.0, rel=1e-12)


def test_a_quarter_of_the_host_pays_a_quarter():
    # 2 x 164 + 0.25 x 4720 = 1,508 kg
    assert embodied_share(FIVE_YEARS, 2.0, 164.0, 0.25, 4720.0, 1.0, FIVE_YEARS) == pytest.approx(1508.0, rel=1e-12)


def test_a_year_has_365_and_a_quarter_days():
    assert SECONDS_PER_YEAR == 31_557_600.0
