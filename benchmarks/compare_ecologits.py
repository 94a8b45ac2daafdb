"""A warm estimate with its interval against EcoLogits, in one process.

Compared: `Estimator.estimate` for an open model at an unstated host, with every quantity of the result read as value,
low and high, against `ecologits.tracers.utils.llm_impacts` of EcoLogits 0.11.3, with every impact read as mean, low and
high. Both are called as a program would that traces its requests: warm, in the same process, for the same model, with
other inputs in every call.

Why it is fair: both give energy, greenhouse gas, water and embodied impacts with a range; both read their data once,
before the clock starts. EcoLogits is given the latency that it needs and does not predict one. Rounds alternate, and so
does who begins. The ratio is that of the medians of the rounds.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

from ecologits.tracers.utils import llm_impacts

from inferprint import Estimator, Request
from inferprint.quantities import RESULTS
from timing import by_turns, machine, spread

CALLS = 200
ROUNDS = 15
TARGET = 5.0
MODEL = "meta-llama/Meta-Llama-3.1-70B-Instruct"
"""An open model that both know by this name, and for which EcoLogits writes no warning to a log in every call."""


def inferprint_round(estimator: Estimator) -> Callable[[], None]:
    """Estimates with new token counts in every call, all ranges read."""
    count = iter(range(10**9))

    def call() -> None:
        for _ in range(CALLS):
            n = next(count)
            request = Request(
                model_id=MODEL,
                country="FR",
                input_tokens=500 + n % 5000,
                output_tokens=100 + n % 997,
            )
            result = estimator.estimate(request)
            for quantity in RESULTS:
                result.range(quantity.name)

    return call


def ecologits_round() -> Callable[[], None]:
    """Impacts with new token counts in every call, all values read."""
    count = iter(range(10**9))

    def call() -> None:
        for _ in range(CALLS):
            n = next(count)
            tokens = 100 + n % 997
            impacts = llm_impacts("huggingface_hub", MODEL, tokens, 0.02 * tokens + 1e-6 * n, "FRA")
            assert impacts.energy is not None, impacts.errors
            for impact in (impacts.energy, impacts.gwp, impacts.adpe, impacts.pe, impacts.wcf):
                value = impact.value if impact is not None else 0.0
                _ = value if isinstance(value, (int, float)) else (value.mean, value.min, value.max)

    return call


def main() -> None:
    """Print seconds per call and the ratio."""
    ours, theirs = inferprint_round(Estimator()), ecologits_round()
    ours()
    theirs()
    a, b = by_turns(ours, theirs, ROUNDS)
    per_call = [[second / CALLS for second in seconds] for seconds in (a, b)]
    ratio = statistics.median(b) / statistics.median(a)
    print(f"{machine()}; {ROUNDS} rounds of {CALLS} calls each, medians per call")
    print(f"inferprint  {spread(per_call[0])}")
    print(f"ecologits   {spread(per_call[1])}")
    print(f"ratio {ratio:.1f}, target at least {TARGET:g}: {'reached' if ratio >= TARGET else 'MISSED'}")


if __name__ == "__main__":
    main()
