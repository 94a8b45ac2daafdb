"""The catalogue that each owner sees: own records over those that all see, over the packaged ones."""

from __future__ import annotations

import functools
import json
import logging
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, select

from inferprint.catalogue import Catalogue
from inferprint.catalogue.schema import Content, checked, table_of
from inferprint.estimate import Estimator
from inferprint.service.caller import GLOBAL_OWNER
from inferprint.service.database import Database, utc
from inferprint.service.own_records import FOLDERS, Kind, Own, Row, own_of
from inferprint.service.problems import Away
from inferprint.service.tables import RECORDS, REVISIONS

LOG = logging.getLogger("inferprint.service")

POLL_S = 1.0
"""Least time between two looks at the revisions [s]."""

MAX_OWNERS = 256
"""Owners with records of their own of whom an estimator is kept."""

MAX_CARDS = 4096
"""Rate cards of all of them together; one takes about half a megabyte."""

NODE_ID_LENGTH = 64


class OwnersCatalogue(Catalogue):
    """A catalogue with records of owners on top.

    Attributes
    ----------
    rows
        Rows of which its records were made, by kind and id.
    """

    rows: Mapping[tuple[Kind, str], Row]


class OwnEstimator(Estimator):
    """An estimator that tells how much it keeps."""

    @property
    def weight(self) -> int:
        """Rate cards in memory."""
        return len(self._machines) + len(self._places)

    def apart(self) -> Estimator:
        """Another one with the same cards, whose further ones push none of these out."""
        made = OwnEstimator(self.catalogue)
        made._machines, made._places = self._machines.copy(), self._places.copy()
        return made


@dataclass(frozen=True, slots=True)
class _Kept:
    """An estimator, and the revisions of the owner and of the records for all that it was made of."""

    revisions: tuple[int, int]
    estimator: OwnEstimator


class Catalogues:
    """Estimators by owner, made new when records change.

    Parameters
    ----------
    base
        The packaged records, with those of the server's folder.
    database
        Where the records of owners are.

    Attributes
    ----------
    changing
        Held by the one who changes records in this process: checks of changes share one processor.
    """

    def __init__(self, base: Catalogue, database: Database) -> None:
        self.base = with_dashed_nodes(base)
        self._database = database
        self._lock = threading.RLock()
        self._making = threading.Lock()
        self._looking = threading.Lock()
        self.changing = threading.Lock()
        self._revisions: dict[int, int] | None = None
        self._looked_at = 0.0
        self._away = False
        self._shared: _Kept | None = None
        self._kept: OrderedDict[int, _Kept] = OrderedDict()

    def estimator(self, owner_id: int) -> Estimator:
        """What estimates with the records that an owner sees; owners without records of their own share one.

        A change is seen at once where it was made through this object, else after a second at most.

        Raises
        ------
        Away
            The database cannot be reached, and the owner's records were never read.
        """
        return self._owners(owner_id)

    def _owners(self, owner_id: int) -> OwnEstimator:
        revisions = self._current()
        common, own = revisions.get(GLOBAL_OWNER, 0), revisions.get(owner_id, 0)
        if owner_id == GLOBAL_OWNER or not own:
            return self._for_all(common).estimator
        with self._lock:
            kept = self._kept.get(owner_id)
            if kept is not None and kept.revisions == (own, common):
                self._kept.move_to_end(owner_id)
                return kept.estimator
        try:
            return self._made(owner_id, own, common).estimator
        except Away:
            if kept is None:
                raise
            return kept.estimator

    def at_hand(self, owner_id: int) -> Estimator | None:
        """The same where it is known without asking the database; else None."""
        with self._lock:
            revisions, shared = self._revisions, self._shared
            if revisions is None or shared is None or time.monotonic() - self._looked_at >= POLL_S:
                return None
            common, own = revisions.get(GLOBAL_OWNER, 0), revisions.get(owner_id, 0)
            if not own:
                return shared.estimator if shared.revisions[0] == common else None
            kept = self._kept.get(owner_id)
            return kept.estimator if kept is not None and kept.revisions == (own, common) else None

    def apart(self, owner_id: int) -> Estimator:
        """An estimator for one who asks for many cards that nobody may ask for again; it is not kept.

        Raises
        ------
        Away
            See `estimator`.
        """
        return self._owners(owner_id).apart()

    def under(self, owner_id: int) -> Catalogue:
        """What an owner's records lie on: for those of all the packaged ones, else the records that all see."""
        return self.base if owner_id == GLOBAL_OWNER else self.estimator(GLOBAL_OWNER).catalogue

    def changed(self, owner_id: int, revision: int) -> None:
        """Take notice of a change that this process has committed."""
        with self._lock:
            if self._revisions is not None:
                self._revisions[owner_id] = max(revision, self._revisions.get(owner_id, 0))

    def reload(self) -> None:
        """Forget everything kept: it is read again when it is asked for."""
        with self._lock:
            self._revisions, self._shared = None, None
            self._kept.clear()

    # --- revisions ----------------------------------------------------------------------------------------------------

    def _current(self) -> Mapping[int, int]:
        """Revision by owner, not older than a second; the last known ones while the database is away."""
        with self._lock:
            known, now = self._revisions, time.monotonic()
            if known is not None and now - self._looked_at < POLL_S:
                return known
            self._looked_at = now
        if known is None:
            return self._look()
        if self._away:
            # Waiting for a connection may take long, and a caller has an answer without it.
            if not self._looking.locked():
                threading.Thread(target=self._look_again, name="revisions", daemon=True).start()
        else:
            self._look_again()
        return self._revisions or known

    def _look_again(self) -> None:
        """Look, unless somebody is looking."""
        if not self._looking.acquire(blocking=False):
            return
        try:
            self._look()
        except Away:
            LOG.warning("revisions of records could not be read; the last known ones are used")
        finally:
            self._looking.release()

    def _look(self) -> Mapping[int, int]:
        self._away = True
        with self._database.begin(write=False) as connection:
            rows = connection.execute(select(REVISIONS.c.owner_id, REVISIONS.c.number)).all()
        with self._lock:
            self._away = False
            before = self._revisions or {}
            # What was committed here meanwhile may be missing from what was read.
            found = {**before, **{owner: max(number, before.get(owner, 0)) for owner, number in rows}}
            self._revisions = found
            self._shrink()
            return found

    def _shrink(self) -> None:
        """Give up the estimators that were used longest ago, where all together keep too much."""
        while len(self._kept) > MAX_OWNERS or (len(self._kept) > 1 and self._cards() > MAX_CARDS):
            self._kept.popitem(last=False)

    def _cards(self) -> int:
        """Cards of the owners' own estimators; those whose records are all gone have that of all."""
        shared = self._shared.estimator if self._shared is not None else None
        own = {kept.estimator for kept in self._kept.values() if kept.estimator is not shared}
        return sum(estimator.weight for estimator in own)

    # --- making -------------------------------------------------------------------------------------------------------

    def _for_all(self, revision: int) -> _Kept:
        """The estimator with the records that all see."""
        shared = self._shared
        if shared is not None and shared.revisions[0] == revision:
            return shared
        with self._making:
            shared = self._shared
            if shared is not None and shared.revisions[0] == revision:
                return shared
            try:
                made = self._layer(GLOBAL_OWNER, self.base, revision) if revision else self.base
            except Away:
                if shared is None:
                    raise
                return shared
            self._shared = _Kept((revision, revision), OwnEstimator(made))
            return self._shared

    def _made(self, owner_id: int, own: int, common: int) -> _Kept:
        """The estimator of an owner with records."""
        shared = self._for_all(common)
        with self._making:
            kept = self._kept.get(owner_id)
            if kept is not None and kept.revisions == (own, common):
                return kept
            catalogue = self._layer(owner_id, shared.estimator.catalogue, own)
            same = catalogue is shared.estimator.catalogue
            made = _Kept((own, common), shared.estimator if same else OwnEstimator(catalogue))
            with self._lock:
                self._kept[owner_id] = made
                self._kept.move_to_end(owner_id)
                self._shrink()
            return made

    def _layer(self, owner_id: int, under: Catalogue, revision: int) -> Catalogue:
        """An owner's records on top of what all see."""
        with self._database.begin(write=False) as connection:
            rows = rows_of(connection, owner_id)
        if not rows:
            return under
        own = own_of(under, owner_id, rows)
        for (kind, key), problem in own.problems.items():
            LOG.warning("revision %d of owner %d: %s %r is left out: %s", revision, owner_id, kind, key, problem)
        return layered(under, own)


def rows_of(connection: Connection, owner_id: int, kind: Kind | None = None) -> list[Row]:
    """The records of an owner, by kind and id."""
    asked = select(RECORDS).where(RECORDS.c.owner_id == owner_id).order_by(RECORDS.c.kind, RECORDS.c.id)
    if kind is not None:
        asked = asked.where(RECORDS.c.kind == kind)
    return [
        Row(
            owner_id=row.owner_id,
            kind=row.kind,
            id=row.id,
            body=json.loads(row.body),
            created_at=utc(row.created_at),
            updated_at=utc(row.updated_at),
            created_by=row.created_by,
        )
        for row in connection.execute(asked)
    ]


@functools.cache
def dashed(node_id: str) -> str:
    """The id of a packaged node in the letters that the API allows: "aws-p5-48xlarge" for "aws:p5.48xlarge"."""
    return re.sub("[^a-z0-9-]", "-", node_id.lower())[:NODE_ID_LENGTH]


def with_dashed_nodes(base: Catalogue) -> Catalogue:
    """A catalogue whose nodes go by their dashed ids too, where these mean nothing else."""
    names = {dashed(key): key for key in base.nodes}
    return Catalogue.layered(base, {}, {"nodes": {**names, **base.names("nodes")}})


def layered(under: Catalogue, own: Own) -> Catalogue:
    """An owner's records on top of a catalogue; their names go before those below.

    `Catalogue.with_records` refuses a name that two records claim. Here it happens without anybody's fault: what all
    see changes after an owner has named a record.
    """
    over: Content = {}
    for record in own.records:
        kind, table = table_of(record)
        over.setdefault(kind.folder, {})[record.id] = checked(kind, table, "record of an owner")
    names = {}
    for folder in FOLDERS.values():
        ids = set(over.get(folder, ()))
        if ids:
            # Another name of a record that is covered by one of the owner's does not mean the owner's.
            names[folder] = {k: v for k, v in under.names(folder).items() if v not in ids} | own.names[folder]
    made = OwnersCatalogue.layered(under, over, names)
    made.rows = {**(under.rows if isinstance(under, OwnersCatalogue) else {}), **own.rows}
    return made


def row_behind(catalogue: Catalogue, kind: Kind, key: str) -> Row | None:
    """The row of which a record was made; None of a packaged one."""
    return catalogue.rows.get((kind, key)) if isinstance(catalogue, OwnersCatalogue) else None
