"""Usage as Parquet: every value as it is in the ledger."""

from __future__ import annotations

import asyncio
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from sqlalchemy import select
from tests.postgres_here import postgres
from tests.service.databases import DIALECTS, caller, parts_on, row, url_for

from inferprint.service import export
from inferprint.service.database import utc
from inferprint.service.export import COLUMNS, INTERNAL, blocks, exported
from inferprint.service.tables import USAGE

MOMENTS = ("received_at", "utc_datetime")


@pytest.fixture(scope="module")
def server():
    with postgres() as started:
        yield started


@pytest.fixture(params=DIALECTS)
def parts(request, tmp_path, server):
    with parts_on(url_for(request.param, tmp_path, server)) as made:
        yield made


def keep(parts, rows):
    asyncio.run(parts.ledger.keep(caller(), parts.outcomes(rows), source="test"))


def read(parts, folder, **question):
    """Rows of the export, and their types."""
    path = folder / "out.parquet"
    path.write_bytes(b"".join(blocks(exported(parts.ledger, caller(), question))))
    with duckdb.connect() as engine:
        moments = ", ".join(f"epoch_us({name}) AS {name}" for name in MOMENTS)
        found = engine.execute(f"SELECT * REPLACE ({moments}) FROM '{path}'")
        names = [column[0] for column in found.description]
        rows = [dict(zip(names, cells, strict=True)) for cells in found.fetchall()]
        types = {name: kind for name, kind, *_ in engine.execute(f"DESCRIBE FROM '{path}'").fetchall()}
    return rows, types


def microseconds(moment):
    return (utc(moment) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


ROWS = [
    row(1, project_id='Ünïcode "quoted", \\ and\nlines 🙂', utc_datetime="2026-09-01T10:00:12.123456+02:00"),
    row(2, project_id=None, user_id="", utc_datetime=None, n_requests=3),
    row(3, model_id="no-such-model", trace_id="null", session_id="1e5", client_id="2026-01-01"),
    row(4, model_id="gpt-4o", pue=1.123456789012345, input_tokens=12345),
    row(5, processing_duration_ms=1234.5),
]


@pytest.mark.parametrize("part_rows", [100_000, 2])
def test_every_value_is_that_of_the_ledger(parts, tmp_path, monkeypatch, part_rows):
    monkeypatch.setattr(export, "PART_ROWS", part_rows)
    monkeypatch.setattr(export, "FETCHED_ROWS", 2)
    keep(parts, ROWS)
    found, types = read(parts, tmp_path)
    with parts.database.begin(write=False) as connection:
        stored = connection.execute(select(USAGE).order_by(USAGE.c.id)).mappings().all()
    assert len(found) == len(stored) == len(ROWS)
    for one, kept in zip(found, stored, strict=True):
        for name in COLUMNS:
            moment = name in MOMENTS and kept[name] is not None
            assert one[name] == (microseconds(kept[name]) if moment else kept[name]), name
    assert found[0]["utc_datetime"] == 1_788_249_612_123_456
    assert not INTERNAL & types.keys()
    assert types["utc_datetime"] == "TIMESTAMP WITH TIME ZONE"
    assert types["usage_energy_wh_low"] == types["n_requests"] == "DOUBLE"
    assert types["user_id"] == types["request"] == "VARCHAR"


def test_only_what_was_asked_for(parts, tmp_path):
    keep(parts, [row(1), row(2, utc_datetime="2026-09-02T00:00:00Z"), row(3, project_id="other")])
    found, _ = read(parts, tmp_path, **{"from": "2026-09-01", "to": "2026-09-01", "project_id": "support"})
    assert [one["request_id"] for one in found] == ["r-1"]


def test_no_rows_are_a_file_too(parts, tmp_path):
    found, types = read(parts, tmp_path)
    assert found == []
    assert set(types) == set(COLUMNS)


def test_nothing_stays_on_disk(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    keep(parts, [row(1)])
    file = exported(parts.ledger, caller(), {})
    assert list(Path(tmp_path).glob("inferprint-export-*")) == []
    assert file.read(4) == b"PAR1"
    file.close()
