"""Rate cards: everything but the amount of work, resolved once."""

from inferprint.rates.card import (
    OUTPUT_NAMES,
    OUTPUTS,
    Level,
    MachineCard,
    PlaceCard,
    apply,
    total_draws,
)
from inferprint.rates.machine import equation_of_term, resolve_machine
from inferprint.rates.place import resolve_place
from inferprint.rates.setup import MachineSetup, PlaceSetup

__all__ = [
    "OUTPUTS",
    "OUTPUT_NAMES",
    "Level",
    "MachineCard",
    "MachineSetup",
    "PlaceCard",
    "PlaceSetup",
    "apply",
    "equation_of_term",
    "resolve_machine",
    "resolve_place",
    "total_draws",
]
