"""What holds for all tests: a check that could not run says so at the end, where nobody overlooks it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from inferprint import Catalogue

if TYPE_CHECKING:
    from inferprint.calibration.observations import Observations
    from inferprint.calibration.validate import Validation


@pytest.fixture(scope="session")
def observations() -> Observations:
    """The measurements of `data/benchmarks`, read once."""
    from inferprint.calibration.observations import read_own

    return read_own(Catalogue.packaged())


@pytest.fixture(scope="session")
def validation(observations) -> Validation:
    """What the packaged forms say of every measurement: it takes half a minute, so it is computed once."""
    from inferprint.calibration.validate import validate

    return validate(observations, Catalogue.packaged())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what was skipped, which the quiet report would show as a letter."""
    skipped = Counter(
        (report.nodeid.split("::")[0], report.longrepr[2] if isinstance(report.longrepr, tuple) else "")
        for report in terminalreporter.stats.get("skipped", [])
    )
    for (file, reason), count in skipped.items():
        line = f"NOT RUN: {count} tests of {file}: {reason.removeprefix('Skipped: ')}"
        terminalreporter.write_line(line, yellow=True)
