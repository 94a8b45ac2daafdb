"""Routing of a mixture of experts: some experts, and so some devices, get more tokens than others.

    s_e ~ e^-skew;   touched(T) = 1 - mean over e of (1 - k s_e)^T,  k s_e <= 1

Tokens that prefer the same experts touch fewer of them. The imbalance is that of devices: the busiest one decides.
Source: Switch Transformers, arXiv:2101.03961; the power law as in NVIDIA's aiconfigurator.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from inferprint.physics.serving import Serving
from inferprint.physics.terms import ModelShape
from inferprint.techniques.base import Parameter, Technique, Values
from inferprint.techniques.rules import changed, check_sparse, refusal

NAME = "mixture-of-experts"
PARAMETERS = (
    Parameter("imbalance", "tokens of the busiest device over those of the mean device", 1.0, 1.0, 4.0),
    Parameter("skew", "exponent of the power law of the routing; 0: all experts alike", 0.0, 0.0, 2.0),
)
GROUPS_PER_OCTAVE = 4
"""Experts of about the same rank are taken together: what is touched moves by less than 1e-3."""


def with_imbalance(name: str, shape: ModelShape, imbalance: float) -> ModelShape:
    """The shape with an imbalance, which only one technique can state."""
    if imbalance != 1 and np.any(np.greater(shape.expert_imbalance, 1)):
        raise refusal(name, "the imbalance is stated twice", "Either mixture-of-experts or expert-parallel: 1 to 4.")
    return replace(shape, expert_imbalance=shape.expert_imbalance * imbalance)


def routing_groups(experts: int, per_token: float, skew: float) -> tuple[tuple[float, float], ...]:
    """Groups of experts used alike: (share of the experts, their use over the mean expert's).

    Parameters
    ----------
    experts, per_token
        Experts of a layer, E, and those of one token, k.
    skew
        Exponent of the power law.
    """
    rank = np.arange(1, experts + 1, dtype=float)
    use, most = rank**-skew, experts / per_token
    use /= use.mean()
    # A token goes to an expert once at most: what the favourites cannot take, the others share.
    for _ in range(experts):
        full = use >= most
        if not np.any(use > most * (1 + 1e-12)):
            break
        rest = (experts - most * full.sum()) / use[~full].sum()
        use = np.where(full, most, use * rest)
    group = np.floor(np.log2(rank) * GROUPS_PER_OCTAVE)
    members = [use[group == g] for g in np.unique(group)]
    return tuple((len(m) / experts, float(m.mean())) for m in members)


def _rewrite(serving: Serving, values: Values) -> Serving:
    if not changed(PARAMETERS, values):
        return serving
    check_sparse(NAME, serving)
    shape = with_imbalance(NAME, serving.shape, values["imbalance"])
    if values["skew"]:
        share, per_token = (float(np.ravel(x)[0]) for x in (shape.expert_share, shape.experts_per_token))
        if not per_token:
            raise refusal(NAME, "skew, but the number of experts is not published", "skew=0.")
        shape = replace(shape, routing=routing_groups(round(per_token / share), per_token, values["skew"]))
    return replace(serving, shape=shape)


MIXTURE_OF_EXPERTS = Technique(
    name=NAME,
    meaning="tokens prefer some experts, and some devices have more of them",
    equation="touched(T) = 1 - mean_e (1 - k s_e)^T,  s_e ~ e^-skew;  expert arithmetic x imbalance",
    reference="Switch Transformers, arXiv:2101.03961",
    stage="formats",
    parameters=PARAMETERS,
    rewrite=_rewrite,
)
