"""`/status`, `/reload` and `/metrics`: whether the server works, and how."""

from __future__ import annotations

from typing import Annotated

import anyio
import anyio.to_thread
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from sqlalchemy import select

from inferprint.service.bodies import answer, errors
from inferprint.service.caller import Caller
from inferprint.service.guard import needs
from inferprint.service.problems import Away
from inferprint.service.routing import CheckedRoute
from inferprint.service.schemas import StatusResponse
from inferprint.service.services import Service, service_of
from inferprint.service.tables import OWNERS

PATIENCE_S = 2.0
"""Longest that a probe waits for the database."""

router = APIRouter(route_class=CheckedRoute)


@router.get(
    "/status",
    operation_id="status",
    summary="Whether requests can be answered",
    response_model=None,
    responses={200: {"model": StatusResponse}, **errors(), 503: {"model": StatusResponse, "description": "Not ready"}},
)
async def status(request: Request) -> Response:
    """Whether the database answers, and 503 with the reason where it does not. Needs no key."""
    return await _status(request)


async def _status(request: Request) -> Response:
    service, own = service_of(request), request.app.state.lookers
    with anyio.move_on_after(PATIENCE_S):
        try:
            await anyio.to_thread.run_sync(_look, service, abandon_on_cancel=True, limiter=own)
        except Away as error:
            return answer({"ready": False, "reason": error.message}, 503, error.headers)
        return answer({"ready": True})
    reason = f"the database has not answered for {PATIENCE_S:g} seconds"
    return answer({"ready": False, "reason": reason}, 503, {"Retry-After": "2"})


def _look(service: Service) -> None:
    """Read a row, which Away is raised from where that cannot be."""
    with service.database.begin(write=False) as connection:
        connection.execute(select(OWNERS.c.id).limit(1)).all()


@router.get(
    "/reload",
    operation_id="reload",
    summary="Read all records again",
    response_model=None,
    responses={200: {"model": StatusResponse}, **errors()},
)
async def reload(request: Request, caller: Annotated[Caller, Depends(needs("admin"))]) -> Response:  # noqa: ARG001
    """Forget the records and rate cards that are kept in memory; changes of records are noticed without it."""
    service_of(request).catalogues.reload()
    return await _status(request)


@router.get(
    "/metrics",
    operation_id="metrics",
    summary="Metrics for Prometheus",
    response_model=None,
    responses={200: {"content": {"text/plain": {}}, "description": "Exposition format"}, **errors()},
)
async def metrics(request: Request, caller: Annotated[Caller, Depends(needs("admin"))]) -> Response:  # noqa: ARG001
    """Requests, their times, rows, and the ledger, of all owners together."""
    response: Response = request.app.state.metrics.response()
    return response
