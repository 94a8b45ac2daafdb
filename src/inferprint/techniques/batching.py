"""Batching: a request leaves its batch when it is done (continuous), or all wait for the longest answer (static).

    static: fill = 1 / (1 + spread (H_B - 1)),  H_B = sum of 1/i for i up to B

`fill` is the share of the places in a step that yield a token. Source: Orca, OSDI 2022.
"""

from __future__ import annotations

from dataclasses import replace

from inferprint.physics.serving import Batching, Serving
from inferprint.techniques.base import Parameter, Technique, Values
from inferprint.techniques.rules import check_static, refusal

NAME = "batching"
NO_CAP = 65536.0


def _rewrite(serving: Serving, values: Values) -> Serving:
    static, spread = values["kind"] == "static", values["spread"]
    if static:
        check_static(NAME, serving)
    elif spread != 1.0:
        raise refusal(NAME, "spread without kind=static", "State kind=static: only there answers wait for others.")
    batching = serving.batching
    if static:
        batching = Batching(batching.max_requests, static=True, spread=spread)
    if values["max_requests"] < NO_CAP:
        batching = replace(batching, max_requests=values["max_requests"])
    return replace(serving, batching=batching)


BATCHING = Technique(
    name=NAME,
    meaning="how requests come together in a step, and how many at most",
    equation="static: fill = 1/(1 + s (H_B - 1));  B <= B_max",
    reference="Orca, OSDI 2022",
    stage="batching",
    parameters=(
        Parameter("kind", "continuous, or static: served to its end", "continuous", choices=("continuous", "static")),
        Parameter("spread", "how much answers of a static batch differ: 0 all alike, 1 exponential", 1.0),
        Parameter("max_requests", "most requests in a step; the highest value: no cap", NO_CAP, 1.0, NO_CAP, True),
    ),
    rewrite=_rewrite,
)
