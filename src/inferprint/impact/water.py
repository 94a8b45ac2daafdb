"""Water consumed on site and by power generation."""

from __future__ import annotations

from typing import Any

from inferprint.quantities import equation


@equation("W_site = E_IT WUE", "ISO/IEC 30134-9")
def site_water(it_energy_kwh: Any, wue_l_per_kwh: Any) -> Any:
    """Water evaporated on site [L]. WUE is per kWh of IT energy: facility energy here would count PUE twice."""
    return it_energy_kwh * wue_l_per_kwh


@equation("W_grid = E_fac EWIF", "docs/method.md#water")
def grid_water(facility_energy_kwh: Any, water_l_per_kwh: Any) -> Any:
    """Water consumed by power generation [L]; EWIF is per kWh at the facility's meter."""
    return facility_energy_kwh * water_l_per_kwh
