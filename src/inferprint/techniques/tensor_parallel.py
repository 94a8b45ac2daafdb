"""Tensor parallelism: each matrix is split over devices, which meet twice a layer.

    t = weights / (G bandwidth) + fixed time + all-reduce,   all-reduce = 2 N tokens d 2 bytes (G - 1)/G / link

Heads of the cache cannot be split: more devices than heads hold copies. Source: Megatron-LM, arXiv:1909.08053.
"""

from __future__ import annotations

from inferprint.physics.serving import MAX_DEVICES, Serving
from inferprint.techniques.base import Parameter, Technique, Values
from inferprint.techniques.rules import with_layout

NAME = "tensor-parallel"


def _rewrite(serving: Serving, values: Values) -> Serving:
    return with_layout(NAME, serving, tensor=values["devices"]) if values["devices"] else serving


TENSOR_PARALLEL = Technique(
    name=NAME,
    meaning="each matrix is split over devices",
    equation="t = b P/(G A_bw) + fixed + 2 N tokens d 2 bytes (G - 1)/G / A_link",
    reference="Megatron-LM, arXiv:1909.08053",
    stage="layout",
    parameters=(Parameter("devices", "devices that share each matrix; 0: not stated", 0.0, 0.0, MAX_DEVICES, True),),
    rewrite=_rewrite,
)
