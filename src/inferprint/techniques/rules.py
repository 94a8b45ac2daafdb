"""What several techniques check: refusals that name the technique and what it allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from inferprint.errors import InvalidInput
from inferprint.physics.serving import Serving
from inferprint.techniques.base import Parameter, Values


def refusal(name: str, what: str, hint: str) -> InvalidInput:
    """The error of a technique that cannot be used so; `hint` says what can."""
    return InvalidInput("techniques", f"{name}: {what}", hint=hint)


def changed(parameters: Sequence[Parameter], values: Values) -> tuple[str, ...]:
    """Names of the parameters that are not at their defaults."""
    return tuple(p.name for p in parameters if values[p.name] != p.default)


def in_use(name: str, base: str, parameters: Sequence[Parameter], values: Values) -> bool:
    """True where `base`, without which the other parameters mean nothing, is stated.

    Raises
    ------
    InvalidInput
        Others are stated without it.
    """
    stated = changed(parameters, values)
    if stated and base not in stated:
        allowed = next(p.allowed for p in parameters if p.name == base)
        raise refusal(name, f"{', '.join(stated)} without {base}", f"State {base}: {allowed}.")
    return base in stated


def at_least(name: str, parameter: str, value: float, low: float, high: float) -> None:
    """Refuse what lies between the default, which is 0, and the least that can be stated."""
    if 0 < value < low:
        raise refusal(name, f"{parameter} = {value:g} is out of range", f"0 (not stated), or {low:g} to {high:g}.")


def check_sparse(name: str, serving: Serving) -> None:
    """Refuse models without experts."""
    if np.ravel(serving.shape.expert_share)[0] >= 1:
        raise refusal(name, "the model is dense: it has no experts", "A mixture of experts.")


def with_layout(name: str, serving: Serving, **changes: Any) -> Serving:
    """The same with another layout; experts cannot be spread over more devices than share a step."""
    layout = replace(serving.layout, **changes)
    together = layout.tensor * layout.ranks
    if layout.tensor and layout.expert > together:
        what = f"experts on {layout.expert:g} devices, but tensor-parallel x data-parallel makes {together:g}"
        raise refusal(name, what, f"expert-parallel:devices = 1 to {together:g}.")
    return replace(serving, layout=layout)


def check_static(name: str, serving: Serving) -> None:
    """Refuse what cannot go with a batch that is served to its end before the next one starts."""
    if np.any(np.isfinite(serving.prompts.chunk_tokens)):
        raise refusal(name, "a static batch with chunked-prefill", "kind=continuous, or whole prompts.")
    if serving.layout.prompt_devices:
        raise refusal(name, "a static batch with disaggregation", "kind=continuous, or the same devices.")
    if serving.layout.pipeline > 1:
        raise refusal(name, "a static batch with pipeline-parallel", "kind=continuous, or pipeline-parallel:stages=1.")
