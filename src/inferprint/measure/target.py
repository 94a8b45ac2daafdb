"""The server to measure: its address, what it is asked with, and what of that is secret."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from inferprint.errors import InvalidInput

Api = Literal["completions", "chat"]

PATHS: Mapping[Api, str] = {"completions": "/completions", "chat": "/chat/completions"}

SECRET_HEADERS = ("authorization", "proxy-authorization", "cookie", "api-key", "x-api-key", "x-goog-api-key")
"""Headers whose values are keys."""

SHORTEST_SECRET = 4
"""Shorter ones are in many words [characters]."""


@dataclass(frozen=True, slots=True)
class Target:
    """The server to measure.

    Attributes
    ----------
    base
        Scheme, host, port and path up to and with /v1.
    model
        Name under which the server knows the model.
    headers
        Sent with every request; never shown or written.
    secrets
        Keys in those of the headers that are not `SECRET_HEADERS`; hidden in what is shown of the server's text.
    """

    base: str
    model: str
    api: Api = "completions"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def url(self) -> str:
        """Where requests go."""
        return self.base + PATHS[self.api]


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a server understands beyond the least: see `meeting.learn`."""

    ignore_eos: bool = True
    usage: bool = True
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"


def base_of(url: str) -> str:
    """The address up to /v1 that a URL names, with or without that path.

    Raises
    ------
    InvalidInput
        It is no HTTP address, or holds a user name, a query or a fragment.
    """
    try:
        parts = urlsplit(url.strip() if "://" in url else f"http://{url.strip()}")
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise InvalidInput("url", f"'{url}' is no address of a server", hint="For example http://localhost:8000/v1.")
    if parts.username is not None or parts.password is not None:
        raise InvalidInput(
            "url", "it holds a user name or a password", hint="Give a key with --api-key-variable or --header."
        )
    if parts.query or parts.fragment:
        raise InvalidInput("url", f"'{url}' has a query or a fragment", hint="Give the address up to /v1.")
    path = parts.path.rstrip("/")
    path = path.removesuffix(PATHS["chat"]).removesuffix(PATHS["completions"]).rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path if path.endswith('/v1') else path + '/v1'}"


def secrets_of(target: Target) -> list[str]:
    """What is a key in a target's headers, in whole and in part, the longest first."""
    values = [value for name, value in target.headers.items() if name.lower() in SECRET_HEADERS]
    found = {*values, *target.secrets}
    for value in tuple(found):
        # After "Bearer", or after the names of cookies.
        words = [word.strip(";,") for word in value.split()]
        found |= {*words[1:], *(word.partition("=")[2].strip("=") for word in words)}
    found |= {json.dumps(secret)[1:-1] for secret in found}
    return sorted((secret for secret in found if len(secret) >= SHORTEST_SECRET), key=len, reverse=True)
