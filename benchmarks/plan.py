"""A plan over about 10,000 configurations: seconds for the search and the front, intervals of the front included.

Against the target alone: no other program plans this. Each run makes a new estimator, so that no card is kept; the
first run does not count. The fresh process adds imports and the reading of the catalogue.
"""

from __future__ import annotations

import statistics
import sys
import time

from inferprint.catalogue import Catalogue
from inferprint.estimate import Estimator
from inferprint.planning import Place, Search, plan
from timing import machine, process, spread

TARGET_S = 5.0
ROUNDS = 7
COUNTRIES = ("FR", "US", "PL")
SEARCHES = {
    "3 places, 16 batches": Search(
        model_id="llama-3.1-70b", places=tuple(Place("country", name) for name in COUNTRIES)
    ),
    "1 place, 48 batches": Search(
        model_id="llama-3.1-70b", batch_sizes=tuple(float(n) for n in range(1, 97, 2)), max_ttft_ms=2000
    ),
    "6 sets of techniques": Search(
        model_id="llama-3.1-70b",
        batch_sizes=tuple(float(2**n) for n in range(8)),
        techniques=((), *((f"prefix-caching:hit_rate=0.{n}",) for n in range(1, 6))),
    ),
}


def main() -> None:
    """Print configurations and seconds of each search."""
    print(machine())
    for name, search in SEARCHES.items():
        seconds, found = [], None
        for _ in range(ROUNDS + 1):
            estimator = Estimator(Catalogue.packaged())
            start = time.perf_counter()
            found = plan(search, estimator)
            seconds.append(time.perf_counter() - start)
        middle = statistics.median(seconds[1:])
        assert found is not None
        per_10_000 = middle / found.configurations * 10_000
        verdict = "reached" if per_10_000 < TARGET_S else "MISSED"
        print(
            f"{name:<22} {found.configurations:7,} configurations  {spread(seconds[1:])}  {per_10_000:.2f} s per 10,000"
            f"  below {TARGET_S:g} s: {verdict}"
        )
    fresh = process([sys.executable, "-m", "inferprint", "plan", "llama-3.1-70b", "--country", ",".join(COUNTRIES)])
    start = time.perf_counter()
    fresh()
    print(f"first one, fresh process: {time.perf_counter() - start:.2f} s")


if __name__ == "__main__":
    main()
