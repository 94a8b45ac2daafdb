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


_RULES: tuple[tuple[str, str, str], ...] = (
    (r"bedrock[a-z-]*\.([a-z0-9-]+)\.(?:amazonaws\.com|api\.aws).*", "aws-bedrock", "aws"),
    (r"([a-z]+-[a-z]+\d+)-aiplatform\.googleapis\.com", "google-vertex", "gcp"),
    (r"aiplatform\.googleapis\.com", "google-vertex", "gcp"),
)
"""Patterns of host names, whose group is the region, with service and cloud."""


@lru_cache(maxsize=4096)
def endpoint_of(address: str) -> Endpoint:
    """What a URL or host name says; `Endpoint()` where it says nothing.

    The path of Vertex AI names the region too: ".../locations/europe-west4/...".
    """
    host = re.sub(r"^[a-z]+://", "", address.strip().lower()).split("/", 1)[0].split(":", 1)[0]
    for pattern, service, cloud in _RULES:
        found = re.fullmatch(pattern, host)
        if found:
            region = found[1] if found.lastindex else location_of(address)
            return Endpoint(service, cloud, region)
    return Endpoint()


def location_of(resource: str) -> str | None:
    """The region in a resource name of Google Cloud, "projects/p/locations/europe-west4/..."; None for "global"."""
    found = re.search(r"locations/([a-z0-9-]+)", resource.lower())
    return found[1] if found and found[1] != "global" else None
