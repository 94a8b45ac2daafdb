"""What was wrong once: each test fails on the code before it was mended."""

import json

import numpy as np
import pytest

from inferprint import Estimator, Request, estimate
from inferprint.errors import InvalidInput, UnknownName
from inferprint.estimate.explain import explain
from inferprint.rates import total_draws

WORK = {"input_tokens": 1200, "output_tokens": 300}
OWN = {"gpu_id": "h100_80gb_sxm", "gpu_count": 8}


@pytest.mark.parametrize("model", ["flux.1-dev", "wan2.1-14b", "text-embedding-3-small", "bge-m3"])
def test_a_model_that_writes_no_text_is_refused(model):
    with pytest.raises(InvalidInput, match="writes no text"):
        estimate(model, total_params_b=1.0, **WORK)


@pytest.mark.parametrize("model", ["codestral-mamba", "rwkv-4-7b"])
def test_a_model_without_attention_has_no_cache_to_read(model):
    short, long = (
        estimate(model, input_tokens=n, cached_input_tokens=n - 1, output_tokens=300, batch_size=8, **OWN)
        for n in (100, 100_000)
    )
    assert short.usage_energy_wh.value == pytest.approx(long.usage_energy_wh.value, rel=1e-3)


def test_the_value_of_a_service_is_in_the_middle_of_its_draws():
    result = estimate("llama-3.1-70b", managed_service_id="deepseek", **WORK)
    draws = total_draws(result.machine, result.place, result.features)["usage_energy_wh"][1:]
    # What is unknown of an engine only raises energy, so a little more than half of the draws lie above.
    assert 0.4 < np.mean(draws < result.usage_energy_wh.value) < 0.6


def test_water_of_many_countries_is_no_surer_than_that_of_one():
    results = [estimate("llama-3.1-8b", country=c, **WORK, **OWN) for c in ("FR", "US", "BR", "NO", "DE", "CA", "SE")]
    draws = [total_draws(r.machine, r.place, r.features)["grid_water_ml"][1:] for r in results]
    one = min(np.std(np.log(d)) for d in draws)
    assert np.std(np.log(sum(draws))) > 0.9 * one


@pytest.mark.parametrize(
    "fields",
    [
        {"cloud_id": "nonsense"},
        {"managed_service_id": "azure-openai", "cloud_region": "aws:us-east-1"},
        {"grid_zone": "FR", "country": "US"},
        {"node_id": "aws:p5.48xlarge", "cloud_id": "gcp"},
        {"cloud_id": "aws", "cloud_instance_id": "p5.48xlarge", "managed_service_id": "azure-openai"},
    ],
)
def test_places_that_contradict_themselves_are_refused(fields):
    with pytest.raises((InvalidInput, UnknownName)):
        estimate("llama-3.1-8b", **WORK, **fields)


@pytest.mark.parametrize("name", ["country", "gpu_id", "precision", "managed_service_id"])
@pytest.mark.parametrize("value", ["", 5, ["a"]])
def test_what_is_no_name_names_its_field(name, value):
    with pytest.raises(InvalidInput) as caught:
        estimate("llama-3.1-8b", **WORK, **{name: value})
    assert caught.value.field == name


def test_a_number_beyond_floats_names_its_field():
    with pytest.raises(InvalidInput) as caught:
        estimate("llama-3.1-8b", input_tokens=10**400, output_tokens=1)
    assert caught.value.field == "input_tokens"


def test_a_time_per_token_of_a_known_batch_is_device_time():
    # 300 tokens of 100 ms are 30 s, whichever way they are stated; the prompt of 10 tokens is nothing beside them.
    desk = {"gpu_id": "rtx_4090", "gpu_count": 1, "input_tokens": 10, "output_tokens": 300, "country": "US"}
    per_token = estimate("llama-3.1-8b", time_per_output_token_ms=100, **desk)
    whole = estimate("llama-3.1-8b", request_duration_ms=30_000, **desk)
    assert per_token.usage_energy_wh.value == pytest.approx(whole.usage_energy_wh.value, rel=0.01)


def test_a_time_that_no_memory_allows_is_a_warning():
    result = estimate("llama-3.1-70b", batch_size=8, request_duration_ms=1, **WORK, **OWN)
    assert any("less than the memory" in text for text in result.warnings)


def test_a_stated_size_beside_a_published_one_is_a_warning():
    assert any("published" in text for text in estimate("llama-3.1-8b", total_params_b=70, **WORK).warnings)


def test_the_area_of_a_bedrock_profile_is_its_place():
    result = estimate("eu.anthropic.claude-sonnet-4-20250514-v1:0", total_params_b=100, active_params_b=30, **WORK)
    zone = next(entry for entry in result.trail if entry.field == "grid_zone")
    assert (zone.value, zone.how) == ("REGION-EU", "given")
    assert "model's name" in zone.reason


def test_a_service_is_in_the_trail_once():
    entries = estimate("accounts/fireworks/models/llama-v3p1-70b-instruct", **WORK).trail
    assert [entry.value for entry in entries if entry.field == "managed_service_id"] == ["fireworks"]


def test_an_error_says_its_field_as_data():
    with pytest.raises(UnknownName) as caught:
        Estimator().estimate(Request(model_id="llama-3.1-8b", gpu_id="h1000", **WORK))
    assert json.loads(json.dumps(caught.value.to_dict()))["field"] == "gpu_id"


@pytest.mark.parametrize("model", ["llama-3.1-70b-fp8", "meta-llama/Llama-3.1-70B-Instruct"])
def test_a_format_in_a_name_leaves_no_doubt_about_the_format(model):
    fields = {entry.field for entry in estimate(model, managed_service_id="deepinfra", **WORK).trail}
    assert ("precision-at-service" in fields) == (model != "llama-3.1-70b-fp8")


def test_the_level_of_a_service_is_that_of_one_of_its_accelerators():
    # The engine's factor is 1 in the central case, whichever accelerator stands for the service.
    explanation = explain(estimate("llama-3.1-70b", managed_service_id="openai", **WORK))
    energy = next(step for step in explanation.levels if step.name == "energy.served level")
    assert energy.numbers.endswith("engine (1)")
