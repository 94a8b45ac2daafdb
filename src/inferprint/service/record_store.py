"""Looks up, lists and changes the records of owners beside the packaged ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ValidationError
from sqlalchemy import Connection, Executable, delete, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from inferprint.catalogue import Catalogue, resolve_gpu, resolve_model, resolve_node
from inferprint.errors import UnknownName
from inferprint.service.bodies import refused
from inferprint.service.caller import GLOBAL_OWNER, Caller
from inferprint.service.catalogues import Catalogues, layered, rows_of
from inferprint.service.database import Database
from inferprint.service.own_records import FOLDERS, LABELS, REFERENCES, Kind, Row, called, claims, key_of, own_of
from inferprint.service.problems import Away, BadRequest, Conflict, Forbidden, NotFound
from inferprint.service.record_schemas import (
    MAX_ALIASES,
    AliasRequest,
    GPUCreateRequest,
    ModelCreateRequest,
    NodeCreateRequest,
)
from inferprint.service.records import Data, packaged, shown_row
from inferprint.service.tables import RECORDS, REVISIONS

MAX_RECORDS = 1000
"""Records of a kind that an owner may keep."""

CREATE: Mapping[Kind, type[BaseModel]] = {
    "model": ModelCreateRequest,
    "node": NodeCreateRequest,
    "gpu": GPUCreateRequest,
}

MOST_TRIES = 5
"""How often a change is checked where other servers change the same records meanwhile."""

PATIENCE_S = 30.0
"""Seconds to wait for those who change records before."""

OF_ADMINISTRATORS = ("cloud_instance_id", "managed_service_id")
"""Fields of a node that only an administrator may set."""

Change = Callable[[Row], Data]
"""The new body of a row."""

Check = Callable[[Connection, list[Row]], tuple[Row, Executable]]
"""From the rows of an owner to what a change makes of one, and the statement that writes it."""

_FAMILIES_APART: Mapping[str, tuple[str, ...]] = {"gpt": ("gpt-neo", "gpt-j")}
"""Families whose names begin with another one's."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of records.

    Attributes
    ----------
    total
        Records that the filters let through, on all pages.
    omitted
        Packaged records of the kind that the shape cannot hold.
    """

    items: list[Data]
    total: int
    omitted: int


@dataclass(frozen=True, slots=True)
class Filters:
    """What a listing is narrowed to; None lets all through."""

    family: str | None = None
    service: str | None = None
    cloud: str | None = None
    custom: bool | None = None
    gpu: str | None = None
    instance: str | None = None
    query: str | None = None


class RecordStore:
    """Models, nodes and GPUs as a caller sees them.

    Parameters
    ----------
    database
        Where the records of owners are.
    catalogues
        The packaged records, and what is told of each change.
    """

    def __init__(self, database: Database, catalogues: Catalogues) -> None:
        self._database, self._catalogues = database, catalogues

    # --- reading ------------------------------------------------------------------------------------------------------

    def one(self, kind: Kind, caller: Caller, name: str) -> Data:
        """The record with this id or name: the caller's own, one that all see, or a packaged one.

        Raises
        ------
        NotFound
            None that the caller sees, or one that the shape cannot hold.
        """
        rows = self._seen(kind, caller)
        row = _named(rows, kind, name)
        key = self._resolved(kind, caller, name) if row is None else row.id
        row = row or next((other for other in rows if other.id == key), None)
        if row is not None:
            return shown_row(row, to_admin=caller.is_admin)
        shown = packaged(self._catalogues.base, kind)[key]
        if shown.data is None:
            message = f"{LABELS[kind]} '{name}' cannot be shown in this shape: {shown.why_not}"
            raise NotFound(message, reason="Estimates can name it all the same.", code="not_shown")
        return shown.data

    def listed(self, kind: Kind, caller: Caller, filters: Filters, limit: int, offset: int) -> Listing:
        """A page of all records that a caller sees, in the order of their ids.

        Parameters
        ----------
        limit, offset
            Records at most, and those to leave out before them.
        """
        rows = self._seen(kind, caller)
        shown = packaged(self._catalogues.base, kind)
        # A newer release may have brought a record of an id that is there already.
        covered = {key_of(kind, row.id) for row in rows}
        entries: list[tuple[Data, Row | None]] = [
            (record.data, None)
            for record in shown.values()
            if record.data is not None and key_of(kind, record.id) not in covered
        ]
        entries += [(shown_row(row, to_admin=caller.is_admin), row) for row in rows]
        index = self._catalogues.estimator(caller.owner_id).catalogue.names("gpus")
        found = [data for data, row in entries if _passes(data, row, filters, index)]
        found.sort(key=lambda data: str(data["id"]))
        omitted = sum(record.data is None for record in shown.values())
        return Listing(found[offset : offset + limit], len(found), omitted)

    def _seen(self, kind: Kind, caller: Caller) -> list[Row]:
        """The rows that a caller sees, its own first; one of all that has an id of its own is hidden."""
        own = self._rows(kind, caller.owner_id)
        common = self._rows(kind, GLOBAL_OWNER) if caller.owner_id != GLOBAL_OWNER else []
        ids = {key_of(kind, row.id) for row in own}
        return own + [row for row in common if key_of(kind, row.id) not in ids]

    def _rows(self, kind: Kind, owner_id: int) -> list[Row]:
        with self._database.begin(write=False) as connection:
            return rows_of(connection, owner_id, kind)

    def _resolved(self, kind: Kind, caller: Caller, name: str) -> str:
        """Id in the catalogue of the record that an estimate would take for a name.

        Raises
        ------
        NotFound
            None that the caller sees, with the nearest.
        """
        catalogue = self._catalogues.estimator(caller.owner_id).catalogue
        try:
            if kind == "model":
                return resolve_model(catalogue, name).model.id
            return (resolve_node if kind == "node" else resolve_gpu)(catalogue, name).id
        except UnknownName as error:
            shown = packaged(self._catalogues.base, kind)
            ids = [shown[key].id if key in shown else key for key in error.nearest]
            nearest = f"Nearest: {', '.join(ids)}. " if ids else ""
            reason = f"{nearest}GET /{kind} lists what there is."
            raise NotFound(f"unknown {LABELS[kind]} '{name}'", reason=reason) from error

    # --- changing -----------------------------------------------------------------------------------------------------

    def create(self, kind: Kind, caller: Caller, sent: BaseModel, *, for_all: bool) -> Data:
        """Keep a new record, and return it in its shape.

        Raises
        ------
        Forbidden
            A record for all, or a field, that only an administrator may set.
        Conflict
            An id or name that is taken, or too many records.
        BadRequest
            A record from which nothing can be estimated, or that names one that does not exist.
        """
        owner_id, body = self._owner(caller, for_all), sent.model_dump(mode="json", exclude_unset=True)
        self._check_fields(kind, caller, body)
        now = datetime.now(UTC)
        row = Row(owner_id, kind, body["id"], body, now, now, caller.key_id)
        under = self._catalogues.under(owner_id)

        def checked(connection: Connection, rows: list[Row]) -> tuple[Row, Executable]:  # noqa: ARG001
            if sum(other.kind == kind for other in rows) >= MAX_RECORDS:
                raise Conflict(f"there are {MAX_RECORDS} {LABELS[kind]}s already", reason="Delete some first.")
            _check_names(under, rows, row)
            _check_made(under, [*rows, row], row)
            return row, RECORDS.insert().values(**_columns(row))

        return shown_row(self._written(owner_id, checked), to_admin=caller.is_admin)

    def update(self, kind: Kind, caller: Caller, key: str, sent: BaseModel, *, for_all: bool) -> Data:
        """Change fields of a record, and return it in its shape; null takes a value away.

        Raises
        ------
        Forbidden, Conflict, BadRequest
            See `create`; a packaged record is nobody's to change, and what every record has cannot be taken away.
        NotFound
            No such record of the caller.
        """
        changes = sent.model_dump(mode="json", exclude_unset=True)
        self._check_fields(kind, caller, changes)
        for name, field in CREATE[kind].model_fields.items():
            if field.is_required() and changes.get(name, ...) is None:
                message = f"{name}: every {LABELS[kind]} has one, and null would take it away"
                reason = "Give a value, or leave the field out to keep the value that it has."
                raise BadRequest(message, field=name, reason=reason, code="invalid_field")

        def changed(row: Row) -> Data:
            merged = {name: value for name, value in {**row.body, **changes}.items() if value is not None}
            try:
                checked = CREATE[kind].model_validate_json(json.dumps(merged), strict=True)
            except ValidationError as error:
                raise refused(error) from error
            return checked.model_dump(mode="json", exclude_unset=True)

        return shown_row(self._change(kind, caller, key, changed, for_all=for_all), to_admin=caller.is_admin)

    def add_alias(self, caller: Caller, key: str, sent: AliasRequest, *, for_all: bool) -> None:
        """Give a model a further name; once more does nothing.

        Raises
        ------
        Forbidden, NotFound, Conflict, BadRequest
            See `update`.
        """

        def named(row: Row) -> Data:
            aliases = list(row.body.get("aliases") or ())
            if sent.alias not in aliases and len(aliases) >= MAX_ALIASES:
                message = f"'{row.id}' has {MAX_ALIASES} aliases already"
                raise BadRequest(message, field="alias", reason="Remove one first.")
            return {**row.body, "aliases": list(dict.fromkeys([*aliases, sent.alias]))}

        self._change("model", caller, key, named, for_all=for_all)

    def remove_alias(self, caller: Caller, key: str, alias: str, *, for_all: bool) -> None:
        """Take a further name from a model.

        Raises
        ------
        NotFound
            It has no such alias, or the caller no such model.
        Conflict
            Another record names the model by it.
        """

        def unnamed(row: Row) -> Data:
            aliases = list(row.body.get("aliases") or ())
            gone = [name for name in aliases if key_of("model", name) == key_of("model", alias)]
            if not gone:
                has = f"It has {', '.join(aliases)}." if aliases else "It has none."
                raise NotFound(f"model '{row.id}' has no alias '{alias}'", field="alias", reason=has)
            return {**row.body, "aliases": [name for name in aliases if name not in gone]}

        self._change("model", caller, key, unnamed, for_all=for_all)

    def delete(self, kind: Kind, caller: Caller, key: str, *, for_all: bool) -> None:
        """Forget a record.

        Raises
        ------
        Forbidden, NotFound
            See `update`.
        Conflict
            Another record names it.
        """

        def checked(connection: Connection, rows: list[Row]) -> tuple[Row, Executable]:
            row = _row(rows, kind, key) or _gone(kind, key)
            _check_unused(connection, rows, row, called(row))
            return row, delete(RECORDS).where(*_is(row))

        self._written(self._owner_of(kind, caller, key, for_all=for_all), checked)

    def _change(self, kind: Kind, caller: Caller, key: str, change: Change, *, for_all: bool) -> Row:
        """Exchange the body of a record."""
        owner_id = self._owner_of(kind, caller, key, for_all=for_all)
        under = self._catalogues.under(owner_id)

        def checked(connection: Connection, rows: list[Row]) -> tuple[Row, Executable]:
            row = _row(rows, kind, key) or _gone(kind, key)
            new = Row(owner_id, kind, row.id, change(row), row.created_at, datetime.now(UTC), row.created_by)
            others = [other for other in rows if other is not row]
            _check_names(under, others, new, row)
            _check_unused(connection, rows, row, called(row) - called(new))
            _check_made(under, [new if other is row else other for other in rows], new, before=rows)
            body = _columns(new)["body"]
            return new, update(RECORDS).where(*_is(row)).values(body=body, updated_at=new.updated_at)

        return self._written(owner_id, checked)

    def _written(self, owner_id: int, check: Check) -> Row:
        """Check a change, which takes long and holds nobody up, and write it if all is still as it was checked against.

        Raises
        ------
        Away
            Others change the records all the time.
        """
        with self._turn():
            for _ in range(MOST_TRIES):
                with self._database.begin(write=False) as connection:
                    seen = _revisions(connection, owner_id)
                    row, statement = check(connection, rows_of(connection, owner_id))
                with self._database.begin() as connection:
                    if unchanged := _revisions(connection, owner_id, lock=True) == seen:
                        revision = _bump(connection, owner_id)
                        connection.execute(statement)
                if unchanged:
                    self._catalogues.changed(owner_id, revision)
                    return row
        raise Away("others change these records all the time", reason="Send the same again later.")

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait for one's turn to change records."""
        if not self._catalogues.changing.acquire(timeout=PATIENCE_S):
            raise Away("others change records now", reason="Send the same again later.")
        try:
            yield
        finally:
            self._catalogues.changing.release()

    def _owner(self, caller: Caller, for_all: bool) -> int:
        """Whose a new record is.

        Raises
        ------
        Forbidden
            A record for all, by somebody who is no administrator.
        """
        if not for_all:
            return caller.owner_id
        if not caller.is_admin:
            raise Forbidden(
                "records for all are kept by administrators",
                field="global",
                reason="Leave global out for a record of your own, or use a key with the scope 'admin'.",
            )
        return GLOBAL_OWNER

    def _owner_of(self, kind: Kind, caller: Caller, key: str, *, for_all: bool) -> int:
        """Whose record a caller wants to change.

        Raises
        ------
        Forbidden
            One of all, by somebody who is no administrator; a packaged one.
        NotFound
            None that the caller sees, or another one's name.
        """
        owner_id = self._owner(caller, for_all)
        rows = self._rows(kind, owner_id) if for_all else self._seen(kind, caller)
        row = _row(rows, kind, key)
        if row is not None and row.owner_id == GLOBAL_OWNER and not caller.is_admin:
            message = f"{LABELS[kind]} '{key}' is seen by all and kept by administrators"
            raise Forbidden(message, reason=f"Make one of your own: POST /{kind} with another id.")
        if row is not None:
            return row.owner_id
        named = _named(rows, kind, key)
        if named is not None:
            raise NotFound(f"'{key}' is a name of {LABELS[kind]} '{named.id}'", reason="Ask by its id to change it.")
        found = self._resolved(kind, caller, key)
        if found not in packaged(self._catalogues.base, kind):
            raise NotFound(f"{LABELS[kind]} '{key}' is not kept for all", reason=f"GET /{kind}/{found} shows it.")
        message = f"{LABELS[kind]} '{found}' comes with Inferprint, and nobody changes it"
        hint = f"Make one of your own: POST /{kind} with another id, and name that in requests."
        raise Forbidden(message, reason=hint, code="packaged")

    def _check_fields(self, kind: Kind, caller: Caller, body: Mapping[str, Any]) -> None:
        """Refuse fields that only an administrator may set."""
        for name in OF_ADMINISTRATORS if kind == "node" and not caller.is_admin else ():
            if body.get(name) is not None:
                raise Forbidden(
                    f"{name} of a node is set by administrators",
                    field=name,
                    reason="Leave it out: requests can name the node by its id.",
                )


def _columns(row: Row) -> Data:
    """A row as its table holds it."""
    return {
        "owner_id": row.owner_id,
        "kind": row.kind,
        "id": row.id,
        "body": json.dumps(row.body, ensure_ascii=False, allow_nan=False),
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "created_by": row.created_by,
    }


def _is(row: Row) -> tuple[Any, ...]:
    """Condition that holds for one row of the table alone."""
    return RECORDS.c.owner_id == row.owner_id, RECORDS.c.kind == row.kind, RECORDS.c.id == row.id


def _revisions(connection: Connection, owner_id: int, *, lock: bool = False) -> dict[int, int]:
    """Revisions of the records on which a change of an owner's depends: its own, and those of all.

    Those of all depend on everybody's, which may name them.

    Parameters
    ----------
    lock
        Let nobody change these records until the end of the transaction.
    """
    if lock:
        insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        connection.execute(insert(REVISIONS).values(owner_id=owner_id, number=0).on_conflict_do_nothing())
    asked = select(REVISIONS.c.owner_id, REVISIONS.c.number).order_by(REVISIONS.c.owner_id)
    if owner_id != GLOBAL_OWNER:
        asked = asked.where(or_(REVISIONS.c.owner_id == owner_id, REVISIONS.c.owner_id == GLOBAL_OWNER))
    if lock:
        asked = asked.with_for_update()
    return {row.owner_id: row.number for row in connection.execute(asked) if row.number}


def _bump(connection: Connection, owner_id: int) -> int:
    """Count a change of an owner's records."""
    own = REVISIONS.c.owner_id == owner_id
    connection.execute(update(REVISIONS).where(own).values(number=REVISIONS.c.number + 1))
    return int(connection.execute(select(REVISIONS.c.number).where(own)).scalar_one())


def _row(rows: Iterable[Row], kind: Kind, key: str) -> Row | None:
    """The row with an id."""
    return next((row for row in rows if row.kind == kind and row.id == key), None)


def _gone(kind: Kind, key: str) -> Row:
    raise NotFound(f"{LABELS[kind]} '{key}' was deleted meanwhile", reason=f"GET /{kind} lists what there is.")


def _named(rows: Iterable[Row], kind: Kind, name: str) -> Row | None:
    """The first row with an id or a name."""
    key = key_of(kind, name)
    return next((row for row in rows if row.kind == kind and key in claims(kind, row.body)), None)


def _check_names(under: Catalogue, others: Sequence[Row], row: Row, before: Row | None = None) -> None:
    """Refuse an id or name that another record has; what the row had `before` stays its own.

    Raises
    ------
    Conflict
        Naming the record.
    """
    had = claims(before.kind, before.body) if before is not None else {}
    for key, name in claims(row.kind, row.body).items():
        other = _named(others, row.kind, name)
        common = _meant(under, row.kind, name) if key not in had else None
        if other is not None:
            what = "the id" if other.id == name else "a name"
            message = f"'{name}' is {what} of {LABELS[row.kind]} '{other.id}' already"
        elif common is not None:
            message = f"'{name}' means {LABELS[row.kind]} '{common}', which all see"
        else:
            continue
        field = "id" if name == row.id else "cloud_instance_id" if row.kind == "node" else "aliases"
        raise Conflict(message, field=field, reason="Take another one.")


def _meant(under: Catalogue, kind: Kind, name: str) -> str | None:
    """Id of the record that a name means for all: models by every spelling that is understood."""
    key = under.names(FOLDERS[kind]).get(key_of(kind, name))
    if key is None and kind == "model":
        with suppress(UnknownName):
            key = resolve_model(under, name).model.id
    return key


def _check_made(under: Catalogue, rows: Sequence[Row], row: Row, before: Sequence[Row] = ()) -> None:
    """Refuse a row from which no record can be made, or with which no other one can be made any more.

    Raises
    ------
    BadRequest
        Of the row itself.
    Conflict
        Naming the others.
    """
    own = own_of(under, row.owner_id, rows)
    if problem := own.problems.get((row.kind, row.id)):
        raise problem
    broken = own.problems.keys() - own_of(under, row.owner_id, before).problems.keys() if own.problems else set()
    if broken and before:
        names = ", ".join(f"{LABELS[kind]} '{key}'" for kind, key in sorted(broken))
        raise Conflict(f"'{row.id}' is used by {names}, which could not be estimated any more", reason=_FIRST)
    layered(under, own)


_FIRST = "Change or delete what uses it first."


def _check_unused(connection: Connection, rows: Sequence[Row], row: Row, names: set[str]) -> None:
    """Refuse to take names away by which other records name this one.

    Raises
    ------
    Conflict
        Naming the owner's records that do; those of other owners are counted only.
    """
    if not names:
        return
    using = [other for other in rows if other is not row and _uses(other, row.kind, names)]
    if using:
        users = ", ".join(f"{LABELS[other.kind]} '{other.id}'" for other in using)
        raise Conflict(f"{LABELS[row.kind]} '{row.id}' is used by {users}", reason=_FIRST)
    if row.owner_id != GLOBAL_OWNER:
        return
    owners = connection.execute(select(REVISIONS.c.owner_id).where(REVISIONS.c.owner_id != GLOBAL_OWNER)).scalars()
    count = sum(_uses(other, row.kind, names) for owner in owners.all() for other in rows_of(connection, owner))
    if count:
        message = f"{LABELS[row.kind]} '{row.id}' is used by {count} record(s) of other owners"
        raise Conflict(message, reason="It can go when they do not name it any more.")


def _uses(row: Row, kind: Kind, names: set[str]) -> bool:
    """Whether a record names a record of a kind by one of these names."""
    if (kind == "gpu") != (row.kind == "node"):
        return False
    return any(key_of(kind, row.body[field]) in names for field in REFERENCES if row.body.get(field))


# --- filters ----------------------------------------------------------------------------------------------------------


def _passes(data: Data, row: Row | None, filters: Filters, gpus: Mapping[str, str]) -> bool:
    """Whether a record is let through."""
    own = row is not None and row.owner_id != GLOBAL_OWNER
    return (
        (filters.family is None or _of_family(data, filters.family))
        and (filters.custom is None or filters.custom == own)
        and (filters.query is None or _holds(data, filters.query.casefold()))
        and _equal(data.get("managed_service_id"), filters.service)
        and _equal(data.get("cloud_id"), filters.cloud)
        and _equal(data.get("cloud_instance_id"), filters.instance)
        and (filters.gpu is None or _gpu(data["gpu_id"], gpus) == _gpu(filters.gpu, gpus))
    )


def _holds(data: Data, part: str) -> bool:
    """Whether the id, the name or an alias of a record holds a text in lower case."""
    names = [data["id"], data.get("name"), *data.get("aliases", ())]
    if data.get("cloud_instance_id"):
        names.append(f"{data['cloud_id']}:{data['cloud_instance_id']}")
    return any(part in name.casefold() for name in names if name)


def _equal(value: str | None, wanted: str | None) -> bool:
    """Whether a value is the one that is wanted, whatever its case."""
    return wanted is None or (value is not None and value.casefold() == wanted.strip().casefold())


def _gpu(name: str, gpus: Mapping[str, str]) -> str:
    """The id of a GPU, by any of its names."""
    key = key_of("gpu", name)
    return gpus.get(key, key)


def _of_family(data: Data, wanted: str) -> bool:
    """Whether a model is of a family: it, or the end of its id, begins with the family's name.

    Clients written for enumerations send "Family.dall_e" for "dall-e".
    """
    family = wanted.strip().casefold()
    if family.startswith("family."):
        family = family.removeprefix("family.").replace("_", "-")
    names = [str(name).casefold() for name in (data["family"], data["id"].rpartition("/")[2]) if name]
    apart = _FAMILIES_APART.get(family, ())
    return any(_begins(name, family) for name in names) and not any(name.startswith(apart) for name in names)


def _begins(name: str, family: str) -> bool:
    """Whether a name begins with a family, and not with a longer word: "llama-3" and "qwen2.5", no "optimus"."""
    return name.startswith(family) and not name[len(family) : len(family) + 1].isalpha()
