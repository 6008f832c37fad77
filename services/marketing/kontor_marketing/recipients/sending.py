"""The job that hands mails over, any number of times side by side: each mail once, whoever is killed meanwhile.

A recipient is claimed before its mail is handed over: the gate is asked again, and that it is being handed over is
committed, with a Message-ID that never changes. Once the mail server has taken the mail, that is committed too. Whoever
ends between the two leaves a claim behind that ends by itself; then the same mail is handed over again. So an interruption
can repeat the one mail that was under way, with the same Message-ID, and no other; and it loses none.
"""

from __future__ import annotations

import datetime as dt
import logging
import random
import threading
import uuid
from typing import Any, Final, NamedTuple

import psycopg
import sqlalchemy as sa
from psycopg_pool import PoolTimeout

from kontor_kit.calls import Call
from kontor_kit.db import Database, Statement, Transaction
from kontor_kit.principals import Scope
from kontor_kit.store import Locked
from kontor_kit.tracing import Trace, start_span
from kontor_marketing.campaigns import rules as campaign_rules
from kontor_marketing.recipients import rules
from kontor_marketing.recipients.checking import Checked, Mailing
from kontor_marketing.recipients.mail import ANSWERS, TIMEOUT_SECONDS, Answer, Letter, NoServer, Outcome, Post
from kontor_marketing.recipients.table import take, taken

logger = logging.getLogger(__name__)

LEASE_SECONDS: Final = ANSWERS * TIMEOUT_SECONDS + 30.0
"""So long a claim lasts: longer than a hand-over can take, with the mail server's slowest answers."""
PAUSE_SECONDS: Final = 2.0
NO_SERVER_SECONDS: Final = 15.0
_IN_A_ROW: Final = 50
"""So many mails of a campaign go out before another campaign has its turn."""

_ROW: Final = (sa.bindparam("tenant", type_=sa.Uuid), sa.bindparam("id", type_=sa.Uuid))
_SENDING: Final = Statement(
    sa.text(
        "SELECT tenant_id, id FROM campaigns WHERE state = 4 AND delete_time IS NULL"
        " AND (next_time IS NULL OR next_time <= clock_timestamp()) LIMIT 1000"
    )
)
# Whom others have in hand is not waited for.
_CLAIM: Final = Statement(
    sa.text(
        "SELECT r.id FROM campaign_recipients r WHERE r.tenant_id = :tenant AND r.campaign = :id AND r.state IN (1, 2)"
        " AND r.delete_time IS NULL AND r.due_time <= clock_timestamp()"
        " AND EXISTS (SELECT FROM campaigns c WHERE c.tenant_id = :tenant AND c.id = :id AND c.state = 4)"
        " ORDER BY r.due_time, r.id LIMIT 1 FOR NO KEY UPDATE OF r SKIP LOCKED"
    ).bindparams(*_ROW)
)
_LEFT: Final = Statement(
    sa.text(
        # In the order of an index, which tells at once that there is none.
        "SELECT 1 FROM campaign_recipients WHERE tenant_id = :tenant AND campaign = :id AND state IN (1, 2)"
        " AND delete_time IS NULL ORDER BY due_time, id LIMIT 1"
    ).bindparams(*_ROW)
)
# The next mail's time moves on from the last one's, so that what is lost to a pause is not made up for.
_PACE: Final = Statement(
    sa.text(
        "UPDATE campaigns SET next_time = clock_timestamp() + make_interval(secs => 3600.0 / max_per_hour)"
        " WHERE tenant_id = :tenant AND id = :id AND (next_time IS NULL OR next_time <= clock_timestamp()) RETURNING id"
    ).bindparams(*_ROW)
)
_PUT_OFF: Final = Statement(
    sa.text(
        "UPDATE campaign_recipients SET due_time = clock_timestamp() + make_interval(secs => :seconds),"
        " deferrals = deferrals + :deferrals WHERE tenant_id = :tenant AND id = :id RETURNING deferrals"
    ).bindparams(*_ROW)
)


class Claim(NamedTuple):
    """A mail that this worker hands over, and nobody else until the claim ends."""

    id: uuid.UUID
    attempt: int
    letter: Letter


class Sending:
    """Hands over the mails of all campaigns; one for each thread.

    `system` finds the campaigns; the database of `records`, which are the recipients, is held to a tenant.
    """

    def __init__(
        self,
        records: Any,
        system: Database,
        post: Post,
        *,
        lease_seconds: float = LEASE_SECONDS,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        self._records = records
        self._campaigns = records.campaigns
        self._system = system
        self._post = post
        self._lease_seconds = lease_seconds
        self._pause_seconds = pause_seconds
        self._mailings: dict[uuid.UUID, Mailing] = {}

    def run(self, stopping: threading.Event) -> None:
        """Work until `stopping`."""
        while not stopping.is_set():
            seconds = self._pause_seconds
            try:
                if self.work_once(stopping):
                    continue
            except NoServer as error:
                logger.warning("mails wait for the mail server", extra={"reason": str(error)})
                seconds = NO_SERVER_SECONDS
            except (psycopg.OperationalError, psycopg.errors.UniqueViolation, PoolTimeout) as error:
                # Or two mails were to go to one address at the same moment; the next look sees it.
                logger.warning("mails wait for the database", extra={"reason": str(error)})
            self._post.close()
            stopping.wait(seconds * random.uniform(0.5, 1.5))  # noqa: S311  # not in step with others
        self._post.close()

    def work_once(self, stopping: threading.Event | None = None) -> int:
        """Hand over some mails of each campaign; return how many recipients were dealt with. Raises NoServer."""
        with self._system.read(None) as tx:
            rows = tx.run(_SENDING)
        random.shuffle(rows)  # so that several workers are not at the same one
        self._mailings = {id: self._mailings[id] for _, id in rows if id in self._mailings}
        done = 0
        for tenant, id in rows:
            for _ in range(_IN_A_ROW):
                if stopping is not None and stopping.is_set():
                    return done
                if not self._send_one(tenant, id):
                    break
                done += 1
        return done

    def _send_one(self, tenant: uuid.UUID, campaign: uuid.UUID) -> bool:
        """Deal with one recipient; False where there is none now."""
        # A claim is not to wait for a mail server.
        self._post.open()
        trace, database = start_span(), self._records.shared.database
        with database.write(tenant) as tx:
            call = self._campaigns.own_call(tx, trace)
            mailing = self._mailing(tx, call, campaign)
            locked = self._take(tx, call, mailing)
            if locked is None:
                self._finish(tx, call, campaign)
                return False
            claim = self._claim(tx, call, mailing, locked)
        if claim is not None:
            answer = self._post.hand_over(claim.letter, dt.datetime.now(dt.UTC))
            with database.write(tenant) as tx:
                self._settle(tx, trace, mailing, claim, answer)
        return True

    def _mailing(self, tx: Transaction, call: Call, id: uuid.UUID) -> Mailing:
        if id not in self._mailings:
            campaign = self._campaigns.store.get_one(tx, self._campaigns.reach(call), id)
            self._mailings[id] = self._records.gate.mailing(tx, campaign)
        return self._mailings[id]

    def _take(self, tx: Transaction, call: Call, mailing: Mailing) -> Locked | None:
        given = {"tenant": tx.tenant_id, "id": mailing.id}
        rows = tx.run(_CLAIM, given)
        if not rows or (mailing.campaign.max_per_hour and not tx.run(_PACE, given)):
            return None
        id = rows[0][0]
        found: Locked = self._records.store.lock(tx, self._records.reach(call), Scope.ALL, [id])[id]
        return found

    def _claim(self, tx: Transaction, call: Call, mailing: Mailing, locked: Locked) -> Claim | None:
        """Ask the gate again, and commit that the mail is being handed over; None where it is not to be."""
        assert tx.tenant_id is not None, "a campaign belongs to a tenant"
        party = uuid.UUID(locked.message.party.rpartition("/")[2])
        checked: Checked = self._records.gate.check(tx, mailing, {party: locked.id})[party]
        if checked.mail is not None and checked.email != locked.message.email:
            checked = _move(tx, mailing, locked, checked)
        after = _copy(locked.message)
        after.decision, after.failure = checked.decision, checked.failure
        after.evidence.CopyFrom(checked.evidence)
        if checked.mail is None:
            after.state = rules.SKIPPED
            self._records.put(tx, call, locked, after, "skipped")
            return None
        after.email = checked.email
        after.state = rules.HANDING_OVER
        after.attempts += 1
        after.message_id = rules.message_id(mailing.id, locked.id, mailing.campaign.sender_email)
        self._records.put(tx, call, locked, after, "claimed")
        given = {"tenant": tx.tenant_id, "id": locked.id}
        tx.defer(_PUT_OFF, {**given, "seconds": self._lease_seconds, "deferrals": 0})
        url = self._records.gate.url(mailing, tx.tenant_id, locked.id)
        return Claim(locked.id, after.attempts, _letter(mailing, after, checked, url))

    def _settle(self, tx: Transaction, trace: Trace, mailing: Mailing, claim: Claim, answer: Answer) -> None:
        """Commit what became of a mail, unless the claim passed on."""
        call = self._campaigns.own_call(tx, trace)
        locked = self._records.store.lock(tx, self._records.reach(call), Scope.ALL, [claim.id])[claim.id]
        if locked.message.state != rules.HANDING_OVER or locked.message.attempts != claim.attempt:
            logger.warning("a mail passed on to another worker", extra={"recipient": str(claim.id)})
            return
        after, event = _copy(locked.message), "failed"
        after.failure = answer.text
        if answer.outcome is Outcome.TAKEN:
            after.state, event = rules.SENT, "sent"
            after.send_time.FromDatetime(dt.datetime.now(dt.UTC))
        elif answer.outcome is Outcome.REFUSED or not self._put_off(tx, claim, answer):
            after.state = rules.FAILED
        else:
            after.state, event = rules.PENDING, "deferred"
        self._records.put(tx, call, locked, after, event)
        if answer.outcome is Outcome.SENDER_REFUSED:
            self._campaigns.pause_by_itself(tx, call, mailing.id, answer.text)

    @staticmethod
    def _put_off(tx: Transaction, claim: Claim, answer: Answer) -> bool:
        """Let a mail be tried again later; False where it was tried often enough."""
        counts = answer.outcome is Outcome.DEFERRED
        given = {"tenant": tx.tenant_id, "id": claim.id, "seconds": 0.0, "deferrals": int(counts)}
        deferrals: int = tx.run(_PUT_OFF, given)[0][0]
        if not counts:
            return True
        tx.defer(_PUT_OFF, {**given, "seconds": rules.pause_seconds(deferrals - 1), "deferrals": 0})
        return deferrals <= rules.MOST_DEFERRALS

    def _finish(self, tx: Transaction, call: Call, id: uuid.UUID) -> None:
        """End a campaign that has nothing left."""
        given = {"tenant": tx.tenant_id, "id": id}
        if tx.run(_LEFT, given):
            return
        locked = self._campaigns.lock_one(tx, call, id)
        if locked is not None and locked.message.state == campaign_rules.SENDING:
            self._campaigns.finish(tx, call, locked)


def _move(tx: Transaction, mailing: Mailing, locked: Locked, checked: Checked) -> Checked:
    """Let a mail go to an address that the person got since it was prepared, unless somebody else's goes there."""
    if taken(tx, mailing.id, [checked.address_key]).get(checked.address_key, locked.id) != locked.id:
        return checked._replace(decision=rules.DUPLICATE_ADDRESS, mail=None)
    take(tx, {locked.id: checked.address_key})
    return checked


def _copy(recipient: Any) -> Any:
    copy = type(recipient)()
    copy.CopyFrom(recipient)
    return copy


def _letter(mailing: Mailing, recipient: Any, checked: Checked, url: str) -> Letter:
    campaign, mail = mailing.campaign, checked.mail
    assert mail is not None, "only what was filled in is sent"
    return Letter(
        message_id=recipient.message_id,
        sender_name=campaign.sender_name,
        sender_email=campaign.sender_email,
        reply_to_email=campaign.reply_to_email,
        recipient_name=checked.name,
        recipient_email=recipient.email,
        subject=mail.subject,
        text=mail.text,
        html=mail.html,
        unsubscribe_url=url,
    )
