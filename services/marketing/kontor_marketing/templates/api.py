"""The gRPC service of templates: each change of what one says is a revision of its own."""

from __future__ import annotations

from typing import Any, Final

from kontor.marketing.v1 import template_service_pb2
from kontor_kit.calls import Call
from kontor_kit.db import Transaction
from kontor_kit.errors import FailedPrecondition, InvalidArgument
from kontor_kit.ids import parse_name
from kontor_kit.methods import ResourceServicer
from kontor_kit.shared import Shared
from kontor_kit.store import Locked, Store
from kontor_marketing.parties.table import PARTY
from kontor_marketing.templates import rules
from kontor_marketing.templates.table import TEMPLATE, add_revision, find_revision

_CAMPAIGN: Final = "Campaign"
_UNSUBSCRIBE_URL: Final = "https://unsubscribe.invalid/"
"""What stands in previews for what only a mail has."""


class Templates(ResourceServicer):
    """Serves templates."""

    SERVICE = template_service_pb2.DESCRIPTOR.services_by_name["TemplateService"]
    RESOURCE = TEMPLATE

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._parties = Store(PARTY)

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Check what the template says; count a new revision where that changed."""
        if violations := rules.normalise(after):
            raise InvalidArgument(*violations)
        after.revision = 1 if before is None else before.revision + rules.is_rewritten(before, after)

    def new(self, tx: Transaction, call: Call, record: Any, *args: Any, **options: Any) -> Any:
        """Store a template, and its first revision."""
        template = super().new(tx, call, record, *args, **options)
        add_revision(tx, self._id(template), template, rules.WRITTEN)
        return template

    def put(self, tx: Transaction, call: Call, locked: Locked, after: Any, event: str) -> Any:
        """Store a changed template, and the revision that it is now."""
        template = super().put(tx, call, locked, after, event)
        if template.revision != locked.message.revision:
            add_revision(tx, locked.id, template, rules.WRITTEN)
        return template

    def show_template_revision(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Return a revision."""
        return self._revision(request, call, tx)

    def preview_template(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Return the mail that a party would get."""
        written = self._revision(request, call, tx)
        party = self.referred(tx, call, self._parties, request.party, "party")
        email = party.emails[0].address if party.emails else ""
        variables = rules.variables_of(party, email=email, campaign=_CAMPAIGN, unsubscribe_url=_UNSUBSCRIBE_URL)
        answer = template_service_pb2.PreviewTemplateResponse(revision=written.revision)
        try:
            mail = rules.render(written, variables, party.language_code)
        except rules.MissingVariable as missing:
            answer.missing_variable = str(missing)
        except rules.RenderingFailed as failed:
            raise FailedPrecondition(str(failed), reason="TEMPLATE_FAILED") from failed
        else:
            answer.subject, answer.text_body, answer.html_body = mail
        return answer

    def _revision(self, request: Any, call: Call, tx: Transaction) -> Any:
        id = parse_name(request.name, TEMPLATE.pattern, "name")
        template = self.store.get_one(tx, self.reach(call), id, ("name", "revision"))
        if template is None:
            raise self.not_found(request.name)
        found = find_revision(tx, id, request.revision or template.revision)
        if found is None:
            raise InvalidArgument(("revision", f"there are revisions 1 to {template.revision}"))
        return found

    @staticmethod
    def _id(template: Any) -> Any:
        return parse_name(template.name, TEMPLATE.pattern, "name")
