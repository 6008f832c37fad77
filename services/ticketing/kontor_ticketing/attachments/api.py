"""The gRPC service of attachments, and the job that removes content which nothing refers to."""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import logging
import uuid
from typing import Any, Final

import sqlalchemy as sa
from google.api import httpbody_pb2
from sqlalchemy.dialects.postgresql import ARRAY

from kontor.ticketing.v1 import attachment_pb2, attachment_service_pb2
from kontor_kit.calls import Behavior, Call
from kontor_kit.db import Statement, Transaction
from kontor_kit.errors import FailedPrecondition, InvalidArgument
from kontor_kit.ids import parse_name, uuid7
from kontor_kit.jobs import Periodic, Turn, every
from kontor_kit.methods import ResourceServicer
from kontor_kit.records import principal_of, tenant_of
from kontor_kit.shared import Shared
from kontor_kit.store import Store, is_live
from kontor_ticketing.attachments import rules
from kontor_ticketing.attachments.storage import Storage
from kontor_ticketing.attachments.table import ATTACHMENT, attachments
from kontor_ticketing.tickets.table import TICKET

logger = logging.getLogger(__name__)

_KEPT: Final = dt.timedelta(days=1)
"""So old content is that no request can still want a row for."""
_BATCH: Final = 500
_KNOWN: Final = Statement(
    sa.select(attachments.c.id).where(attachments.c.id == sa.any_(sa.bindparam("ids", type_=ARRAY(sa.Uuid))))
)


class Attachments(ResourceServicer):
    """Serves attachments, the content of which lies in `storage`."""

    SERVICE = attachment_service_pb2.DESCRIPTOR.services_by_name["AttachmentService"]
    RESOURCE = ATTACHMENT

    def __init__(self, shared: Shared, storage: Storage | None, most: int) -> None:
        """`most` is how many bytes are taken; without a storage none are."""
        super().__init__(shared)
        self._storage = storage
        self._most = most
        self._tickets = Store(TICKET)

    def handler(self, method: str) -> Behavior | None:
        """Return what serves a method: content travels outside of transactions."""
        own = {"UploadAttachment": self._upload, "DownloadAttachment": self._download}
        return own.get(method) or super().handler(method)

    def _upload(self, request: Any, call: Call) -> Any:
        """Store content, and then the row that shows it: where that fails, the content stays unseen until it is removed."""
        storage, content = self._ready(), request.content
        if violations := rules.check(len(content.data), content.content_type, request.filename, self._most):
            raise InvalidArgument(*violations)
        tenant_id, id = tenant_of(call), uuid7()
        assert tenant_id is not None, "the method is not public"
        with self.shared.database.read(tenant_id) as tx:
            self._admit(tx, call, request)
        storage.put(rules.key(tenant_id, id), content.data)

        def create(request: Any, call: Call, tx: Transaction) -> Any:
            self._admit(tx, call, request)
            return self.shown(tx, call, self.new(tx, call, _record(request, call), id=id))

        return self._writing(create, call.method)(request, call)

    def _admit(self, tx: Transaction, call: Call, request: Any) -> None:
        """See that the caller may add to the ticket."""
        ticket = self.referred(tx, call, self._tickets, request.ticket, "ticket")
        TICKET.scope.check(principal_of(call), self.scope(call), ticket)

    def _download(self, request: Any, call: Call) -> Any:
        """Return the content of an attachment that the caller may see."""
        storage, tenant_id = self._ready(), tenant_of(call)
        assert tenant_id is not None, "the method is not public"
        id = parse_name(request.name, self.RESOURCE.pattern, "name")
        with self.shared.database.read(tenant_id) as tx:
            attachment = self.store.get_one(tx, self.reach(call), id)
        if attachment is None:
            raise self.not_found(request.name)
        content = storage.get(rules.key(tenant_id, id)) if is_live(attachment) else None
        if content is None:
            reason = "CONTENT_LOST" if is_live(attachment) else "DELETED"
            raise FailedPrecondition(f"{request.name} has no content that could be shown", reason=reason)
        call.set_header("content-disposition", rules.disposition(attachment.filename))
        call.set_header("x-content-type-options", "nosniff")
        return httpbody_pb2.HttpBody(content_type=rules.served_type(attachment.content_type), data=content)

    def _ready(self) -> Storage:
        if self._storage is None:
            raise FailedPrecondition("the service has no storage for attachments", reason="STORAGE_MISSING")
        return self._storage


def _record(request: Any, call: Call) -> Any:
    content, public = request.content, attachment_pb2.Attachment.VISIBILITY_PUBLIC
    return attachment_pb2.Attachment(
        ticket=request.ticket,
        visibility=request.visibility or public,
        filename=rules.plain_filename(request.filename),
        content_type=rules.plain_type(content.content_type),
        size_bytes=len(content.data),
        sha256=hashlib.sha256(content.data).hexdigest(),
        author=principal_of(call).subject,
    )


def remove_orphans(storage: Storage) -> Periodic:
    """Return the job that removes content without a row: of uploads that failed, of repeated ones, of erased tenants."""

    @every(seconds=3600)
    def remove_orphaned_content(turn: Turn) -> None:
        old = storage.older_than(dt.datetime.now(dt.UTC) - _KEPT)
        ours = ((key, parsed[1]) for key in old if (parsed := rules.parse_key(key)))
        removed = 0
        while batch := dict(itertools.islice(ours, _BATCH)):
            turn.renew()
            for key in batch.keys() - _referred_to(turn, batch):
                storage.delete(key)
                removed += 1
        if removed:
            logger.info("removed content that nothing refers to", extra={"count": removed})

    return remove_orphaned_content


def _referred_to(turn: Turn, batch: dict[str, uuid.UUID]) -> set[str]:
    with turn.database.read(None) as tx:
        known = {row[0] for row in tx.run(_KNOWN, {"ids": list(batch.values())})}
    return {key for key, id in batch.items() if id in known and not rules.is_part(key)}
