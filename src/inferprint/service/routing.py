"""Routes that refuse parameters which they do not have, and parameters of those that read them by hand."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute

from inferprint.service.problems import BadRequest

_FLAGS = {"true": True, "1": True, "false": False, "0": False}


class CheckedRoute(APIRoute):
    """A route for which an unknown parameter is a mistake, and one given twice: neither is a wish for the default."""

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
        parameters = [one for one in operation.get("parameters", ()) if one["in"] == "query"]
        lists = [one["name"] for one in parameters if _is_list(one["schema"])]
        check_parameters(request, *(one["name"] for one in parameters), repeatable=lists)


def _is_list(schema: Mapping[str, Any]) -> bool:
    """Whether a parameter is a list, which repeats it."""
    return any(one.get("type") == "array" for one in schema.get("anyOf", [schema]))


def check_parameters(request: Request, *known: str, repeatable: Collection[str] = ()) -> None:
    """Refuse a parameter that is not known, or that is given twice and is no list.

    Raises
    ------
    BadRequest
        Naming it, and those that there are.
    """
    if not request.scope["query_string"]:
        return
    given = [name for name, _ in request.query_params.multi_items()]
    for name in given:
        if name in known and name not in repeatable and given.count(name) > 1:
            raise BadRequest(f"'{name}' is given more than once", field=name, reason="Give it once.")
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
