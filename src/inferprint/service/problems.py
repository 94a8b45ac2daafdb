"""What a caller is told when something cannot be done: always a 4xx or 503, in the Error shape of the Scope3 AI API.

ServiceError
├── BadRequest       400  a body, a field or a parameter that cannot be
├── Unauthorized     401  no key, or one that is wrong, expired or revoked
├── Forbidden        403  a key without the scope, or somebody else's record
├── NotFound         404  no such record, or none that the caller may see
├── Conflict         409  an id or name that is taken
├── TooLarge         413  a body above the limit
├── WrongType        415  a body that is not what the endpoint reads
├── TooMany          429  above the rate; Retry-After says when to come again
└── Away             503  the database, or the processor, has no time now; nothing was stored
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from inferprint.errors import DoesNotFit, InferprintError, InvalidInput, LimitNotMet, Undisclosed, UnknownName


class ServiceError(Exception):
    """Base of everything that a caller is answered with.

    Parameters
    ----------
    message
        What was asked and what is wrong with it.
    field
        The field at fault: "rows[3].input_tokens".
    reason
        What is allowed, or what to do.
    code
        A word for programs; that of the class by default.
    headers
        Headers of the response.
    """

    status: ClassVar[int] = 400
    default_code: ClassVar[str] = "bad_request"

    def __init__(
        self,
        message: str,
        *,
        field: str = "",
        reason: str = "",
        code: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.field, self.reason = message, field, reason
        self.code = code or self.default_code
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        """The Error of the response."""
        return error_body(self.code, self.message, self.field, self.reason)


class BadRequest(ServiceError):
    """A body, a field or a parameter that cannot be."""


class Unauthorized(ServiceError):
    """No key, or one that is wrong, expired or revoked."""

    status, default_code = 401, "unauthorized"

    def __init__(self, message: str, **further: Any) -> None:
        super().__init__(message, headers={"WWW-Authenticate": "Bearer"}, **further)


class Forbidden(ServiceError):
    """A key without the scope, or somebody else's record."""

    status, default_code = 403, "forbidden"


class NotFound(ServiceError):
    """No such record, or none that the caller may see."""

    status, default_code = 404, "not_found"


class Conflict(ServiceError):
    """An id or name that is taken."""

    status, default_code = 409, "conflict"


class TooLarge(ServiceError):
    """A body above the limit."""

    status, default_code = 413, "too_large"


class WrongType(ServiceError):
    """A body that is not what the endpoint reads."""

    status, default_code = 415, "unsupported_media_type"


class TooMany(ServiceError):
    """Above the rate.

    Parameters
    ----------
    retry_after_s
        Seconds until there is room again.
    """

    status, default_code = 429, "too_many_requests"

    def __init__(self, message: str, *, retry_after_s: float, **further: Any) -> None:
        super().__init__(message, headers={"Retry-After": str(max(1, round(retry_after_s)))}, **further)


class Away(ServiceError):
    """The database, or the processor, has no time now; nothing was stored.

    Parameters
    ----------
    retry_after_s
        Seconds after which to come again.
    """

    status, default_code = 503, "unavailable"

    def __init__(self, message: str, *, retry_after_s: float = 2, **further: Any) -> None:
        super().__init__(message, headers={"Retry-After": str(max(1, round(retry_after_s)))}, **further)


def error_body(code: str, message: str, field: str = "", reason: str = "") -> dict[str, Any]:
    """An Error, without the details that there are none of."""
    details = {name: text for name, text in (("reason", reason), ("field", field)) if text}
    return {"code": code, "message": message, **({"details": details} if details else {})}


def conflict_error(request_id: str) -> dict[str, Any]:
    """The Error of a row whose id stands for another one."""
    reason = "The row that came first is kept. Send another request_id for another request."
    return error_body(
        "conflict", f"request_id '{request_id}' stands for a row with other content", "request_id", reason
    )


_CODES: dict[type[InferprintError], str] = {
    UnknownName: "unknown_name",
    InvalidInput: "invalid_input",
    DoesNotFit: "does_not_fit",
    LimitNotMet: "limit_not_met",
    Undisclosed: "undisclosed",
}


_FIELDS = {
    "--cloud": "cloud_id",
    "--gpu": "gpu_id",
    "--instance": "cloud_instance_id",
    "--node": "node_id",
    "--service": "managed_service_id",
}
"""Fields of a row by the options of the command line, which hints name, where the two differ."""

_LISTED = {"models": "GET /model", "gpus": "GET /gpu", "nodes": "GET /node"}
_OPTION = re.compile(r"--[a-z][a-z0-9-]*")
_LISTING = re.compile(r" ?List them: inferprint catalog (\w+)(?: QUERY)?(?:; one of your own[^.]*)?")


def error_of(error: InferprintError, row: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The Error of one of the library's errors; what its hint says of the command line is said of the API.

    `row` is the one at fault: the field whose value was asked for is named, whatever it was looked up as.
    """
    hint = _LISTING.sub(lambda found: f" {_LISTED[found[1]]} lists them." if found[1] in _LISTED else "", error.hint)
    hint = _OPTION.sub(lambda found: _FIELDS.get(found[0], found[0].strip("-").replace("-", "_")), hint)
    asked = error.asked if isinstance(error, UnknownName) else None
    field = next((name for name, value in (row or {}).items() if value == asked and asked is not None), error.field)
    return error_body(_CODES.get(type(error), "error"), error.message, field, hint.strip())
