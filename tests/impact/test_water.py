"""1 Wh of IT energy, PUE 1.2, WUE 0.5 L/kWh, 3.0 L/kWh of power generation: 0.5 + 3.6 = 4.1 mL."""

from __future__ import annotations

import pytest

from inferprint.impact.water import grid_water, site_water
from inferprint.physics.facility import facility_energy

LITRE_ML = 1000.0


def test_worked_check_on_site():
    assert site_water(1e-3, 0.5) * LITRE_ML == pytest.approx(0.5000, rel=1e-4)


def test_worked_check_of_the_grid():
    # 0.0012 kWh x 3.0 L/kWh
    assert grid_water(facility_energy(1e-3, 1.2), 3.0) * LITRE_ML == pytest.approx(3.600, rel=1e-4)


def test_worked_check_together():
    total = site_water(1e-3, 0.5) + grid_water(facility_energy(1e-3, 1.2), 3.0)
    assert total * LITRE_ML == pytest.approx(4.100, rel=1e-4)
