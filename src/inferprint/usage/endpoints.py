"""What the address of an endpoint says about who serves it, and where."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple


class Endpoint(NamedTuple):
    """Service, cloud and region of an address; None for what it does not say."""

    managed_service_id: str | None = None
    cloud_id: str | None = None
    cloud_region: str | None = None


_PATTERNS: tuple[tuple[str, str, str], ...] = (
    # "bedrock-runtime.eu-west-3.amazonaws.com", and the private "vpce-1.bedrock-runtime.eu-west-3.vpce.amazonaws.com".
    (r"(?:.+\.)?bedrock[a-z-]*\.([a-z0-9-]+)\.(?:vpce\.)?(?:amazonaws\.com|api\.aws).*", "aws-bedrock", "aws"),
    (r"(?:.+\.)?runtime\.sagemaker\.([a-z0-9-]+)\.(?:vpce\.)?amazonaws\.com.*", "amazon-sagemaker", "aws"),
    (r"([a-z]+-[a-z]+\d+)-aiplatform\.googleapis\.com", "google-vertex", "gcp"),
    (r"aiplatform\.(?:[a-z]+\.rep\.)?googleapis\.com", "google-vertex", "gcp"),
    (r"([a-z0-9]+)\.api\.cognitive\.microsoft\.com", "azure-openai", "azure"),
    (r"[^.]+\.([a-z0-9]+)\.(?:models|inference)\.ai\.azure\.com", "azure-openai", "azure"),
    (r".+\.(?:openai|cognitiveservices|services\.ai)\.azure\.com", "azure-openai", "azure"),
)
"""Patterns of host names, whose group is the region, with service and cloud."""

_DOMAINS: dict[str, str] = {
    "api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "generativelanguage.googleapis.com": "google-gemini",
    "api.mistral.ai": "mistral",
    "api.cohere.com": "cohere",
    "api.cohere.ai": "cohere",
    "api.groq.com": "groq",
    "api.cerebras.ai": "cerebras",
    "api.sambanova.ai": "sambanova",
    "api.together.ai": "together",
    "api.together.xyz": "together",
    "api.fireworks.ai": "fireworks",
    "api.deepinfra.com": "deepinfra",
    "api.x.ai": "xai",
    "api.deepseek.com": "deepseek",
    "dashscope.aliyuncs.com": "alibaba",
    "dashscope-intl.aliyuncs.com": "alibaba",
    "dashscope-us.aliyuncs.com": "alibaba",
    "openrouter.ai": "openrouter",
    "api-inference.huggingface.co": "hugging-face",
    "router.huggingface.co": "hugging-face",
    "api.replicate.com": "replicate",
    "api.perplexity.ai": "perplexity",
    "integrate.api.nvidia.com": "nvidia-nim",
    "api.studio.nebius.ai": "nebius",
    "api.studio.nebius.com": "nebius",
    "api.tokenfactory.nebius.com": "nebius",
    "api.scaleway.ai": "scaleway",
    "ai.cloud.ovh.net": "ovhcloud",
}
"""Domains of services that state no region; hosts below them are theirs too."""


@lru_cache(maxsize=4096)
def endpoint_of(address: str) -> Endpoint:
    """What a URL or host name says; `Endpoint()` where it says nothing.

    The path of Vertex AI names the region too: ".../locations/europe-west4/...".
    """
    host = re.sub(r"^[a-z]+://", "", address.strip().lower()).split("/", 1)[0].split(":", 1)[0]
    for pattern, service, cloud in _PATTERNS:
        found = re.fullmatch(pattern, host)
        if found:
            region = found[1] if found.lastindex else location_of(address)
            return Endpoint(service, cloud, region)
    while host:
        if host in _DOMAINS:
            return Endpoint(_DOMAINS[host])
        host = host.partition(".")[2]
    return Endpoint()


def location_of(resource: str) -> str | None:
    """The region in a resource name of Google Cloud, "projects/p/locations/europe-west4/...".

    None for "global" and for groups of regions, such as "us" and "eu".
    """
    found = re.search(r"locations/([a-z]+-[a-z]+\d+)(?![a-z0-9-])", resource.lower())
    return found[1] if found else None
