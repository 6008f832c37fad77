"""The tables of the inbox, and what a revision calls to create them.

inbox          one row for each event and handler
inbox_sources  how far each source was followed, for each set of wishes: versions of the code that wish for different
               things at the same time do not move each other's positions
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA

from kontor_kit import migrations
from kontor_kit.tables import KEY_TEXT

WAITING, DONE, DEAD, DISCARDED = range(4)
"""The states of a row: to be handled, handled, given up, and put aside by an operator."""

EVENT_COLUMNS: Final = (
    "event_id",
    "tenant_id",
    "event_type",
    "resource_name",
    "version",
    "event_time",
    "data",
    "traceparent",
    "subject",
)
"""The columns that an event is stored in, in the order of its fields."""


def inbox_tables(metadata: sa.MetaData) -> None:
    """Declare the tables of the inbox."""
    sa.Table(
        "inbox",
        metadata,
        sa.Column("handler", KEY_TEXT, primary_key=True),
        sa.Column("event_id", sa.Uuid, primary_key=True),
        sa.Column("tenant_id", sa.Uuid, nullable=False),
        sa.Column("event_type", KEY_TEXT, nullable=False),
        sa.Column("resource_name", KEY_TEXT, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("event_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("data", BYTEA, nullable=False),
        sa.Column("traceparent", sa.Text),
        sa.Column("subject", sa.Text),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("receive_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("done_time", sa.DateTime(timezone=True)),
        sa.Column("error", sa.Text),
        sa.Index("inbox_due", "due_time", postgresql_where=sa.text("state = 0")),
        sa.Index(
            "inbox_order", "handler", "tenant_id", "resource_name", "version", postgresql_where=sa.text("state = 0")
        ),
        sa.Index("inbox_dead", "receive_time", postgresql_where=sa.text("state = 2")),
        sa.Index("inbox_done", "done_time", postgresql_where=sa.text("state in (1, 3)")),
    )
    sa.Table(
        "inbox_sources",
        metadata,
        sa.Column("source", KEY_TEXT, primary_key=True),
        sa.Column("wishes", KEY_TEXT, primary_key=True),
        sa.Column("position", sa.Text, nullable=False),
        sa.Column("covered", ARRAY(sa.Text), nullable=False),
        sa.Column("relay", KEY_TEXT),
        sa.Column("wanted", sa.BigInteger, nullable=False),
        sa.Column("filled", sa.BigInteger, nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    sa.Table(
        "inbox_bindings",
        metadata,
        sa.Column("routing_key", KEY_TEXT, primary_key=True),
        sa.Column("wish_time", sa.DateTime(timezone=True), nullable=False),
    )


def is_in(table: sa.FromClause, *states: int) -> sa.ColumnElement[bool]:
    """Return the condition that a row is in one of `states`; as numbers in the text, which the partial indexes need."""
    return table.c.state.in_([sa.literal_column(str(state)) for state in states])


def create_inbox() -> None:
    """Create the tables, as they are in the inbox's first version."""
    key = sa.Text(collation="C")
    op.create_table(
        "inbox",
        sa.Column("handler", key, primary_key=True),
        sa.Column("event_id", sa.Uuid, primary_key=True),
        sa.Column("tenant_id", sa.Uuid, nullable=False),
        sa.Column("event_type", key, nullable=False),
        sa.Column("resource_name", key, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("event_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("traceparent", sa.Text),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("receive_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("done_time", sa.DateTime(timezone=True)),
        sa.Column("error", sa.Text),
    )
    op.create_index("inbox_due", "inbox", ["due_time"], postgresql_where=sa.text("state = 0"))
    op.create_index(
        "inbox_order",
        "inbox",
        ["handler", "tenant_id", "resource_name", "version"],
        postgresql_where=sa.text("state = 0"),
    )
    op.create_index("inbox_dead", "inbox", ["receive_time"], postgresql_where=sa.text("state = 2"))
    op.create_index("inbox_done", "inbox", ["done_time"], postgresql_where=sa.text("state in (1, 3)"))
    op.create_table(
        "inbox_positions",
        sa.Column("source", key, primary_key=True),
        sa.Column("position", sa.Text, nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
    )
    migrations.secure("inbox", app="SELECT, UPDATE", system="SELECT, INSERT, UPDATE, DELETE")
    _for_system("inbox_positions")


def drop_inbox() -> None:
    """Take back what `create_inbox` did."""
    op.drop_table("inbox_positions")
    op.drop_table("inbox")


def create_sources() -> None:
    """Put `inbox_sources` in the place of `inbox_positions`, and create the list of what the queue is bound to."""
    key = sa.Text(collation="C")
    op.create_table(
        "inbox_sources",
        sa.Column("source", key, primary_key=True),
        sa.Column("wishes", key, primary_key=True),
        sa.Column("position", sa.Text, nullable=False),
        sa.Column("covered", ARRAY(sa.Text), nullable=False),
        sa.Column("relay", key),
        sa.Column("wanted", sa.BigInteger, nullable=False),
        sa.Column("filled", sa.BigInteger, nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
    )
    op.create_table(
        "inbox_bindings",
        sa.Column("routing_key", key, primary_key=True),
        sa.Column("wish_time", sa.DateTime(timezone=True), nullable=False),
    )
    op.execute(
        "INSERT INTO inbox_sources (source, wishes, position, covered, wanted, filled)"
        " SELECT source, '', position, '{}', 0, 0 FROM inbox_positions"
    )
    op.drop_table("inbox_positions")
    for table in ("inbox_sources", "inbox_bindings"):
        _for_system(table)


def drop_sources() -> None:
    """Take back what `create_sources` did."""
    op.drop_table("inbox_bindings")
    op.create_table(
        "inbox_positions",
        sa.Column("source", sa.Text(collation="C"), primary_key=True),
        sa.Column("position", sa.Text, nullable=False),
        sa.Column("update_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
    )
    op.execute(
        "INSERT INTO inbox_positions (source, position) SELECT DISTINCT ON (source) source, position"
        " FROM inbox_sources WHERE position <> '' ORDER BY source, update_time DESC"
    )
    op.drop_table("inbox_sources")
    _for_system("inbox_positions")


def add_subject() -> None:
    """Add the column that says who did what happened."""
    op.add_column("inbox", sa.Column("subject", sa.Text))


def drop_subject() -> None:
    """Take back what `add_subject` did."""
    op.drop_column("inbox", "subject")


def _for_system(table: str) -> None:
    """Let the system role, and nobody else, work with a table that has no tenants."""
    role = migrations.system_role()
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY system ON {table} TO {role} USING (true) WITH CHECK (true)")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {role}")
