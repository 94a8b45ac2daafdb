"""Questions about the ledger: what may be asked, for whom, and the rows themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any

import msgspec
from fastapi import Depends, Query
from pydantic import AfterValidator, WithJsonSchema
from sqlalchemy import Connection, Select, func, literal_column, or_, select
from sqlalchemy.sql.elements import ColumnElement

from inferprint.quantities import RESULTS
from inferprint.service.caller import Caller
from inferprint.service.database import Database, utc
from inferprint.service.problems import BadRequest, Forbidden, NotFound
from inferprint.service.schemas import Text
from inferprint.service.tables import GROUPS, OWNERS, USAGE

MAX_PAGE = 1000
"""Rows, or keys, of one answer."""

MAX_NUMBER = 2**53 - 1
"""Largest number that all clients read exactly."""

NONE = "(none)"
"""Key of what a row does not say; that of `inferprint.batch.totals`, whose import takes long."""

COLUMNS = tuple(name for name in GROUPS if name != "day")


def _checked_day(text: str) -> str:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.isoformat() != text:
        raise ValueError("is not a day, as 2026-09-01")
    return text


def _checked_month(text: str) -> str:
    try:
        _checked_day(f"{text}-01")
    except ValueError as error:
        raise ValueError("is not a month, as 2026-09") from error
    return text


Day = Annotated[str, AfterValidator(_checked_day), WithJsonSchema({"type": "string", "format": "date"})]
Month = Annotated[
    str, AfterValidator(_checked_month), WithJsonSchema({"type": "string", "pattern": r"^[0-9]{4}-[0-9]{2}$"})
]


def _only(name: str) -> Any:
    return Query(description=f"Only rows with this {name}; '{NONE}' for those without")


async def period(
    first: Annotated[Day | None, Query(alias="from", description="First day, in UTC, included")] = None,
    last: Annotated[Day | None, Query(alias="to", description="Last day, in UTC, included")] = None,
    day: Annotated[Day | None, Query(description="Only rows of this day, in UTC")] = None,
    month: Annotated[Month | None, Query(description="Only rows of this month, in UTC", examples=["2026-09"])] = None,
    owner: Annotated[Text | None, Query(description="Whose usage, for administrators; one's own by default")] = None,
) -> dict[str, str]:
    """Parameters that say when, and whose.

    Raises
    ------
    BadRequest
        A period that ends before it begins.
    """
    if first is not None and last is not None and first > last:
        raise BadRequest(
            f"from is {first} and to is {last}: no day lies between",
            field="from",
            reason="Give from as the first day and to as the last one; both are included.",
        )
    given = {"from": first, "to": last, "day": day, "month": month, "owner": owner}
    return {name: value for name, value in given.items() if value is not None}


async def names(
    project_id: Annotated[Text | None, _only("project_id")] = None,
    application_id: Annotated[Text | None, _only("application_id")] = None,
    client_id: Annotated[Text | None, _only("client_id")] = None,
    user_id: Annotated[Text | None, _only("user_id")] = None,
    session_id: Annotated[Text | None, _only("session_id")] = None,
    model: Annotated[Text | None, _only("model")] = None,
    service: Annotated[Text | None, _only("service")] = None,
    place: Annotated[Text | None, _only("place")] = None,
) -> dict[str, str]:
    """Parameters that choose rows by what usage is summed up by."""
    values = (project_id, application_id, client_id, user_id, session_id, model, service, place)
    return {name: value for name, value in zip(COLUMNS, values, strict=True) if value is not None}


async def filters(
    when: Annotated[dict[str, str], Depends(period)], which: Annotated[dict[str, str], Depends(names)]
) -> dict[str, str]:
    """All parameters that choose rows."""
    return {**when, **which}


def owner_of(connection: Connection, caller: Caller, name: str | None) -> int:
    """The owner whose usage is asked for.

    Raises
    ------
    Forbidden
        Somebody else's, without being an administrator.
    NotFound
        No such owner.
    """
    if name is None or name == caller.owner:
        return caller.owner_id
    if not caller.is_admin:
        raise Forbidden(f"usage of '{name}' is not yours", field="owner", reason="Leave it out for your own.")
    found: int | None = connection.execute(select(OWNERS.c.id).where(OWNERS.c.name == name)).scalar()
    if found is None:
        raise NotFound(f"no owner '{name}'", field="owner", reason="Owners are made with their first key.")
    return found


def named(name: str) -> ColumnElement[str]:
    """A column by which usage is summed up, with a name for what a row does not say."""
    if name == "month":
        return func.substr(USAGE.c.day, literal_column("1"), literal_column("7"))
    if name == "day":
        return USAGE.c.day
    return func.coalesce(USAGE.c[name], literal_column(f"'{NONE}'"))


def filtered(owner_id: int, chosen: Mapping[str, Any]) -> list[ColumnElement[bool]]:
    """Conditions on rows of usage."""
    found: list[ColumnElement[bool]] = [USAGE.c.owner_id == owner_id]
    if "from" in chosen:
        found.append(USAGE.c.day >= chosen["from"])
    if "to" in chosen:
        found.append(USAGE.c.day <= chosen["to"])
    if "month" in chosen:
        found.append(USAGE.c.day.between(f"{chosen['month']}-01", f"{chosen['month']}-31"))
    exact = [name for name in ("day", "request_id", "outcome", "trace_id", "environment") if name in chosen]
    found += [USAGE.c[name] == chosen[name] for name in exact]
    for name in (name for name in COLUMNS if name in chosen):
        column = USAGE.c[name]
        found.append(or_(column.is_(None), column == NONE) if chosen[name] == NONE else column == chosen[name])
    return found


# --- rows -------------------------------------------------------------------------------------------------------------

_PLAIN = (
    "id",
    "request_id",
    "outcome",
    "source",
    "day",
    *COLUMNS,
    "trace_id",
    "environment",
    "n_requests",
    "quality",
)


def listed(database: Database, caller: Caller, question: Mapping[str, Any]) -> dict[str, Any]:
    """Rows of usage, newest first, and the cursor of the next ones."""
    limit = question.get("limit", 100)
    with database.begin(write=False) as connection:
        conditions = filtered(owner_of(connection, caller, question.get("owner")), question)
        # Also on the first page: without a bound, SQLite would sort all rows of a period.
        conditions.append(USAGE.c.id < question.get("cursor", MAX_NUMBER))
        statement: Select[Any] = select(USAGE).where(*conditions).order_by(USAGE.c.id.desc()).limit(limit + 1)
        found = connection.execute(statement).mappings().all()
    more = len(found) > limit
    return {
        "rows": [shown(row) for row in found[:limit]],
        "next_cursor": found[limit - 1]["id"] if more else None,
    }


def shown(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row as plain data."""
    return {
        **{name: row[name] for name in _PLAIN},
        "received_at": utc(row["received_at"]),
        "utc_datetime": utc(row["utc_datetime"]) if row["utc_datetime"] is not None else None,
        "request": msgspec.json.decode(row["request"]),
        "error": msgspec.json.decode(row["error"]) if row["error"] is not None else None,
        "versions": msgspec.json.decode(row["versions"]) if row["versions"] is not None else None,
        "quantities": {quantity.name: _interval(row, quantity.name) for quantity in RESULTS},
    }


def _interval(row: Mapping[Any, Any], name: str) -> dict[str, float] | None:
    if row[name] is None:
        return None
    return {"value": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]}


@dataclass(frozen=True, slots=True)
class Unestimated:
    """Rows that could not be estimated yet: their ids, what was sent, and the cursor of the next ones."""

    ids: list[str]
    rows: list[dict[str, Any]]
    next_cursor: int | None


def unestimated(database: Database, owner_id: int, after: int) -> Unestimated:
    """The oldest rows after a cursor that could not be estimated yet, a page of them."""
    conditions = (USAGE.c.owner_id == owner_id, USAGE.c.outcome == "unestimated", USAGE.c.id > after)
    statement = (
        select(USAGE.c.id, USAGE.c.request_id, USAGE.c.request)
        .where(*conditions)
        .order_by(USAGE.c.id)
        .limit(MAX_PAGE + 1)
    )
    with database.begin(write=False) as connection:
        found = connection.execute(statement).all()
    page = found[:MAX_PAGE]
    return Unestimated(
        [row.request_id for row in page],
        [msgspec.json.decode(row.request) for row in page],
        page[-1].id if len(found) > MAX_PAGE else None,
    )


def count_unestimated(database: Database, owner_id: int) -> int:
    """Rows that could not be estimated yet."""
    conditions = (USAGE.c.owner_id == owner_id, USAGE.c.outcome == "unestimated")
    with database.begin(write=False) as connection:
        return int(connection.execute(select(func.count()).select_from(USAGE).where(*conditions)).scalar_one())
