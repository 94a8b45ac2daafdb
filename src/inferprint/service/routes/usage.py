"""`/v1/usage`: report usage, look at it, sum it up, take it away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import AfterValidator, BeforeValidator
from starlette.concurrency import run_in_threadpool

from inferprint.service.bodies import answer, documented, errors, rows_sent
from inferprint.service.caller import Caller
from inferprint.service.engine import Outcome
from inferprint.service.export import blocks, exported
from inferprint.service.guard import needs
from inferprint.service.ledger import Kept
from inferprint.service.problems import BadRequest, conflict_error
from inferprint.service.routing import CheckedRoute
from inferprint.service.schemas import Text
from inferprint.service.services import service_of
from inferprint.service.summary import summed
from inferprint.service.usage_queries import (
    MAX_NUMBER,
    MAX_PAGE,
    count_unestimated,
    filters,
    listed,
    unestimated,
)
from inferprint.service.usage_schemas import (
    Dimension,
    UsageKept,
    UsageList,
    UsageRequest,
    UsageRetried,
    UsageSummary,
)
from inferprint.service.usage_schemas import (
    Outcome as OutcomeName,
)

router = APIRouter(route_class=CheckedRoute)

SOURCE = "/v1/usage"
PARQUET = "application/vnd.apache.parquet"


def _different(names: list[Dimension]) -> list[Dimension]:
    if len(set(names)) < len(names):
        raise ValueError("names a dimension twice")
    return names


def _alone(name: Any) -> Any:
    if isinstance(name, str) and "," in name:
        raise ValueError(
            f"one dimension at a time: write {'&'.join(f'by={one.strip()}' for one in name.split(',')[:2])}"
        )
    return name


async def _row_filters(
    request_id: Annotated[Text | None, Query()] = None,
    trace_id: Annotated[Text | None, Query()] = None,
    environment: Annotated[Text | None, Query()] = None,
    outcome: OutcomeName | None = None,
) -> dict[str, str]:
    """Parameters that choose rows by what they say of themselves."""
    given = {"request_id": request_id, "trace_id": trace_id, "environment": environment, "outcome": outcome}
    return {name: value for name, value in given.items() if value is not None}


Filters = Annotated[dict[str, str], Depends(filters)]
RowFilters = Annotated[dict[str, str], Depends(_row_filters)]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Most rows of the answer")]
By = Annotated[
    list[Annotated[Dimension, BeforeValidator(_alone)]] | None,
    Query(max_length=2, json_schema_extra={"uniqueItems": True}, description="None, one or two dimensions"),
    AfterValidator(lambda names: names if names is None else _different(names)),
]


@router.post(
    "/v1/usage",
    operation_id="reportUsage",
    summary="Report usage",
    response_model=None,
    responses={200: {"model": UsageKept}, **errors(415)},
    openapi_extra=documented(UsageRequest),
)
async def report_usage(
    request: Request,
    caller: Annotated[Caller, Depends(needs("write"))],
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=200,
            pattern="^[!-~]*$",
            description="Names the rows that have no request_id: row i is KEY:i",
        ),
    ] = None,
) -> Response:
    """Estimate 1 to 1,000 requests and keep them, each once.

    A row is known by its `request_id`: the same row again changes nothing, another one with the same id is a conflict,
    and the first stays. A row that cannot be estimated is kept with its error, and mended when it is sent again, or by
    `POST /v1/usage/retry`.
    """
    service = service_of(request)
    rows = await rows_sent(request, UsageRequest, service.engine)
    ids = _ids(rows, idempotency_key)
    outcomes = await service.engine.estimated(caller.owner_id, rows)
    request.app.state.metrics.rows(SOURCE, outcomes)
    kept = await service.ledger.keep(caller, outcomes, source=SOURCE, ids=ids)
    return answer(_told(ids, outcomes, kept))


@router.post(
    "/v1/usage/retry",
    operation_id="retryUsage",
    summary="Estimate again what could not be",
    response_model=None,
    responses={200: {"model": UsageRetried}, **errors()},
)
async def retry_usage(
    request: Request,
    caller: Annotated[Caller, Depends(needs("write"))],
    cursor: Annotated[int, Query(ge=0, le=MAX_NUMBER, description="The next_cursor of the last answer")] = 0,
) -> Response:
    """Estimate up to 1,000 unestimated rows again, the oldest first; those that now can be are mended."""
    service = service_of(request)
    found = await run_in_threadpool(unestimated, service.database, caller.owner_id, cursor)
    outcomes = await service.engine.estimated(caller.owner_id, found.rows)
    can = [i for i, outcome in enumerate(outcomes) if outcome.result is not None]
    kept = await service.ledger.keep(caller, [outcomes[i] for i in can], source=SOURCE, ids=[found.ids[i] for i in can])
    left = await run_in_threadpool(count_unestimated, service.database, caller.owner_id)
    mended = sum(one.status == "updated" for one in kept)
    return answer({"tried": len(found.ids), "mended": mended, "left": left, "next_cursor": found.next_cursor})


@router.get(
    "/v1/usage",
    operation_id="listUsage",
    summary="Rows of the ledger",
    response_model=None,
    responses={200: {"model": UsageList}, **errors(404)},
)
async def list_usage(
    request: Request,
    caller: Annotated[Caller, Depends(needs("read"))],
    chosen: Filters,
    further: RowFilters,
    limit: Limit = 100,
    cursor: Annotated[int | None, Query(ge=0, le=MAX_NUMBER, description="The next_cursor of the last answer")] = None,
) -> Response:
    """Rows of the ledger, newest first."""
    question = {**chosen, **further, "limit": limit} | ({} if cursor is None else {"cursor": cursor})
    return answer(await run_in_threadpool(listed, service_of(request).database, caller, question))


@router.get(
    "/v1/usage/summary",
    operation_id="summariseUsage",
    summary="Usage summed up",
    response_model=None,
    responses={200: {"model": UsageSummary}, **errors(404)},
)
async def summarise_usage(
    request: Request,
    caller: Annotated[Caller, Depends(needs("read"))],
    chosen: Filters,
    by: By = None,
    limit: Limit = 100,
    offset: Annotated[int, Query(ge=0, le=10_000_000, description="The next_offset of the last answer")] = 0,
) -> Response:
    """Sums of usage with their intervals, by none, one or two dimensions, in the order of the keys.

    Intervals do not shrink with the number of rows: rows share the errors of what they rest on.
    """
    names = [one.value for one in by or ()]
    ledger = service_of(request).ledger
    return answer(await ledger.turns.run(partial(summed, ledger, caller, names, chosen, limit=limit, offset=offset)))


@router.get(
    "/v1/usage/export",
    operation_id="exportUsage",
    summary="Usage as Parquet",
    response_model=None,
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "A Parquet file of the rows, in the order in which they came",
            "content": {PARQUET: {"schema": {"type": "string", "format": "binary"}}},
        },
        **errors(404),
    },
)
async def export_usage(
    request: Request, caller: Annotated[Caller, Depends(needs("read"))], chosen: Filters
) -> Response:
    """All rows as one Parquet file; moments in UTC, `request`, `error` and `versions` as JSON."""
    ledger = service_of(request).ledger
    file = await ledger.turns.run(partial(exported, ledger, caller, chosen))
    headers = {"Content-Disposition": 'attachment; filename="usage.parquet"'}
    return StreamingResponse(blocks(file), media_type=PARQUET, headers=headers)


def _ids(rows: Sequence[Mapping[str, Any]], key: str | None) -> list[str]:
    """Request ids of rows: their own, else those that the key makes."""
    found = []
    for i, row in enumerate(rows):
        name = row.get("request_id") or (f"{key}:{i}" if key else "")
        if not name:
            raise BadRequest(
                f"rows[{i}] has no request_id, so that it would count twice when it is sent again",
                field=f"rows[{i}].request_id",
                reason="Give each row a request_id, or send the header Idempotency-Key.",
            )
        found.append(name)
    return found


def _told(ids: Sequence[str], outcomes: Sequence[Outcome], kept: Sequence[Kept]) -> dict[str, Any]:
    """What became of rows, in the shape of `UsageKept`."""
    rows = []
    for name, outcome, one in zip(ids, outcomes, kept, strict=True):
        row = {"request_id": name, "status": one.status, "outcome": one.outcome}
        error = conflict_error(name) if one.status == "conflict" else outcome.error
        rows.append({**row, "error": error} if error is not None else row)
    status = Counter(one.status for one in kept)
    bad = sum(one.outcome == "unestimated" for one in kept)
    return {
        "rows": rows,
        "stored": status["stored"] + status["updated"],
        "repeated": status["repeated"],
        "conflicts": status["conflict"],
        "unestimated": bad,
        "has_errors": bool(bad or status["conflict"] or any(outcome.error is not None for outcome in outcomes)),
    }
