"""The resource and the table of the recipients of campaigns."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from kontor.marketing.v1 import campaign_pb2, campaign_recipient_pb2
from kontor_kit.db import Statement, Transaction
from kontor_kit.filter_sql import TENANT
from kontor_kit.resource import Resource
from kontor_kit.scopes import ParentScope
from kontor_kit.tables import KEY_TEXT, index, json_column, resource_table
from kontor_marketing.campaigns.table import IDS, campaigns
from kontor_marketing.tables import metadata

campaign_recipients = resource_table(
    "campaign_recipients",
    metadata,
    sa.Column("campaign", sa.Uuid, nullable=False),
    sa.Column("party", sa.Uuid, nullable=False),
    sa.Column("email", sa.Text),
    sa.Column("state", sa.SmallInteger, nullable=False),
    sa.Column("decision", sa.SmallInteger, nullable=False),
    json_column("evidence"),
    sa.Column("message_id", KEY_TEXT),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("failure", sa.Text),
    sa.Column("send_time", sa.DateTime(timezone=True)),
    sa.Column("unsubscribe_time", sa.DateTime(timezone=True)),
    # Not part of the message: the address as it is compared, of those who were to get the mail; when the recipient is
    # to be taken up, or whoever took it up counts as gone; and how often the mail server asked for patience.
    sa.Column("address_key", KEY_TEXT),
    sa.Column("due_time", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
    sa.Column("deferrals", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.ForeignKeyConstraint(
        ["tenant_id", "campaign"], ["campaigns.tenant_id", "campaigns.id"], name="campaign_recipients_campaign_fkey"
    ),
    # Nobody gets a mail twice, and no address does.
    index("campaign_recipients", "campaign", "party", unique=True),
    index("campaign_recipients", "campaign", "address_key", unique=True),
    index("campaign_recipients", "campaign"),
    index("campaign_recipients", "campaign", "state", "decision"),
    index("campaign_recipients", "party"),
    index("campaign_recipients", "state"),
    index("campaign_recipients", "decision"),
    index("campaign_recipients", "create_time"),
    index("campaign_recipients", "update_time"),
    sa.Index(
        "campaign_recipients_due",
        "tenant_id",
        "campaign",
        "due_time",
        "id",
        postgresql_where=sa.text("state IN (1, 2) AND delete_time IS NULL"),
    ),
    owned=False,
)

CAMPAIGN_RECIPIENT = Resource(
    campaign_recipient_pb2.CampaignRecipient,
    campaign_recipients,
    scope=ParentScope("campaign", campaigns),
    events=("created", "claimed", "sent", "skipped", "deferred", "failed", "unsubscribed"),
)

_COUNT: Final = Statement(
    sa.select(
        campaign_recipients.c.campaign,
        campaign_recipients.c.state,
        campaign_recipients.c.decision,
        sa.func.count(),
    )
    .where(
        campaign_recipients.c.tenant_id == TENANT,
        campaign_recipients.c.campaign == sa.any_(IDS),
        campaign_recipients.c.delete_time.is_(None),
    )
    .group_by(campaign_recipients.c.campaign, campaign_recipients.c.state, campaign_recipients.c.decision)
)
_TAKEN: Final = Statement(
    sa.select(campaign_recipients.c.address_key, campaign_recipients.c.id).where(
        campaign_recipients.c.tenant_id == TENANT,
        campaign_recipients.c.campaign == sa.bindparam("campaign_id", type_=sa.Uuid),
        campaign_recipients.c.address_key == sa.any_(sa.bindparam("keys", type_=ARRAY(KEY_TEXT))),
        campaign_recipients.c.delete_time.is_(None),
    )
)
_TAKE: Final = Statement(
    sa.text(
        "UPDATE campaign_recipients r SET address_key = k.key FROM unnest(:ids, :keys) AS k (id, key)"
        " WHERE r.tenant_id = :tenant AND r.id = k.id"
    ).bindparams(
        sa.bindparam("tenant", type_=sa.Uuid),
        sa.bindparam("ids", type_=ARRAY(sa.Uuid)),
        sa.bindparam("keys", type_=ARRAY(KEY_TEXT)),
    )
)
_States: Final = campaign_recipient_pb2.CampaignRecipient
_COUNTED: Final = {
    _States.STATE_PENDING: "pending",
    _States.STATE_HANDING_OVER: "pending",
    _States.STATE_SENT: "sent",
    _States.STATE_SKIPPED: "skipped",
    _States.STATE_FAILED: "failed",
}


def taken(tx: Transaction, campaign: uuid.UUID, keys: Sequence[str]) -> dict[str, uuid.UUID]:
    """Return which of the addresses get a campaign's mail already, with the recipient whose it is."""
    rows = tx.run(_TAKEN, {"tenant": tx.tenant_id, "campaign_id": campaign, "keys": list(keys)})
    return {row[0]: row[1] for row in rows}


def take(tx: Transaction, addresses: Mapping[uuid.UUID, str]) -> None:
    """Let addresses belong to recipients; an address that another one of the campaign has is a unique violation."""
    tx.defer(_TAKE, {"tenant": tx.tenant_id, "ids": list(addresses), "keys": list(addresses.values())})


def count(tx: Transaction, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Any]:
    """Return the Campaign.Statistics of campaigns, as they are now."""
    found = {id: campaign_pb2.Campaign.Statistics() for id in ids}
    if ids:
        for row in sorted(tx.run(_COUNT, {"tenant": tx.tenant_id, "ids": list(ids)})):
            _add(found[row[0]], row[1:])
    return found


def _add(statistics: Any, row: Iterable[Any]) -> None:
    state, decision, number = row
    statistics.total += number
    field = _COUNTED[state]
    setattr(statistics, field, getattr(statistics, field) + number)
    if state == _States.STATE_SKIPPED:
        name = _States.Decision.Name(decision).removeprefix("DECISION_")
        statistics.skipped_by_decision.add(decision=name, count=number)
