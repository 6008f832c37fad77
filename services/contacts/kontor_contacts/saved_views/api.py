"""The gRPC service of saved views."""

from typing import Any

import sqlalchemy as sa

from kontor.contacts.v1 import saved_view_pb2, saved_view_service_pb2
from kontor_contacts.saved_views import rules
from kontor_contacts.saved_views.table import saved_views
from kontor_kit import filters, ordering
from kontor_kit.calls import Call
from kontor_kit.db import Transaction
from kontor_kit.errors import InvalidArgument, PermissionDenied
from kontor_kit.methods import ResourceServicer
from kontor_kit.principals import Scope
from kontor_kit.records import principal_of
from kontor_kit.resource import Resource
from kontor_kit.scopes import SUBJECT, TEAMS, OwnerScope
from kontor_kit.store import Locked

_VISIBILITY = saved_view_pb2.SavedView.Visibility


class SharedScope(OwnerScope):
    """Views are seen by their owner, by the team they are shown to, or by everybody; `all` reaches private ones too."""

    def clause(self, scope: Scope, table: sa.Table) -> sa.ColumnElement[bool] | None:
        """As `rules.is_visible`."""
        if scope is Scope.ALL:
            return None
        visibility = table.c.visibility
        return sa.or_(
            table.c.owner == SUBJECT,
            visibility == _VISIBILITY.VISIBILITY_PUBLIC,
            sa.and_(visibility == _VISIBILITY.VISIBILITY_TEAM, table.c.team == sa.any_(TEAMS)),
        )


class SavedViews(ResourceServicer):
    """Serves saved views."""

    SERVICE = saved_view_service_pb2.DESCRIPTOR.services_by_name["SavedViewService"]
    RESOURCE = Resource(saved_view_pb2.SavedView, saved_views, scope=SharedScope())

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """See that filter and order can be read; a view is private where nothing is said."""
        after.visibility = after.visibility or _VISIBILITY.VISIBILITY_PRIVATE
        filters.parse(after.filter)
        ordering.parse(after.order_by)
        violations = rules.check_visibility(_VISIBILITY.Name(after.visibility).removeprefix("VISIBILITY_"), after.team)
        if violations:
            raise InvalidArgument(*violations)

    def lock(self, tx: Transaction, call: Call, name: str, field: str = "name", *, live: bool = True) -> Locked:
        """Lock a view; one that is merely shown to the caller cannot be changed."""
        locked = super().lock(tx, call, name, field, live=live)
        if self.scope(call) is not Scope.ALL and locked.message.owner != principal_of(call).subject:
            raise PermissionDenied(f"{name} belongs to somebody else", reason="OUT_OF_SCOPE")
        return locked
