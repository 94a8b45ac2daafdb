"""Bodies in and out: read strictly, documented, and encoded without a second check."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, ValidationError

from inferprint.service.faults import fault_of
from inferprint.service.problems import BadRequest, WrongType
from inferprint.service.schemas import Error

if TYPE_CHECKING:
    from inferprint.service.engine import Engine

Body = TypeVar("Body", bound=BaseModel)

MOST_PROBLEMS = 5
"""Faults of a body that are told one by one."""

_TEXTS = {
    400: "A body, field or parameter that cannot be",
    401: "No key, or one that is wrong, expired or revoked",
    403: "A key without the scope, or a record of somebody else",
    404: "No such record",
    408: "A body that did not arrive in time",
    409: "An id or name that is taken",
    413: "A body above the limit",
    415: "A body of a type that is not read here",
    429: "Above the rate",
    500: "A fault of the server, which is in its log under the id of the request",
    503: "The database or the processor has no time; nothing was stored",
}


def errors(*further: int) -> dict[int | str, dict[str, Any]]:
    """Responses for OpenAPI: what every endpoint may answer, and the further codes."""
    codes = sorted({400, 401, 403, 408, 413, 429, 500, 503, *further})
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
        raise refused(error, model) from error


def refused(error: ValidationError, model: type[BaseModel] | None = None) -> BadRequest:
    """What is wrong with a body, in one Error: the first faults, and how many more there are.

    Parameters
    ----------
    error
        What pydantic found.
    model
        What was asked for; with it, ranges are told whole and unknown fields by the nearest ones.
    """
    faults = error.errors(include_url=False)
    code = "invalid_json" if faults[0]["type"] == "json_invalid" else "invalid_field"
    return _told(faults, code, model)


def parameter_refused(error: RequestValidationError) -> BadRequest:
    """What is wrong with the parameters of a request, as with a body."""
    faults = [{**fault, "loc": fault["loc"][1:]} for fault in error.errors()]
    return _told(faults, "invalid_parameter", None)


def _told(faults: Sequence[Mapping[str, Any]], code: str, model: type[BaseModel] | None) -> BadRequest:
    told = [fault_of(fault, model) for fault in faults[:MOST_PROBLEMS]]
    # One value that is none of several types is one fault.
    texts = list({fault.field: fault.message for fault in reversed(told)}.values())[::-1]
    more = f" and {len(faults) - MOST_PROBLEMS} more" if len(faults) > MOST_PROBLEMS else ""
    return BadRequest("; ".join(texts) + more, field=told[0].field, reason=told[0].reason, code=code)


def documented(model: type[BaseModel]) -> dict[str, Any]:
    """What OpenAPI says on a body that `json_body` reads."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def answer(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response."""
    return Response(
        msgspec.json.encode(content), status_code=status, media_type="application/json", headers=dict(headers or {})
    )


def encoded(content: bytes) -> Response:
    """A JSON response that is encoded already."""
    return Response(content, media_type="application/json")


async def rows_sent(request: Request, model: type[BaseModel], engine: Engine) -> list[dict[str, Any]]:
    """The rows of a body, as they were sent but for what is null; a long body is read where nobody waits for it.

    Raises
    ------
    WrongType
        Another type than application/json.
    BadRequest
        Not JSON, or not what the model says, with the field.
    """
    check_type(request, "application/json")
    body = await request.body()
    return await engine.apart(_rows, model, body) if len(body) > LONG else _rows(model, body)


def _rows(model: type[BaseModel], body: bytes) -> list[dict[str, Any]]:
    parsed(model, body)
    # What was sent, not what was read: the ledger keeps it as it came.
    return [{name: value for name, value in row.items() if value is not None} for row in _BODY.decode(body)["rows"]]


LONG = 100_000
"""Bytes of a body that takes so long to read that others should not wait for it."""

_BODY = msgspec.json.Decoder(dict[str, Any])
