"""Expert parallelism: whole experts lie on different devices, and tokens travel to them and back.

    t_exchange = N_moe k d (dispatch + combine) (1 - 1/E_r) / (E_r bandwidth) per token
    expert arithmetic x imbalance,  expert reads x min(imbalance, 1/touched)

The busiest rank decides; it reads each of its experts once at most. Sources: GShard, arXiv:2006.16668; DeepEP.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from inferprint.physics.serving import MAX_DEVICES, Serving
from inferprint.techniques.base import Parameter, Technique, Values
from inferprint.techniques.mixture_of_experts import with_imbalance
from inferprint.techniques.rules import check_sparse, in_use, refusal, with_layout
from inferprint.units import GIGA

NAME = "expert-parallel"
PARAMETERS = (
    Parameter("devices", "devices over which experts are spread; 0: each expert is split", 0.0, 0.0, MAX_DEVICES, True),
    Parameter("imbalance", "tokens of the busiest rank over those of the mean rank", 1.0, 1.0, 4.0),
    Parameter("network_gb_per_s", "bandwidth of a device to the others, one direction; 0: its link", 0.0, 0.0, 1e5),
    Parameter("dispatch_bytes", "bytes of a value on its way to an expert", 1.0, 0.0, 4.0),
    Parameter("combine_bytes", "bytes of a value on its way back", 2.0, 0.0, 4.0),
)


def _rewrite(serving: Serving, values: Values) -> Serving:
    if not in_use(NAME, "devices", PARAMETERS, values):
        return serving
    check_sparse(NAME, serving)
    _check_experts(serving, values["devices"])
    serving = with_layout(
        NAME,
        serving,
        expert=values["devices"],
        expert_bandwidth=values["network_gb_per_s"] * GIGA,
        exchange_bytes=values["dispatch_bytes"] + values["combine_bytes"],
    )
    return replace(serving, shape=with_imbalance(NAME, serving.shape, values["imbalance"]))


def _check_experts(serving: Serving, devices: float) -> None:
    """Refuse more devices than there are experts, where their number is published."""
    per_token, share = (np.ravel(value)[0] for value in (serving.shape.experts_per_token, serving.shape.expert_share))
    experts = round(float(per_token / share))
    if experts and devices > experts:
        raise refusal(NAME, f"{devices:g} devices for {experts} experts", f"devices = 1 to {experts}.")


EXPERT_PARALLEL = Technique(
    name=NAME,
    meaning="whole experts lie on different devices, and tokens travel to them",
    equation="t = N_moe k d (dispatch + combine) (1 - 1/E_r)/(E_r A_x) per token;  expert arithmetic x imbalance",
    reference="GShard, arXiv:2006.16668; DeepSeek-V3, arXiv:2412.19437",
    stage="layout",
    parameters=PARAMETERS,
    rewrite=_rewrite,
)
