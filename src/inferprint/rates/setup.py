"""Everything about a request that decides its rates: model, hosting, place, overrides. Not the amount of work."""

from __future__ import annotations

from dataclasses import dataclass

from inferprint.modalities.media import MediaWork
from inferprint.quantities import Method

TIERS = {
    "standard": None,
    "batch": "throughput",
    "provisioned": "provisioned",
    "flex": None,
    "priority": None,
}
"""Tiers of managed endpoints, and the class of services whose way of serving they have; None for that of the host."""


@dataclass(frozen=True, kw_only=True)
class MachineSetup:
    """What decides a machine card. None means that the caller did not say.

    Attributes
    ----------
    engine
        The serving software, one of `rates.engines.ENGINES`; None where nobody said.
    service_tier
        What was bought of a managed endpoint, one of `TIERS`.
    bytes_per_param
        Size of the weight file over the parameters, where it differs from the format's usual one.
    traffic
        Prompt and answer length of the other requests [tokens], None where nobody said, and the share of them with
        pictures in the prompt.
    measured_seconds_per_token
        A measured time per output token [s]; the batch is solved from it.
    max_seconds_per_token, max_seconds_to_first_token
        Limits [s] under which the operator takes the most requests into a step; the batch is solved from them.
    measured_seconds, measured_work
        A measured duration [s] and the input, cached and output tokens of that request; likewise. Where the batch is
        known, the duration is device time itself and the tokens are left out.
    measured_media
        Pictures, video and sound of that request, if any.
    outputs
        Pictures of one request, which its batches of a stated size are shared by.
    """

    model_id: str
    managed_service_id: str | None = None
    cloud_id: str | None = None
    cloud_instance_id: str | None = None
    node_id: str | None = None
    gpu_id: str | None = None
    gpu_count: int | None = None
    replica_gpu_count: int | None = None
    batch_size: float | None = None
    precision: str | None = None
    bytes_per_param: float | None = None
    engine: str | None = None
    service_tier: str | None = None
    traffic: tuple[float | None, float | None, float] | None = None
    techniques: tuple[str, ...] = ()
    active_share: float | None = None
    total_params_b: float | None = None
    active_params_b: float | None = None
    conservative: bool = False
    measured_seconds_per_token: float | None = None
    max_seconds_per_token: float | None = None
    max_seconds_to_first_token: float | None = None
    measured_seconds: float | None = None
    measured_work: tuple[float, float, float] | None = None
    measured_media: MediaWork | None = None
    device_time_measured: bool = False
    outputs: float = 1.0
    method: Method = "default"


@dataclass(frozen=True, kw_only=True)
class PlaceSetup:
    """What decides a place card. None means that the caller did not say.

    `hosting` is "service", "cloud", "own" or "desk": who runs the building. `from_name` is True where region or country
    are those of the model's name, whose cross-region profile may go elsewhere in them.
    """

    managed_service_id: str | None = None
    cloud_id: str | None = None
    cloud_region: str | None = None
    country: str | None = None
    grid_zone: str | None = None
    hosting: str = "service"
    from_name: bool = False
    pue: float | None = None
    wue_l_per_kwh: float | None = None
    grid_gco2e_per_kwh: float | None = None
    grid_market_gco2e_per_kwh: float | None = None
    grid_water_l_per_kwh: float | None = None
