from __future__ import annotations

import pytest

from inferprint.physics.node import host_energy, host_share, idle_energy


def test_a_replica_of_two_of_eight_devices_uses_a_quarter_of_the_host():
    assert host_share(2.0, 8.0) == 0.25


def test_a_replica_over_two_nodes_uses_two_hosts():
    assert host_share(16.0, 8.0) == 2.0


def test_host_energy():
    # 0.25 x 2000 W x 10 s = 5,000 J
    assert host_energy(10.0, 0.25, 2000.0) == 5000.0


def test_idle_energy():
    # (2 x 108 W + 0.25 x 800 W) x 10 s x 0.3 / 0.7 = 416 x 10 x 0.428571 = 1,782.857 J
    assert idle_energy(10.0, 2.0, 108.0, 0.25, 800.0, 0.7) == pytest.approx(1782.857, rel=1e-6)


def test_a_node_that_is_always_busy_never_idles():
    assert idle_energy(10.0, 2.0, 108.0, 0.25, 800.0, 1.0) == 0


def test_a_node_that_is_busy_half_of_the_time_idles_as_long_as_it_works():
    # (1 x 100 W) x 7 s
    assert idle_energy(7.0, 1.0, 100.0, 0.0, 0.0, 0.5) == 700.0
