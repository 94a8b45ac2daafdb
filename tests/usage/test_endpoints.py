"""Addresses of endpoints, as the providers document them."""

from __future__ import annotations

import pytest

from inferprint.catalogue import Catalogue
from inferprint.catalogue.match import resolve_region, resolve_service
from inferprint.usage import endpoints
from inferprint.usage.endpoints import Endpoint, endpoint_of, location_of

VERTEX = "https://aiplatform.googleapis.com/v1/projects/p/locations/"

ADDRESSES = {
    "bedrock-runtime.eu-west-3.amazonaws.com": Endpoint("aws-bedrock", "aws", "eu-west-3"),
    "https://bedrock-runtime-fips.us-east-1.amazonaws.com": Endpoint("aws-bedrock", "aws", "us-east-1"),
    "vpce-0a.bedrock-runtime.eu-west-1.vpce.amazonaws.com": Endpoint("aws-bedrock", "aws", "eu-west-1"),
    "https://runtime.sagemaker.us-west-2.amazonaws.com/endpoints/e": Endpoint("amazon-sagemaker", "aws", "us-west-2"),
    "https://europe-west4-aiplatform.googleapis.com/v1": Endpoint("google-vertex", "gcp", "europe-west4"),
    VERTEX + "europe-west4/publishers/google": Endpoint("google-vertex", "gcp", "europe-west4"),
    VERTEX + "global/publishers/google": Endpoint("google-vertex", "gcp", None),
    "aiplatform.eu.rep.googleapis.com": Endpoint("google-vertex", "gcp", None),
    "https://contoso.openai.azure.com/": Endpoint("azure-openai", "azure", None),
    "https://contoso.services.ai.azure.com/models": Endpoint("azure-openai", "azure", None),
    "https://swedencentral.api.cognitive.microsoft.com/": Endpoint("azure-openai", "azure", "swedencentral"),
    "https://mistral-x.eastus2.models.ai.azure.com/v1": Endpoint("azure-openai", "azure", "eastus2"),
    "https://api.openai.com/v1": Endpoint("openai"),
    "eu.api.openai.com:443": Endpoint("openai"),
    "API.Anthropic.com": Endpoint("anthropic"),
    "generativelanguage.googleapis.com": Endpoint("google-gemini"),
    "https://openrouter.ai/api/v1": Endpoint("openrouter"),
    "localhost:11434": Endpoint(),
    "litellm.internal": Endpoint(),
    "notapi.openai.com.example.org": Endpoint(),
    "fakeapi.openai.community": Endpoint(),
    "": Endpoint(),
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_addresses(address: str) -> None:
    assert endpoint_of(address) == ADDRESSES[address]


def test_locations_of_resources() -> None:
    assert location_of("projects/1/locations/us-central1/publishers/google/models/m") == "us-central1"
    assert location_of("projects/1/locations/northamerica-northeast1") == "northamerica-northeast1"
    assert location_of("projects/1/locations/global/endpoints/2") is None
    assert location_of("projects/1/locations/eu/endpoints/2") is None
    assert location_of("gemini-x") is None


def test_each_service_and_region_is_in_the_catalogue() -> None:
    catalogue = Catalogue.packaged()
    services = {*endpoints._DOMAINS.values(), *(service for _, service, _ in endpoints._PATTERNS)}
    assert {resolve_service(catalogue, service).id for service in services} == services
    for found in ADDRESSES.values():
        if found.cloud_region:
            assert resolve_region(catalogue, found.cloud_region, found.cloud_id)
