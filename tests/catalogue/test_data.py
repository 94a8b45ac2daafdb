"""The packaged data: complete origins, honest licences, the facts that other parts rely on, no drift."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from inferprint.catalogue import Catalogue, Media, resolve_model
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


def test_what_makes_or_hears_media_has_a_media_record() -> None:
    assert set(CATALOGUE.media) <= set(CATALOGUE.models)
    kinds = {"image", "video", "video+audio", "audio-to-text", "text-to-audio"}
    known = [model.id for model in CATALOGUE.models.values() if model.modality in kinds]
    assert [key for key in known if key not in CATALOGUE.media and not key.startswith("generic:")] == []


def test_media_records_are_consistent() -> None:
    for media in CATALOGUE.media.values():
        assert media.tasks, media.id
        assert (media.price_usd is None) == (media.price_unit is None), media.id
        assert (media.width_px is None) == (media.height_px is None), media.id
        if media.params_per_token_b and media.denoiser_params_b:
            assert media.params_per_token_b <= media.denoiser_params_b, media.id
        if media.backbone == "undisclosed":
            assert media.denoiser_params_b is None, media.id
        if media.frames and media.frames_per_s and media.seconds:
            assert media.seconds == pytest.approx(media.frames / media.frames_per_s, rel=0.02), media.id


def _evaluation_tflop(media: Media) -> float:
    """One evaluation at the usual size, written out anew from what was counted."""
    assert media.width_px
    assert media.height_px
    frames = ((media.frames or 1) - 1) // (media.temporal_downsample or 1) + 1
    if media.backbone == "unet":
        area = media.width_px * media.height_px / 2**20
        linear, square = media.tflop_per_mpx or 0.0, media.attention_tflop_per_mpx2 or 0.0
        return (linear * area + square * area**2) * frames
    assert media.spatial_downsample
    assert media.spatial_patch
    assert media.layers
    assert media.hidden_size
    side = media.spatial_downsample * media.spatial_patch
    tokens = media.width_px / side * media.height_px / side * math.ceil(frames / (media.temporal_patch or 1))
    joint = tokens + (media.joint_text_tokens or 0)
    work = media.layers * media.hidden_size
    pairs = tokens * (media.cross_text_tokens or 0) * work
    if media.attention != "linear":
        pairs += joint**2 * work + tokens**2 * (media.latent_layers or 0) * media.hidden_size
    return (2 * (media.params_per_token_b or 0.0) * 1e9 * joint + 4 * pairs) / 1e12


@pytest.mark.parametrize(
    "name, tflop",
    [
        ("pixart-sigma", 6.634),
        ("hunyuan-dit-1.2", 14.37),
        ("sd3.5-large", 31.12),
        ("sd3.5-medium", 11.25),
        ("flux.1-dev", 74.39),
        ("flux.1-schnell", 69.47),
        ("flux.2-dev", 282.6),
        ("qwen-image", 131.7),
        ("z-image-turbo", 56.58),
        ("sana-1.6b", 2.967),
        ("cogvideox-5b", 332.2),
        ("cogvideox1.5-5b", 1479.1),
        ("wan2.1-14b", 1678),
        ("hunyuanvideo", 12070),
        ("ltx-video-13b", 444.1),
        ("wan2.2-5b", 517),
        ("sd-1.5", 0.8033),
        ("sdxl-base", 6.761),
        ("kandinsky-2.2", 0.856),
        ("svd-xt", 79.95),
    ],
)
def test_an_evaluation_computes_what_was_counted(name: str, tflop: float) -> None:
    assert _evaluation_tflop(CATALOGUE.media[name]) == pytest.approx(tflop, rel=0.005)


@pytest.mark.parametrize(
    "name, prompts, tflop",
    [
        ("sdxl-turbo", 1, 4.225),
        ("sd-1.5", 2, 82.87),
        ("sdxl-base", 2, 686.9),
        ("pixart-sigma", 2, 281.6),
        ("flux.1-schnell", 1, 290.8),
        ("flux.1-dev", 1, 2098),
        ("qwen-image", 2, 13190),
        ("sana-1.6b", 2, 130.2),
        ("cogvideox-5b", 2, 33540),
        ("wan2.1-14b", 2, 168100),
        ("hunyuanvideo", 1, 606500),
        ("wan2.2-5b", 2, 53720),
        ("svd-xt", 1, 4138),
    ],
)
def test_a_usual_request_computes_what_was_counted(name: str, prompts: int, tflop: float) -> None:
    media = CATALOGUE.media[name]
    assert media.steps
    assert media.evaluations_per_step
    assert media.width_px
    assert media.height_px
    area = media.width_px * media.height_px / 2**20
    decoder = (media.decoder_tflop_per_mpx or 0.0) * area + (media.decoder_tflop_per_mpx2 or 0.0) * area**2
    text = 2 * (media.text_encoder_params_b or 0.0) * (media.text_encoder_tokens or 0) / 1e3 * prompts
    evaluations = media.steps * media.evaluations_per_step
    found = _evaluation_tflop(media) * evaluations + text + decoder * (media.frames or 1)
    assert found == pytest.approx(tflop, rel=0.01)


@pytest.mark.parametrize(
    "name, key",
    [
        ("stabilityai/stable-diffusion-3-medium-diffusers", "sd3-medium"),
        ("THUDM/CogVideoX-2b", "cogvideox-2b"),
        ("Wan-AI/Wan2.1-T2V-14B-Diffusers", "wan2.1-14b"),
        ("kandinsky-community/kandinsky-2-2-decoder", "kandinsky-2.2"),
        ("ali-vilab/text-to-video-ms-1.7b", "modelscope-t2v-1.7b"),
        ("Efficient-Large-Model/SANA1.5_1.6B_1024px_diffusers", "sana-1.5-1.6b"),
        ("stability.sd3-5-large-v1:0", "sd3.5-large"),
        ("azure/sora-2", "sora-2"),
        ("elevenlabs/scribe_v1", "scribe-v1"),
    ],
)
def test_names_of_media_models_in_the_wild(name: str, key: str) -> None:
    assert resolve_model(CATALOGUE, name).model.id == key


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
