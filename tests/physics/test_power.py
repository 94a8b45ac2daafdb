from __future__ import annotations

import pytest

from inferprint.physics.power import device_energy, device_seconds


def test_energy_of_eight_devices():
    # 0.8 x 8 x 700 W x 10 s = 44,800 J
    assert device_energy(10.0, 8.0, 700.0, 0.8) == pytest.approx(44800.0, rel=1e-12)


def test_seconds_of_eight_devices():
    # 39,200 J / (0.7 x 8 x 700 W) = 10 s
    assert device_seconds(39200.0, 8.0, 700.0, 0.7) == pytest.approx(10.0, rel=1e-12)
