"""Speculative decoding: a cheap draft guesses g tokens, one step of the model verifies them.

    AL = 1 + sum over i = 1..g of prod over j <= i of a_j,   a_j = a1 r^(j-1)   [tokens per step]

A step verifies g + 1 tokens of each request and costs what such a step costs; guessing costs g c_d plain steps, or one
c_d where all are guessed at once. The draft's weights take memory: c_d of the model's. The answer stays the same.
Sources: Leviathan et al., arXiv:2211.17192; Chen et al., arXiv:2302.01318; acceptance that falls with the position
after the tables of InferenceX.
"""

from __future__ import annotations

from dataclasses import replace

from inferprint.physics.serving import Serving
from inferprint.physics.terms import Steps
from inferprint.quantities import equation
from inferprint.techniques.base import Parameter, Technique, Values
from inferprint.techniques.rules import in_use, refusal

NAME = "speculative-decoding"


def draft_parameters(acceptance: float, draft_cost: float) -> tuple[Parameter, ...]:
    """Parameters of a draft, with the usual values of its kind."""
    return (
        Parameter("draft_tokens", "tokens guessed before a step, g; 0: none", 0.0, 0.0, 16.0, True),
        Parameter("acceptance", "chance that the first guess is right, a1", acceptance),
        Parameter("decay", "chance of a guess over that of the one before it, r", 1.0),
        Parameter("draft_cost", "cost of guessing one token over that of a plain step, c_d", draft_cost),
        Parameter("accepted_length", "tokens per step, 1 to g + 1; 0: from the acceptance", 0.0, 0.0, 17.0),
        Parameter("parallel", "whether one draft step guesses all tokens", "no", choices=("no", "yes")),
    )


@equation("AL = 1 + sum over i = 1..g of prod over j <= i of a1 r^(j-1)", "docs/techniques.md#what-each-changes")
def accepted_length(draft_tokens: float, acceptance: float, decay: float) -> float:
    """Tokens that a step yields: the next one, and the guesses up to the first wrong one."""
    total, chance = 1.0, 1.0
    for position in range(int(draft_tokens)):
        chance *= acceptance * decay**position
        total += chance
    return total


def drafted(name: str, parameters: tuple[Parameter, ...], serving: Serving, values: Values) -> Serving:
    """How a model is served with a draft.

    Raises
    ------
    InvalidInput
        Two drafts, or an accepted length outside 1 to g + 1.
    """
    if not in_use(name, "draft_tokens", parameters, values):
        return serving
    if serving.steps.drafted > 0:
        what = "the tokens of a step are drafted already"
        raise refusal(name, what, "Either speculative-decoding or multi-token-prediction.")
    g, length = values["draft_tokens"], values["accepted_length"]
    if length and not 1 <= length <= g + 1:
        raise refusal(name, f"accepted_length = {length:g} of {g:g} drafted", f"1 to {g + 1:g}, or 0.")
    length = length or accepted_length(g, values["acceptance"], values["decay"])
    cost = values["draft_cost"]
    per_token = cost / g if values["parallel"] == "yes" else cost
    memory = replace(serving.memory, draft_share=serving.memory.draft_share + cost)
    return replace(serving, steps=Steps(g, length, per_token), memory=memory)


PARAMETERS = draft_parameters(acceptance=0.7, draft_cost=0.03)


def _rewrite(serving: Serving, values: Values) -> Serving:
    return drafted(NAME, PARAMETERS, serving, values)


SPECULATIVE_DECODING = Technique(
    name=NAME,
    meaning="a draft guesses tokens that one step verifies",
    equation="AL = 1 + sum_i prod_(j<=i) a1 r^(j-1);  step of g + 1 tokens + g c_d plain steps, over AL",
    reference="Leviathan et al., arXiv:2211.17192; Chen et al., arXiv:2302.01318",
    stage="steps",
    parameters=PARAMETERS,
    rewrite=_rewrite,
)
