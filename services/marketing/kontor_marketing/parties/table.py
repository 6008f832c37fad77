"""The resource and the tables of parties, what they are made of beside the contact, and what the gate asks of them.

found = facts(tx, party_ids, topic_id)
found[id].consent, found[id].suppression_of(address), found[id].emails, found[id].open_complaints
"""

import uuid
from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from kontor.marketing.v1 import party_pb2
from kontor_kit.db import Statement, Transaction
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import format_name
from kontor_kit.resource import Resource
from kontor_kit.tables import KEY_TEXT, array_column, index, json_column, resource_table, search_index
from kontor_marketing.parties.rules import Consent, Email, PartyFacts, Suppressed, address_key
from kontor_marketing.tables import metadata

parties = resource_table(
    "parties",
    metadata,
    sa.Column("contact", sa.Uuid, nullable=False),
    sa.Column("contact_version", sa.BigInteger, nullable=False),
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    sa.Column("salutation", sa.Text),
    sa.Column("honorific", sa.Text),
    sa.Column("given_name", sa.Text),
    sa.Column("family_name", sa.Text),
    json_column("emails"),
    sa.Column("language_code", KEY_TEXT),
    sa.Column("country", KEY_TEXT),
    sa.Column("lifecycle_stage", sa.SmallInteger, nullable=False),
    sa.Column("account", sa.Uuid),
    sa.Column("account_display_name", sa.Text),
    sa.Column("industry", KEY_TEXT),
    sa.Column("account_country", KEY_TEXT),
    sa.Column("tier", sa.SmallInteger, nullable=False),
    array_column("roles", sa.SmallInteger),
    array_column("tags", sa.Text),
    sa.Column("open_complaints", sa.Integer, nullable=False),
    sa.Column("search_text", sa.Text, nullable=False),
    *(
        index("parties", column)
        for column in (
            "display_name_key",
            "language_code",
            "country",
            "lifecycle_stage",
            "account",
            "industry",
            "account_country",
            "tier",
            "open_complaints",
            "create_time",
            "update_time",
        )
    ),
    search_index("parties"),
)

PARTY = Resource(party_pb2.Party, parties, events=())
"""Nothing is told of parties: what happens to contacts is told by contacts."""

party_addresses = sa.Table(
    "party_addresses",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("address", KEY_TEXT, primary_key=True),
    sa.Column("party", sa.Uuid, primary_key=True),
    sa.Index("party_addresses_party", "tenant_id", "party"),
)
"""The addresses of live parties, as they are compared."""

known_accounts = sa.Table(
    "known_accounts",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("account", sa.Uuid, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("live", sa.Boolean, nullable=False),
    sa.Column("display_name", sa.Text),
    sa.Column("industry", sa.Text),
    sa.Column("tier", sa.SmallInteger, nullable=False),
    sa.Column("roles", ARRAY(sa.SmallInteger)),
    sa.Column("country", sa.Text),
)

known_affiliations = sa.Table(
    "known_affiliations",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("affiliation", sa.Uuid, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("live", sa.Boolean, nullable=False),
    sa.Column("contact", sa.Uuid, nullable=False),
    sa.Column("account", sa.Uuid, nullable=False),
    sa.Column("primary", sa.Boolean, nullable=False),
    sa.Column("valid_to", sa.Date),
    sa.Index("known_affiliations_contact", "tenant_id", "contact", "affiliation"),
    sa.Index("known_affiliations_account", "tenant_id", "account", "contact"),
    # Those that end by themselves.
    sa.Index(
        "known_affiliations_ending",
        "tenant_id",
        "affiliation",
        postgresql_where=sa.text("live AND valid_to IS NOT NULL"),
    ),
)

known_statuses = sa.Table(
    "known_statuses",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("status", sa.Uuid, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("live", sa.Boolean, nullable=False),
    sa.Column("address", KEY_TEXT, nullable=False),
    sa.Column("invalid", sa.Boolean, nullable=False),
    sa.Column("opted_out", sa.Boolean, nullable=False),
    sa.Index("known_statuses_address", "tenant_id", "address", postgresql_where=sa.text("live")),
)

known_tickets = sa.Table(
    "known_tickets",
    metadata,
    sa.Column("tenant_id", sa.Uuid, primary_key=True),
    sa.Column("ticket", sa.Uuid, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("complains", sa.Boolean, nullable=False),
    sa.Column("contact", sa.Uuid),
    sa.Column("account", sa.Uuid),
    sa.Index("known_tickets_contact", "tenant_id", "contact", postgresql_where=sa.text("complains")),
    sa.Index("known_tickets_account", "tenant_id", "account", postgresql_where=sa.text("complains")),
)
"""All tickets, for their versions; `complains` are complaints that are neither solved nor closed."""

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
        " p.open_complaints, s.id, s.version, s.state, s.legal_basis, s.source, s.state_time, s.evidence,"
        " (SELECT t.double_opt_in FROM topics t WHERE t.tenant_id = :tenant AND t.id = :topic)"
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
    id, version, state, basis, source, time, evidence, double = said
    return Consent(format_name("subscriptions", id), version, state, basis, source or "", time, evidence or {}, double)


_MARKS: Final = Statement(
    sa.select(known_statuses.c.address, known_statuses.c.invalid, known_statuses.c.opted_out).where(
        known_statuses.c.tenant_id == TENANT,
        known_statuses.c.live,
        known_statuses.c.address == sa.any_(sa.bindparam("addresses", type_=ARRAY(KEY_TEXT))),
    )
)


def mark_addresses(tx: Transaction, parties: Sequence[Any]) -> None:
    """Write into Party messages what is known of their addresses, which is not stored with them."""
    emails = [(address_key(email.address), email) for party in parties for email in party.emails]
    given = {"tenant": tx.tenant_id, "addresses": [key for key, _ in emails]}
    found = {address: marks for address, *marks in tx.run(_MARKS, given)} if emails else {}
    for key, email in emails:
        email.invalid, email.opted_out = found.get(key, (False, False))
