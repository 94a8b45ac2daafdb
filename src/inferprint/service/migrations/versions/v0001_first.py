"""The first tables: owners, keys, records, setups and usage."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_MOMENT = sa.DateTime(timezone=True)
_OWNERS = ((0, "inferprint"), (1, "local"))

_QUANTITIES = (
    "duration_ms",
    "usage_energy_wh",
    "usage_emissions_gco2e",
    "usage_emissions_market_gco2e",
    "usage_water_ml",
    "embodied_emissions_gco2e",
    "embodied_water_ml",
)
_NAMES = ("project_id", "application_id", "client_id", "user_id", "session_id", "model", "service", "place")


def upgrade() -> None:
    """Make the tables, and the owners that are always there."""
    _owned()
    _usage()
    owners = sa.table("owners", sa.column("id"), sa.column("name"), sa.column("created_at", _MOMENT))
    now = datetime.now(UTC)
    op.bulk_insert(owners, [{"id": number, "name": name, "created_at": now} for number, name in _OWNERS])
    if op.get_context().dialect.name == "postgresql":
        # Numbers that were given do not move the sequence.
        op.execute("SELECT setval(pg_get_serial_sequence('owners', 'id'), (SELECT max(id) FROM owners))")


def _owned() -> None:
    """Owners, and what they have beside usage."""
    op.create_table(
        "owners",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_owners"),
        sa.UniqueConstraint("name", name="uq_owners_name"),
    )
    op.create_table(
        "keys",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("owner_id", _ID, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("scopes", sa.String(100), nullable=False),
        sa.Column("label", sa.String(200), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("expires_at", _MOMENT),
        sa.Column("revoked_at", _MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_keys"),
        sa.ForeignKeyConstraint(["owner_id"], ["owners.id"], name="fk_keys_owner_id"),
    )
    op.create_index("ix_keys_owner_id", "keys", ["owner_id"])
    op.create_table(
        "records",
        sa.Column("owner_id", _ID, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("id", sa.String(300), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("updated_at", _MOMENT, nullable=False),
        sa.Column("created_by", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("owner_id", "kind", "id", name="pk_records"),
        sa.ForeignKeyConstraint(["owner_id"], ["owners.id"], name="fk_records_owner_id"),
    )
    op.create_table(
        "revisions",
        sa.Column("owner_id", _ID, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("owner_id", name="pk_revisions"),
        sa.ForeignKeyConstraint(["owner_id"], ["owners.id"], name="fk_revisions_owner_id"),
    )


def _usage() -> None:
    """What was reported, and what decides its cards."""
    op.create_table(
        "setups",
        sa.Column("id", _ID, nullable=False),
        sa.Column("owner_id", _ID, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("features", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_setups"),
        sa.ForeignKeyConstraint(["owner_id"], ["owners.id"], name="fk_setups_owner_id"),
        sa.UniqueConstraint("owner_id", "digest", name="uq_setups_owner_id_digest"),
    )
    op.create_table(
        "usage",
        sa.Column("id", _ID, nullable=False),
        sa.Column("owner_id", _ID, nullable=False),
        sa.Column("request_id", sa.String(300), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("source", sa.String(32), nullable=False),
        sa.Column("received_at", _MOMENT, nullable=False),
        sa.Column("utc_datetime", _MOMENT),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("trace_id", sa.String(300)),
        sa.Column("environment", sa.String(300)),
        *(sa.Column(name, sa.String(300)) for name in _NAMES),
        sa.Column("n_requests", sa.Float, nullable=False),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("quality", sa.String(24)),
        sa.Column("versions", sa.String(300)),
        sa.Column("setup_id", _ID),
        *(sa.Column(f"feature_{i:02d}", sa.Float) for i in range(16)),
        *(sa.Column(f"{name}{end}", sa.Float) for name in _QUANTITIES for end in ("", "_low", "_high")),
        sa.PrimaryKeyConstraint("id", name="pk_usage"),
        sa.ForeignKeyConstraint(["owner_id"], ["owners.id"], name="fk_usage_owner_id"),
        sa.ForeignKeyConstraint(["setup_id"], ["setups.id"], name="fk_usage_setup_id"),
        sa.UniqueConstraint("owner_id", "request_id", name="uq_usage_owner_id_request_id"),
    )
    op.create_index("ix_usage_owner_id_id", "usage", ["owner_id", "id"])
    op.create_index("ix_usage_owner_id_day", "usage", ["owner_id", "day"])
    op.create_index("ix_usage_owner_id_outcome", "usage", ["owner_id", "outcome"])
    op.create_index("ix_usage_owner_id_trace_id", "usage", ["owner_id", "trace_id"])
