"""Models as numbers for physics, against published configurations."""

from __future__ import annotations

from dataclasses import replace

import pytest

from inferprint import Catalogue
from inferprint.catalogue import resolve_model, resolve_precision
from inferprint.errors import InvalidInput, Undisclosed
from inferprint.provenance.trace import Trail
from inferprint.rates.draws import SIZE, Sampler
from inferprint.rates.model import model_shape, model_sizes, named_sizes

CATALOGUE = Catalogue.packaged()


def shape_of(name: str, total: float | None = None, active: float | None = None, trail: Trail | None = None):
    model = resolve_model(CATALOGUE, name).model
    trail = trail or Trail()
    sizes = model_sizes(CATALOGUE, model, total, active, trail)
    return model_shape(CATALOGUE, model, sizes, resolve_precision(CATALOGUE, "bf16"), trail, Sampler())


@pytest.mark.parametrize(
    "model, kilobytes",
    [
        ("llama-3-8b", 131),  # 2 x 8 heads x 128 x 32 layers x 2 bytes = 131,072
        ("llama-3-70b", 328),  # 2 x 8 x 128 x 80 x 2 = 327,680
        ("llama-3.1-405b", 516),  # 2 x 8 x 128 x 126 x 2 = 516,096
        ("llama-2-7b", 524),  # 2 x 32 x 128 x 32 x 2 = 524,288
        ("deepseek-v3", 70),  # 576 x 61 x 2 = 70,272
        ("gpt-oss-20b", 25),  # 12 full layers: 2 x 8 x 64 x 12 x 2 = 24,576
    ],
)
def test_cache_bytes_per_token(model, kilobytes):
    assert shape_of(model).kv_bytes_per_token / 1000 == pytest.approx(kilobytes, abs=0.5)


def test_cache_of_windowed_layers_is_kept_apart():
    # The other 12 layers of gpt-oss-20b
    assert shape_of("gpt-oss-20b").windowed_kv_bytes_per_token == 24576


def test_window():
    assert shape_of("gpt-oss-20b").window_tokens == 128


def test_a_model_without_windowed_layers_has_no_window():
    assert shape_of("llama-3-8b").window_tokens == 0


@pytest.mark.parametrize(
    "model, share",
    [("mixtral-8x7b-instruct", 2 / 8), ("qwen3-30b-a3b", 8 / 128), ("deepseek-v3", 8 / 256), ("llama-3-8b", 1.0)],
)
def test_expert_share(model, share):
    # Never more than active over total: 37/671 is above 8/256, 3.35/30.53 above 8/128, 12.9/46.7 above 2/8.
    assert shape_of(model).expert_share == pytest.approx(share, rel=1e-9)


def test_attention_width():
    # 64 heads x 128 x 80 layers
    assert shape_of("llama-3-70b").attention_width == 64 * 128 * 80


def test_sizes_of_the_caller_come_first():
    sizes = model_sizes(CATALOGUE, CATALOGUE.models["llama-3.1-8b"], 20.0, 5.0, Trail())
    assert (sizes.total, sizes.active) == (20.0, 5.0)


def test_a_total_alone_means_a_dense_model():
    sizes = model_sizes(CATALOGUE, resolve_model(CATALOGUE, "claude-opus-4-5").model, 20.0, None, Trail())
    assert sizes.active == 20.0


def test_a_stated_total_keeps_the_published_share_of_active_parameters():
    # DeepSeek-V3: 37 of 671 billion.
    sizes = model_sizes(CATALOGUE, CATALOGUE.models["deepseek-v3"], 100.0, None, Trail())
    assert sizes.active == pytest.approx(100.0 * 37 / 671)


def test_a_stated_total_of_a_dense_model_is_all_active():
    assert model_sizes(CATALOGUE, CATALOGUE.models["llama-3.1-8b"], 100.0, None, Trail()).active == 100.0


def test_an_undisclosed_size_is_an_error_that_says_what_to_pass():
    with pytest.raises(Undisclosed, match=r"--total-params-b.*total_params_b=") as caught:
        model_sizes(CATALOGUE, replace(CATALOGUE.models["claude-opus-4-5"], id="nobody-sells-it"), None, None, Trail())
    assert "nobody-sells-it" in caught.value.message


@pytest.mark.parametrize(
    "name, sizes", [("hermes-4-70b", (70.0, 70.0)), ("xing4.0-29b-a4b", (29.0, 4.0)), ("l3-lunaris-8b", (8.0, 8.0))]
)
def test_a_name_that_states_a_size_is_believed(name, sizes):
    found = model_sizes(CATALOGUE, CATALOGUE.models[name], None, None, Trail())
    assert (found.total, found.active) == sizes


@pytest.mark.parametrize("name", ["mixtral-8x7b", "gpt-4o", "nova-2.0b1", "phi-3.5", "a70bit", "claude-opus-4-5"])
def test_a_name_without_a_size_states_none(name):
    assert named_sizes(replace(CATALOGUE.models["claude-opus-4-5"], id=name)) == (None, None)


@pytest.mark.parametrize(
    "total, active, field",
    [(-1.0, None, "total_params_b"), (0.0, None, "total_params_b"), (7e9, None, "total_params_b"),
     (10.0, 0.0, "active_params_b"), (10.0, 11.0, "active_params_b"), (float("nan"), None, "total_params_b")],
)  # fmt: skip
def test_impossible_sizes_name_their_field(total, active, field):
    with pytest.raises(InvalidInput) as caught:
        model_sizes(CATALOGUE, CATALOGUE.models["llama-3.1-8b"], total, active, Trail())
    assert caught.value.field == field


UNPUBLISHED_TRAIL = Trail()
UNPUBLISHED = shape_of("claude-opus-4-5", 400.0, 40.0, UNPUBLISHED_TRAIL)


class TestUnpublishedShape:
    @pytest.mark.parametrize("name", ["layers", "hidden_size", "kv_bytes_per_token", "expert_share"])
    def test_is_drawn(self, name):
        assert getattr(UNPUBLISHED, name).shape == (SIZE,)

    @pytest.mark.parametrize("name", ["layers", "hidden_size", "kv_elements_per_token", "expert_share"])
    def test_is_recorded_as_assumed(self, name):
        assert [entry.how for entry in UNPUBLISHED_TRAIL.entries if entry.field == name] == ["assumed"]

    def test_resembles_open_models_of_its_size(self):
        # Open models of 200 to 1,000 billion have 61 to 126 layers.
        assert 40 < UNPUBLISHED.layers[0] < 140

    def test_experts_are_not_used_more_sparsely_than_the_model(self):
        assert UNPUBLISHED.expert_share.max() <= 40 / 400
