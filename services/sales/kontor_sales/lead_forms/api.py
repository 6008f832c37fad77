"""The gRPC service of lead forms: their keepers' methods, and the one that people on the web use."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Callable
from typing import Any, Final

import sqlalchemy as sa
from google.api import httpbody_pb2
from sqlalchemy.dialects.postgresql import BYTEA, insert

from kontor.sales.v1 import lead_form_service_pb2, lead_pb2
from kontor_kit.calls import Behavior, Call
from kontor_kit.db import Statement, Transaction
from kontor_kit.errors import InvalidArgument, NotFound, PermissionDenied, ResourceExhausted, Violation
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import format_name, uuid7
from kontor_kit.methods import ResourceServicer
from kontor_kit.shared import Shared
from kontor_kit.store import is_live
from kontor_kit.tracing import Trace
from kontor_sales.lead_forms import rules
from kontor_sales.lead_forms.table import LEAD_FORM, lead_form_days, lead_form_keys

Capture = Callable[[Transaction, Trace, Any], Any]
"""Stores a lead that a form captured."""

_HEARD: Final = json.dumps({"status": "received"}).encode()
_FORM: Final = sa.bindparam("lead_form", type_=sa.Uuid)
_FIND: Final = Statement(
    sa.select(sa.column("tenant_id", sa.Uuid), sa.column("lead_form", sa.Uuid)).select_from(
        sa.func.find_lead_form(sa.bindparam("digest", type_=BYTEA)).table_valued("tenant_id", "lead_form")
    )
)
_ADD_KEY: Final = Statement(
    lead_form_keys.insert().values({c.name: sa.bindparam(c.name, type_=c.type) for c in lead_form_keys.c})
)
_END_KEYS: Final = Statement(
    lead_form_keys.update()
    .where(
        lead_form_keys.c.tenant_id == TENANT,
        lead_form_keys.c.lead_form == _FORM,
        sa.or_(lead_form_keys.c.expire_time.is_(None), lead_form_keys.c.expire_time > sa.bindparam("end")),
    )
    .values(expire_time=sa.bindparam("end", type_=lead_form_keys.c.expire_time.type))
)
_FORGET_KEYS: Final = Statement(
    lead_form_keys.delete().where(
        lead_form_keys.c.tenant_id == TENANT,
        lead_form_keys.c.lead_form == _FORM,
        lead_form_keys.c.expire_time <= sa.func.now(),
    )
)
_day = insert(lead_form_days).values(
    tenant_id=TENANT, lead_form=_FORM, day=sa.bindparam("day", type_=sa.Date), captured=1
)
_COUNT: Final = Statement(
    _day.on_conflict_do_update(
        index_elements=["tenant_id", "lead_form", "day"],
        set_={"captured": lead_form_days.c.captured + 1},
        where=lead_form_days.c.captured < sa.bindparam("limit", type_=sa.Integer),
    ).returning(lead_form_days.c.captured)
)


class LeadForms(ResourceServicer):
    """Serves lead forms."""

    SERVICE = lead_form_service_pb2.DESCRIPTOR.services_by_name["LeadFormService"]
    RESOURCE = LEAD_FORM

    def __init__(self, shared: Shared, capture: Capture) -> None:
        super().__init__(shared)
        self._capture = capture

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Bring the form into form."""
        if violations := rules.normalise(after):
            raise InvalidArgument(*violations)

    def handler(self, method: str) -> Behavior | None:
        """Return what serves the RPC of this name; to capture a lead there is no tenant before the key is looked up."""
        return self.capture_lead if method == "CaptureLead" else super().handler(method)

    def rotate_lead_form_key(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Make a new key; the answer is not kept, and a repetition makes another one."""
        locked = self.lock(tx, call, request.name)
        overlap = request.overlap.ToTimedelta() if request.HasField("overlap") else rules.DEFAULT_OVERLAP
        key, form = rules.new_key(), {"tenant": tx.tenant_id, "lead_form": locked.id}
        tx.defer(_FORGET_KEYS, form)
        tx.defer(_END_KEYS, {**form, "end": dt.datetime.now(dt.UTC) + overlap})
        values = {"id": uuid7(), "digest": rules.digest(key), "expire_time": None}
        tx.defer(_ADD_KEY, {"tenant_id": tx.tenant_id, "lead_form": locked.id, **values})
        self.note(tx, call, locked, "key_rotated")
        return call.method.output(key=key, key_prefix=rules.prefix_of(key))

    def capture_lead(self, request: Any, call: Call) -> Any:
        """Store what somebody sent with a form. Whether it was taken for a machine's, or known before, is not told."""
        with self.shared.database.read(None) as tx:
            found = tx.run(_FIND, {"digest": rules.digest(request.key)})
        if not found:
            raise _no_form()
        tenant, form_id = found[0]
        with self.shared.database.write(tenant) as tx:
            own = self.own_call(tx, call.trace)
            form = self.store.get_one(tx, self.reach(own), form_id)
            if form is None or not is_live(form) or form.state != rules.STATE_ACTIVE:
                raise _no_form()
            self._admit_page(call, form)
            self._take(tx, own, call, form, request)
        return httpbody_pb2.HttpBody(content_type="application/json", data=_HEARD)

    @staticmethod
    def _admit_page(call: Call, form: Any) -> None:
        origin = str(call.metadata.get("origin", ""))
        if not rules.is_allowed(form.allowed_origins, origin):
            raise PermissionDenied("pages of this origin may not send the form", reason="ORIGIN_NOT_ALLOWED")
        if origin:
            call.set_header("access-control-allow-origin", origin)
            call.set_header("vary", "origin")

    def _take(self, tx: Transaction, own: Call, call: Call, form: Any, request: Any) -> None:
        submission, now = request.submission, dt.datetime.now(dt.UTC)
        sent = rules.read(submission.content_type, submission.data)
        if form.honeypot and sent.get(form.honeypot):
            return
        request_id = f"{form.name}/{request.request_id or call.request_id}"
        attempt = None
        if request.request_id or call.request_id:
            attempt = self.shared.requests.begin(tx, own, request, request_id)
            if attempt.answer is not None:
                return
        lead = lead_pb2.Lead(lead_form=form.name)
        rules.fill(lead, form, sent, str(call.metadata.get("origin", "")), now)
        self._count(tx, form, now)
        try:
            self._capture(tx, call.trace, lead)
        except InvalidArgument as error:
            # Whoever filled in the form knows its inputs, and not the fields of a lead.
            found = (Violation(rules.input_of(form, field), text) for field, text in error.violations)
            raise InvalidArgument(*found) from error
        if attempt is not None:
            self.shared.requests.keep(tx, attempt, httpbody_pb2.HttpBody(data=_HEARD))

    def _count(self, tx: Transaction, form: Any, now: dt.datetime) -> None:
        limit = form.daily_limit or rules.DAILY_LIMIT
        values = {"tenant": tx.tenant_id, "lead_form": uuid.UUID(form.name.rpartition("/")[2]), "day": now.date()}
        if not tx.run(_COUNT, {**values, "limit": limit}):
            raise ResourceExhausted("the form has captured as much as it may today", reason="DAILY_LIMIT")


def _no_form() -> NotFound:
    return NotFound("there is no form with this key", metadata={"resource": format_name("leadForms", uuid.UUID(int=0))})
