"""How to serve a model with least impact: search, change one thing, sweep."""

from inferprint.planning.axes import Place
from inferprint.planning.fleet import Fleet, Level, fleet
from inferprint.planning.load import Load, logged_load, stated_load
from inferprint.planning.objectives import LIMITS, OBJECTIVES
from inferprint.planning.plan import Configuration, Plan, plan
from inferprint.planning.space import Search
from inferprint.planning.sweep import Axis, Cell, Sweep, axis_of, sweep
from inferprint.planning.what_if import Change, WhatIf, what_if

__all__ = [
    "LIMITS",
    "OBJECTIVES",
    "Axis",
    "Cell",
    "Change",
    "Configuration",
    "Fleet",
    "Level",
    "Load",
    "Place",
    "Plan",
    "Search",
    "Sweep",
    "WhatIf",
    "axis_of",
    "fleet",
    "logged_load",
    "plan",
    "stated_load",
    "sweep",
    "what_if",
]
