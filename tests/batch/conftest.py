import csv
from pathlib import Path

import pytest

from inferprint.estimate import Estimator


@pytest.fixture(scope="session")
def estimator() -> Estimator:
    """One estimator for all tests: its cards are resolved once."""
    return Estimator()


@pytest.fixture
def table(tmp_path):
    """Writes a CSV file of rows given as dicts, or as raw text."""

    def write(rows: list[dict[str, object]] | str | bytes, name: str = "usage.csv") -> Path:
        path = tmp_path / name
        if isinstance(rows, bytes):
            path.write_bytes(rows)
        elif isinstance(rows, str):
            path.write_text(rows, encoding="utf-8")
        else:
            names = list(dict.fromkeys(name for row in rows for name in row))
            with path.open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, names)
                writer.writeheader()
                writer.writerows(rows)
        return path

    return write


@pytest.fixture
def read():
    """Reads a CSV file as dicts."""

    def dicts(path: Path) -> list[dict[str, str]]:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    return dicts
