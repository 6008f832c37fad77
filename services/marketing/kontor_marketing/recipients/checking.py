"""Asks the gate about the people of a campaign, with all that has to be known for it, and fills in their mails."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from kontor.marketing.v1 import campaign_recipient_pb2, consent_pb2, subscription_pb2, suppression_pb2
from kontor_kit.db import Statement, Transaction
from kontor_kit.ids import parse_name
from kontor_kit.tables import KEY_TEXT
from kontor_marketing.campaigns.table import CAMPAIGN
from kontor_marketing.parties.table import facts as load_facts
from kontor_marketing.recipients import rules
from kontor_marketing.segments.table import SEGMENT, within
from kontor_marketing.templates import rules as templates
from kontor_marketing.templates.table import TEMPLATE, find_revision
from kontor_marketing.topics.table import TOPIC
from kontor_marketing.unsubscribing import rules as links

_TENANT: Final = sa.bindparam("tenant", type_=sa.Uuid)
_SHARING: Final = Statement(
    sa.text(
        "SELECT address, party FROM party_addresses WHERE tenant_id = :tenant AND address = ANY (:addresses)"
    ).bindparams(_TENANT, sa.bindparam("addresses", type_=ARRAY(KEY_TEXT)))
)
_LINK_KEY: Final = Statement(
    sa.text("SELECT link_key FROM campaigns WHERE tenant_id = :tenant AND id = :id").bindparams(
        _TENANT, sa.bindparam("id", type_=sa.Uuid)
    )
)


class Checked(NamedTuple):
    """What the gate said about somebody, and by what."""

    decision: int
    evidence: Any
    """A CampaignRecipient.Evidence."""
    name: str = ""
    """What the person is called."""
    email: str = ""
    """The address to write to; empty where there is none."""
    address_key: str = ""
    mail: templates.Mail | None = None
    failure: str = ""


@dataclass(frozen=True, kw_only=True)
class Mailing:
    """A campaign under way, of which nothing changes any more but where it stands."""

    id: uuid.UUID
    campaign: Any
    topic: uuid.UUID
    segments: Sequence[uuid.UUID]
    excluded_segments: Sequence[uuid.UUID]
    written: Any
    """The revision of the template."""
    link_key: bytes


class Gate:
    """Looks people up and decides about them; `link_base` is what links in mails begin with."""

    def __init__(self, link_base: str) -> None:
        self._link_base = link_base

    def mailing(self, tx: Transaction, campaign: Any) -> Mailing:
        """Return what is to be known of a campaign that has started."""
        id = parse_name(campaign.name, CAMPAIGN.pattern, "name")
        template = parse_name(campaign.template, TEMPLATE.pattern, "template")
        return Mailing(
            id=id,
            campaign=campaign,
            topic=parse_name(campaign.topic, TOPIC.pattern, "topic"),
            segments=[parse_name(name, SEGMENT.pattern, "segments") for name in campaign.segments],
            excluded_segments=[parse_name(name, SEGMENT.pattern, "segments") for name in campaign.excluded_segments],
            written=find_revision(tx, template, campaign.template_revision),
            link_key=bytes(tx.run(_LINK_KEY, {"tenant": tx.tenant_id, "id": id})[0][0]),
        )

    def url(self, mailing: Mailing, tenant: uuid.UUID, recipient: uuid.UUID) -> str:
        """Return the link by which somebody leaves."""
        token = links.make(tenant, recipient, mailing.link_key)
        return f"{self._link_base}/v1/campaignRecipients:unsubscribe?token={token}"

    def check(
        self, tx: Transaction, mailing: Mailing, recipients: Mapping[uuid.UUID, uuid.UUID]
    ) -> dict[uuid.UUID, Checked]:
        """Decide about parties, as of now; `recipients` are the ids of their mails by theirs."""
        assert tx.tenant_id is not None, "a campaign belongs to a tenant"
        facts = load_facts(tx, list(recipients), mailing.topic)
        excluded, addresses = self._excluded(tx, mailing, facts)
        checked = {}
        for id, recipient in recipients.items():
            known = facts.get(id)
            asked = rules.Asked(
                excluded=id in excluded,
                excluded_address=bool(known and (to := rules.address_of(known)) and to.key in addresses),
                include_open_complaints=mailing.campaign.include_open_complaints,
            )
            decision = rules.gate(known, asked)
            url = self.url(mailing, tx.tenant_id, recipient)
            checked[id] = _checked(mailing, known, decision, url)
        return checked

    @staticmethod
    def _excluded(tx: Transaction, mailing: Mailing, facts: Mapping[uuid.UUID, Any]) -> tuple[set[Any], set[Any]]:
        """Return which of the parties, and which of their addresses, are excluded."""
        if not mailing.excluded_segments:
            return set(), set()
        keys = sorted({email.key for known in facts.values() for email in known.emails})
        sharing = tx.run(_SHARING, {"tenant": tx.tenant_id, "addresses": keys})
        parties = within(tx, mailing.excluded_segments, sorted({*facts, *(row[1] for row in sharing)}))
        return set(parties), {address for address, party in sharing if party in parties}


def _checked(mailing: Mailing, facts: Any, decision: int, url: str) -> Checked:
    address = rules.address_of(facts) if facts is not None else None
    evidence = _evidence(facts, address)
    if address is None:
        return Checked(decision, evidence, facts.display_name if facts is not None else "")
    mail, failure = None, ""
    if decision == rules.ALLOWED:
        variables = templates.variables_of(
            facts, email=address.address, campaign=mailing.campaign.display_name, unsubscribe_url=url
        )
        try:
            mail = templates.render(mailing.written, variables, facts.language_code)
        except templates.MissingVariable as missing:
            decision, failure = rules.MISSING_VARIABLE, f"{missing} is not known"
        except templates.RenderingFailed as failed:
            decision, failure = rules.TEMPLATE_FAILED, str(failed)[:500]
    return Checked(decision, evidence, facts.display_name, address.address, address.key, mail, failure)


def _evidence(facts: Any, address: Any) -> Any:
    evidence = campaign_recipient_pb2.CampaignRecipient.Evidence()
    evidence.decide_time.FromDatetime(dt.datetime.now(dt.UTC))
    if facts is None:
        return evidence
    evidence.open_complaints = facts.open_complaints
    if consent := facts.consent:
        evidence.subscription = consent.name
        evidence.subscription_etag = f"v{consent.version}"
        evidence.subscription_state = subscription_pb2.Subscription.State.Name(consent.state).removeprefix("STATE_")
        if consent.legal_basis:
            evidence.legal_basis = consent_pb2.LegalBasis.Name(consent.legal_basis).removeprefix("LEGAL_BASIS_")
    held = facts.suppression_of(address.address) if address is not None else None
    if held is not None:
        evidence.suppression_reason = suppression_pb2.Suppression.Reason.Name(held.reason).removeprefix("REASON_")
    return evidence
