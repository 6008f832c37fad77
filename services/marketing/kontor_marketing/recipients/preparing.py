"""Finds out who gets a campaign: everybody in its segments, in the order of their ids, with the decision about each."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any, Final

import sqlalchemy as sa

from kontor.marketing.v1 import campaign_recipient_pb2
from kontor_kit.calls import Call
from kontor_kit.db import Statement, Transaction
from kontor_kit.errors import Unavailable
from kontor_kit.ids import parse_name
from kontor_kit.operations.work import Cancelled, Work
from kontor_kit.principals import Scope
from kontor_marketing.campaigns import rules as campaign_rules
from kontor_marketing.campaigns.table import CAMPAIGN
from kontor_marketing.recipients import rules
from kontor_marketing.recipients.checking import Checked, Mailing
from kontor_marketing.recipients.table import count, take, taken
from kontor_marketing.segments.table import FIRST, members, pending

BATCH: Final = 200

_CAMPAIGN: Final = (sa.bindparam("tenant", type_=sa.Uuid), sa.bindparam("campaign", type_=sa.Uuid))
_LAST: Final = Statement(
    sa.text(
        "SELECT party FROM campaign_recipients WHERE tenant_id = :tenant AND campaign = :campaign"
        " AND delete_time IS NULL ORDER BY party DESC LIMIT 1"
    ).bindparams(*_CAMPAIGN)
)
_Recipient: Final[Callable[..., Any]] = campaign_recipient_pb2.CampaignRecipient


class Preparing:
    """Finds out who gets a campaign; `records` are the recipients, with their campaigns and the gate."""

    def __init__(self, records: Any) -> None:
        self._records = records

    def run(self, work: Work) -> None:
        """Go on from the last one who was found, until there is nobody left or the campaign stops."""
        id = parse_name(work.request.name, CAMPAIGN.pattern, "name")
        try:
            while self._advance(work, id):
                work.check()
        except Cancelled:
            with work.write() as tx:
                call = self._records.campaigns.own_call(tx, work.trace)
                self._records.campaigns.pause_by_itself(tx, call, id, "its preparation was cancelled")
            raise

    def _advance(self, work: Work, id: uuid.UUID) -> bool:
        """Find the next ones; tell whether to go on."""
        campaigns = self._records.campaigns
        with work.write() as tx:
            call = campaigns.own_call(tx, work.trace)
            # Whoever wants to stop the campaign waits until these are stored, and no longer.
            locked = campaigns.lock_one(tx, call, id)
            if locked is None or locked.message.state != campaign_rules.PREPARING:
                return False
            mailing = self._records.gate.mailing(tx, locked.message)
            if pending(tx, [*mailing.segments, *mailing.excluded_segments]):
                raise Unavailable("a segment is being brought up to its new rule", reason="SEGMENT_PENDING")
            found = self._next(tx, mailing)
            if not found:
                campaigns.prepared(tx, call, locked)
                return False
            self._add(tx, call, mailing, found)
            work.save(tx, {}, stage="find", done=count(tx, [id])[id].total)
        return True

    @staticmethod
    def _next(tx: Transaction, mailing: Mailing) -> list[uuid.UUID]:
        given = {"tenant": tx.tenant_id, "campaign": mailing.id}
        last = tx.run(_LAST, given)
        after = last[0][0] if last else FIRST
        # Whoever is in several segments is found once; the first of all stand among the first of each.
        found = {party for segment in mailing.segments for party in members(tx, segment, after, BATCH)}
        return sorted(found)[:BATCH]

    def _add(self, tx: Transaction, call: Call, mailing: Mailing, parties: Sequence[uuid.UUID]) -> None:
        checked = self._records.gate.check(tx, mailing, dict.fromkeys(parties, FIRST))
        keys = sorted({each.address_key for each in checked.values() if each.decision == rules.ALLOWED})
        known = set(taken(tx, mailing.id, keys))
        claimed: dict[uuid.UUID, str] = {}
        for party in parties:
            each = checked[party]
            if each.decision == rules.ALLOWED and each.address_key in known:
                each = each._replace(decision=rules.DUPLICATE_ADDRESS)
            recipient = self._records.new(tx, call, _record(mailing, party, each), scope=Scope.ALL)
            if each.decision == rules.ALLOWED:
                known.add(each.address_key)
                claimed[uuid.UUID(recipient.name.rpartition("/")[2])] = each.address_key
        take(tx, claimed)


def _record(mailing: Mailing, party: uuid.UUID, checked: Checked) -> Any:
    return _Recipient(
        campaign=mailing.campaign.name,
        party=f"parties/{party}",
        email=checked.email,
        state=rules.PENDING if checked.decision == rules.ALLOWED else rules.SKIPPED,
        decision=checked.decision,
        evidence=checked.evidence,
        failure=checked.failure,
    )
