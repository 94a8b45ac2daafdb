"""What goes in and out of `/v1/usage`."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import Field, create_model

from inferprint.quantities import RESULTS
from inferprint.service.record_schemas import Shape
from inferprint.service.schemas import MAX_ROWS, Error, ImpactRow, Interval
from inferprint.service.summary import DIMENSIONS

Outcome = Literal["estimated", "unestimated", "merged"]
Dimension = Enum("Dimension", {name: name for name in DIMENSIONS}, type=str)  # type: ignore[misc]

_QUANTITIES: dict[str, Any] = {
    quantity.name: (Interval | None, Field(description=f"{quantity.meaning} [{quantity.unit}]")) for quantity in RESULTS
}
Quantities = create_model(
    "Quantities",
    __base__=Shape,
    __doc__="Each quantity with its 95 % interval; null where it is unknown.",
    **_QUANTITIES,
)


class UsageRequest(Shape):
    """Rows to estimate and keep."""

    rows: Annotated[list[ImpactRow], Field(min_length=1, max_length=MAX_ROWS)]


class KeptRow(Shape):
    """What became of a row.

    `status`: "stored"; "updated" where it could not be estimated before and now is; "repeated" where the request id is
    there with the same content, "conflict" where it is there with another, which stays. `outcome` is what the ledger
    holds of it; an unestimated row counts nothing until it is mended. `error` says why it could not be estimated, or
    that its id is taken.
    """

    request_id: str
    status: Literal["stored", "repeated", "updated", "conflict"]
    outcome: Outcome
    error: Error | None = None


class UsageKept(Shape):
    """What became of rows; all that is told of is committed."""

    rows: Annotated[list[KeptRow], Field(max_length=MAX_ROWS)]
    stored: Annotated[int, Field(description="Rows that are new, or were mended")]
    repeated: int
    conflicts: int
    unestimated: Annotated[int, Field(description="Rows of which the ledger holds no estimate yet")]
    has_errors: bool


class UsageRetried(Shape):
    """What became of rows that could not be estimated before."""

    tried: int
    mended: int
    left: Annotated[int, Field(description="All rows that cannot be estimated yet")]
    next_cursor: Annotated[int | None, Field(description="To go on from; null at the end")]


class UsageRow(Shape):
    """One row of the ledger."""

    id: int
    request_id: str
    outcome: Outcome
    source: str
    day: str
    project_id: str | None
    application_id: str | None
    client_id: str | None
    user_id: str | None
    session_id: str | None
    model: str | None
    service: str | None
    place: str | None
    trace_id: str | None
    environment: str | None
    n_requests: float
    quality: str | None
    received_at: datetime
    utc_datetime: datetime | None
    request: Annotated[dict[str, Any], Field(description="The row as it was sent")]
    error: Error | None
    versions: dict[str, str] | None
    quantities: Quantities  # type: ignore[valid-type]


class UsageList(Shape):
    """Rows of the ledger, newest first."""

    rows: Annotated[list[UsageRow], Field(max_length=1000)]
    next_cursor: Annotated[int | None, Field(description="To go on from; null at the end")]


class SumInterval(Shape):
    """How the interval of a sum was made.

    Rows with the same cards share their errors, and rows of different cards those of what both rest on
    (`rows_by_cards`). Rows with cards of their own, such as those with measured times, and rows whose model is no
    longer known, are added with the sums of their own bounds, which is never narrower (`rows_by_sums`).
    """

    rows_by_cards: int
    rows_by_sums: int
    rescaled: Annotated[
        list[str],
        Field(description="Quantities whose cards have changed since: the interval is scaled to the stored value"),
    ]
    added: Annotated[
        list[str], Field(description="Quantities that today's cards do not have: the rows' own bounds are added up")
    ]


class SummaryVersions(Shape):
    """Versions of software and data, and the rows that were estimated with them."""

    inferprint: str | None = None
    catalogue: str | None = None
    method: str | None = None
    coefficients: str | None = None
    rows: int


class UsageSum(Shape):
    """What the rows of one key add up to."""

    key: dict[str, str]
    n_rows: Annotated[int, Field(description="Rows that were estimated")]
    n_requests: Annotated[float, Field(description="Requests that they stand for")]
    n_unestimated: Annotated[int, Field(description="Rows that could not be estimated yet, and count nothing")]
    n_merged: Annotated[int, Field(description="Rows that repeat another one, and count nothing")]
    quantities: Quantities  # type: ignore[valid-type]
    interval: SumInterval
    quality: Annotated[dict[str, int], Field(description="Rows by what their estimate rests on")]
    versions: list[SummaryVersions]


class UsageSummary(Shape):
    """Sums of usage by key, in the order of the keys."""

    by: list[str]
    first: Annotated[str | None, Field(alias="from")]
    last: Annotated[str | None, Field(alias="to")]
    rows: Annotated[list[UsageSum], Field(max_length=1000)]
    next_offset: Annotated[int | None, Field(description="To go on from; null at the end")]


BODIES = (UsageRequest,)
