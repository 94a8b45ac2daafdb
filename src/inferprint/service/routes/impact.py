"""`POST /v1/impact`, and `POST /` for remote functions of BigQuery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from inferprint.service.answers import answer_of, row_of
from inferprint.service.bodies import answer, check_type, documented, errors, parsed
from inferprint.service.caller import Caller
from inferprint.service.engine import Outcome
from inferprint.service.guard import caller_by_token, caller_of
from inferprint.service.problems import ServiceError, error_body
from inferprint.service.routing import CheckedRoute, check_parameters, described_flag, flag
from inferprint.service.rows import row_of_call
from inferprint.service.schemas import (
    ExtendedResponse,
    ImpactBigQueryError,
    ImpactBigQueryRequest,
    ImpactBigQueryResponse,
    ImpactRequest,
    ImpactResponse,
    ImpactRow,
)
from inferprint.service.services import Service, service_of

router = APIRouter(route_class=CheckedRoute)

_BODY = msgspec.json.Decoder(dict[str, Any])


IMPACT = "/v1/impact"


@router.post(
    IMPACT,
    operation_id="getImpact",
    summary="Impacts of requests",
    response_model=None,
    responses={200: {"model": ImpactResponse | ExtendedResponse}, **errors(415)},
    openapi_extra=documented(ImpactRequest)
    | {
        "parameters": [
            described_flag("debug", "Add model, node, grid and steps to each row"),
            described_flag("extended", "Add intervals, quality, assumptions and versions"),
        ]
    },
)
async def get_impact(request: Request) -> Response:
    """Estimate 1 to 1,000 requests.

    A row that cannot be estimated gets its `error`, and the others their figures. A row with a `request_id` is kept in
    the ledger, once, before the answer; that takes a key with the scope "write".
    """
    check_parameters(request, "debug", "extended")
    service, caller = service_of(request), await caller_of(request, "read")
    debug, extended = flag(request, "debug"), flag(request, "extended")
    check_type(request, "application/json")
    body = await request.body()
    parsed(ImpactRequest, body)
    # What was sent, not what was read: the ledger keeps it as it came.
    rows = [stated(row) for row in _BODY.decode(body)["rows"]]
    outcomes = await service.engine.estimated(caller.owner_id, rows)
    outcomes = await kept(service, caller, outcomes, IMPACT)
    catalogue = service.catalogues.estimator(caller.owner_id).catalogue
    request.app.state.metrics.rows(IMPACT, outcomes)
    return answer(answer_of(outcomes, catalogue, debug=debug, extended=extended))


class DirectRoute(Route):
    """The same endpoint without the ways of FastAPI, which would take as long as the estimate of a row.

    Everything is read by hand in it, so that there is nothing for FastAPI to do but its description.
    """

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and tell the log which route it was."""
        scope["route"] = self
        await super().handle(scope, receive, send)


def direct() -> DirectRoute:
    """To be looked at before the other routes."""
    return DirectRoute(IMPACT, get_impact, methods=["POST"])


def stated(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without what is null."""
    return {name: value for name, value in row.items() if value is not None}


async def kept(service: Service, caller: Caller, outcomes: Sequence[Outcome], source: str) -> list[Outcome]:
    """The outcomes once those with a request_id are in the ledger; an id that is taken by another row is an error.

    Raises
    ------
    Forbidden
        A key that may not write.
    """
    named = [i for i, outcome in enumerate(outcomes) if outcome.row.get("request_id")]
    if not named:
        return list(outcomes)
    caller.require("write", "rows with a request_id are kept in the ledger")
    statuses = await service.ledger.keep(caller, [outcomes[i] for i in named], source=source)
    found = list(outcomes)
    for i, status in zip(named, statuses, strict=True):
        if status.status == "conflict":
            found[i] = Outcome(outcomes[i].row, None, conflict(outcomes[i].row["request_id"]))
    return found


def conflict(request_id: str) -> dict[str, Any]:
    """The Error of a row whose id stands for another one."""
    reason = "The row that came first is kept. Send another request_id for another request."
    return error_body(
        "conflict", f"request_id '{request_id}' stands for a row with other content", "request_id", reason
    )


# --- BigQuery ---------------------------------------------------------------------------------------------------------

_BIGQUERY_ERRORS = {code: {**reply, "model": ImpactBigQueryError} for code, reply in errors(415).items()}


@router.post(
    "/",
    operation_id="calculateImpactBigQuery",
    summary="Impacts for a remote function of BigQuery",
    response_model=None,
    responses={200: {"model": ImpactBigQueryResponse}, **_BIGQUERY_ERRORS},
    openapi_extra=documented(ImpactBigQueryRequest),
)
async def calculate_impact(request: Request) -> Response:
    """Estimate up to 1,000 calls; each reply is the JSON of a row of `/v1/impact`, with its error where it has one.

    BigQuery sends a token of its own in the header: the key may stand in `userDefinedContext`, as `api_key`.
    """
    service = service_of(request)
    try:
        check_type(request, "application/json")
        body = parsed(ImpactBigQueryRequest, await request.body())
        caller = await _caller(request, body)
        outcomes = await _estimated(service, caller, body)
    except ServiceError as error:
        reason = f" {error.reason}" if error.reason else ""
        return answer({"errorMessage": f"{error.message}.{reason}"}, error.status, error.headers)
    catalogue = service.catalogues.estimator(caller.owner_id).catalogue
    request.app.state.metrics.rows("/", outcomes)
    replies = [row_of(outcome, catalogue, debug=False, extended=False) for outcome in outcomes]
    return answer({"replies": [msgspec.json.encode(reply).decode() for reply in replies]})


async def _caller(request: Request, body: ImpactBigQueryRequest) -> Caller:
    """Who calls: by the key in the context, else by the header."""
    key = (body.userDefinedContext or {}).get("api_key")
    if isinstance(key, str):
        return await caller_by_token(request, key, "read")
    return await caller_of(request, "read")


async def _estimated(service: Service, caller: Caller, body: ImpactBigQueryRequest) -> list[Outcome]:
    """The outcomes of all calls; arguments that break the schema of a row are the error of that call alone."""
    rows: list[dict[str, Any]] = []
    refused: dict[int, dict[str, Any]] = {}
    for i, call in enumerate(body.calls):
        row = row_of_call(call.root)
        try:
            parsed(ImpactRow, msgspec.json.encode(row))
        except ServiceError as error:
            refused[i] = error.body
        rows.append(row)
    good = [row for i, row in enumerate(rows) if i not in refused]
    made = iter(await service.engine.estimated(caller.owner_id, good))
    return [Outcome(row, None, refused[i]) if i in refused else next(made) for i, row in enumerate(rows)]
