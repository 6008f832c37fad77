"""The yardstick: a bare gRPC server on psycopg that gives the same answers with the same SQL, under the same row security.

It has no token, no validation, no kit: each call is one transaction of the statements that the service sends for it,
written by hand. With `--pipeline` the statements of a transaction travel together, as psycopg has it.
"""

# ruff: noqa: N802  # the methods bear the names of the contract
from __future__ import annotations

import argparse
import base64
import datetime as dt
import hashlib
import json
import os
import signal
import sys
import threading
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Any

import grpc
import orjson
import psycopg
from psycopg.types.json import Jsonb, set_json_dumps, set_json_loads

from kontor.contacts.v1 import contact_pb2, contact_service_pb2, contact_service_pb2_grpc

SUBJECT = "users/0198a000-0000-7000-8000-000000000002"
MAX_SUSPECTS = 50

FIELDS = """'contacts/' || id::text, display_name, salutation, honorific, given_name, middle_name, family_name,
 name_suffix, title, emails, phones, addresses, language_code, time_zone, lifecycle_stage, 'users/' || owner::text,
 'teams/' || team::text, collaborators, tags, external_ids, custom_fields, 'v' || version::text, create_time,
 update_time, delete_time"""
SET_TENANT = "SELECT set_config('kontor.tenant_id', %s, true)"
GET = f"SELECT {FIELDS} FROM contacts WHERE tenant_id = %s AND id = %s"
LOCK = (
    f"SELECT {FIELDS}, version FROM contacts WHERE tenant_id = %s AND id = ANY (%s) ORDER BY id FOR UPDATE OF contacts"
)
STATUSES = (
    "SELECT address, invalid, opted_out FROM address_statuses"
    " WHERE tenant_id = %s AND address = ANY (%s::text[]) AND delete_time IS NULL"
)
LIST = f"""SELECT {FIELDS}, display_name_key, id FROM contacts WHERE tenant_id = %s AND delete_time IS NULL
 ORDER BY display_name_key, id LIMIT %s"""
LIST_AFTER = f"""SELECT {FIELDS}, display_name_key, id FROM contacts WHERE tenant_id = %s AND delete_time IS NULL
 AND (display_name_key, id) > (%s COLLATE "C", %s) ORDER BY display_name_key, id LIMIT %s"""
FILTER = f"""SELECT {FIELDS}, id FROM contacts WHERE tenant_id = %s AND delete_time IS NULL AND id IN (
 SELECT id FROM terms WHERE tenant_id = %s AND field = %s AND value = %s) ORDER BY id LIMIT %s"""
SEARCH = f"""SELECT {FIELDS.replace("id::", "contacts.id::", 1)}, found.score FROM contacts
 JOIN search_contacts(%s, NULL, NULL, %s) AS found ON contacts.id = found.id
 WHERE tenant_id = %s AND delete_time IS NULL ORDER BY found.score DESC, contacts.id"""
SERIALISE = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
FIND_REQUEST = "SELECT fingerprint, response FROM requests WHERE tenant_id = %s AND subject = %s AND request_id = %s"
KEEP_REQUEST = (
    "INSERT INTO requests (tenant_id, subject, request_id, fingerprint, response) VALUES (%s, %s, %s, %s, %s)"
)
SUSPECTS = """SELECT terms.id, terms.field, terms.value FROM unnest(%s::text[], %s::text[]) AS given(field, value)
 JOIN terms ON terms.field = given.field COLLATE "C" AND terms.value = given.value COLLATE "C"
 JOIN contacts ON contacts.tenant_id = terms.tenant_id AND contacts.id = terms.id
 WHERE terms.tenant_id = %s AND contacts.delete_time IS NULL LIMIT %s"""
INSERT = """INSERT INTO contacts (tenant_id, id, version, create_time, update_time, owner, display_name,
 display_name_key, given_name, family_name, family_name_key, title, emails, phones, addresses, language_code,
 lifecycle_stage, tags, custom_fields, search_text)
 VALUES (%s, %s, 1, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"""
INSERT_TERMS = """INSERT INTO terms (tenant_id, field, value, id)
 SELECT %s, given.field, given.value, %s FROM unnest(%s::text[], %s::text[]) AS given(field, value)
 ON CONFLICT DO NOTHING"""
UPDATE = "UPDATE contacts SET title = %s, version = %s, update_time = %s WHERE tenant_id = %s AND id = %s"
INSERT_CHANGE = """INSERT INTO change_pending (tenant_id, resource_name, version, event_type, before, after, subject,
 peer, request_id, trace_id) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"""


class Yardstick(contact_service_pb2_grpc.ContactServiceServicer):
    """Serves contacts of one tenant."""

    def __init__(self, database_url: str, tenant_id: uuid.UUID, *, pipeline: bool) -> None:
        self._database_url = database_url
        self._tenant_id = tenant_id
        self._pipeline = pipeline
        self._local = threading.local()

    @contextmanager
    def _transaction(self) -> Iterator[psycopg.Connection[Any]]:
        """Yield this thread's connection in a transaction of the tenant."""
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = psycopg.connect(self._database_url, autocommit=True)
            set_json_loads(orjson.loads, connection)
            set_json_dumps(orjson.dumps, connection)
        with connection.pipeline() if self._pipeline else nullcontext(), connection.transaction():
            connection.execute(SET_TENANT, (str(self._tenant_id),))
            yield connection

    def GetContact(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Read a row."""
        with self._transaction() as tx:
            row = tx.execute(GET, (self._tenant_id, _id(request.name))).fetchone()
            if row is None:
                context.abort(grpc.StatusCode.NOT_FOUND, "there is none")
            contact = _contact(row)
            self._mark(tx, [contact])
        return contact

    def ListContacts(self, request: Any, context: grpc.ServicerContext) -> Any:
        """List by name, or filter by a custom field."""
        tenant, size = self._tenant_id, request.page_size + 1
        with self._transaction() as tx:
            if request.filter:
                field, value = request.filter.split(" = ")
                rows = tx.execute(FILTER, (tenant, tenant, f"contacts.{field}", value.strip('"'), size)).fetchall()
            elif request.page_token:
                key, id = json.loads(base64.urlsafe_b64decode(request.page_token))
                rows = tx.execute(LIST_AFTER, (tenant, key, uuid.UUID(id), size)).fetchall()
            else:
                rows = tx.execute(LIST, (tenant, size)).fetchall()
            contacts = [_contact(row) for row in rows[: request.page_size]]
            self._mark(tx, contacts)
        token = ""
        if len(rows) == size:
            position = [str(value) for value in rows[-2][25:]]
            token = base64.urlsafe_b64encode(json.dumps(position).encode()).decode()
        return contact_service_pb2.ListContactsResponse(contacts=contacts, next_page_token=token)

    def SearchContacts(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Search by the function that the service's migrations made."""
        with self._transaction() as tx:
            rows = tx.execute(SEARCH, (request.query.lower(), request.page_size, self._tenant_id)).fetchall()
            contacts = [_contact(row) for row in rows]
            self._mark(tx, contacts)
        results = [{"contact": contact, "score": row[-1]} for contact, row in zip(contacts, rows, strict=True)]
        return contact_service_pb2.SearchContactsResponse(results=results)

    def CreateContact(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Write a row, its terms, its change and the answer, unless there is an answer or somebody like it."""
        tenant, contact, key = self._tenant_id, request.contact, (self._tenant_id, SUBJECT, request.request_id)
        data = request.SerializeToString(deterministic=True)
        fingerprint = hashlib.sha256(data).digest()
        with self._transaction() as tx:
            tx.execute(SERIALISE, (f"{tenant}/{SUBJECT}/{request.request_id}",))
            answered = tx.execute(FIND_REQUEST, key).fetchone()
            if answered:
                return contact_pb2.Contact.FromString(answered[1])
            terms, match_terms = _terms(contact)
            fields, values = zip(*match_terms, strict=True)
            suspects = (list(fields), list(values), tenant, MAX_SUSPECTS)
            if not request.allow_duplicates and tx.execute(SUSPECTS, suspects).fetchall():
                context.abort(grpc.StatusCode.ALREADY_EXISTS, "there is somebody like it")
            id, now = uuid.UUID(bytes=os.urandom(16), version=4), dt.datetime.now(dt.UTC)
            contact.name, contact.owner, contact.etag = f"contacts/{id}", SUBJECT, "v1"
            contact.create_time = contact.update_time = now
            tx.execute(INSERT, _row(tenant, id, now, contact))
            fields, values = zip(*sorted(terms | match_terms), strict=True)
            tx.execute(INSERT_TERMS, (tenant, id, list(fields), list(values)))
            self._record(tx, context, contact, "created", None, contact.SerializeToString(), request.request_id)
            self._mark(tx, [contact])
            tx.execute(KEEP_REQUEST, (*key, fingerprint, contact.SerializeToString()))
        return contact

    def UpdateContact(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Change the title, and write down the change."""
        id, now = _id(request.contact.name), dt.datetime.now(dt.UTC)
        with self._transaction() as tx:
            row = tx.execute(LOCK, (self._tenant_id, [id])).fetchone()
            if row is None:
                context.abort(grpc.StatusCode.NOT_FOUND, "there is none")
            contact, version = _contact(row), row[-1] + 1
            before = contact.SerializeToString()
            contact.title, contact.etag, contact.update_time = request.contact.title, f"v{version}", now
            tx.execute(UPDATE, (contact.title, version, now, self._tenant_id, id))
            self._record(tx, context, contact, "updated", before, contact.SerializeToString(), None, version)
            self._mark(tx, [contact])
        return contact

    def _record(
        self,
        tx: psycopg.Connection[Any],
        context: grpc.ServicerContext,
        contact: Any,
        event: str,
        before: bytes | None,
        after: bytes,
        request_id: str | None,
        version: int = 1,
    ) -> None:
        event_type, trace = f"kontor.contacts.v1.contact.{event}", os.urandom(16).hex()
        change = (contact.name, version, event_type, before, after, SUBJECT, context.peer(), request_id, trace)
        tx.execute(INSERT_CHANGE, (self._tenant_id, *change))

    def _mark(self, tx: psycopg.Connection[Any], contacts: Sequence[Any]) -> None:
        points: dict[str, list[Any]] = {}
        for contact in contacts:
            for email in contact.emails:
                points.setdefault(email.address.lower(), []).append(email)
            for phone in contact.phones:
                points.setdefault(phone.number, []).append(phone)
        if not points:
            return
        for address, invalid, opted_out in tx.execute(STATUSES, (self._tenant_id, list(points))).fetchall():
            for point in points[address]:
                point.invalid, point.opted_out = invalid, opted_out


def _id(name: str) -> uuid.UUID:
    return uuid.UUID(name.removeprefix("contacts/"))


def _contact(row: Sequence[Any]) -> Any:
    return contact_pb2.Contact(
        name=row[0],
        display_name=row[1],
        salutation=row[2],
        honorific=row[3],
        given_name=row[4],
        middle_name=row[5],
        family_name=row[6],
        name_suffix=row[7],
        title=row[8],
        emails=row[9],
        phones=row[10],
        addresses=row[11],
        language_code=row[12],
        time_zone=row[13],
        lifecycle_stage=row[14],
        owner=row[15],
        team=row[16],
        collaborators=row[17] and [f"users/{id}" for id in row[17]],
        tags=row[18],
        external_ids=row[19],
        custom_fields=row[20],
        etag=row[21],
        create_time=row[22],
        update_time=row[23],
        delete_time=row[24],
    )


def _row(tenant: uuid.UUID, id: uuid.UUID, now: dt.datetime, contact: Any) -> tuple[Any, ...]:
    emails = [{"address": one.address, "kind": one.kind, "primary": one.primary} for one in contact.emails]
    phones = [{"number": one.number, "kind": one.kind, "primary": one.primary} for one in contact.phones]
    addresses = [
        {
            "lines": list(one.lines),
            "postal_code": one.postal_code,
            "locality": one.locality,
            "region_code": one.region_code,
            "primary": one.primary,
        }
        for one in contact.addresses
    ]
    words = [contact.display_name, contact.given_name, contact.family_name]
    words += [one.address for one in contact.emails] + [one.number for one in contact.phones]
    return (
        *(tenant, id, now, now, _owner(contact.owner)),
        *(contact.display_name, contact.display_name.lower(), contact.given_name),
        *(contact.family_name, contact.family_name.lower(), contact.title),
        *(Jsonb(emails), Jsonb(phones), Jsonb(addresses), contact.language_code, contact.lifecycle_stage),
        *(list(contact.tags), Jsonb(dict(contact.custom_fields)), " ".join(dict.fromkeys(words)).lower()),
    )


def _owner(name: str) -> uuid.UUID:
    return uuid.UUID(name.removeprefix("users/"))


def _terms(contact: Any) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """Return the terms of a contact, and those that tell who may be the same."""
    emails = [one.address.lower() for one in contact.emails]
    phones = [one.number for one in contact.phones]
    family = contact.family_name.lower()
    words = " ".join(sorted(f"{contact.given_name} {contact.family_name}".lower().split()))
    terms = {("contacts.emails.address", email) for email in emails}
    terms |= {("contacts.phones.number", phone) for phone in phones}
    terms |= {("contacts.tags", tag.lower()) for tag in contact.tags}
    terms.add(("contacts.custom_fields.segment", contact.custom_fields["segment"].lower()))
    match_terms = {("contacts.match.emails", email) for email in emails}
    match_terms |= {("contacts.match.phones", f"{phone}|{family}") for phone in phones}
    for one in contact.addresses:
        match_terms.add(("contacts.match.display_name", f"{words}|{one.region_code}:{one.postal_code}".lower()))
    return terms, match_terms


def main() -> None:
    """Serve until the process is told to end; the port stands on standard output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenant", type=uuid.UUID, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--pipeline", action="store_true")
    arguments = parser.parse_args()
    # By standard input, because everybody on the machine can read arguments.
    database_url = sys.stdin.readline().strip()
    server = grpc.server(ThreadPoolExecutor(arguments.threads), options=[("grpc.so_reuseport", 0)])
    servicer = Yardstick(database_url, arguments.tenant, pipeline=arguments.pipeline)
    contact_service_pb2_grpc.add_ContactServiceServicer_to_server(servicer, server)
    echo = {"Echo": grpc.unary_unary_rpc_method_handler(lambda data, _: data)}
    server.add_registered_method_handlers("kontor.contacts.v1.ContactService", echo)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    server.stop(1).wait()


if __name__ == "__main__":
    main()
