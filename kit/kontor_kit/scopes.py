"""Record scope: which records of its tenant a caller's permission reaches.

A resource has one rule. It says it twice, as a condition on rows for everything that is read, and as a check of a
message for everything that is written; both are here so that they stay the same.
"""

from __future__ import annotations

from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from kontor_kit.errors import PermissionDenied
from kontor_kit.principals import Principal, Scope, patterns

SUBJECT = sa.bindparam("subject", type_=sa.Uuid)
TEAMS = sa.bindparam("teams", type_=ARRAY(sa.Uuid))
_GRANTS = sa.bindparam("grants", type_=ARRAY(sa.Text))


class ScopeRule(Protocol):
    """The rule of one resource."""

    def clause(self, scope: Scope, table: sa.Table) -> sa.ColumnElement[bool] | None:
        """Return the condition on rows that a permission of `scope` reaches; None where it reaches all of them.

        It may use the parameters of `parameters`.
        """

    def check(self, principal: Principal, scope: Scope, message: Any) -> None:
        """Raise PermissionDenied where `message`, as it is to be stored, lies outside of what `scope` reaches."""


def parameters(principal: Principal) -> dict[str, Any]:
    """Return the values of the parameters that a scope's clause may use, and the tenant."""
    return {
        "tenant": principal.tenant_id,
        "subject": principal.subject_id,
        "teams": list(principal.teams),
        "grants": [f"{permission}:{scope.name}" for permission, scope in principal.permissions.items()],
    }


def granted(permission: str, scope: Scope) -> sa.ColumnElement[bool]:
    """Return the condition that the caller has another permission too, and was given it with this very scope."""
    given = sa.literal([f"{pattern}:{scope.name}" for pattern in patterns(permission)], ARRAY(sa.Text))
    found: sa.ColumnElement[bool] = _GRANTS.overlap(given)
    return found


class OwnerScope:
    """Records have an owner and a team: `own` reaches the caller's, `team` those of the caller's teams too."""

    def clause(self, scope: Scope, table: sa.Table) -> sa.ColumnElement[bool] | None:
        """Compare `owner` and `team`."""
        if scope is Scope.ALL:
            return None
        owns = table.c.owner == SUBJECT
        return owns if scope is Scope.OWN else sa.or_(owns, table.c.team == sa.any_(TEAMS))

    def check(self, principal: Principal, scope: Scope, message: Any) -> None:
        """Refuse to give a record to somebody whom the scope does not reach."""
        if scope is Scope.ALL or message.owner == principal.subject:
            return
        if scope is Scope.TEAM and message.team in {f"teams/{team}" for team in principal.teams}:
            return
        reach = "your own records" if scope is Scope.OWN else "records of your teams"
        raise PermissionDenied(
            f"your permission reaches {reach}, and the record would belong to {message.owner or 'nobody'}",
            reason="OUT_OF_SCOPE",
        )


class TenantScope:
    """Records belong to the tenant as a whole: every scope reaches all of them."""

    def clause(self, scope: Scope, table: sa.Table) -> sa.ColumnElement[bool] | None:
        """Reach everything."""
        return None

    def check(self, principal: Principal, scope: Scope, message: Any) -> None:
        """Allow everything."""


class ParentScope:
    """Records follow the record they belong to: whoever reaches the parent reaches them.

    `column` holds the parent's id; `parent` is the parent's table, whose rule is `rule`. The parent of a new record is
    to be checked by that rule where it is looked up.
    """

    def __init__(self, column: str, parent: sa.Table, rule: ScopeRule | None = None) -> None:
        self._column = column
        self._parent = parent
        self._rule = rule or OwnerScope()

    def clause(self, scope: Scope, table: sa.Table) -> sa.ColumnElement[bool] | None:
        """Look whether the parent is reached."""
        condition = self._rule.clause(scope, self._parent)
        if condition is None:
            return None
        parent = self._parent
        same = sa.and_(parent.c.tenant_id == table.c.tenant_id, parent.c.id == table.c[self._column])
        return sa.exists(sa.select(sa.literal(1)).select_from(parent).where(same, condition))

    def check(self, principal: Principal, scope: Scope, message: Any) -> None:
        """Allow everything: the parent is not known here."""


class GuardedScope:
    """Some records need one more permission to be seen: those for which `column` is `value`, with `permission`.

    Everything else is as `rule` says, for either permission; the second one may reach less far than the first.
    """

    def __init__(self, rule: ScopeRule, column: str, value: Any, permission: str) -> None:
        self._rule = rule
        self._column = column
        self._value = value
        self._permission = permission

    def clause(self, scope: Scope, table: sa.Table) -> sa.ColumnElement[bool] | None:
        """Look at the second permission, and as far as it reaches, where the record needs it."""
        ways = [table.c[self._column] != self._value]
        for other in sorted(Scope, reverse=True):
            reached = self._rule.clause(other, table)
            way = granted(self._permission, other)
            ways.append(way if reached is None else sa.and_(way, reached))
        condition = self._rule.clause(scope, table)
        return sa.or_(*ways) if condition is None else sa.and_(condition, sa.or_(*ways))

    def check(self, principal: Principal, scope: Scope, message: Any) -> None:
        """Refuse what its writer may not see afterwards, wherever it belongs."""
        self._rule.check(principal, scope, message)
        if getattr(message, self._column) == self._value and principal.scope(self._permission) is None:
            raise PermissionDenied(
                f"the permission {self._permission} is needed", metadata={"permission": self._permission}
            )
