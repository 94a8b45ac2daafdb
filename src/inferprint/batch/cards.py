"""Machine cards of a run: resolved by several processes where there are many, their draws kept on disk.

The draws of a card take 400 KB, its table 4 KB. Rows need the table alone, totals the draws of one card at a time.
"""

from __future__ import annotations

import multiprocessing
import pickle
import tempfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from inferprint.catalogue import Catalogue
from inferprint.errors import InferprintError
from inferprint.estimate import Estimator
from inferprint.rates import MachineCard, MachineSetup, resolve_machine
from inferprint.rates.card import MachineDraws
from inferprint.rates.draws import Sources
from inferprint.rates.media import MediaReader, modality_of

WORTH_PROCESSES = 64
"""Fewer cards than this are resolved sooner than another process has started."""

LOADED = 4
"""Cards whose draws are in memory at a time."""

Parts = tuple[MachineDraws, Sources]


class CardStore:
    """Resolves machine cards and keeps their draws in a file that vanishes with the process.

    Parameters
    ----------
    estimator
        Its catalogue is used; where few cards are asked for, also those that it has.
    processes
        Processes that may be used.
    """

    def __init__(self, estimator: Estimator, processes: int = 1) -> None:
        self._estimator, self._processes = estimator, processes
        self._file = tempfile.TemporaryFile(prefix="inferprint-cards-")  # noqa: SIM115 - closed with the store
        self._loaded: OrderedDict[int, Parts] = OrderedDict()
        self._ahead: dict[MachineSetup, MachineCard] = {}

    def close(self) -> None:
        """Give the file up."""
        self._file.close()

    def resolve_all(self, setups: Iterable[MachineSetup]) -> Iterator[int]:
        """Resolve cards that will be asked for, and yield how many are done. What is wrong with one shows then."""
        wanted = list(dict.fromkeys(setups))
        if self._processes < 2 or len(wanted) < WORTH_PROCESSES:
            return
        # A forked process would hold threads of the table engine that no longer run.
        context = multiprocessing.get_context("spawn")
        with tempfile.NamedTemporaryFile(prefix="inferprint-catalogue-") as file:
            pickle.dump(self._estimator.catalogue, file, protocol=5)
            file.flush()
            jobs = [(file.name, setup) for setup in wanted]
            with ProcessPoolExecutor(self._processes, context) as pool:
                each = zip(wanted, pool.map(_resolved, jobs, chunksize=4), strict=True)
                for done, (setup, found) in enumerate(each, 1):
                    if found is not None:
                        card, parts = found
                        self._ahead[setup] = self._kept(pickle.loads(card), parts)
                    yield done

    def card(self, setup: MachineSetup) -> MachineCard:
        """The card of a setup, its draws kept on disk.

        Raises
        ------
        InferprintError
            See `resolve_machine`.
        """
        if setup in self._ahead:
            return self._ahead.pop(setup)
        if self._processes > 1:
            return self.spilled(resolve_machine(self._estimator.catalogue, setup))
        return self._estimator.machine(setup)

    def spilled(self, card: MachineCard) -> MachineCard:
        """The same card with its draws on disk."""
        return self._kept(_without_parts(card), pickle.dumps((draws_of(card), dict(card.sources)), protocol=5))

    def _kept(self, card: MachineCard, parts: bytes) -> MachineCard:
        start = self._file.seek(0, 2)
        self._file.write(parts)
        draws = _Draws(self, start)
        catalogue = self._estimator.catalogue
        model = catalogue.models[card.model]
        modality = modality_of(catalogue, model)
        media = MediaReader(catalogue, model, modality)
        sources = _Sources(self, start)
        kept = replace(card, draws=cast(MachineDraws, draws), sources=sources, media=media, modality=modality)
        kept.__dict__["table"] = card.__dict__["table"]
        return kept

    def load(self, start: int) -> Parts:
        """Draws and sources that begin at this byte of the file."""
        if start not in self._loaded:
            self._file.seek(start)
            self._loaded[start] = pickle.load(self._file)
            if len(self._loaded) > LOADED:
                self._loaded.popitem(last=False)
        return self._loaded[start]


class _Draws:
    """Stands for draws on disk."""

    def __init__(self, store: CardStore, start: int) -> None:
        self._store, self._start = store, start

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store.load(self._start)[0], name)


class _Sources(Mapping[str, Any]):
    """Stands for sources on disk."""

    def __init__(self, store: CardStore, start: int) -> None:
        self._store, self._start = store, start

    def _all(self) -> Sources:
        return self._store.load(self._start)[1]

    def __getitem__(self, name: str) -> Any:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


def draws_of(card: MachineCard) -> MachineDraws:
    """The draws of a card, from disk where they are there."""
    draws: Any = card.draws
    return draws._store.load(draws._start)[0] if isinstance(draws, _Draws) else card.draws


def _without_parts(card: MachineCard) -> MachineCard:
    """What of a card stays in memory; its table is worked out before its draws go."""
    table = card.table
    bare: Any = replace(card, draws=cast(MachineDraws, None), sources={}, media=cast(MediaReader, None))
    bare.__dict__["table"] = table
    return cast(MachineCard, bare)


# --- in another process -----------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _catalogue(path: str) -> Catalogue:
    """The catalogue that the main process wrote for the others."""
    with Path(path).open("rb") as file:
        catalogue: Catalogue = pickle.load(file)
    return catalogue


def _resolved(job: tuple[str, MachineSetup]) -> tuple[bytes, bytes] | None:
    """A card without its draws, and these; None where it cannot be, which the caller finds out for itself."""
    path, setup = job
    try:
        card = resolve_machine(_catalogue(path), setup)
    except InferprintError:
        return None
    return pickle.dumps(_without_parts(card), protocol=5), pickle.dumps((card.draws, card.sources), protocol=5)
