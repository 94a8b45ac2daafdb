"""EcoLogits' published formula on a measured row: the peer that every table shows beside our forms.

Needs the extra `validate`. Its functions are called as they are, once with the row's own batch and number of devices,
and once with its defaults, a batch of 64 and the fewest 80 GB devices.
"""

from __future__ import annotations

from inferprint.calibration.observations import Observation
from inferprint.errors import InvalidInput
from inferprint.rates.ideal import IdealRequest
from inferprint.units import JOULES_PER_KWH


def available() -> bool:
    """Whether EcoLogits is installed."""
    from importlib.util import find_spec

    return find_spec("ecologits") is not None


def predict(item: Observation, ideal: IdealRequest, *, defaults: bool = False) -> float:
    """What EcoLogits says of a measured row, in the unit of the measured value.

    Parameters
    ----------
    defaults
        With its own batch and number of devices instead of the row's.

    Raises
    ------
    InvalidInput
        A quantity that it does not estimate.
    """
    from ecologits.impacts import llm

    batch = llm.BATCH_SIZE if defaults else ideal.batch
    if item.quantity == "energy_per_output_token":
        needed = llm.model_required_memory(ideal.total_params_b, llm.MODEL_QUANTIZATION_BITS)
        devices = llm.gpu_required_count(needed, llm.GPU_MEMORY) if defaults else ideal.devices
        kwh = llm.gpu_energy(
            ideal.active_params_b, 1.0, batch, llm.GPU_ENERGY_ALPHA, llm.GPU_ENERGY_BETA, llm.GPU_ENERGY_GAMMA
        )
        return float(devices * kwh * JOULES_PER_KWH)
    if item.quantity not in ("served_time_per_token", "single_request_duration"):
        raise InvalidInput("quantity", f"EcoLogits estimates no {item.quantity}")
    tokens = 1.0 if item.quantity == "served_time_per_token" else item.tokens[1]
    seconds = llm.generation_latency(
        ideal.active_params_b,
        tokens,
        batch,
        llm.LATENCY_ALPHA,
        llm.LATENCY_BETA,
        llm.LATENCY_GAMMA,
        float("inf"),
    )
    return float(seconds)
