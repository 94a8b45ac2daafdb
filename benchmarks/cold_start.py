"""One estimate as a fresh process, against a Python process that imports NumPy and does nothing.

Compared: `inferprint estimate ... --json`, from the start of the process to its end, with `python -c "import numpy"`.

Why it is fair: the arithmetic needs NumPy, so that is the least that a process can cost. Both use the same interpreter
and environment, by turns, with warm disk caches after one run of each that does not count.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

from timing import by_turns, machine, process, spread

ROUNDS = 21
TARGET = 3.0
PROGRAM = str(Path(sys.executable).with_name("inferprint"))
ESTIMATE = (
    PROGRAM, "estimate", "llama-3.1-70b", "--input-tokens", "1200", "--output-tokens", "300",
    "--node", "generic:hgx-h100-8", "--country", "FR", "--json",
)  # fmt: skip


def main() -> None:
    """Print seconds per process and the ratio."""
    estimate, numpy = process(ESTIMATE), process((sys.executable, "-c", "import numpy"))
    estimate()
    numpy()
    a, b = by_turns(estimate, numpy, ROUNDS)
    ratio = statistics.median(a) / statistics.median(b)
    print(f"{machine()}; {ROUNDS} fresh processes each, medians")
    print(f"inferprint estimate  {spread(a)}")
    print(f"import numpy         {spread(b)}")
    print(f"ratio {ratio:.2f}, target at most {TARGET:g}: {'reached' if ratio <= TARGET else 'MISSED'}")


if __name__ == "__main__":
    main()
