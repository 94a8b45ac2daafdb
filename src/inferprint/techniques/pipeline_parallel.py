"""Pipeline parallelism: stages hold the layers one after the other and work on different requests at a time.

    a step of a request passes all stages and p - 1 hops;  each stage steps through B/p requests

With fewer requests than stages some of them wait. Sources: GPipe, arXiv:1811.06965; Megatron-LM, arXiv:2104.04473.
"""

from __future__ import annotations

from inferprint.physics.serving import MAX_DEVICES, Serving
from inferprint.techniques.base import Parameter, Technique, Values
from inferprint.techniques.rules import with_layout

NAME = "pipeline-parallel"


def _rewrite(serving: Serving, values: Values) -> Serving:
    return with_layout(NAME, serving, pipeline=values["stages"])


PIPELINE_PARALLEL = Technique(
    name=NAME,
    meaning="stages with a part of the layers each work on different requests",
    equation="t = sum of stages + (p - 1) tokens d 2 bytes / A_link;  B/p requests in each stage",
    reference="GPipe, arXiv:1811.06965",
    stage="layout",
    parameters=(Parameter("stages", "parts into which the layers are cut", 1.0, 1.0, MAX_DEVICES, True),),
    rewrite=_rewrite,
)
