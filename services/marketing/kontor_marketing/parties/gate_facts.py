"""What has to be known of parties before they are written to, for a batch of them in one round trip.

found = facts(tx, party_ids, topic_id)
found[id].consent, found[id].suppression_of(address), found[id].emails, found[id].open_complaints
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from kontor_kit.db import Statement, Transaction
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import format_name
from kontor_marketing.parties.rules import address_key
from kontor_marketing.suppressions import rules as suppressions


@dataclass(frozen=True, slots=True)
class Email:
    """An e-mail address of a party."""

    address: str
    """As it is written."""
    key: str
    """As it is compared."""
    invalid: bool
    opted_out: bool


@dataclass(frozen=True, slots=True)
class Consent:
    """What a party said to the topic."""

    name: str
    """`subscriptions/{subscription}`."""
    version: int
    state: int
    """As Subscription.State."""
    legal_basis: int
    source: str
    state_time: dt.datetime
    evidence: dict[str, Any]
    """As ConsentEvidence, with proto field names."""


@dataclass(frozen=True, slots=True)
class Suppressed:
    """A suppression that holds now, for e-mail."""

    name: str
    """`suppressions/{suppression}`."""
    reason: int
    """As Suppression.Reason: the higher, the stronger."""
    start_time: dt.datetime
    address: str
    """The address it holds for, whoever has it; empty where it holds for the party only."""
    of_party: bool
    """Whether it holds for the party, whatever its address."""


@dataclass(frozen=True, slots=True)
class PartyFacts:
    """What is known of one party."""

    id: uuid.UUID
    live: bool
    """False where the contact was deleted."""
    display_name: str
    salutation: str
    honorific: str
    given_name: str
    family_name: str
    language_code: str
    country: str
    account: str
    account_display_name: str
    emails: tuple[Email, ...]
    """The one to use first ahead of the others."""
    open_complaints: int
    consent: Consent | None
    """None where the party never said anything to the topic."""
    suppressions: tuple[Suppressed, ...]
    """All that hold now for the party or one of its addresses."""

    def suppression_of(self, address: str) -> Suppressed | None:
        """Return the suppression that counts where the party is written to at `address`; None where it may be."""
        key = address_key(address)
        return suppressions.strongest(each for each in self.suppressions if each.of_party or each.address == key)


_TEXTS: Final = (
    "display_name",
    "salutation",
    "honorific",
    "given_name",
    "family_name",
    "language_code",
    "country",
    "account_display_name",
)
_IDS: Final = sa.bindparam("ids", type_=ARRAY(sa.Uuid))
_PARTIES: Final = Statement(
    sa.text(
        f"SELECT p.id, p.delete_time IS NULL, {', '.join(f'p.{name}' for name in _TEXTS)}, p.account, p.emails,"  # noqa: S608
        " p.open_complaints, s.id, s.version, s.state, s.legal_basis, s.source, s.state_time, s.evidence"
        " FROM parties p LEFT JOIN subscriptions s ON s.tenant_id = p.tenant_id AND s.party = p.id"
        "  AND s.topic = :topic AND s.delete_time IS NULL"
        " WHERE p.tenant_id = :tenant AND p.id = ANY (:ids)"  # constants
    ).bindparams(TENANT, _IDS, sa.bindparam("topic", type_=sa.Uuid))
)
_HOLDS: Final = "s.tenant_id = :tenant AND s.channel IN (1, 4) AND s.start_time <= now() AND (s.end_time IS NULL OR s.end_time > now())"
_COLUMNS: Final = "s.id, s.reason, s.start_time, s.address"
_SUPPRESSIONS: Final = Statement(
    sa.text(
        f"SELECT s.party, {_COLUMNS}, true FROM suppressions s WHERE s.party = ANY (:ids) AND {_HOLDS}"  # noqa: S608
        f" UNION ALL SELECT a.party, {_COLUMNS}, false FROM party_addresses a"
        f" JOIN suppressions s ON {_HOLDS} AND s.address = a.address AND s.party IS DISTINCT FROM a.party"
        " WHERE a.tenant_id = :tenant AND a.party = ANY (:ids)"  # constants
    ).bindparams(TENANT, _IDS)
)
_STATUSES: Final = Statement(
    sa.text(
        "SELECT k.address, k.invalid, k.opted_out FROM party_addresses a"
        " JOIN known_statuses k ON k.tenant_id = a.tenant_id AND k.address = a.address AND k.live"
        " WHERE a.tenant_id = :tenant AND a.party = ANY (:ids)"
    ).bindparams(TENANT, _IDS)
)


def facts(tx: Transaction, ids: Sequence[uuid.UUID], topic: uuid.UUID) -> dict[uuid.UUID, PartyFacts]:
    """Return what is known of parties as of now, by id; those that do not exist are left out. One round trip."""
    given = {"tenant": tx.tenant_id, "ids": list(ids)}
    parties, held, marks = tx.run_all(
        [(_PARTIES, {**given, "topic": topic}), (_SUPPRESSIONS, given), (_STATUSES, given)]
    )
    status = {address: (invalid, opted_out) for address, invalid, opted_out in marks}
    suppressed: dict[uuid.UUID, list[Suppressed]] = {}
    for party, id, reason, start, address, of_party in held:
        one = Suppressed(format_name("suppressions", id), reason, start, address or "", of_party)
        suppressed.setdefault(party, []).append(one)
    return {row[0]: _facts(row, status, tuple(suppressed.get(row[0], ()))) for row in parties}


def _facts(row: Any, status: dict[str, tuple[bool, bool]], held: tuple[Suppressed, ...]) -> PartyFacts:
    id, live, *rest = row
    texts, (account, emails, complaints, *said) = rest[: len(_TEXTS)], rest[len(_TEXTS) :]
    return PartyFacts(
        id=id,
        live=live,
        **{name: text or "" for name, text in zip(_TEXTS, texts, strict=True)},
        account=format_name("accounts", account) if account else "",
        emails=tuple(_email(each["address"], status) for each in emails or ()),
        open_complaints=complaints,
        consent=_consent(said) if said[0] is not None else None,
        suppressions=held,
    )


def _email(address: str, status: dict[str, tuple[bool, bool]]) -> Email:
    key = address_key(address)
    return Email(address, key, *status.get(key, (False, False)))


def _consent(said: Sequence[Any]) -> Consent:
    id, version, state, basis, source, time, evidence = said
    return Consent(format_name("subscriptions", id), version, state, basis, source or "", time, evidence or {})
