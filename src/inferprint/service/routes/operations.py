"""`/status`, `/reload` and `/metrics`: whether the server works, and how."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from inferprint.service.bodies import answer, errors
from inferprint.service.caller import Caller
from inferprint.service.guard import needs
from inferprint.service.problems import Away
from inferprint.service.routing import CheckedRoute
from inferprint.service.schemas import StatusResponse
from inferprint.service.services import Service, service_of

router = APIRouter(route_class=CheckedRoute)


@router.get(
    "/status",
    operation_id="status",
    summary="Whether requests can be answered",
    response_model=None,
    responses={200: {"model": StatusResponse}, **errors()},
)
async def status(request: Request) -> Response:
    """Ready, or why not: always 200, so that a client reads the reason. Needs no key."""
    return answer(await run_in_threadpool(_status, service_of(request)))


def _status(service: Service) -> dict[str, object]:
    """Whether the database answers."""
    try:
        with service.database.begin(write=False):
            return {"ready": True}
    except Away as error:
        return {"ready": False, "reason": error.message}


@router.get(
    "/reload",
    operation_id="reload",
    summary="Read all records again",
    response_model=None,
    responses={200: {"model": StatusResponse}, **errors()},
)
async def reload(request: Request, caller: Annotated[Caller, Depends(needs("write"))]) -> Response:  # noqa: ARG001
    """Forget the records and rate cards that are kept in memory; changes of records are noticed without it."""
    service = service_of(request)
    service.catalogues.reload()
    return answer(await run_in_threadpool(_status, service))


@router.get(
    "/metrics",
    operation_id="metrics",
    summary="Metrics for Prometheus",
    response_model=None,
    responses={200: {"content": {"text/plain": {}}, "description": "Exposition format"}, **errors()},
)
async def metrics(request: Request, caller: Annotated[Caller, Depends(needs("read"))]) -> Response:  # noqa: ARG001
    """Requests, their times, rows, and the ledger."""
    response: Response = request.app.state.metrics.response()
    return response
