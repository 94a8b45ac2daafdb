"""Keys of the API: made, listed, revoked and checked.

A key is `ipk_<id>_<secret>`. The id is public; the secret is shown once, and the database holds its SHA-256 alone. It
is 256 random bits, so that there is no list of likely ones to try: a slow hash, as for passwords, would only make each
request slow.
"""

from __future__ import annotations

import difflib
import hashlib
import hmac
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, Insert, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from inferprint.errors import InvalidInput, UnknownName
from inferprint.service.caller import GLOBAL_NAME, SCOPES, Caller
from inferprint.service.database import Database, utc
from inferprint.service.limiter import Limiter
from inferprint.service.problems import Away, Unauthorized
from inferprint.service.tables import KEYS, OWNERS

CHECKED_S = 5.0
"""For how long the result of a check is kept: a revoked key ends within this time in every process [s]."""

LOOK_AGAIN_S = 1.0
"""For how long it is believed that there is no key, or that the database is away [s]."""

MOST_KEPT = 4096
"""Results of checks that are kept, good ones and bad ones; the one that was made first goes first."""

FAILURES_PER_MINUTE = 60
"""Wrong keys from one address that are told so."""

ANONYMOUS_PER_MINUTE = 60
"""Bodies from one address that come before their key, and bring none that is right."""

LONGEST_NAME = 200
LONGEST_ID = 16
"""Characters of what may be an id; longer texts may hold a secret, and are not repeated."""

_ID_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_TOKEN = re.compile(r"ipk_([a-z2-7]{12})_([A-Za-z0-9_-]{43})", re.ASCII)
_NAMED = re.compile(r"ipk_([a-z2-7]{12})(?:_|$)", re.ASCII)
_NO_DIGEST = "0" * 64
_WHAT_TO_DO = "Send 'Authorization: Bearer ipk_...' with a key that `inferprint keys create` has made."


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """A key without its secret; times are in UTC."""

    id: str
    owner: str
    scopes: tuple[str, ...]
    label: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Checked:
    """What a check has found, and when [s of the monotonic clock]; `expires_at` is a POSIX time."""

    caller: Caller
    checked_at: float
    expires_at: float


@dataclass(frozen=True, slots=True)
class _Refused:
    """That a check has failed, and when [s of the monotonic clock]."""

    expired: bool
    checked_at: float


_Found = TypeVar("_Found")


class Keys:
    """The keys of a database, and what was asked with them lately.

    Parameters
    ----------
    database
        Where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._checked: OrderedDict[bytes, _Checked] = OrderedDict()
        self._refused: OrderedDict[bytes, _Refused] = OrderedDict()
        self._some = False
        self._looked_at = self._away_at = float("-inf")
        self._lock = threading.Lock()
        self.failures = Limiter(FAILURES_PER_MINUTE, "wrong keys")
        self.anonymous = Limiter(ANONYMOUS_PER_MINUTE, "bodies without a right key")
        self._requests: Limiter | None = None

    def limiter(self, per_minute: int) -> Limiter:
        """Counts the requests of each key, or of each address without one."""
        if self._requests is None or self._requests.per_minute != per_minute:
            self._requests = Limiter(per_minute)
        return self._requests

    # --- making, listing, revoking ------------------------------------------------------------------------------------

    def create(self, owner: str, scopes: Iterable[str], *, label: str = "", expires_at: datetime | None = None) -> str:
        """Make a key, and its owner where it is new.

        Parameters
        ----------
        owner
            Whom usage and records of the key belong to.
        scopes
            Of `SCOPES`.
        label
            What the key is for.
        expires_at
            When it ends, with a time zone; never by default.

        Returns
        -------
        str
            The key. It is kept nowhere.

        Raises
        ------
        InvalidInput
            A name, scope or time that cannot be.
        Away
            The database cannot be reached.
        """
        now = datetime.now(UTC)
        asked = frozenset(scopes)
        _check(owner, asked, label, expires_at, now)
        key_id = "".join(secrets.choice(_ID_LETTERS) for _ in range(12))
        secret = secrets.token_urlsafe(32)
        with self._database.begin() as connection:
            connection.execute(
                insert(KEYS).values(
                    id=key_id,
                    owner_id=_owner_id(connection, owner, now),
                    digest=_digest(secret),
                    scopes=" ".join(scope for scope in SCOPES if scope in asked),
                    label=label,
                    created_at=now,
                    expires_at=None if expires_at is None else expires_at.astimezone(UTC),
                )
            )
        self._some = True
        return f"ipk_{key_id}_{secret}"

    def all(self) -> list[KeyInfo]:
        """Every key that was made, oldest first, revoked ones too."""
        columns = (KEYS.c.id, OWNERS.c.name, KEYS.c.scopes, KEYS.c.label)
        times = (KEYS.c.created_at, KEYS.c.expires_at, KEYS.c.revoked_at)
        query = select(*columns, *times).join(OWNERS).order_by(KEYS.c.created_at, KEYS.c.id)
        with self._database.begin(write=False) as connection:
            rows = connection.execute(query).all()
        return [
            KeyInfo(row[0], row[1], tuple(row[2].split()), row[3], utc(row[4]), _utc(row[5]), _utc(row[6]))
            for row in rows
        ]

    def revoke(self, key_id: str, listing: str = "inferprint keys list") -> bool:
        """End a key; one that was revoked before keeps its time.

        Parameters
        ----------
        key_id
            Its id; see `id_of`.
        listing
            The command that lists the keys, for the message.

        Returns
        -------
        bool
            Whether it was good until now.

        Raises
        ------
        UnknownName
            No key has this id; with the nearest ids.
        """
        ended = (
            update(KEYS).where(KEYS.c.id == key_id, KEYS.c.revoked_at.is_(None)).values(revoked_at=datetime.now(UTC))
        )
        with self._database.begin() as connection:
            found = connection.execute(ended).rowcount > 0
            ids = connection.scalars(select(KEYS.c.id)).all()
        self._checked.clear()
        if key_id not in ids:
            raise UnknownName("key", key_id, difflib.get_close_matches(key_id, ids, 3, 0.5), listing)
        return found

    # --- checking -----------------------------------------------------------------------------------------------------

    def any(self) -> bool:
        """Whether any key was ever made; "no" is looked up again after a second."""
        found = self.recent_any()
        if found is None:
            with self._lock:
                found = self.recent_any()
                found = self._look() if found is None else found
        return found

    def recent_any(self) -> bool | None:
        """What `any` would say without a look into the database; None where it takes one."""
        if self._some:
            return True
        return False if time.monotonic() - self._looked_at < LOOK_AGAIN_S else None

    def _look(self) -> bool:
        begun = time.monotonic()
        row = self._asked(select(KEYS.c.id).limit(1))
        self._some = row is not None
        self._looked_at = begun
        return self._some

    def check(self, token: str) -> Caller:
        """Whom a key belongs to.

        Raises
        ------
        Unauthorized
            It is none, wrong, expired or revoked; all with the same words, but that it has expired is told to who has
            the secret.
        Away
            The database cannot be reached.
        """
        found = self.recent(token)
        if found is None:
            # One at a time: the others find what the first one has looked up.
            with self._lock:
                found = self.recent(token) or self._looked_up(token)
        return found

    def recent(self, token: str) -> Caller | None:
        """What `check` would return, or raise, without a look into the database; None where it takes one."""
        if _TOKEN.fullmatch(token) is None:
            raise _refusal()
        name, now = _name(token), time.monotonic()
        refused = self._refused.get(name)
        if refused is not None and now - refused.checked_at < CHECKED_S:
            raise _refusal(expired=refused.expired)
        found = self._checked.get(name)
        if found is None or now - found.checked_at >= CHECKED_S or time.time() >= found.expires_at:
            return None
        return found.caller

    def _looked_up(self, token: str) -> Caller:
        """The caller of a key by the database; what was found is kept for a while."""
        _, key_id, secret = token.split("_", 2)
        name, begun = _name(token), time.monotonic()
        query = select(
            KEYS.c.id, KEYS.c.digest, KEYS.c.scopes, KEYS.c.expires_at, KEYS.c.revoked_at, OWNERS.c.id, OWNERS.c.name
        )
        row = self._asked(query.join(OWNERS).where(KEYS.c.id == key_id))
        # The same work whether the id exists or not.
        right = hmac.compare_digest(_digest(secret), _NO_DIGEST if row is None else row[1])
        good = row is not None and right and row[4] is None
        expires_at = float("inf") if row is None or row[3] is None else utc(row[3]).timestamp()
        if not good or time.time() >= expires_at:
            self._checked.pop(name, None)
            _keep(self._refused, name, _Refused(good, begun))
            raise _refusal(expired=good)
        caller = Caller(row[5], row[6], row[0], frozenset(row[2].split()))
        _keep(self._checked, name, _Checked(caller, begun, expires_at))
        return caller

    def _asked(self, query: Any) -> Any:
        """The first row of a query; a database that was just away is not waited for again."""
        if time.monotonic() - self._away_at < LOOK_AGAIN_S:
            raise Away("the database that keeps the keys cannot be reached", reason="Nothing was stored.")
        try:
            with self._database.begin(write=False) as connection:
                return connection.execute(query).first()
        except Away:
            self._away_at = time.monotonic()
            raise


def _name(token: str) -> bytes:
    """What a key is remembered by; the key itself is not kept."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _keep(kept: OrderedDict[bytes, _Found], name: bytes, found: _Found) -> None:
    kept[name] = found
    kept.move_to_end(name)
    while len(kept) > MOST_KEPT:
        kept.popitem(last=False)


def _refusal(*, expired: bool = False) -> Unauthorized:
    if expired:
        return Unauthorized("this key has expired", reason="Make another one: inferprint keys create")
    return Unauthorized("this key is not valid", reason=_WHAT_TO_DO)


def id_of(given: str) -> str:
    """The id of a key that was named by its id, or by the key itself, whose secret is not repeated.

    Raises
    ------
    InvalidInput
        It can be neither.
    """
    found = given.strip()
    whole = _NAMED.match(found)
    if whole is not None:
        found = whole[1]
    if not 1 <= len(found) <= LONGEST_ID:
        hint = "12 letters and digits, as `inferprint keys list` shows them."
        raise InvalidInput("id", "this is no id of a key", hint=hint)
    return found


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else utc(moment)


def _check(owner: str, scopes: frozenset[str], label: str, expires_at: datetime | None, now: datetime) -> None:
    """Refuse what no key can have."""
    if not (1 <= len(owner) <= LONGEST_NAME and owner.isprintable() and owner == owner.strip()):
        hint = f"1 to {LONGEST_NAME} printable characters, without space at the ends."
        raise InvalidInput("owner", f"{owner[:50]!r} is no name", hint=hint)
    if owner == GLOBAL_NAME:
        hint = "It owns the records that everybody sees. Name the team; the scope admin lets it keep those records."
        raise InvalidInput("owner", f"'{owner}' is reserved", hint=hint)
    unknown = sorted(scopes - set(SCOPES))
    if unknown or not scopes:
        near = difflib.get_close_matches(unknown[0], SCOPES, 1, 0.5) if unknown else []
        hint = (f"Nearest: {near[0]}. " if near else "") + f"One or more of {', '.join(SCOPES)}."
        raise InvalidInput("scope", f"'{unknown[0]}' is no scope" if unknown else "is missing", hint=hint)
    if len(label) > LONGEST_NAME or not label.isprintable():
        raise InvalidInput("label", "is too long or not printable", hint=f"Up to {LONGEST_NAME} printable characters.")
    if expires_at is not None and expires_at.tzinfo is None:
        raise InvalidInput("expires", f"{expires_at} has no time zone", hint="Add one: +00:00.")
    if expires_at is not None and expires_at <= now:
        raise InvalidInput("expires", f"{expires_at.isoformat()} is past", hint=f"It is {now.isoformat()} now.")


def _owner_id(connection: Connection, name: str, now: datetime) -> int:
    """The number of an owner, who is entered where it is new; two processes may do so at once."""
    values = {"name": name, "created_at": now}
    entered: Insert
    if connection.dialect.name == "postgresql":
        entered = postgresql.insert(OWNERS).values(values).on_conflict_do_nothing(index_elements=[OWNERS.c.name])
    else:
        entered = sqlite.insert(OWNERS).values(values).on_conflict_do_nothing(index_elements=[OWNERS.c.name])
    connection.execute(entered)
    return int(connection.scalars(select(OWNERS.c.id).where(OWNERS.c.name == name)).one())
