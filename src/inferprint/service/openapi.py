"""The description of the API: what FastAPI finds, the bodies that are read by hand, and the key."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from inferprint.service.record_schemas import BODIES as RECORD_BODIES
from inferprint.service.schemas import ImpactBigQueryRequest, ImpactRequest
from inferprint.service.usage_schemas import BODIES as USAGE_BODIES

BODIES: tuple[type[BaseModel], ...] = (ImpactRequest, ImpactBigQueryRequest, *RECORD_BODIES, *USAGE_BODIES)
"""Models of bodies, which FastAPI does not see."""

WITHOUT_KEY = ("/status", "/")
"""Endpoints that read no key, or find it in the body."""

ABOUT = """What AI inference costs: duration, energy, greenhouse gas, water and embodied impact of requests, with
intervals; a ledger of usage; traces of OpenTelemetry. The shapes of `/v1/impact`, `/model`, `/node`, `/gpu` and `/` are
those of the Scope3 AI API, whose clients work with it.
"""


def described(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of the server, made once."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=ABOUT, routes=app.routes)
        schemas = document["components"]["schemas"]
        _, bodies = models_json_schema(
            [(body, "validation") for body in BODIES], ref_template="#/components/schemas/{model}"
        )
        schemas.update(bodies["$defs"])
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        document["components"]["securitySchemes"] = {"bearerAuth": {"type": "http", "scheme": "bearer"}}
        for path, operations in document["paths"].items():
            for operation in operations.values():
                operation["responses"].pop("422", None)  # it is 400 here
                operation["security"] = [] if path in WITHOUT_KEY else [{"bearerAuth": []}]
        app.openapi_schema = document
    return app.openapi_schema
