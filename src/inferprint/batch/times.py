"""Measured times of single rows, put on a grid of cards.

A row with a measured time has an operating point of its own, and one card per row would cost more than all else. What
the batch decides is the time per output token alone; what a request's own prompt and cache reads take does not depend
on it. So a row's duration, less the latter, is a time per output token at the usual context. It lies between two
neighbours of a logarithmic grid with steps of 2 %, each a card with that time per token, and takes a share of both:
features are shared out in proportion, so sums of features, and totals with them, stay exact.

The error against solving the batch for the single row is that of a straight line between two points 2 % apart. On
stated hardware it stays below 0.5 % of the energy at batches from 1 to 180, whatever the context; the tests hold it
below 2 %. Where the hardware of a service is drawn, the accelerator that gives the value may change from one point to
the next: a row between them gets a mix, up to 6 % from either. Only the central case of the row's own prompt is taken
off, so bounds are those of the grid's cards: typically within 1 % of a single estimate's, 16 % at most where the batch
meets its limits. A card of the grid costs 0.05 to 0.5 s, and a table has as many as its times span steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from inferprint.estimate.estimate import work_of
from inferprint.rates import MachineCard, MachineSetup
from inferprint.rates.card import MachineDraws
from inferprint.rates.draws import Array
from inferprint.rates.forms import with_measured_time
from inferprint.rates.situation import decode_per_token
from inferprint.units import MS_PER_S

STEP = 1.02
"""Ratio of neighbouring times on the grid."""

SHORTEST, LONGEST = 1e-5, 1e3
"""Ends of the grid [s per token]: beyond them the batch is 1, or what memory holds."""


def work_columns(numbers: Mapping[str, Array]) -> dict[str, Array]:
    """Work of the mean request of each row; a duration that a row lacks counts nothing."""
    return work_of({**numbers, "request_duration_ms": np.nan_to_num(numbers["request_duration_ms"])})


def with_known_duration(machine: MachineCard, draws: MachineDraws) -> MachineCard:
    """A card of the grid, with its draws, for rows with a measured duration, which stands where one was predicted."""
    measured = MachineSetup(model_id=machine.model, measured_seconds=0.0)
    duration = with_measured_time(machine.modality, draws.duration, measured)
    return replace(machine, draws=replace(draws, duration=duration))


class Grid:
    """Shares rows of one setup out to times per output token.

    Parameters
    ----------
    machine
        The card with the batch that would be assumed; its time for a request's own prompt and cache holds for all.
    """

    def __init__(self, machine: MachineCard) -> None:
        self._machine = machine
        features = machine.modality.features
        self._own = np.where([f.name == "output_tokens" for f in features], 0.0, machine.quantity("duration")[0])
        self._usual = float(self._own @ decode_per_token(machine.modality, machine.usual_lengths, machine.window))

    def split(
        self, numbers: Mapping[str, Array], beside: Mapping[str, Array]
    ) -> Iterator[tuple[float | None, NDArray[np.intp], Array | None]]:
        """Yield time per token [s], positions of the rows that have a share in its card, and their shares.

        The duration of a prompt alone says nothing about the batch: no time, the card of the batch that is assumed.
        """
        seconds = self._seconds_per_token(numbers, beside)
        silent = np.isnan(seconds)
        if silent.any():
            yield None, np.flatnonzero(silent), None
        timed = np.flatnonzero(~silent)
        below = np.floor(np.log(seconds[timed]) / np.log(STEP))
        upper = (seconds[timed] / STEP**below - 1) / (STEP - 1)
        steps = np.concatenate([below, below + 1])
        rows, weights = np.tile(timed, 2), np.clip(np.concatenate([1 - upper, upper]), 0.0, 1.0)
        for step in np.unique(steps[weights > 0]).tolist():
            which = np.flatnonzero((steps == step) & (weights > 0))
            yield STEP**step, rows[which], weights[which]

    def _seconds_per_token(self, numbers: Mapping[str, Array], beside: Mapping[str, Array]) -> Array:
        """Time per output token at the usual context [s]; NaN where a duration is that of a prompt alone.

        `beside` are the work columns beside those of text.
        """
        modality = self._machine.modality
        work = {**work_columns(numbers), **beside, "n_requests": np.ones_like(numbers["n_requests"])}
        features = np.array(modality.count(work, self._machine.window, np.minimum))
        written = features[modality.names.index("output_tokens")]
        n_out = np.where(written > 0, written, np.nan)
        from_duration = (work["measured_seconds"] - self._own @ features) / n_out + self._usual
        stated = numbers["time_per_output_token_ms"] / MS_PER_S
        return np.clip(np.where(np.isnan(stated), from_duration, stated), SHORTEST, LONGEST)
