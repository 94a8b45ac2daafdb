"""The packaged data: complete origins, honest licences, the facts that other parts rely on, no drift."""

from __future__ import annotations

import dataclasses
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from inferprint.catalogue import Catalogue
from inferprint.catalogue.load import ARTEFACT, all_records
from inferprint.provenance.source import Quality

ROOT = Path(__file__).resolve().parents[2]
CATALOGUE = Catalogue.packaged()


def test_every_value_has_source_date_and_quality() -> None:
    for _, record in all_records(CATALOGUE):
        for field in dataclasses.fields(record):
            origin = record.origin(field.name)
            assert origin.source in CATALOGUE.sources, (record.id, field.name)
            assert origin.date[:2] == "20", (record.id, field.name)
            assert origin.quality in get_args(Quality), (record.id, field.name)


def test_every_source_states_its_licence_and_none_is_the_residual_mix_of_aib() -> None:
    for source in CATALOGUE.sources.values():
        assert source.licence, source.id
        assert source.title, source.id
        assert "AIB" not in source.title
    stated = {grid.id for grid in CATALOGUE.grids.values() if grid.market_gco2e_per_kwh is not None}
    assert stated == {"AU"}
    assert "CC BY 4.0" in CATALOGUE.sources["ember-co2js"].licence
    assert CATALOGUE.grids["AU"].origin("market_gco2e_per_kwh").source == "nga-2025"


def test_text_tells_nothing_of_where_it_was_written() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "data").rglob("*.toml")]
    for word in ("/work", "shared/", " session", "task brief"):
        assert not any(word in text for text in texts), word


def test_a_device_measured_as_a_whole_gets_no_host_on_top() -> None:
    for node in CATALOGUE.nodes.values():
        if node.gpu and CATALOGUE.gpus[node.gpu].power_boundary == "system":
            assert node.gpu_count == 1, node.id
            assert node.host_idle_power_w == node.host_active_power_w == 0, node.id


def test_layers_and_cache_are_consistent() -> None:
    for model in CATALOGUE.models.values():
        parts = (model.full_attention_layers, model.windowed_attention_layers, model.state_space_layers)
        if model.layers and None not in parts:
            assert sum(part for part in parts if part is not None) <= model.layers, model.id
        if model.experts and model.experts_per_token:
            assert model.experts_per_token <= model.experts, model.id
        if model.total_params_b and model.active_params_b:
            assert model.active_params_b <= model.total_params_b, model.id
        if model.architecture == "dense":
            assert model.active_params_b == model.total_params_b, model.id


@pytest.mark.parametrize(
    "name, field, value",
    [
        ("gpt-oss-120b", "windowed_kv_elements_per_token", 2 * 18 * 8 * 64),
        ("gpt-oss-120b", "attention_window_tokens", 128),
        ("deepseek-v3", "moe_layers", 58),
        ("deepseek-v3", "kv_elements_per_token", 61 * 576),
        ("llama-4-maverick", "moe_layers", 24),
        ("nemotron-3-nano-30b-a3b", "state_space_layers", 23),
        ("nemotron-3-nano-30b-a3b", "moe_layers", 23),
        ("qwen3.5-27b", "state_space_layers", 48),
        ("llama-3.1-70b", "kv_elements_per_token", 2 * 80 * 8 * 128),
        ("mimo-v2-flash", "windowed_kv_elements_per_token", 39 * 8 * (192 + 128)),
        ("claude-opus-4", "total_params_b", None),
    ],
)
def test_published_shapes(name: str, field: str, value: float | None) -> None:
    assert getattr(CATALOGUE.models[name], field) == value


def test_records_are_built_when_asked_for() -> None:
    fresh = Catalogue(CATALOGUE._content, "2026-01-01")
    assert fresh.models._built == {}
    assert fresh.models["gpt-4o"] is fresh.models["gpt-4o"]
    assert list(fresh.models._built) == ["gpt-4o"]


def test_import_needs_nothing_beyond_the_standard_library() -> None:
    # The package's own __init__ imports NumPy, so the catalogue is imported under a bare parent.
    code = (
        "import sys, types; parent = types.ModuleType('inferprint'); parent.__path__ = [sys.argv[1]]\n"
        "sys.modules['inferprint'] = parent\n"
        "from inferprint.catalogue import Catalogue; Catalogue.packaged().models['gpt-4o']\n"
        "assert 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(ROOT / "src" / "inferprint")], check=True)


def test_the_artefact_has_one_record_a_line() -> None:
    path = ROOT / "src" / "inferprint" / "catalogue" / ARTEFACT
    lines = path.read_text(encoding="utf-8").splitlines()
    records = sum(len(json.loads(path.read_text(encoding="utf-8"))[folder]) for folder in ("models", "gpus", "grids"))
    assert len(lines) > records
    assert any(line.startswith('"gpt-4o":{') for line in lines)


def test_the_version_is_the_hash_of_the_content() -> None:
    assert Catalogue(CATALOGUE._content, CATALOGUE.version.split("+")[0]).version == CATALOGUE.version


@pytest.mark.parametrize("tool", ["build_catalogue", "match_prices"])
def test_nothing_drifted(tool: str) -> None:
    assert importlib.import_module(tool).main(["--check"]) == 0


def test_drift_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    tool = importlib.import_module("build_catalogue")
    old = tmp_path / ARTEFACT
    old.write_text(tool.ARTEFACT.read_text(encoding="utf-8").replace("OpenAI", "OpenIA"), encoding="utf-8")
    monkeypatch.setattr(tool, "ARTEFACT", old)
    assert tool.main(["--check"]) == 1
    assert "python tools/build_catalogue.py" in capsys.readouterr().err
