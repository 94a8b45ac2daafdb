"""Bodies in and out: read strictly, documented, and encoded without a second check."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec
from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, ValidationError

from inferprint.service.problems import BadRequest, WrongType
from inferprint.service.schemas import Error

Body = TypeVar("Body", bound=BaseModel)

MOST_PROBLEMS = 5
"""Faults of a body that are told one by one."""

_TEXTS = {
    400: "A body, field or parameter that cannot be",
    401: "No key, or one that is wrong, expired or revoked",
    403: "A key without the scope, or a record of somebody else",
    404: "No such record",
    409: "An id or name that is taken",
    413: "A body above the limit",
    415: "A body of a type that is not read here",
    429: "Above the rate",
    503: "The database or the processor has no time; nothing was stored",
}


def errors(*further: int) -> dict[int | str, dict[str, Any]]:
    """Responses for OpenAPI: what every endpoint may answer, and the further codes."""
    codes = sorted({400, 401, 403, 413, 429, 503, *further})
    return {code: {"model": Error, "description": _TEXTS[code]} for code in codes}


def json_body(model: type[Body]) -> Callable[[Request], Awaitable[Body]]:
    """A dependency that reads the body as JSON.

    Raises
    ------
    WrongType
        Another type than application/json.
    BadRequest
        Not JSON, or not what the model says, with the field.
    """

    async def read(request: Request) -> Body:
        check_type(request, "application/json")
        return parsed(model, await request.body())

    return read


def check_type(request: Request, *allowed: str) -> str:
    """The media type of the body.

    Raises
    ------
    WrongType
        Not one of those allowed.
    """
    given = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if given not in allowed:
        raise WrongType(
            f"content type '{given}' is not read here",
            field="Content-Type",
            reason=f"Send {' or '.join(allowed)}.",
        )
    return given


def parsed(model: type[Body], body: bytes) -> Body:
    """The body as a model, else BadRequest with the field at fault."""
    try:
        return model.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise refused(error) from error


def refused(error: ValidationError) -> BadRequest:
    """What is wrong with a body, in one Error: the first fault, and how many more there are."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    first = faults[0]
    field = path_of(first["loc"])
    told = [f"{path_of(fault['loc']) or 'body'}: {fault['msg']}" for fault in faults[:MOST_PROBLEMS]]
    more = f" and {len(faults) - MOST_PROBLEMS} more" if len(faults) > MOST_PROBLEMS else ""
    code = "invalid_json" if first["type"] == "json_invalid" else "invalid_field"
    return BadRequest("; ".join(told) + more, field=field, reason=first["msg"], code=code)


def path_of(place: tuple[int | str, ...]) -> str:
    """A place in a body: "rows[3].input_tokens"."""
    return functools.reduce(
        lambda text, part: f"{text}[{part}]" if isinstance(part, int) else f"{text}.{part}".lstrip("."), place, ""
    )


def documented(model: type[BaseModel]) -> dict[str, Any]:
    """What OpenAPI says on a body that `json_body` reads."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def answer(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response."""
    return Response(
        msgspec.json.encode(content), status_code=status, media_type="application/json", headers=dict(headers or {})
    )
