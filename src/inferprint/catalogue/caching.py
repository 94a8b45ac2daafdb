"""What was looked up in a catalogue, kept as long as the catalogue is."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar
from weakref import WeakKeyDictionary, ref

if TYPE_CHECKING:
    from inferprint.catalogue.load import Catalogue

P = ParamSpec("P")
R = TypeVar("R")


def kept(
    maxsize: int,
) -> Callable[[Callable[Concatenate[Catalogue, P], R]], Callable[Concatenate[Catalogue, P], R]]:
    """Keep the last results of a function of a catalogue, which never changes once made, for each catalogue apart.

    A cache over all of them would hold on to those that nobody uses any more: a server makes one for each change of an
    owner's records.

    Parameters
    ----------
    maxsize
        Results of one catalogue.
    """

    def decorate(function: Callable[Concatenate[Catalogue, P], R]) -> Callable[Concatenate[Catalogue, P], R]:
        caches: WeakKeyDictionary[Catalogue, Callable[..., R]] = WeakKeyDictionary()

        @functools.wraps(function)
        def look_up(catalogue: Catalogue, /, *args: P.args, **kwargs: P.kwargs) -> R:
            cache = caches.get(catalogue)
            if cache is None:
                made: Callable[..., R] = functools.lru_cache(maxsize)(_weakly(function, ref(catalogue)))
                cache = caches[catalogue] = made
            return cache(*args, **kwargs)

        return look_up

    return decorate


def _weakly(function: Callable[Concatenate[Catalogue, P], R], catalogue: ref[Catalogue]) -> Callable[P, R]:
    """The function of a catalogue that it does not hold on to; whoever calls it does."""

    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        alive = catalogue()
        assert alive is not None
        return function(alive, *args, **kwargs)

    return call
