"""Create tickets, their states and entries, and priority matrices."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from kontor_kit import migrations

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KEY = sa.Text(collation="C")
MOMENT = sa.DateTime(timezone=True)
TIMES = ("create_time", "update_time")


def upgrade() -> None:
    """Create the tables."""
    _ticket_states()
    _priority_matrices()
    _tickets()
    _ticket_entries()


def _ticket_states() -> None:
    migrations.create_resource(
        "ticket_states",
        *_named(),
        sa.Column("category", sa.SmallInteger, nullable=False),
        sa.Column("order", sa.Integer, nullable=False),
        sa.Column("standard", sa.Boolean, nullable=False),
        sa.Column("description", sa.Text),
        owned=False,
    )
    migrations.create_unique("ticket_states", "display_name_key")
    marked = sa.text("standard AND delete_time IS NULL")
    columns = ["tenant_id", "category"]
    op.create_index("ticket_states_marked", "ticket_states", columns, unique=True, postgresql_where=marked)
    migrations.create_indexes("ticket_states", "category", "order", "standard", *TIMES)


def _priority_matrices() -> None:
    migrations.create_resource(
        "priority_matrices",
        *_named(),
        sa.Column("cells", JSONB),
        sa.Column("standard", sa.Boolean, nullable=False),
        owned=False,
    )
    marked = sa.text("standard AND delete_time IS NULL")
    columns = ["tenant_id"]
    op.create_index("priority_matrices_marked", "priority_matrices", columns, unique=True, postgresql_where=marked)
    migrations.create_indexes("priority_matrices", "display_name_key", "standard", *TIMES)


def _tickets() -> None:
    migrations.create_resource(
        "tickets",
        sa.Column("number", sa.Text, nullable=False),
        sa.Column("number_key", KEY, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("subject_key", KEY, nullable=False),
        sa.Column("description", sa.Text),
        *(sa.Column(name, sa.SmallInteger, nullable=False) for name in ("type", "category", "impact", "urgency")),
        sa.Column("state", sa.Uuid, nullable=False),
        sa.Column("priority", sa.SmallInteger, nullable=False),
        sa.Column("priority_override_reason", sa.Text),
        *(sa.Column(name, sa.Uuid) for name in ("requester", "account", "queue")),
        sa.Column("products", ARRAY(sa.Uuid)),
        sa.Column("channel", sa.SmallInteger, nullable=False),
        sa.Column("language_code", sa.Text),
        sa.Column("tags", ARRAY(sa.Text)),
        sa.Column("external_ids", JSONB),
        sa.Column("custom_fields", JSONB),
        sa.Column("solution", sa.Text),
        *(sa.Column(name, sa.Uuid) for name in ("article", "previous_ticket", "merged_into")),
        *(sa.Column(name, MOMENT) for name in ("first_answer_time", "solved_time", "closed_time", "next_due_time")),
        sa.Column("reopen_count", sa.Integer, nullable=False),
        *(sa.Column(name, JSONB) for name in ("category_spans", "clocks", "sla_terms")),
        sa.Column("search_text", sa.Text, nullable=False),
        _refers("tickets", "state", "ticket_states"),
        _refers("tickets", "previous_ticket", "tickets"),
        _refers("tickets", "merged_into", "tickets"),
    )
    references = ("state", "requester", "account", "queue", "article", "previous_ticket", "merged_into")
    chosen = ("type", "category", "impact", "urgency", "priority", "channel", "language_code")
    moments = ("first_answer_time", "solved_time", "closed_time", "next_due_time", *TIMES)
    migrations.create_indexes("tickets", "number_key", "subject_key", *references, *chosen, *moments)
    migrations.create_search("tickets")
    op.create_table(
        "ticket_numbers",
        sa.Column("tenant_id", sa.Uuid, primary_key=True),
        sa.Column("last", sa.BigInteger, nullable=False),
    )
    migrations.secure("ticket_numbers")


def _ticket_entries() -> None:
    migrations.create_resource(
        "ticket_entries",
        sa.Column("ticket", sa.Uuid, nullable=False),
        sa.Column("visibility", sa.SmallInteger, nullable=False),
        sa.Column("direction", sa.SmallInteger, nullable=False),
        sa.Column("body", sa.Text),
        sa.Column("contact", sa.Uuid),
        sa.Column("attachments", ARRAY(sa.Uuid)),
        sa.Column("author", KEY, nullable=False),
        sa.Column("redact_time", MOMENT),
        _refers("ticket_entries", "ticket", "tickets"),
        owned=False,
    )
    migrations.create_indexes("ticket_entries", "ticket", "visibility", "direction", "contact", "author", *TIMES)


def _named() -> list[sa.Column[Any]]:
    return [
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("display_name_key", KEY, nullable=False),
    ]


def _refers(table: str, column: str, other: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["tenant_id", column], [f"{other}.tenant_id", f"{other}.id"], name=f"{table}_{column}_fkey"
    )


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP FUNCTION search_tickets")
    for table in ("ticket_entries", "ticket_numbers", "tickets", "priority_matrices", "ticket_states"):
        op.drop_table(table)
