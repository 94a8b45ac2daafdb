"""Multi-token prediction: the model itself has an extra layer or more that guess the next tokens.

The equation is that of speculative decoding. The draft is one layer that shares embedding and head: it costs 1/L and
the head, 0.02 to 0.05 of a step, and its first guess is right 0.85 to 0.90 of the time. Sources: Gloeckle et al.,
arXiv:2404.19737; DeepSeek-V3, arXiv:2412.19437.
"""

from __future__ import annotations

from inferprint.physics.serving import Serving
from inferprint.techniques.base import Technique, Values
from inferprint.techniques.speculative_decoding import draft_parameters, drafted

NAME = "multi-token-prediction"
PARAMETERS = draft_parameters(acceptance=0.87, draft_cost=0.03)


def _rewrite(serving: Serving, values: Values) -> Serving:
    return drafted(NAME, PARAMETERS, serving, values)


MULTI_TOKEN_PREDICTION = Technique(
    name=NAME,
    meaning="extra layers of the model guess tokens that one step verifies",
    equation="AL = 1 + sum_i prod_(j<=i) a1 r^(j-1);  step of g + 1 tokens + g c_d plain steps, over AL",
    reference="Gloeckle et al., arXiv:2404.19737; DeepSeek-V3, arXiv:2412.19437",
    stage="steps",
    parameters=PARAMETERS,
    rewrite=_rewrite,
)
