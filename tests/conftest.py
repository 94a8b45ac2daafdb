"""What holds for all tests: a check that could not run says so at the end, where nobody overlooks it."""

from collections import Counter

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what was skipped, which the quiet report would show as a letter."""
    skipped = Counter(
        (report.nodeid.split("::")[0], report.longrepr[2] if isinstance(report.longrepr, tuple) else "")
        for report in terminalreporter.stats.get("skipped", [])
    )
    for (file, reason), count in skipped.items():
        line = f"NOT RUN: {count} tests of {file}: {reason.removeprefix('Skipped: ')}"
        terminalreporter.write_line(line, yellow=True)
