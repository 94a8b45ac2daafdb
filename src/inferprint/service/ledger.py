"""The ledger: what was reported, kept once and for good.

All that waits is written by one thread, in one transaction: clients that report single rows share the wait for the
disk. What a client is told of is committed.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import itertools
import logging
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from sqlalchemy import Connection, bindparam, insert, select, text, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from inferprint.errors import InvalidInput
from inferprint.estimate import Request, Result
from inferprint.estimate.request import FIELDS, WORK_FIELDS, setup_of
from inferprint.quantities import RESULTS
from inferprint.service.caller import Caller
from inferprint.service.database import Database
from inferprint.service.problems import Away, BadRequest, ServiceError
from inferprint.service.rows import check_moment, moment_of
from inferprint.service.tables import FEATURES, QUANTITY_COLUMNS, SETUPS, USAGE
from inferprint.service.turns import Turns

if TYPE_CHECKING:
    from inferprint.service.catalogues import Catalogues
    from inferprint.service.engine import Outcome

LOG = logging.getLogger("inferprint.service")

Key = tuple[int, str]
"""An owner, and a request id or the digest of a setup."""

Status = Literal["stored", "repeated", "updated", "conflict", "dropped"]

Choice = Literal["counts", "merged", "dropped"]
"""A row that counts, one that repeats another and counts nothing, one that is not kept."""

Choose = Callable[[Connection], Sequence[Choice]]
"""Says what to do with each row of a submission, by what the ledger has; nothing else of the owner comes between the
two, also not through another server. It may be asked again, where a transaction is repeated."""

MAX_TEXT = 300
"""Characters of a name or an id."""

IDENTITY = ("project_id", "application_id", "client_id", "user_id", "session_id", "trace_id", "environment")
"""Fields of a row that say whose it was."""

TRANSACTION_ROWS = 5_000
"""Rows after which a transaction takes no further submission."""

WAITING_ROWS = 50_000
"""Rows that may wait; further ones are told to come again."""

INLINE_ROWS = 32
"""Rows that are made ready for writing on the event loop itself: fewer than it would cost to go to a thread."""

LOOKED_UP = 500
"""Setups that one statement asks for."""

AT_A_TIME = 2
"""Summaries and exports that are worked on at a time."""

KNOWN_SETUPS, KNOWN_LABELS = 20_000, 2_000
"""Setups whose numbers, and cards whose labels, are remembered."""

OWNER_LOCKS = 0x496E66
"""The first key of the advisory locks of PostgreSQL under which rows of an owner are chosen."""

_DEFAULTS = Request()
_FIRST = ("id", "owner_id", "request_id", "source", "received_at")
"""Columns that a row keeps when it is mended."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a row.

    Attributes
    ----------
    status
        "stored"; "updated" where the row could not be estimated before and now is; "repeated" where it is there with
        the same content, "conflict" where it is there with another, which stays; "dropped" where it was to be.
    outcome
        "estimated", "unestimated" or "merged": what the ledger now holds of the row; empty where it was dropped.
    """

    status: Status
    outcome: str


@dataclass(frozen=True, slots=True)
class SetupRow:
    """What decides the cards of rows, as it is kept: stated fields and names of features, as JSON."""

    digest: str
    body: str
    features: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A row as it is kept: its columns but for the number of its setup, and that setup."""

    columns: dict[str, Any]
    setup: SetupRow | None

    @property
    def key(self) -> Key:
        """Owner and request id."""
        return self.columns["owner_id"], self.columns["request_id"]

    def merged(self) -> Entry:
        """The same row as one that counts nothing."""
        return Entry({**self.columns, **_NO_AMOUNTS, "error": None, "outcome": "merged"}, None)


@dataclass(frozen=True, slots=True)
class _Submission:
    """Rows of one client, what chooses among them, and where it waits for what becomes of them."""

    entries: list[Entry]
    future: Future[list[Kept]]
    choose: Choose | None = None


class Ledger:
    """Keeps usage.

    Parameters
    ----------
    database
        Where it is kept.
    catalogues
        The records of each owner, in which summaries find the cards of what was kept.
    told
        Called with what became of rows, once they are committed: to count them.

    Attributes
    ----------
    turns
        Those of summaries and exports.
    """

    def __init__(
        self, database: Database, catalogues: Catalogues, told: Callable[[Sequence[Kept]], None] | None = None
    ) -> None:
        self.database, self.catalogues = database, catalogues
        self._told = told
        self.turns = Turns(AT_A_TIME, "summaries and exports")
        self._changed = threading.Condition()
        self._waiting: deque[_Submission] = deque()
        self._rows = 0
        self._open = False
        self._is_ready = False
        self._thread: threading.Thread | None = None
        self._setups: OrderedDict[Key, int] = OrderedDict()
        self._labels = _Labels()

    def start(self) -> None:
        """Begin to take rows."""
        with self._changed:
            self._open = True
            self._alive()

    def stop(self) -> None:
        """Write what waits, and take no more."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()

    async def keep(
        self,
        caller: Caller,
        outcomes: Sequence[Outcome],
        *,
        source: str,
        ids: Sequence[str] | None = None,
        choose: Choose | None = None,
    ) -> list[Kept]:
        """Keep rows; returns once they are committed.

        Parameters
        ----------
        source
            The endpoint that took them.
        ids
            Request ids of the rows, where they have none of their own.
        choose
            What to do with each row, where not all of them count.

        Returns
        -------
        list
            One for each row, in their order.

        Raises
        ------
        Away
            They could not be stored, or nobody knows; to send them again counts nothing twice.
        BadRequest
            Text that no database holds.
        """
        if not outcomes:
            return []
        if len(outcomes) > INLINE_ROWS or not self._is_ready:
            entries = await run_in_threadpool(self.entries, caller, outcomes, source=source, ids=ids)
        else:
            entries = self.entries(caller, outcomes, source=source, ids=ids)
        kept = await asyncio.wrap_future(self.submit(entries, choose))
        if self._told is not None:
            self._told([one for one in kept if one.status != "dropped"])
        return kept

    def entries(
        self,
        caller: Caller,
        outcomes: Sequence[Outcome],
        *,
        source: str,
        ids: Sequence[str] | None = None,
    ) -> list[Entry]:
        """Rows as they are kept; see `keep`."""
        now = datetime.now(UTC)
        shared = {"owner_id": caller.owner_id, "source": source, "received_at": now}
        found = []
        for i, outcome in enumerate(outcomes):
            request_id = outcome.row.get("request_id") or (ids[i] if ids is not None else None)
            if not request_id:
                raise BadRequest("a row without a request_id", field=f"rows[{i}].request_id")
            try:
                found.append(self._entry(outcome, {**shared, "request_id": request_id}, i))
            except UnicodeEncodeError as error:
                raise BadRequest("a row holds half of a character", field=f"rows[{i}]") from error
        return found

    def submit(self, entries: list[Entry], choose: Choose | None = None) -> Future[list[Kept]]:
        """Hand rows to the writer; see `keep`.

        Raises
        ------
        Away
            It is stopped, or too much waits.
        """
        submission = _Submission(entries, Future(), choose)
        with self._changed:
            if not self._open:
                raise Away("the ledger takes no rows now", reason="The server is stopping: send them again later.")
            if self._rows and self._rows + len(entries) > WAITING_ROWS:
                raise Away(f"{self._rows} rows wait to be stored", reason="Send these again later.")
            self._waiting.append(submission)
            self._rows += len(entries)
            self._alive()
            self._changed.notify()
        return submission.future

    # --- rows as they are kept ----------------------------------------------------------------------------------------

    def _entry(self, outcome: Outcome, columns: dict[str, Any], i: int) -> Entry:
        """One row; `columns` has what all rows of a submission share."""
        row, result = outcome.row, outcome.result
        for name in ("request_id", *IDENTITY):
            _check_text(columns.get(name, row.get(name)), f"rows[{i}].{name}")
        moment = _moment(row.get("utc_datetime"))
        columns |= {
            "digest": digest_of(row),
            "utc_datetime": moment,
            "day": (moment or columns["received_at"]).date().isoformat(),
            "n_requests": float(row.get("n_requests") or 1),
            "request": msgspec.json.encode(row).decode(),
            "error": msgspec.json.encode(outcome.error).decode() if outcome.error is not None else None,
            **{name: row.get(name) for name in IDENTITY},
            **_NOTHING,
        }
        setup = None
        if result is not None:
            labels = self._labels.of(result)
            setup = labels.setup
            columns |= labels.columns | _amounts(result, setup)
        columns["outcome"] = "estimated" if result is not None else "unestimated"
        return Entry(columns, setup)

    # --- the writer ---------------------------------------------------------------------------------------------------

    def _alive(self) -> None:
        """See that there is a writer; one that failed has told those who waited for it, and is replaced."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._write_all, name="inferprint-ledger", daemon=True)
            self._thread.start()

    def _write_all(self) -> None:
        """Write what waits until the ledger is stopped and nothing waits any more."""
        taken: list[_Submission] = []
        try:
            importlib.import_module("inferprint.batch.process")  # what labels need takes half a second
            self._is_ready = True
            while taken := self._taken():
                self._write(taken)
        finally:
            lost = Away("the ledger could not store the rows", reason="Send them again later.")
            with self._changed:
                taken += self._waiting
                self._waiting.clear()
                self._rows = 0
                self._thread = None
            for submission in taken:
                if not submission.future.done():
                    submission.future.set_exception(lost)

    def _taken(self) -> list[_Submission]:
        """What waits, as much as one transaction takes; nothing once the ledger is stopped and all is written."""
        taken: list[_Submission] = []
        rows = 0
        with self._changed:
            while not taken:
                while not self._waiting and self._open:
                    self._changed.wait()
                if not self._waiting:
                    return []
                while self._waiting and (not taken or rows + len(self._waiting[0].entries) <= TRANSACTION_ROWS):
                    submission = self._waiting.popleft()
                    self._rows -= len(submission.entries)
                    if submission.future.set_running_or_notify_cancel():
                        taken.append(submission)
                        rows += len(submission.entries)
        return taken

    def _write(self, submissions: Sequence[_Submission]) -> None:
        """Write submissions in one transaction; where one of them cannot be written, each in its own."""
        try:
            kept = self._committed(submissions)
        except Away as error:
            for submission in submissions:
                submission.future.set_exception(error)
            return
        except (SQLAlchemyError, ServiceError, ValueError, ArithmeticError) as error:
            if len(submissions) == 1:
                submissions[0].future.set_exception(_refused(error))
                return
            for submission in submissions:
                self._write([submission])
            return
        for submission, some in zip(submissions, kept, strict=True):
            submission.future.set_result(some)

    def _committed(self, submissions: Sequence[_Submission]) -> list[list[Kept]]:
        """Write submissions in one transaction; what became of the rows of each."""
        entries = [entry for submission in submissions for entry in submission.entries]
        with self.database.begin() as connection:
            self._lock_owners(connection, submissions)
            numbers = self._numbers(connection, entries)
            kept = _Writing(connection, self.database.dialect, numbers).submitted(submissions)
        # Not before the commit: what is rolled back has no number.
        self._setups.update(numbers)
        while len(self._setups) > KNOWN_SETUPS:
            self._setups.popitem(last=False)
        return kept

    def _lock_owners(self, connection: Connection, submissions: Iterable[_Submission]) -> None:
        """Wait until no other server chooses among rows of these owners; before any row is locked, and in order."""
        if self.database.dialect == "sqlite":
            return  # nobody else writes
        owners = {entry.columns["owner_id"] for one in submissions if one.choose is not None for entry in one.entries}
        for owner_id in sorted(owners):
            lock = text("SELECT pg_advisory_xact_lock(:kind, CAST(:owner_id AS integer))")
            connection.execute(lock, {"kind": OWNER_LOCKS, "owner_id": owner_id})

    def _numbers(self, connection: Connection, entries: Iterable[Entry]) -> dict[Key, int]:
        """Numbers of the setups of rows, by owner and digest; new ones are made."""
        wanted = {(e.columns["owner_id"], e.setup.digest): e.setup for e in entries if e.setup is not None}
        numbers = {key: self._setups[key] for key in wanted if key in self._setups}
        missing = sorted(wanted.keys() - numbers.keys())
        if not missing:
            return numbers
        made = [
            {"owner_id": key[0], "digest": key[1], "body": wanted[key].body, "features": wanted[key].features}
            for key in missing
        ]
        kinds: dict[str, Any] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}
        connection.execute(kinds[self.database.dialect](SETUPS).on_conflict_do_nothing(), made)
        where = tuple_(SETUPS.c.owner_id, SETUPS.c.digest)
        for some in _pieces(missing):
            for row in connection.execute(
                select(SETUPS.c.owner_id, SETUPS.c.digest, SETUPS.c.id).where(where.in_(some))
            ):
                numbers[(row.owner_id, row.digest)] = row.id
        return numbers


class _Writing:
    """Rows on their way into the table, in one transaction."""

    def __init__(self, connection: Connection, dialect: str, numbers: Mapping[Key, int]) -> None:
        self._connection, self._dialect, self._numbers = connection, dialect, numbers

    def submitted(self, submissions: Sequence[_Submission]) -> list[list[Kept]]:
        """Write submissions; those that choose come last, each after the rows of those before are there."""
        plain = [one for one in submissions if one.choose is None]
        found = iter(self.all([entry for one in plain for entry in one.entries]))
        kept = {id(one): list(itertools.islice(found, len(one.entries))) for one in plain}
        for one in submissions:
            if one.choose is not None:
                kept[id(one)] = self._chosen(one.entries, one.choose(self._connection))
        return [kept[id(one)] for one in submissions]

    def _chosen(self, entries: Sequence[Entry], choices: Sequence[Choice]) -> list[Kept]:
        """Write the rows that were chosen."""
        chosen = [(entry, what) for entry, what in zip(entries, choices, strict=True) if what != "dropped"]
        kept = iter(self.all([entry if what == "counts" else entry.merged() for entry, what in chosen]))
        return [Kept("dropped", "") if what == "dropped" else next(kept) for what in choices]

    def all(self, entries: Sequence[Entry]) -> list[Kept]:
        """Write all; one for each, in their order."""
        if not entries:
            return []
        first: dict[Key, Entry] = {}
        for entry in entries:
            first.setdefault(entry.key, entry)
        keys = list(first)
        if self._dialect == "sqlite":
            # Nobody else writes in this transaction, and a plain insert is the fastest.
            there = self._there(keys)
            new = {key for key in keys if key not in there}
            if new:
                self._connection.execute(insert(USAGE), [self._row(first[key]) for key in keys if key in new])
        else:
            rows = msgspec.json.encode([self._row(first[key]) for key in keys]).decode()
            made = self._connection.execute(_INSERT_JSON, {"rows": rows})
            new = {(row.owner_id, row.request_id) for row in made}
            there = self._there([key for key in keys if key not in new])
        kept = []
        for entry in entries:
            if entry.key in new and first[entry.key] is entry:
                kept.append(Kept("stored", entry.columns["outcome"]))
                there[entry.key] = (entry.columns["digest"], entry.columns["outcome"])
            else:
                kept.append(self._again(entry, there))
        return kept

    def _there(self, keys: Sequence[Key]) -> dict[Key, tuple[str, str]]:
        """Digest and outcome of rows that are there, which nobody else changes meanwhile."""
        if not keys:
            return {}
        named = msgspec.json.encode([{"owner_id": owner, "request_id": name} for owner, name in keys]).decode()
        found = self._connection.execute(_THERE[self._dialect], {"keys": named})
        return {(row.owner_id, row.request_id): (row.digest, row.outcome) for row in found}

    def _again(self, entry: Entry, there: dict[Key, tuple[str, str]]) -> Kept:
        """A row whose request id is there already: it mends what could not be estimated, and changes nothing else."""
        digest, outcome = there[entry.key]
        if outcome == "unestimated" and entry.columns["outcome"] != "unestimated":
            dated = entry.columns["utc_datetime"] is not None
            values = {f"new_{name}": value for name, value in self._row(entry).items()}
            self._connection.execute(_MEND if dated else _MEND_UNDATED, values)
            there[entry.key] = (entry.columns["digest"], entry.columns["outcome"])
            return Kept("updated", entry.columns["outcome"])
        return Kept("repeated" if digest == entry.columns["digest"] else "conflict", outcome)

    def _row(self, entry: Entry) -> dict[str, Any]:
        """All columns of a row."""
        setup = entry.setup
        number = None if setup is None else self._numbers[(entry.columns["owner_id"], setup.digest)]
        return {**entry.columns, "setup_id": number}


_LISTED = ", ".join(column.name for column in USAGE.columns if column.name != "id")

# One value for all rows: the driver takes a third of a second for 60,000 of them. Rows are numbered in the order in
# which they came, and inserted in that of their ids, so that two servers never wait for each other's.
_INSERT_JSON = text(
    f"WITH sent AS MATERIALIZED (SELECT nextval(pg_get_serial_sequence('usage', 'id')) AS id, {_LISTED} "
    "FROM json_populate_recordset(CAST(NULL AS usage), CAST(:rows AS json))) "
    f'INSERT INTO usage (id, {_LISTED}) SELECT id, {_LISTED} FROM sent ORDER BY owner_id, request_id COLLATE "C" '
    "ON CONFLICT (owner_id, request_id) DO NOTHING RETURNING owner_id, request_id"
).columns(USAGE.c.owner_id, USAGE.c.request_id)

_THERE = {
    "sqlite": text(
        "SELECT u.owner_id, u.request_id, u.digest, u.outcome FROM json_each(:keys) AS k JOIN usage AS u ON u.owner_id "
        "= json_extract(k.value, '$.owner_id') AND u.request_id = json_extract(k.value, '$.request_id')"
    ),
    "postgresql": text(
        "SELECT u.owner_id, u.request_id, u.digest, u.outcome FROM json_to_recordset(CAST(:keys AS json)) "
        "AS k(owner_id bigint, request_id text) JOIN usage AS u USING (owner_id, request_id) "
        'ORDER BY u.owner_id, u.request_id COLLATE "C" FOR UPDATE OF u'
    ),
}


def _mend(*but: str) -> Any:
    """An update of a row with what was estimated at last."""
    names = [column.name for column in USAGE.columns if column.name not in (*_FIRST, *but)]
    return (
        update(USAGE)
        .where(USAGE.c.owner_id == bindparam("new_owner_id"), USAGE.c.request_id == bindparam("new_request_id"))
        .values({name: bindparam(f"new_{name}") for name in names})
    )


_MEND, _MEND_UNDATED = _mend(), _mend("day")
"""The day of a row that does not say when it was is that on which it came first."""


def _pieces(keys: Sequence[Key]) -> Iterator[Sequence[Key]]:
    """Keys in pieces that one statement takes."""
    for start in range(0, len(keys), LOOKED_UP):
        yield keys[start : start + LOOKED_UP]


def _refused(error: Exception) -> Exception:
    """What a client is told whose rows cannot be written while those of others can."""
    if isinstance(error, ServiceError):
        return error
    LOG.error("ledger: rows that cannot be stored", exc_info=error)
    refused = BadRequest("the rows cannot be stored", reason="One of them holds a value that the database refuses.")
    refused.__cause__ = error
    return refused


# --- rows -------------------------------------------------------------------------------------------------------------

_NO_AMOUNTS: dict[str, Any] = dict.fromkeys((*FEATURES, *QUANTITY_COLUMNS))
_NOTHING: dict[str, Any] = {**dict.fromkeys(("model", "service", "place", "quality", "versions")), **_NO_AMOUNTS}


def digest_of(row: Mapping[str, Any]) -> str:
    """SHA-256 of what a row says, without its id and without what it leaves open.

    The order of fields says nothing, nor does the way in which a number is written.
    """
    said = {name: _plain(value) for name, value in row.items() if value is not None and name != "request_id"}
    return hashlib.sha256(msgspec.json.encode(said, order="deterministic")).hexdigest()


def _plain(value: Any) -> Any:
    """A value of JSON in which equal numbers are written alike."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return value


def _moment(said: str | None) -> datetime | None:
    """The moment that a row names, in UTC; None where it cannot be, which is an error of the row."""
    if not said:
        return None
    try:
        check_moment(said)
    except InvalidInput:
        return None
    return moment_of(said)


def _check_text(text: Any, where: str) -> None:
    """Refuse what a database does not hold as text."""
    if text is None or (isinstance(text, str) and len(text) <= MAX_TEXT and "\x00" not in text and _is_unicode(text)):
        return
    reason = f"At most {MAX_TEXT} characters of Unicode, without NUL."
    raise BadRequest(f"{where.rsplit('.', 1)[-1]} cannot be stored", field=where, reason=reason)


def _is_unicode(text: str) -> bool:
    """Whether a text has no half of a surrogate pair."""
    return text.isascii() or text.encode("utf-8", "ignore").decode() == text


def _amounts(result: Result, setup: SetupRow | None) -> dict[str, Any]:
    """Quantities of a result, and its features where it has a setup."""
    found: dict[str, Any] = {}
    for quantity in RESULTS:
        answered = result.range(quantity.name)
        if answered is not None:
            name = quantity.name
            found[name], found[f"{name}_low"], found[f"{name}_high"] = answered
    if setup is not None:
        found.update(zip(FEATURES, result.features.tolist(), strict=False))
    return found


@dataclass(slots=True)
class _Label:
    """What rows with the same cards share: text columns, and the setup, None where each row has cards of its own.

    Attributes
    ----------
    cards
        The cards that it is of, which it does not keep in memory.
    """

    cards: tuple[weakref.ref[Any], weakref.ref[Any]]
    columns: dict[str, Any]
    setup: SetupRow | None

    def is_of(self, result: Result) -> bool:
        """Whether the cards are those of a result; others may have got their ids."""
        return self.cards[0]() is result.machine and self.cards[1]() is result.place


@dataclass(slots=True)
class _Labels:
    """Labels of the cards that were used last, by what was stated of their rows."""

    known: OrderedDict[Any, _Label] = field(default_factory=OrderedDict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, result: Result) -> _Label:
        """The label of a result."""
        if not has_setup(result):
            return _label(result)
        key = (setup_of(result.request), id(result.machine), id(result.place))
        with self.lock:
            label = self.known.get(key)
            if label is not None and label.is_of(result):
                self.known.move_to_end(key)
                return label
        label = _label(result)
        with self.lock:
            self.known[key] = label
            self.known.move_to_end(key)
            while len(self.known) > KNOWN_LABELS:
                self.known.popitem(last=False)
        return label


def has_setup(result: Result) -> bool:
    """Whether the cards of a row are those of other rows too: measured times make cards of their own."""
    request = result.request
    timed = request.request_duration_ms is not None or request.time_per_output_token_ms is not None
    several = request.batch_size is not None and request.output_images != ()
    return not timed and not several and result.features.size <= len(FEATURES)


def _label(result: Result) -> _Label:
    from inferprint.batch.process import place_of, service_of
    from inferprint.batch.setups import Pair
    from inferprint.estimate.estimate import place_setup

    request, machine = result.request, result.machine
    pair = Pair(0, 0, 0, machine, result.place, place_setup(request, machine))
    columns = {
        "model": machine.model,
        "service": service_of(pair),
        "place": place_of(pair),
        "quality": result.quality,
        "versions": msgspec.json.encode(result.versions).decode(),
    }
    cards = (weakref.ref(machine), weakref.ref(result.place))
    return _Label(cards, columns, _setup_row(result) if has_setup(result) else None)


def _setup_row(result: Result) -> SetupRow:
    """The setup of a result: what its request states beside the work."""
    request = result.request
    stated = {
        name: value
        for name in FIELDS
        if name not in WORK_FIELDS and (value := getattr(request, name)) != getattr(_DEFAULTS, name)
    }
    body = msgspec.json.encode(stated, order="deterministic").decode()
    features = msgspec.json.encode(result.machine.modality.names).decode()
    return SetupRow(hashlib.sha256(f"{body}\n{features}".encode()).hexdigest(), body, features)
