"""The tables of a server's database; `migrations` makes them, and a test holds both together."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from inferprint.quantities import RESULTS

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_ID = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows by itself where the type is INTEGER alone."""

_MOMENT = DateTime(timezone=True)

OWNERS = Table(
    "owners",
    METADATA,
    Column("id", _ID, primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("created_at", _MOMENT, nullable=False),
)
"""Whom keys, records and usage belong to; 0 and 1 are those of `inferprint.service.caller`."""

KEYS = Table(
    "keys",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("owner_id", ForeignKey("owners.id"), nullable=False, index=True),
    Column("digest", String(64), nullable=False),
    Column("scopes", String(100), nullable=False),
    Column("label", String(200), nullable=False, default=""),
    Column("created_at", _MOMENT, nullable=False),
    Column("expires_at", _MOMENT),
    Column("revoked_at", _MOMENT),
)
"""Keys by their public part; of the secret there is the SHA-256 alone."""

RECORDS = Table(
    "records",
    METADATA,
    Column("owner_id", ForeignKey("owners.id"), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("id", String(300), primary_key=True),
    Column("body", Text, nullable=False),
    Column("created_at", _MOMENT, nullable=False),
    Column("updated_at", _MOMENT, nullable=False),
    Column("created_by", String(32), nullable=False),
)
"""Models, nodes and GPUs of one's own ("model", "node", "gpu"), as they were sent; those of owner 0 are for all."""

REVISIONS = Table(
    "revisions",
    METADATA,
    Column("owner_id", ForeignKey("owners.id"), primary_key=True),
    Column("number", Integer, nullable=False),
)
"""Counts the changes of an owner's records, by which other processes notice them."""

SETUPS = Table(
    "setups",
    METADATA,
    Column("id", _ID, primary_key=True),
    Column("owner_id", ForeignKey("owners.id"), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("body", Text, nullable=False),
    Column("features", Text, nullable=False),
    UniqueConstraint("owner_id", "digest"),
)
"""What decides the rate cards of rows: the stated fields as JSON, and the names of the features as a JSON list."""

FEATURES = tuple(f"feature_{i:02d}" for i in range(16))
"""Amounts of a row in the order of its setup's features."""

QUANTITY_COLUMNS = tuple(f"{quantity.name}{end}" for quantity in RESULTS for end in ("", "_low", "_high"))
"""What a row was answered with: each quantity, and the bounds of its 95 % interval."""

GROUPS = ("project_id", "application_id", "client_id", "user_id", "session_id", "model", "service", "place", "day")
"""Columns by which usage is summed up."""

USAGE = Table(
    "usage",
    METADATA,
    Column("id", _ID, primary_key=True),
    Column("owner_id", ForeignKey("owners.id"), nullable=False),
    Column("request_id", String(300), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("source", String(32), nullable=False),
    Column("received_at", _MOMENT, nullable=False),
    Column("utc_datetime", _MOMENT),
    Column("day", String(10), nullable=False),
    Column("trace_id", String(300)),
    Column("environment", String(300)),
    *(Column(name, String(300)) for name in GROUPS if name != "day"),
    Column("n_requests", Float, nullable=False, default=1.0),
    Column("request", Text, nullable=False),
    Column("error", Text),
    Column("quality", String(24)),
    Column("versions", String(300)),
    Column("setup_id", ForeignKey("setups.id")),
    *(Column(name, Float) for name in FEATURES),
    *(Column(name, Float) for name in QUANTITY_COLUMNS),
    UniqueConstraint("owner_id", "request_id"),
    Index(None, "owner_id", "id"),
    Index(None, "owner_id", "day"),
    Index(None, "owner_id", "outcome"),
    Index(None, "owner_id", "trace_id"),
)
"""One row for each request that was reported.

`outcome` is "estimated", "merged" (it repeats another one, and counts nothing) or "unestimated" (kept with its `error`
until it can be estimated). `source` is the endpoint that took it. `request` is the row as it was sent.
"""
