"""Energy of a fresh, a cached and an output token, measured and by the forms.

No row measures them alone: a fresh token is its share of a prompt that is computed, a cached one the difference of two
prompts that compute about as many tokens, one of them after a prefix, and an output token its share of decoding. Where
the prompt was computed too, an output token bears a share of it, and is told apart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from statistics import fmean
from typing import Any, Literal

import numpy as np

from inferprint.calibration.observations import Observation, Observations, Quantity, Refusal
from inferprint.catalogue import Catalogue
from inferprint.errors import InferprintError
from inferprint.quantities import Range
from inferprint.rates import MachineCard, MachineSetup, resolve_machine
from inferprint.rates.draws import Array, bounds
from inferprint.rates.ideal import text_features

Token = Literal["fresh", "cached", "output", "output_with_prompt"]

SAME_LENGTH = 0.05
"""Part by which the computed tokens of two prompts may differ where one tells the other's energy without a prefix."""

FRESH = 0.05
"""Part of a prompt up to which cached tokens leave it a fresh one: servers find the few that all prompts begin with."""


@dataclass(frozen=True, slots=True)
class PerToken:
    """Energy of one kind of token, accelerators alone.

    Attributes
    ----------
    precision
        Number format: the stated one, else that in which the model was published; "unknown" where neither is known.
    n_in_tokens, n_cached_tokens, concurrency
        Of the requests: prompt, its part from a cache, and requests in flight.
    measured_j, form_j
        Per token [J]: mean of the rows, and by the forms in use with its 95 % bounds.
    n_rows
        Rows behind it; of a cached token, those with the prefix.
    """

    token: Token
    model_id: str
    gpu: str
    gpu_count: int
    precision: str
    n_in_tokens: float
    n_cached_tokens: float
    concurrency: float
    measured_j: float
    form_j: Range
    n_rows: int

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        form = {"value": self.form_j.value, "low": self.form_j.low, "high": self.form_j.high}
        return {**asdict(self), "form_j": form}


Drawn = Callable[[Observation], Array]
"""Energy of the request of an observation by the forms [J], with its draws."""


def energy_per_token(observations: Observations, catalogue: Catalogue) -> tuple[list[PerToken], list[Refusal]]:
    """Energy per fresh, cached and output token of all rows that measure it, by model, machine and lengths.

    Returns
    -------
    found
        Sorted by model, accelerator, format and kind of token.
    refused
        Energies of prompts and output tokens that could not be used.
    """
    quantities: tuple[Quantity, ...] = ("prompt_energy", "energy_per_output_token")
    refused = [item for item in observations.refused if item.quantity in quantities]

    @cache
    def card_of(setup: MachineSetup) -> MachineCard:
        return resolve_machine(catalogue, setup)

    def drawn(item: Observation) -> Array:
        card = card_of(item.setup)
        features = text_features(catalogue, catalogue.models[card.model], item.tokens, card.window, item.cached)
        found: Array = card.draws.energy @ features
        return found

    kept: dict[tuple[object, ...], list[Observation]] = defaultdict(list)
    for item in (_with_format(item, catalogue) for quantity in quantities for item in observations.of(quantity)):
        try:
            drawn(item)
        except InferprintError as error:
            refused.append(Refusal(item.row_id, item.source, item.quantity, error.message))
            continue
        # What is cached is told by the row; as a technique it would make two machines of one.
        kept[item.quantity, replace(item.setup, techniques=()), item.tokens, item.cached].append(item)
    prompts = [rows for key, rows in kept.items() if key[0] == "prompt_energy"]
    answers = [rows for key, rows in kept.items() if key[0] == "energy_per_output_token"]
    found = [*_fresh(prompts, drawn), *_cached(prompts, drawn), *_output(answers, drawn)]
    return sorted(found, key=lambda row: (row.model_id, row.gpu, row.precision, ORDER[row.token])), refused


ORDER = {"fresh": 0, "cached": 1, "output": 2, "output_with_prompt": 3}


def _with_format(item: Observation, catalogue: Catalogue) -> Observation:
    """An observation that says its number format: where its row does not, that in which the model was published."""
    setup = item.setup
    known = setup.precision or catalogue.models[setup.model_id].native_precision
    return replace(item, setup=replace(setup, precision=known))


def _is_fresh(item: Observation) -> bool:
    """Whether a prompt counts as computed whole."""
    return item.cached < FRESH * item.tokens[0]


def _computed(item: Observation) -> float:
    """Tokens of a prompt that were computed."""
    return item.tokens[0] - item.cached


def _fresh(groups: Iterable[Sequence[Observation]], drawn: Drawn) -> Iterator[PerToken]:
    """Prompts that were computed whole or nearly so, by the tokens computed."""
    for rows in groups:
        first = rows[0]
        if _is_fresh(first):
            measured = fmean(row.measured for row in rows) / _computed(first)
            yield _row("fresh", first, measured, drawn(first) / _computed(first), len(rows))


def _cached(groups: Sequence[Sequence[Observation]], drawn: Drawn) -> Iterator[PerToken]:
    """Prompts after a prefix, less those without one that compute about as many tokens, by the prefix's tokens."""
    for rows in groups:
        first = rows[0]
        alone = [other for other in groups if _is_fresh(other[0]) and _compare(other[0], first)]
        if _is_fresh(first) or not alone:
            continue
        without = min(alone, key=lambda other: abs(_computed(other[0]) - _computed(first)))
        # What the few computed tokens more or less take is theirs, not the prefix's.
        scale, prefix = _computed(first) / _computed(without[0]), first.cached - without[0].cached
        measured = fmean(row.measured for row in rows) - scale * fmean(row.measured for row in without)
        of_form = drawn(first) - scale * drawn(without[0])
        yield _row("cached", first, measured / prefix, of_form / prefix, len(rows))


def _compare(one: Observation, other: Observation) -> bool:
    """Whether two prompts ran on one machine and computed about as many tokens, the second after a prefix."""
    alike = abs(_computed(one) - _computed(other)) <= SAME_LENGTH * _computed(one)
    return alike and 2 * one.cached <= other.cached and _machine(one) == _machine(other)


def _output(groups: Iterable[Sequence[Observation]], drawn: Drawn) -> Iterator[PerToken]:
    """What is decoded, and what is decoded with its share of a prompt."""
    for rows in groups:
        first = rows[0]
        token: Token = "output" if first.cached >= first.tokens[0] else "output_with_prompt"
        measured = fmean(row.measured for row in rows)
        yield _row(token, first, measured, drawn(first) / first.tokens[1], len(rows))


def _machine(item: Observation) -> tuple[object, ...]:
    return item.source, replace(item.setup, techniques=(), traffic=None)


def _row(token: Token, item: Observation, measured_j: float, of_form: Array, count: int) -> PerToken:
    setup = item.setup
    value, low, high = np.array(bounds(of_form)).tolist()
    return PerToken(
        token=token,
        model_id=setup.model_id,
        gpu=setup.gpu_id or "",
        gpu_count=setup.gpu_count or 1,
        precision=setup.precision or "unknown",
        n_in_tokens=item.tokens[0],
        n_cached_tokens=item.cached,
        concurrency=setup.batch_size or 1.0,
        measured_j=measured_j,
        form_j=Range(value, low, high),
        n_rows=count,
    )
