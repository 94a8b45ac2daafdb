"""The price list: its lines add up to the estimate of the reference request, and no model is silently missing."""

from __future__ import annotations

import pytest

from inferprint import Catalogue, estimate
from inferprint.errors import InvalidInput, UnknownName
from inferprint.estimate import Estimator, request_from
from inferprint.estimate.rate_list import (
    Rates,
    Refusal,
    default_service,
    pairs_of,
    rate_list,
    rates_of,
    service_of_host,
    services_of,
)
from inferprint.quantities import RESULTS

ESTIMATOR = Estimator()
CATALOGUE = ESTIMATOR.catalogue

CASES = {
    "text, own node": ("llama-3.1-70b", {"node_id": "generic:hgx-h100-8", "country": "FR"}),
    "text, undisclosed": ("gpt-4o", {}),
    "text, windowed attention": ("gpt-oss-120b", {"managed_service_id": "together", "country": "SE"}),
    "text, contract known": ("llama-3.1-8b", {"grid_market_gco2e_per_kwh": 20.0}),
    "text, stated lengths": ("llama-3.1-8b", {"usual_input_tokens": 8000.0, "usual_output_tokens": 50.0}),
    "text, cached beyond what is billed": ("llama-3.1-8b", {"techniques": ("prefix-caching:hit_rate=0.5",)}),
    "text, other method": ("llama-3.1-8b", {"method": "two-term"}),
    "embedding": ("bge-m3", {}),
    "picture": ("flux.1-dev", {"country": "FR"}),
    "picture, batch": ("flux.1-dev", {"gpu_id": "h100_80gb_sxm", "batch_size": 4}),
    "picture, undisclosed": ("dall-e-3", {}),
    "clip": ("wan2.1-14b", {"gpu_id": "h100_80gb_sxm"}),
    "clip, undisclosed": ("sora-2", {}),
    "sound, denoiser": ("ace-step", {}),
    "speech made": ("cosyvoice2-0.5b", {}),
    "speech heard": ("whisper-large-v3", {"managed_service_id": "together"}),
    "class of pictures": ("generic:image-encoder", {}),
    "class of sound": ("generic:audio-encoder", {}),
}


def rates(case: str) -> Rates:
    model, setup = CASES[case]
    return rates_of(ESTIMATOR, request_from(model_id=model, **setup))


def by_unit(found: Rates, quantity: str = "usage_energy_wh") -> dict[str, float]:
    return {line.unit: line.values[quantity].value for line in found.lines if line.values[quantity]}


@pytest.mark.parametrize("case", CASES)
def test_amounts_times_rates_are_the_estimate_of_the_reference_request(case):
    model, setup = CASES[case]
    found = rates(case)
    whole = estimate(model, **found.reference, **setup)
    for quantity in RESULTS:
        expected = whole.range(quantity.name)
        parts = [line.values[quantity.name] for line in found.lines]
        if expected is None:
            assert parts == [None] * len(parts)
            continue
        total = sum(line.amount / line.per * part.value for line, part in zip(found.lines, parts, strict=True))
        assert total == pytest.approx(expected.value, rel=1e-12), quantity.name


@pytest.mark.parametrize("case", CASES)
def test_bounds_are_positive_and_ordered(case):
    for line in rates(case).lines:
        assert line.per > 0
        assert line.amount > 0
        for quantity in RESULTS:
            value = line.values[quantity.name]
            # The two-term form knows no cost of a cached token, nor of a request.
            free = case == "text, other method" and line.unit in ("cached_input_tokens", "requests")
            least = 0 if free else 1e-12
            assert value is None or least <= value.low <= value.value <= value.high


@pytest.mark.parametrize(
    "case, kind, amounts",
    [
        # Lengths of the other requests in data/priors: 1,200 and 300 tokens; a quarter of the prompt is cached.
        (
            "text, own node",
            "text",
            {"fresh_input_tokens": 900, "cached_input_tokens": 300, "output_tokens": 300, "requests": 1},
        ),
        ("embedding", "embedding", {"input_tokens": 256, "requests": 1}),
        ("picture", "image", {"output_images": 1}),
        # The usual clip of Wan 2.1: 81 frames at 16 a second.
        ("clip", "video", {"output_video_seconds": 81 / 16}),
        ("speech heard", "speech", {"input_audio_seconds": 30}),
        ("class of pictures", "embedding", {"input_images": 1}),
    ],
)
def test_units_are_what_people_buy(case, kind, amounts):
    found = rates(case)
    assert found.kind == kind
    assert {line.unit: line.amount for line in found.lines} == amounts


def test_the_reference_says_what_is_usual_for_the_model():
    # FLUX.1 [dev]: 28 steps in the examples of its model card, guidance distilled.
    assert rates("picture").reference == {"output_images": "1024x1024", "input_steps": 28, "guidance_evaluations": 1}


def test_an_output_token_is_dearer_than_a_fresh_one_and_that_than_a_cached_one():
    for case in CASES:
        if case.startswith("text"):
            energy = by_unit(rates(case))
            assert energy["output_tokens"] > energy["fresh_input_tokens"] > energy["cached_input_tokens"]


def test_longer_contexts_make_tokens_dearer_and_a_larger_model_every_line():
    setup = {"node_id": "generic:hgx-h100-8", "batch_size": 16}
    short, long = (
        by_unit(rates_of(ESTIMATOR, request_from(model_id="llama-3.1-8b", usual_input_tokens=n, **setup)))
        for n in (1000.0, 30_000.0)
    )
    assert long["output_tokens"] > short["output_tokens"]
    assert long["fresh_input_tokens"] > short["fresh_input_tokens"]
    small, large = (
        by_unit(rates_of(ESTIMATOR, request_from(model_id=name, **setup))) for name in ("llama-3.1-8b", "llama-3.1-70b")
    )
    assert all(large[unit] > small[unit] for unit in small)


def test_what_a_technique_finds_in_the_cache_makes_fresh_tokens_cheaper_and_cached_ones_cost_the_same():
    plain = rates_of(ESTIMATOR, request_from(model_id="llama-3.1-8b"))
    found = rates("text, cached beyond what is billed")
    quantity = "usage_energy_wh"
    assert by_unit(found)["fresh_input_tokens"] < 0.6 * by_unit(plain)["fresh_input_tokens"]
    assert by_unit(found)["cached_input_tokens"] == pytest.approx(by_unit(plain)["cached_input_tokens"], rel=1e-9)
    assert {line.unit for line in found.lines if line.values[quantity]} == set(by_unit(plain))


def test_the_cached_share_of_the_reference_hardly_moves_the_rate_of_a_fresh_token():
    """The convention is said to be of little effect: fresh tokens of a prompt without a cache, from two estimates."""
    setup = {"model_id": "llama-3.1-70b", "node_id": "generic:hgx-h100-8", "batch_size": 16}
    empty, whole = (
        ESTIMATOR.estimate(request_from(input_tokens=n, output_tokens=0, **setup)).usage_energy_wh.value
        for n in (0, 1200)
    )
    found = by_unit(rates_of(ESTIMATOR, request_from(**setup)))["fresh_input_tokens"]
    assert found == pytest.approx((whole - empty) / 1.2, rel=0.01)


@pytest.mark.parametrize(
    "host, service",
    [
        ("aws", "aws-bedrock"),
        ("azure", "azure-openai"),
        ("x-ai", "xai"),
        ("huggingface_together", "together"),
        ("huggingface_fireworks-ai", "fireworks"),
        ("huggingface_publicai", "hugging-face"),
        ("github-copilot", None),
    ],
)
def test_hosts_of_the_price_list_are_services(host, service):
    assert service_of_host(CATALOGUE, host) == service


def test_every_model_has_a_row_where_nobody_states_a_service():
    pairs = pairs_of(CATALOGUE)
    assert len(set(pairs)) == len(pairs)
    assert {model for model, service in pairs if service is None} == set(CATALOGUE.models)
    assert ("llama-3.1-70b", "together") in pairs
    assert ("claude-3-5-sonnet", "aws-bedrock") in pairs
    # A router runs nothing.
    assert not [pair for pair in pairs if pair[1] == "openrouter"]


@pytest.mark.parametrize("model", ["gpt-4o", "llama-3.1-70b", "flux.1-dev", "claude-3-5-sonnet", "nova-pro", "bge-m3"])
def test_the_row_without_a_service_is_that_of_an_estimate(model):
    (found,) = rate_list(CATALOGUE, [(model, None)])
    assert isinstance(found, Rates)
    assert found.default
    assert found.service == default_service(CATALOGUE, model)
    stated = estimate(model, **found.reference)
    total = sum(line.amount / line.per * line.values["usage_energy_wh"].value for line in found.lines)
    assert total == pytest.approx(stated.usage_energy_wh.value, rel=1e-12)


def test_a_service_leaves_what_is_sold_there():
    pairs = pairs_of(CATALOGUE, {"managed_service_id": "Cohere"})
    assert pairs
    for model, service in pairs:
        sold = [*services_of(CATALOGUE, model), default_service(CATALOGUE, model)]
        assert "cohere" in sold
        assert service in (None, "cohere")
    found = list(rate_list(CATALOGUE, pairs, {"managed_service_id": "Cohere"}))
    assert {item.service for item in found if isinstance(item, Rates)} == {"cohere"}


def test_hardware_takes_every_model_to_it():
    pairs = pairs_of(CATALOGUE, {"gpu_id": "h100_80gb_sxm"})
    assert pairs == [(model, None) for model in sorted(CATALOGUE.models)]


def test_what_cannot_be_estimated_is_listed_with_the_reason():
    found = list(rate_list(CATALOGUE, [("crouton-alpha", None), ("llama-3.1-8b", "groq"), ("llama-3.1-8b", None)]))
    assert [type(item) for item in found] == [Refusal, Refusal, Rates]
    assert "not disclosed" in found[0].reason
    assert (found[1].service, "on-chip memory" in found[1].reason) == ("groq", True)


def test_a_list_on_stated_hardware_has_no_service_and_says_what_does_not_fit():
    given = {"gpu_id": "rtx_4090", "gpu_count": 1, "country": "DE"}
    small, large = rate_list(CATALOGUE, [("llama-3.1-8b", None), ("llama-3.1-70b", None)], given)
    assert (small.service, small.default, small.grid_zone) == (None, False, "DE")
    assert "needs" in large.reason


@pytest.mark.parametrize("field", ["total_params_b", "active_params_b", "request_duration_ms"])
def test_what_holds_for_one_model_is_no_filter(field):
    with pytest.raises(InvalidInput, match=field):
        pairs_of(CATALOGUE, {field: 7.0})


@pytest.mark.parametrize("service", ["openrouter", "self-hosted-datacenter"])
def test_a_service_at_which_nothing_is_sold_is_refused(service):
    with pytest.raises(InvalidInput, match=service):
        pairs_of(CATALOGUE, {"managed_service_id": service})


def test_an_unknown_service_is_refused():
    with pytest.raises(UnknownName, match="coheer"):
        pairs_of(Catalogue.packaged(), {"managed_service_id": "coheer"})
