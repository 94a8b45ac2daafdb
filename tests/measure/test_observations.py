"""The file of rows: what is in it is on disk, and is read back as measurements."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from inferprint import Catalogue
from inferprint.calibration.observations import read_files
from inferprint.errors import FileProblem
from inferprint.measure.observations import COLUMNS, ObservationWriter, Row

ALONE = Row(
    row_id="own-1",
    source="own",
    model_id="llama-3.1-8b",
    gpu="h100_sxm",
    gpu_count=1,
    serving_mode="single_stream",
    date="2026-01-31",
    engine="vllm",
    concurrency=1.0,
    n_in_tokens=100.0,
    n_out_tokens=50.0,
    duration_s=1 / 3,
    energy_per_output_token_j=2.5,
    energy_boundary="gpu_only",
    note="with, a comma",
)
MANY = Row(
    row_id="own-2",
    source="own",
    model_id="llama-3.1-8b",
    gpu="h100_sxm",
    gpu_count=1,
    serving_mode="aggregated",
    date="2026-01-31",
    engine="vllm",
    concurrency=7.9,
    n_in_tokens=100.0,
    n_out_tokens=50.0,
    system_output_tokens_per_s=790.0,
)


def test_rows_are_measurements(tmp_path: Path) -> None:
    path = tmp_path / "new" / "own.csv"
    with ObservationWriter(path) as writer:
        writer.append(ALONE)
        writer.append(MANY)
    found = read_files([path], Catalogue.packaged(), fit_unknown=True)
    assert not found.refused
    assert {(item.quantity, round(item.measured, 4)) for item in found.kept} == {
        ("single_request_duration", 0.3333),
        ("energy_per_output_token", 2.5),
        ("served_time_per_token", 0.01),
    }
    assert all(item.weight == 1 for item in found.kept)


def test_a_row_is_on_disk_before_the_file_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    writer = ObservationWriter(path)
    writer.append(ALONE)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [row["row_id"] for row in rows] == ["own-1"]
    assert rows[0]["duration_s"] == "0.3333333"
    assert rows[0]["ttft_s"] == ""
    assert rows[0]["note"] == "with, a comma"
    writer.close()
    writer.close()


def test_added_to(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    with ObservationWriter(path) as writer:
        writer.append(ALONE)
    with ObservationWriter(path, add=True) as writer:
        writer.append(MANY)
    with ObservationWriter(path, add=True):
        pass
    assert [row["row_id"] for row in csv.DictReader(path.read_text().splitlines())] == ["own-1", "own-2"]


def test_a_file_that_is_there_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("mine")
    with pytest.raises(FileProblem, match="there already"):
        ObservationWriter(path)
    with pytest.raises(FileProblem, match="other columns"):
        ObservationWriter(path, add=True)
    path.write_text(",".join(COLUMNS) + "\nhalf a li")
    with pytest.raises(FileProblem, match="not whole"):
        ObservationWriter(path, add=True)
    assert path.read_text().endswith("half a li")


def test_nothing_is_left_of_a_run_without_rows(tmp_path: Path) -> None:
    with ObservationWriter(tmp_path / "own.csv"):
        pass
    assert not list(tmp_path.iterdir())


def test_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileProblem, match="cannot write"):
        ObservationWriter(tmp_path / "file" / "own.csv")
