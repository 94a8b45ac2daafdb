"""Disaggregation: prompts are computed on devices of their own, and their cache moves to those that answer.

    t_transfer = n_in kv / (efficiency network)   [s];   prompts leave the decode steps alone

No work is saved: at equal batch and hardware the energy stays, and what is gained comes through the larger batch that
keeps the same limit. Sources: DistServe, arXiv:2401.09670; Splitwise, arXiv:2311.18677.
"""

from __future__ import annotations

from inferprint.physics.serving import MAX_DEVICES, Serving
from inferprint.techniques.base import Parameter, Technique, Values
from inferprint.techniques.rules import in_use, refusal, with_layout
from inferprint.units import GIGA

NAME = "disaggregation"
PARAMETERS = (
    Parameter("prefill_devices", "devices that compute prompts; 0: the same that answer", 0.0, 0.0, MAX_DEVICES, True),
    Parameter("prompts_per_pass", "prompts that share a pass there", 1.0, 1.0, 65536.0),
    Parameter("network_gb_per_s", "bandwidth between the two, one direction; 0: the devices' own link", 0.0, 0.0, 1e5),
    Parameter("efficiency", "share of the stated bandwidth that a transfer reaches", 0.6, 0.05, 1.0),
)


def _rewrite(serving: Serving, values: Values) -> Serving:
    if not in_use(NAME, "prefill_devices", PARAMETERS, values):
        return serving
    network = values["network_gb_per_s"]
    if not network and values["efficiency"] != PARAMETERS[-1].default:
        raise refusal(NAME, "efficiency without network_gb_per_s", "State network_gb_per_s: above 0 to 1e5.")
    return with_layout(
        NAME,
        serving,
        prompt_devices=values["prefill_devices"],
        prompts_per_pass=values["prompts_per_pass"],
        transfer_bandwidth=network * GIGA * values["efficiency"],
    )


DISAGGREGATION = Technique(
    name=NAME,
    meaning="prompts are computed on other devices than answers",
    equation="t_transfer = n_in kv / (eta B_net)",
    reference="DistServe, arXiv:2401.09670; Splitwise, arXiv:2311.18677",
    stage="layout",
    parameters=PARAMETERS,
    rewrite=_rewrite,
)
