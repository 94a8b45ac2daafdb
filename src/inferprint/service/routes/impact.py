"""`POST /v1/impact`, and `POST /` for remote functions of BigQuery."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from inferprint.service.answers import answer_of, replies_of
from inferprint.service.bodies import answer, check_type, documented, encoded, errors, parsed, rows_sent
from inferprint.service.caller import Caller
from inferprint.service.engine import AT_ONCE, Outcome
from inferprint.service.guard import anonymous, caller_by_token, caller_of
from inferprint.service.problems import BadRequest, ServiceError, TooLarge, conflict_error
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
from inferprint.service.settings import MIB

router = APIRouter(route_class=CheckedRoute)

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
    rows = await rows_sent(request, ImpactRequest, service.engine)
    outcomes = await service.engine.estimated(caller.owner_id, rows)
    outcomes = await kept(service, caller, outcomes, IMPACT)
    request.app.state.metrics.rows(IMPACT, outcomes)
    if len(outcomes) > AT_ONCE or extended:
        return encoded(await service.engine.apart(answer_of, outcomes, debug, extended))
    return encoded(answer_of(outcomes, debug, extended))


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
            found[i] = Outcome(outcomes[i].row, None, conflict_error(outcomes[i].row["request_id"]))
    return found


# --- BigQuery ---------------------------------------------------------------------------------------------------------

LONGEST_UNKNOWN = 4 * MIB
"""Longest body that is read before there is a key: a thousand calls of four kilobytes."""


class _Keyed(msgspec.Struct):
    userDefinedContext: dict[str, Any] = {}  # noqa: N815


_KEYED = msgspec.json.Decoder(_Keyed)

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
        caller, body = await _asked(request)
        calls = await service.engine.apart(parsed, ImpactBigQueryRequest, body)
        outcomes = await _estimated(service, caller, calls)
    except ServiceError as error:
        reason = f" {error.reason}" if error.reason else ""
        return answer({"errorMessage": f"{error.message}.{reason}"}, error.status, error.headers)
    request.app.state.metrics.rows("/", outcomes)
    return encoded(await service.engine.apart(replies_of, outcomes))


async def _asked(request: Request) -> tuple[Caller, bytes]:
    """Who calls, and the body; of somebody who has shown no key yet, little is read."""
    if request.headers.get("authorization", "").lower().startswith("bearer ipk_"):
        return await caller_of(request, "read"), await request.body()
    await anonymous(request)
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LONGEST_UNKNOWN:
            raise TooLarge(f"more than {LONGEST_UNKNOWN:,} bytes", reason="Make fewer calls at a time.")
    try:
        key = _KEYED.decode(body).userDefinedContext.get("api_key")
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRequest("the body is not what BigQuery sends", reason=str(error)[:200]) from error
    return await caller_by_token(request, key if isinstance(key, str) else None, "read"), bytes(body)


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
