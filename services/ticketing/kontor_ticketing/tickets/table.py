"""The resource and the tables of tickets."""

from typing import Final

import sqlalchemy as sa

from kontor.ticketing.v1 import ticket_pb2
from kontor_kit.resource import STANDARD_EVENTS, Resource
from kontor_kit.tables import KEY_TEXT, array_column, index, json_column, resource_table, search_index
from kontor_ticketing.tables import metadata

TO_DO: Final = sa.text("category IN (1, 2, 3) AND delete_time IS NULL")
"""What is still to be dealt with."""


def _refers(column: str, other: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["tenant_id", column], [f"{other}.tenant_id", f"{other}.id"], name=f"tickets_{column}_fkey"
    )


tickets = resource_table(
    "tickets",
    metadata,
    sa.Column("number", sa.Text, nullable=False),
    sa.Column("number_key", KEY_TEXT, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("subject_key", KEY_TEXT, nullable=False),
    sa.Column("description", sa.Text),
    sa.Column("type", sa.SmallInteger, nullable=False),
    sa.Column("category", sa.SmallInteger, nullable=False),
    sa.Column("impact", sa.SmallInteger, nullable=False),
    sa.Column("urgency", sa.SmallInteger, nullable=False),
    sa.Column("state", sa.Uuid, nullable=False),
    sa.Column("priority", sa.SmallInteger, nullable=False),
    sa.Column("priority_override_reason", sa.Text),
    sa.Column("requester", sa.Uuid),
    sa.Column("account", sa.Uuid),
    sa.Column("queue", sa.Uuid),
    array_column("products", sa.Uuid),
    sa.Column("channel", sa.SmallInteger, nullable=False),
    sa.Column("language_code", sa.Text),
    array_column("tags", sa.Text),
    json_column("external_ids"),
    json_column("custom_fields"),
    sa.Column("solution", sa.Text),
    sa.Column("article", sa.Uuid),
    sa.Column("previous_ticket", sa.Uuid),
    sa.Column("merged_into", sa.Uuid),
    sa.Column("first_answer_time", sa.DateTime(timezone=True)),
    sa.Column("solved_time", sa.DateTime(timezone=True)),
    sa.Column("closed_time", sa.DateTime(timezone=True)),
    sa.Column("next_due_time", sa.DateTime(timezone=True)),
    sa.Column("reopen_count", sa.Integer, nullable=False),
    json_column("category_spans"),
    json_column("clocks"),
    json_column("sla_terms"),
    json_column("assignment"),
    sa.Column("search_text", sa.Text, nullable=False),
    _refers("state", "ticket_states"),
    _refers("queue", "queues"),
    _refers("article", "articles"),
    _refers("previous_ticket", "tickets"),
    _refers("merged_into", "tickets"),
    *(
        index("tickets", column)
        for column in (
            "number_key", "subject_key", "state", "requester", "account", "queue", "article", "previous_ticket",
            "merged_into", "type", "category", "impact", "urgency", "priority", "channel", "language_code",
            "first_answer_time", "solved_time", "closed_time", "next_due_time", "create_time", "update_time",
        )
    ),
    # Those of whose deadlines there is something to tell: what the job looks for.
    sa.Index(
        "tickets_due",
        "tenant_id",
        "next_due_time",
        "id",
        postgresql_where=sa.text("next_due_time IS NOT NULL AND delete_time IS NULL"),
    ),
    # What somebody works on, and what waits in a queue for somebody.
    sa.Index("tickets_load", "tenant_id", "owner", "queue", postgresql_where=TO_DO),
    sa.Index(
        "tickets_waiting",
        "tenant_id",
        "queue",
        "priority",
        "id",
        postgresql_where=sa.text(f"owner IS NULL AND queue IS NOT NULL AND {TO_DO.text}"),
    ),
    search_index("tickets"),
)  # fmt: skip

# The last number that a tenant's tickets have.
ticket_numbers = sa.Table(
    "ticket_numbers",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("last", sa.BigInteger, nullable=False),
)

TICKET = Resource(
    ticket_pb2.Ticket,
    tickets,
    events=(
        *STANDARD_EVENTS,
        "answered",
        "assigned",
        "breached",
        "closed",
        "due_soon",
        "merged",
        "priority_changed",
        "priority_overridden",
        "promised_anew",
        "released",
        "reopened",
        "solved",
    ),
)
