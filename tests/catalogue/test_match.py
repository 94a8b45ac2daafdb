"""Names found in the wild lead to the right record or to an error, never to another model."""

from __future__ import annotations

import importlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferprint.catalogue import (
    Catalogue,
    resolve_gpu,
    resolve_grid,
    resolve_model,
    resolve_node,
    resolve_precision,
    resolve_region,
    resolve_service,
)
from inferprint.catalogue.compose import model_key
from inferprint.catalogue.match import candidates
from inferprint.errors import InvalidInput, UnknownName

CATALOGUE = Catalogue.packaged()
PRICES = importlib.import_module("match_prices")

WILD = [
    ("gpt-4o-2024-08-06", "gpt-4o"),
    ("GPT_4o", "gpt-4o"),
    ("azure/gpt-4o", "gpt-4o"),
    ("azure/gpt-35-turbo", "gpt-3.5-turbo"),
    ("openai/gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
    ("gpt-4.1-2025-04-14", "gpt-4.1"),
    ("gpt-5", "gpt-5"),
    ("gpt-5-pro", "gpt-5-pro"),
    ("gpt-5-1", "gpt-5.1"),
    ("gpt-4-0613", "gpt-4"),
    ("o1", "o1"),
    ("o1-mini", "o1-mini"),
    ("o3-mini-2025-01-31", "o3-mini"),
    ("claude-opus-4-20250514", "claude-opus-4"),
    ("claude-opus-4.5", "claude-opus-4-5"),
    ("claude-4-sonnet", "claude-sonnet-4"),
    ("openrouter/anthropic/claude-opus-4.5", "claude-opus-4-5"),
    ("anthropic.claude-sonnet-4-20250514-v1:0", "claude-sonnet-4"),
    ("us.anthropic.claude-sonnet-4-20250514-v1:0", "claude-sonnet-4"),
    ("bedrock/us.anthropic.claude-3-5-sonnet-20241022-v2:0", "claude-3-5-sonnet"),
    ("global.anthropic.claude-opus-4-5-20251101-v1:0", "claude-opus-4-5"),
    ("vertex_ai/claude-sonnet-4@20250514", "claude-sonnet-4"),
    ("arn:aws:bedrock:eu-west-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0", "claude-3-haiku"),
    ("eu.amazon.nova-pro-v1:0", "nova-pro"),
    ("bedrock/converse/us.meta.llama3-3-70b-instruct-v1:0", "llama-3.3-70b"),
    ("meta.llama3-1-70b-instruct-v1:0", "llama-3.1-70b"),
    ("meta-llama/Llama-3.1-70B-Instruct", "llama-3.1-70b"),
    ("meta-llama/Meta-Llama-3.1-8B-Instruct", "llama-3.1-8b"),
    ("together_ai/meta-llama/Meta-Llama-3.1-8B-Instruct-Turbo", "llama-3.1-8b"),
    ("accounts/fireworks/models/llama-v3p1-70b-instruct", "llama-3.1-70b"),
    ("fireworks_ai/accounts/fireworks/models/deepseek-v3p2", "deepseek-v3.2"),
    ("groq/llama-3.3-70b-versatile", "llama-3.3-70b"),
    ("llama3-70b", "llama-3-70b"),
    ("llama-3.3-70b-instruct-awq", "llama-3.3-70b"),
    ("azure_ai/Llama-3.3-70B-Instruct", "llama-3.3-70b"),
    ("@cf/meta/llama-3.1-8b-instruct-fp8", "llama-3.1-8b"),
    ("deepinfra/deepseek-ai/DeepSeek-V3.1", "deepseek-v3.1"),
    ("deepseek-ai/DeepSeek-V3-0324", "deepseek-v3-0324"),
    ("gemini/gemini-2.5-pro", "gemini-2.5-pro"),
    ("models/gemini-2.0-flash", "gemini-2.0-flash"),
    ("publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro"),
    ("gemini-2.5-flash-lite", "gemini-2.5-flash-lite"),
    ("mistral/mistral-large-2411", "mistral-large-2411"),
    ("Qwen/Qwen3-235B-A22B-Instruct-2507-FP8", "qwen3-235b-a22b-2507"),
    ("hosted_vllm/Qwen/Qwen2.5-7B-Instruct", "qwen2.5-7b"),
    ("qwen-3-32b", "qwen3-32b"),
    ("openai/gpt-oss-120b:free", "gpt-oss-120b"),
    ("openai.gpt-oss-120b-1:0", "gpt-oss-120b"),
    ("nvidia/NVIDIA-Nemotron-Nano-9B-v2", "nemotron-nano-9b-v2"),
    ("z-ai/glm-4.6", "glm-4.6"),
    ("gemma-3-27b-it", "gemma-3-27b"),
    ("kimi-k2-instruct", "kimi-k2"),
    ("xai/grok-3", "grok-3"),
    ("deepseek-chat", "deepseek-chat"),
    ("text-embedding-3-small", "text-embedding-3-small"),
]

UNKNOWN = [
    "gemini-3-pro",
    "claude-opus-4-9",
    "gpt-5.4-chat",
    "gpt-4o-it",
    "gpt-4o-fp8",
    "deepseek-v3-0325",
    "llama-3.5-70b",
    "mistral-large-2999",
    "claude-instant-1.2",
    "gpt-4o-2024-13-45",
    "",
    "/",
]


@pytest.mark.parametrize("name, model", WILD)
def test_a_name_in_the_wild(name: str, model: str) -> None:
    found = resolve_model(CATALOGUE, name)
    assert found.model.id == model
    assert found.name == name


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_name_that_nothing_carries_is_refused(name: str) -> None:
    with pytest.raises(UnknownName) as caught:
        resolve_model(CATALOGUE, name)
    assert "inferprint catalog models QUERY" in str(caught.value)


def test_different_models_stay_different() -> None:
    pairs = [("llama-3-70b", "llama-3.1-70b"), ("gpt-5", "gpt-5-pro"), ("o1", "o1-mini"), ("gpt-5", "gpt-5-chat")]
    for one, other in pairs:
        assert resolve_model(CATALOGUE, one).model.id != resolve_model(CATALOGUE, other).model.id


@pytest.mark.parametrize(
    "name, service, country, region, precision",
    [
        ("azure/gpt-4o", "azure-openai", None, None, None),
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", "aws-bedrock", "US", None, None),
        ("jp.anthropic.claude-sonnet-4-20250514-v1:0", "aws-bedrock", "JP", None, None),
        ("eu.amazon.nova-pro-v1:0", "aws-bedrock", "REGION-EU", None, None),
        ("azure/eu/gpt-4o", "azure-openai", "REGION-EU", None, None),
        ("azure/us/gpt-4o-2024-08-06", "azure-openai", "US", None, None),
        ("bedrock/eu-west-3/anthropic.claude-sonnet-4-20250514-v1:0", "aws-bedrock", None, "aws:eu-west-3", None),
        (
            "arn:aws:bedrock:eu-west-1::foundation-model/amazon.nova-pro-v1:0",
            "aws-bedrock",
            None,
            "aws:eu-west-1",
            None,
        ),
        ("accounts/fireworks/models/llama-v3p1-70b-instruct", "fireworks", None, None, None),
        ("openrouter/openai/gpt-4o", "openrouter", None, None, None),
        ("vertex_ai/gemini-2.5-pro", "google-vertex", None, None, None),
        ("groq/llama-3.3-70b-versatile", "groq", None, None, None),
        ("Qwen/Qwen3-14B-FP8", None, None, None, "fp8"),
        ("llama-3.3-70b-instruct-awq", None, None, None, "int4"),
        ("gpt-4o", None, None, None, None),
    ],
)
def test_what_a_name_tells(
    name: str, service: str | None, country: str | None, region: str | None, precision: str | None
) -> None:
    found = resolve_model(CATALOGUE, name)
    hints = (found.service_hint, found.country_hint, found.region_hint, found.precision_hint)
    assert hints == (service, country, region, precision)


def test_every_name_of_the_price_list_belongs_to_its_record() -> None:
    index = CATALOGUE.names("models")
    count = 0
    for _, model in PRICES.listed():
        for name in PRICES.entry_names(model):
            if PRICES._NO_MODEL.search(name):
                continue
            found = resolve_model(CATALOGUE, name).model
            own = {model_key(text) for text in (found.id, *found.names)}
            assert model_key(name) in own, (name, found.id)
            assert index[model_key(name)] == found.id
            count += 1
    assert count > 3000


def test_every_id_and_name_leads_home() -> None:
    for model in CATALOGUE.models.values():
        for name in (model.id, *model.names):
            assert resolve_model(CATALOGUE, name).model.id == model.id


TOKENS = ["mini", "pro", "nano", "70b", "8b", "v2", "3.1", "4", "5", "plus", "turbo", "max", "0325", "latest", "vision"]


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_a_changed_name_is_an_error_or_someone_elses_own_name(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(CATALOGUE.names("models"))))
    parts = name.split("-")
    at = data.draw(st.integers(0, len(parts)))
    if data.draw(st.booleans()) and len(parts) > 1:
        del parts[min(at, len(parts) - 1)]
    else:
        parts.insert(at, data.draw(st.sampled_from(TOKENS)))
    changed = "-".join(parts)
    try:
        found = resolve_model(CATALOGUE, changed).model
    except UnknownName:
        return
    own = {model_key(text) for text in (found.id, *found.names)}
    assert own & set(candidates(changed, CATALOGUE.model_owners)), (changed, found.id)
    if model_key(changed) in CATALOGUE.names("models"):
        assert model_key(changed) in own


@pytest.mark.parametrize("token", ["mini", "pro", "70b", "0325", "ultra-2"])
def test_a_longer_name_is_not_the_shorter_model(token: str) -> None:
    index = CATALOGUE.names("models")
    for key in list(CATALOGUE.models)[::40]:
        longer = f"{key}-{token}"
        try:
            found = resolve_model(CATALOGUE, longer).model
        except UnknownName:
            continue
        assert found.id != key or index.get(model_key(longer)) == key, longer


def test_the_nearest_names_come_quickly() -> None:
    start = time.process_time()
    for _ in range(5):
        with pytest.raises(UnknownName) as caught:
            resolve_model(CATALOGUE, "claude-opus-4-99")
    assert (time.process_time() - start) / 5 < 0.4
    assert any(name.startswith("claude-opus") for name in caught.value.nearest)


@pytest.mark.parametrize(
    "name, gpu",
    [
        ("H100", "h100_80gb_sxm"),
        ("H100-SXM-80GB", "h100_80gb_sxm"),
        ("NVIDIA H100 80GB HBM3", "h100_80gb_sxm"),
        ("rtx_4090", "rtx_4090"),
        ("RTX-4090-24GB", "rtx_4090"),
        ("MI300X", "mi300x_192gb"),
        ("Jetson-AGX-Orin-64GB", "jetson_agx_orin_64gb"),
        ("TPU v5e", "tpu_v5e"),
    ],
)
def test_gpus(name: str, gpu: str) -> None:
    assert resolve_gpu(CATALOGUE, name).id == gpu


def test_every_benchmarked_gpu_spelling_is_a_name() -> None:
    for name in (
        "A100-SXM-80GB",
        "B200-SXM-180GB",
        "GH200-144GB",
        "Apple-M1-7c",
        "GB10-128GB",
        "A2-16GB",
        "RX-7900-XT-20GB",
    ):
        assert resolve_gpu(CATALOGUE, name)


def test_nodes_services_and_precisions() -> None:
    assert resolve_node(CATALOGUE, "aws:p5.48xlarge").gpu == "h100_80gb_sxm"
    assert resolve_node(CATALOGUE, "DGX H100").id == "generic:hgx-h100-8"
    assert resolve_node(CATALOGUE, "p5.48xlarge").id == "aws:p5.48xlarge"
    assert resolve_service(CATALOGUE, "aws.bedrock").id == "aws-bedrock"
    assert resolve_service(CATALOGUE, "vertex_ai").id == "google-vertex"
    assert resolve_service(CATALOGUE, "azure.ai.openai").id == "azure-openai"
    assert resolve_precision(CATALOGUE, "bfloat16").id == "bf16"


def test_regions() -> None:
    assert resolve_region(CATALOGUE, "aws:us-east-1").id == "aws:us-east-1"
    assert resolve_region(CATALOGUE, "us-east-1", "aws").id == "aws:us-east-1"
    assert resolve_region(CATALOGUE, "swedencentral").id == "azure:swedencentral"
    with pytest.raises(InvalidInput, match="aws:us-east-1"):
        resolve_region(CATALOGUE, "us-east-1")
    with pytest.raises(UnknownName, match="aws:us-east-1"):
        resolve_region(CATALOGUE, "us-east-9", "aws")


@pytest.mark.parametrize(
    "name, zone",
    [("FR", "FR"), ("DEU", "DE"), ("germany", "DE"), ("us-egrid-srvc", "US-EGRID-SRVC"), ("WORLD", "WORLD")],
)
def test_grids(name: str, zone: str) -> None:
    assert resolve_grid(CATALOGUE, name).id == zone


@pytest.mark.parametrize("resolve", [resolve_gpu, resolve_node, resolve_service, resolve_region, resolve_grid])
def test_an_unknown_name_lists_the_nearest_and_the_command(resolve: object) -> None:
    assert callable(resolve)
    with pytest.raises(UnknownName, match="inferprint catalog"):
        resolve(CATALOGUE, "no-such-thing")


def test_a_name_that_resembles_no_model_has_none_near() -> None:
    for name in ("support", "nosuch", "no-such-model"):
        with pytest.raises(UnknownName) as caught:
            resolve_model(CATALOGUE, name)
        assert caught.value.nearest == ()
        assert "Nearest" not in str(caught.value)


@pytest.mark.parametrize(
    "name, near", [("gtp-4o", "gpt-4o"), ("mistal", "mistral-7b"), ("lama-3.1-8b", "llama-3.1-8b")]
)
def test_a_model_that_is_misspelt_has_the_right_one_near(name: str, near: str) -> None:
    with pytest.raises(UnknownName) as caught:
        resolve_model(CATALOGUE, name)
    assert near in caught.value.nearest


def test_errors_about_places_name_the_field_of_a_request() -> None:
    with pytest.raises(InvalidInput) as several:
        resolve_region(CATALOGUE, "us-east-1")
    assert several.value.field == "cloud_region"
    with pytest.raises(UnknownName) as unknown:
        resolve_grid(CATALOGUE, "XX")
    assert unknown.value.field == "country"
    with pytest.raises(UnknownName) as unknown:
        resolve_grid(CATALOGUE, "XX", "grid_zone")
    assert unknown.value.field == "grid_zone"
