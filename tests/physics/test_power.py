from __future__ import annotations

import pytest

from inferprint.physics.power import device_energy


def test_energy_of_eight_devices():
    # 0.8 x 8 x 700 W x 10 s = 44,800 J
    assert device_energy(10.0, 8.0, 700.0, 0.8) == pytest.approx(44800.0, rel=1e-12)
