"""What happens to leads when something happens elsewhere."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from kontor.contacts.v1 import contact_pb2
from kontor_kit.db import Statement
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import parse_name
from kontor_kit.inbox.events import Event, Handlers
from kontor_kit.inbox.handling import Work
from kontor_kit.tables import KEY_TEXT
from kontor_sales.leads.table import known_contacts, known_emails

_CONTACT: Final = sa.bindparam("contact", type_=sa.Uuid)
_upsert = insert(known_contacts).values(
    tenant_id=TENANT, contact=_CONTACT, version=sa.bindparam("version", type_=sa.BigInteger)
)
_KNOW: Final = Statement(
    _upsert.on_conflict_do_update(
        index_elements=["tenant_id", "contact"],
        set_={"version": _upsert.excluded.version},
        where=known_contacts.c.version < _upsert.excluded.version,
    ).returning(known_contacts.c.version)
)
_FORGET: Final = Statement(
    known_emails.delete().where(known_emails.c.tenant_id == TENANT, known_emails.c.contact == _CONTACT)
)
_given = (
    sa.func.unnest(sa.bindparam("emails", type_=ARRAY(KEY_TEXT)))
    .table_valued(sa.column("email", KEY_TEXT))
    .render_derived(name="given")
)
_ADD: Final = Statement(
    known_emails.insert().from_select(["tenant_id", "email", "contact"], sa.select(TENANT, _given.c.email, _CONTACT))
)


def declare(handlers: Handlers) -> None:
    """Declare the handlers of leads."""
    handlers.on("kontor.contacts.v1.contact.*")(know_contact)


def know_contact(event: Event, work: Work) -> None:
    """Keep the e-mail addresses of a contact, and point the leads to it that have one of them."""
    contact: Any = event.record(contact_pb2.Contact())
    given = {"tenant": event.tenant_id, "contact": parse_name(event.resource_name, "contacts/{contact}", "contact")}
    if not work.tx.run(_KNOW, {**given, "version": event.version}):
        return
    live = not contact.HasField("delete_time")
    emails = sorted({entry.address.lower() for entry in contact.emails}) if live else []
    work.tx.defer(_FORGET, given)
    if emails:
        work.tx.defer(_ADD, {**given, "emails": emails})
        work.service["leads"].link(work.tx, work.trace, event.resource_name, emails)
