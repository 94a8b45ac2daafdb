"""Routes that refuse parameters which they do not have, and parameters of those that read them by hand."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

from inferprint.service.problems import BadRequest

_FLAGS = {"true": True, "1": True, "false": False, "0": False}


class CheckedRoute(APIRoute):
    """A route for which an unknown parameter is a mistake: a typing error is no wish for the default."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, behind the check."""
        handle = super().get_route_handler()

        async def checked(request: Request) -> Response:
            if request.scope["query_string"]:
                self._check(request)
            return await handle(request)

        return checked

    def _check(self, request: Request) -> None:
        operation = request.app.openapi()["paths"][self.path_format][request.method.lower()]
        check_parameters(request, *(x["name"] for x in operation.get("parameters", ()) if x["in"] == "query"))


def check_parameters(request: Request, *known: str) -> None:
    """Refuse a parameter that is not known.

    Raises
    ------
    BadRequest
        Naming it, and those that there are.
    """
    for name in request.query_params if request.scope["query_string"] else ():
        if name not in known:
            allowed = f"Known: {', '.join(sorted(known))}." if known else "This endpoint has none."
            raise BadRequest(f"unknown parameter '{name}'", field=name, reason=allowed, code="unknown_parameter")


def flag(request: Request, name: str) -> bool:
    """A parameter that is true or false; false where it is not given.

    Raises
    ------
    BadRequest
        Anything else.
    """
    if not request.scope["query_string"]:
        return False
    given = request.query_params.get(name, "false")
    if given not in _FLAGS:
        reason = f"One of {', '.join(_FLAGS)}."
        raise BadRequest(f"{name}: '{given[:50]}' is neither true nor false", field=name, reason=reason)
    return _FLAGS[given]


def described_flag(name: str, meaning: str) -> dict[str, Any]:
    """What OpenAPI says on such a parameter."""
    schema = {"type": "boolean", "default": False}
    return {"name": name, "in": "query", "required": False, "description": meaning, "schema": schema}
