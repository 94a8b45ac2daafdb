"""From the node to the facility's meter."""

from __future__ import annotations

from typing import Any

from inferprint.quantities import equation


@equation("E_fac = PUE E_IT", "ISO/IEC 30134-2")
def facility_energy(it_energy: Any, pue: Any) -> Any:
    """Energy at the facility's meter, in the unit of `it_energy`."""
    return pue * it_energy
