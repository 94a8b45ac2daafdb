"""Data-parallel attention: groups of devices keep sequences of their own and copies of all that is no expert.

    tau_dense = R b P_dense / (G bandwidth);   sequences, cache and all-reduce of a step: 1/R

Source: GShard, arXiv:2006.16668.
"""

from __future__ import annotations

from inferprint.physics.serving import MAX_DEVICES, Serving
from inferprint.techniques.base import Parameter, Technique, Values
from inferprint.techniques.rules import with_layout

NAME = "data-parallel"


def _rewrite(serving: Serving, values: Values) -> Serving:
    return with_layout(NAME, serving, ranks=values["ranks"])


DATA_PARALLEL = Technique(
    name=NAME,
    meaning="ranks keep sequences of their own and copies of the weights that are no experts",
    equation="tau_dense = R b P_dense / (G A_bw);  sequences, cache and all-reduce of a step: 1/R",
    reference="GShard, arXiv:2006.16668",
    stage="layout",
    parameters=(
        Parameter("ranks", "groups of devices with sequences of their own", 1.0, 1.0, MAX_DEVICES, whole=True),
    ),
    rewrite=_rewrite,
)
