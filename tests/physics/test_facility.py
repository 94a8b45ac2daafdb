from __future__ import annotations

import pytest

from inferprint.physics.facility import facility_energy


def test_a_watt_hour_at_a_pue_of_1_2():
    assert facility_energy(1.0, 1.2) == pytest.approx(1.2, rel=1e-12)
