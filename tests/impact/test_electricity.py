from __future__ import annotations

import pytest

from inferprint.impact.electricity import emissions
from inferprint.physics.facility import facility_energy


def test_worked_check():
    # 1 Wh of IT energy, PUE 1.2, 400 g/kWh: 0.0012 kWh x 400 g/kWh = 0.48 g
    assert emissions(facility_energy(1e-3, 1.2), 400.0) == pytest.approx(0.4800, rel=1e-4)
