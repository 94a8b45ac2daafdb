"""The measurements in `data/benchmarks`: complete, plausible, known to the catalogue, and equal to the shared ones."""

from __future__ import annotations

import csv
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from inferprint import Catalogue
from inferprint.catalogue import resolve_gpu, resolve_model, resolve_precision

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "data" / "benchmarks"
SHARED = ROOT.parent / "shared" / "benchmarks"
SOURCES = sorted(path.name for path in DATA.iterdir() if path.is_dir())
FILES = {
    "text": ("llm_speed", "llm_energy", "llm_energy_more"),
    "image": ("image_energy", "image_energy_more"),
    "video": ("video_energy", "video_energy_more"),
    "encoder": ("audio_embedding_energy",),
}
"""Shared tables by the kind of table here."""
MERGED = "mlperf-power"
QUANTITIES = {
    *("single_request_duration", "served_time_per_token", "prompt_time", "throughput"),
    *("energy_per_output_token", "prompt_energy", "host_energy"),
    *("image_energy", "image_time", "video_energy", "video_time", "encoder_energy", "encoder_time"),
}
REQUIRED = {"id", "title", "licence", "boundary", "note", "date", "use", "origin"}
OPTIONAL = {"weight", "engine_effect", "check_only"}
NOT_MEASURED = {"note", "source", "source_path", "speed_row_id", "repeats_row_id"}
MAY_BE_ZERO = {"n_in_tokens", "n_out_tokens", "expert_parallel"}
CORRECTED = {"f00442", "f00467", "f00495", "f00512", "f00540", "f00548", "f00580", "f00591"}
"""Rows of OpenLLaMA 7B, which the shared table keys to a model of 12B."""
CORRECTION = {"model_key": "llama-2-7b", "total_params_b": "6.74", "active_params_b": "6.74"}

Row = Mapping[str, str]


def table(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        yield from csv.DictReader(stream)


def source(folder: str) -> dict[str, object]:
    return tomllib.loads((DATA / folder / "source.toml").read_text(encoding="utf-8"))


def iso(date: str) -> str:
    return f"{date[:4]}-{date[4:6]}-{date[6:]}" if len(date) == 8 and date.isdigit() else date


TABLES = {(path.parent.name, path.stem): list(table(path)) for path in sorted(DATA.glob("*/*.csv"))}
ROWS = [(folder, kind, row) for (folder, kind), rows in TABLES.items() for row in rows]
BY_ID = {row["row_id"]: (folder, kind, row) for folder, kind, row in ROWS}


@pytest.mark.parametrize("folder", SOURCES)
def test_a_source_states_all_that_a_reader_needs(folder):
    stated = source(folder)
    assert set(stated) >= REQUIRED
    assert set(stated) <= REQUIRED | OPTIONAL
    assert stated["id"] == folder
    assert all(stated[name] for name in REQUIRED - {"boundary"})
    assert all(origin.keys() >= {"repo", "path", "commit"} for origin in stated["origin"])
    assert 0 < stated.get("weight", 1) <= 1


@pytest.mark.parametrize("folder", SOURCES)
def test_every_quantity_of_a_source_is_to_fit_or_to_check(folder):
    use = source(folder)["use"]
    assert set(use) <= QUANTITIES
    assert set(use.values()) <= {"fit", "check"}


@pytest.mark.parametrize("folder", SOURCES)
def test_dates_and_boundaries_of_a_source_are_those_of_its_rows(folder):
    stated = source(folder)
    rows = [row for name, _, row in ROWS if name == folder]
    dates = sorted({iso(row["date"]) for row in rows} - {""})
    assert (stated["date"]["first"], stated["date"]["last"]) == (dates[0], dates[-1])
    assert stated["boundary"] == sorted({row.get("energy_boundary", "") for row in rows} - {""})


@pytest.mark.parametrize("folder", SOURCES)
def test_what_is_only_for_checks_exists(folder):
    for column, values in source(folder).get("check_only", {}).items():
        assert set(values) <= {row.get(column) for name, _, row in ROWS if name == folder}


def test_a_table_without_a_path_per_row_has_one_origin():
    for (folder, kind), rows in TABLES.items():
        assert "source_path" in rows[0] or "*" not in source(folder)["origin"][0]["path"], (folder, kind)


def test_row_ids_are_unique_over_all_tables():
    ids = Counter(key for _, _, row in ROWS for key in (row["row_id"], row.get("speed_row_id", "")) if key)
    assert all(row["row_id"] for _, _, row in ROWS)
    assert [key for key, count in ids.items() if count > 1] == []


def test_only_known_kinds_and_no_empty_column():
    assert {kind for _, kind in TABLES} <= set(FILES)
    for where, rows in TABLES.items():
        assert [name for name in rows[0] if not any(row[name] for row in rows)] == [], where


def test_a_repeat_names_a_row_of_its_own_table_that_is_equal():
    for (folder, kind), rows in TABLES.items():
        kept = {row["row_id"]: row for row in rows}
        for row in rows:
            if row.get("repeats_row_id"):
                first = kept[row["repeats_row_id"]]
                differ = {name for name in row if row[name] != first[name]}
                assert differ == {"row_id", "repeats_row_id"}, (folder, kind, row["row_id"])


def number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


UNITS = ("_b", "_j", "_w", "_s", "_ms", "_px", "_tokens", "_count", "_parallel", "_degree", "_param", "_gpus", "_gpu")
NUMBERS = {"concurrency", "max_num_seqs", "batch", "batch_size", "n_repeats", "inference_steps", "num_frames", "fps"}
NUMBERS |= {name for rows in TABLES.values() for name in rows[0] if name.endswith(UNITS) or "_per_" in name}


def test_a_measured_value_is_a_positive_number():
    for folder, _, row in ROWS:
        for name in NUMBERS & set(row) - {"gpu"}:
            value = number(row[name]) if row[name] else 1.0
            assert value is not None, (folder, row["row_id"], name)
            assert value > 0 or (value == 0 and name in MAY_BE_ZERO), (folder, row["row_id"], name)
            assert value < 1e9, (folder, row["row_id"], name)


def test_no_row_measures_nothing():
    for folder, _, row in ROWS:
        assert not (number(row.get("n_in_tokens", "")) == 0 and number(row.get("n_out_tokens", "")) == 0), row["row_id"]
        measured = [n for n in row if n.endswith(("_j", "_s", "_ms")) or "tokens_per_s" in n]
        assert any(row[name] for name in measured), (folder, row["row_id"])


def test_energies_of_requests_and_tokens_agree():
    for folder, _, row in ROWS:
        request, token = (number(row.get(f"energy_per_{name}_j", "")) for name in ("request", "output_token"))
        n_out = number(row.get("n_out_tokens", ""))
        if request and token and n_out:
            assert request == pytest.approx(token * n_out, rel=0.02), (folder, row["row_id"])


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue.packaged()


def test_every_gpu_is_in_the_catalogue(catalogue):
    for name in sorted({row["gpu"] for _, _, row in ROWS}):
        resolve_gpu(catalogue, name)


def test_every_language_model_is_in_the_catalogue_under_its_own_name(catalogue):
    for name in sorted({row["model_key"] for _, kind, row in ROWS if kind == "text"}):
        assert resolve_model(catalogue, name).how == "exact", name


def test_every_precision_of_a_language_model_is_in_the_catalogue(catalogue):
    for name in sorted({row["precision_name"] for _, kind, row in ROWS if kind == "text"} - {""}):
        resolve_precision(catalogue, name)


def test_size_and_architecture_of_a_measured_language_model_are_those_of_the_catalogue(catalogue):
    stated = {(r["model_key"], r["total_params_b"], r["architecture"]) for _, kind, r in ROWS if kind == "text"}
    for name, total, architecture in sorted(stated):
        model = resolve_model(catalogue, name).model
        assert model.architecture == architecture, name
        assert model.total_params_b == pytest.approx(float(total), rel=0.005), name


with_shared = pytest.mark.skipif(not SHARED.exists(), reason=f"NOT RUN: no measurements at {SHARED}")


def shared_rows() -> Iterator[tuple[str, dict[str, str]]]:
    """Rows of the shared tables with the kind of table that they belong to."""
    for kind, names in FILES.items():
        for name in names:
            yield from ((kind, row) for row in table(SHARED / f"{name}.csv"))


def expected(row: Row) -> dict[str, str]:
    """What a shared row states, without what names its place, and with what was corrected."""
    stated = {name: value for name, value in row.items() if name not in NOT_MEASURED | {"row_id"} and value}
    return stated | (CORRECTION if row["row_id"] in CORRECTED else {})


@with_shared
def test_every_shared_value_is_here_and_every_value_here_is_shared():
    here = {row.get(name): row for _, _, row in ROWS for name in ("row_id", "speed_row_id") if row.get(name)}
    union: dict[str, dict[str, str]] = {row["row_id"]: {} for _, _, row in ROWS}
    for kind, row in shared_rows():
        mine = here[row["row_id"]]
        folder, own_kind, _ = BY_ID[mine["row_id"]]
        assert own_kind == kind, row["row_id"]
        assert row["source"] == mine.get("source", folder), row["row_id"]
        stated = expected(row)
        assert {name: mine[name] for name in stated} == stated, row["row_id"]
        union[mine["row_id"]] |= stated
    for key, stated in union.items():
        mine = BY_ID[key][2]
        assert {name for name, value in mine.items() if value} - NOT_MEASURED - {"row_id"} == set(stated), key


@with_shared
def test_row_counts_reconcile_with_the_shared_tables():
    shared = Counter(
        (MERGED if row["source"].startswith(MERGED) else row["source"], kind) for kind, row in shared_rows()
    )
    here = Counter((folder, kind) for folder, kind, _ in ROWS)
    twice = Counter((folder, kind) for folder, kind, row in ROWS if row.get("speed_row_id"))
    assert here + twice == shared
    assert {row["row_id"] for _, row in shared_rows()} == set(BY_ID) | {
        row["speed_row_id"] for _, _, row in ROWS if row.get("speed_row_id")
    }


@with_shared
def test_paths_are_those_of_the_shared_tables():
    for _, row in shared_rows():
        if row["row_id"] in BY_ID:
            folder, _, mine = BY_ID[row["row_id"]]
            origin = source(folder)["origin"][0] if "source_path" not in mine else {}
            path = mine.get("source_path") or f"{origin['repo']}:{origin['path']}"
            assert row["source_path"].removesuffix(f"@{origin.get('commit')}") == path, row["row_id"]


@with_shared
def test_no_remark_is_copied():
    shared = {row["note"] for _, row in shared_rows()} - {""}
    assert shared.isdisjoint({row.get("note", "") for _, _, row in ROWS})
    known = (SHARED / "README.md").read_text(encoding="utf-8")
    sentences = [part.strip() for folder in SOURCES for part in str(source(folder)["note"]).split(". ")]
    assert [part for part in sentences if len(part) > 25 and part in known] == []
