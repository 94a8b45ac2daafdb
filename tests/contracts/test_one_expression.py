"""The same feature expression on floats, NumPy columns and a DuckDB table."""

from __future__ import annotations

import ibis
import numpy as np
import pyarrow as pa
import pytest

from inferprint.modalities.text import TEXT

COLUMNS = ("input_tokens", "cached_input_tokens", "output_tokens", "n_requests", "media_prompts", "measured_seconds")
ROWS = [
    (0.0, 0.0, 0.0, 1.0, 0.0, 0.0),
    (1.0, 0.0, 1.0, 1.0, 1.0, 0.0),
    (90.0, 0.0, 615.0, 1.0, 0.0, 0.0),
    (127.0, 126.0, 1.0, 1.0, 0.0, 2.5),
    (128.0, 128.0, 128.0, 3.0, 1.0, 0.0),
    (1000.0, 700.0, 0.0, 1.0, 0.0, 0.25),
    (200_000.0, 150_000.0, 32_000.0, 12.0, 0.0, 30.0),
    (99_999_999.0, 1.0, 77.0, 1.0, 0.0, 0.0),
]
NAMES = [feature.name for feature in TEXT.features]


def by_row(window: float) -> np.ndarray:
    return np.array([TEXT.count(dict(zip(COLUMNS, row, strict=True)), window, min) for row in ROWS])


@pytest.mark.parametrize("window", [0.0, 1.0, 128.0, 4096.0])
def test_numpy_agrees_with_floats(window):
    work = dict(zip(COLUMNS, np.array(ROWS).T, strict=True))
    np.testing.assert_allclose(np.stack(TEXT.count(work, window, np.minimum), axis=1), by_row(window), rtol=1e-12)


@pytest.mark.parametrize("window", [0.0, 1.0, 128.0, 4096.0])
def test_duckdb_agrees_with_floats(window):
    order = np.arange(len(ROWS))
    columns = {"row": order, **dict(zip(COLUMNS, np.array(ROWS).T, strict=True))}
    table = ibis.memtable(pa.table(columns))
    counted = TEXT.count({name: table[name] for name in COLUMNS}, window, ibis.least)
    selected = table.select("row", **dict(zip(NAMES, counted, strict=True))).order_by("row")
    found = ibis.duckdb.connect().to_pyarrow(selected).to_pydict()
    np.testing.assert_allclose(np.array([found[name] for name in NAMES]).T, by_row(window), rtol=1e-12)
