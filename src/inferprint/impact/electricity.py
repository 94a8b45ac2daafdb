"""Greenhouse gas of electricity."""

from __future__ import annotations

from typing import Any

from inferprint.quantities import equation


@equation("GHG = E_fac CI", "GHG Protocol scope 2 guidance")
def emissions(facility_energy_kwh: Any, intensity_g_per_kwh: Any) -> Any:
    """Greenhouse gas [gCO2e] of energy at the facility's meter [kWh].

    `intensity_g_per_kwh` is the grid's (location-based) or the contract's or residual mix's (market-based).
    """
    return facility_energy_kwh * intensity_g_per_kwh
