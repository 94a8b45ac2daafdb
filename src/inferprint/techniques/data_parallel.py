"""Data-parallel attention: groups of devices keep sequences of their own and copies of all that is no expert."""

from __future__ import annotations

from dataclasses import replace

from inferprint.physics.serving import Serving
from inferprint.techniques.base import Parameter, Technique, Values


def _rewrite(serving: Serving, values: Values) -> Serving:
    return replace(serving, layout=replace(serving.layout, ranks=values["ranks"]))


DATA_PARALLEL = Technique(
    name="data-parallel",
    meaning="ranks keep sequences of their own and copies of the weights that are no experts",
    equation="tau_dense = R b P_dense / (G A_bw);  sequences, cache and all-reduce of a step: 1/R",
    reference="GShard, arXiv:2006.16668",
    stage="layout",
    parameters=(Parameter("ranks", "groups of devices with sequences of their own", 1.0, 1.0, 1024.0, whole=True),),
    rewrite=_rewrite,
)
