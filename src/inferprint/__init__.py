"""What an AI inference request costs the world: time, energy, greenhouse gas, water and hardware.

>>> from inferprint import estimate
>>> result = estimate("llama-3.1-70b", input_tokens=1200, output_tokens=300, node_id="generic:hgx-h100-8", country="FR")
>>> result.usage_energy_wh.low < result.usage_energy_wh.value < result.usage_energy_wh.high
True
"""

from inferprint._version import __version__
from inferprint.catalogue import Catalogue
from inferprint.errors import InferprintError
from inferprint.estimate import Estimator, Request, Result, estimate
from inferprint.quantities import Range

__all__ = [
    "Catalogue",
    "Estimator",
    "InferprintError",
    "Range",
    "Request",
    "Result",
    "__version__",
    "estimate",
]
