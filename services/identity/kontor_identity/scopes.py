"""Whom the records of identity belong to: people and programs to themselves and their teams, the rest to the tenant."""

from typing import Any

import sqlalchemy as sa

from kontor_kit.errors import PermissionDenied
from kontor_kit.principals import Principal, Scope
from kontor_kit.scopes import SUBJECT, TEAMS


def _refuse(reach: str) -> PermissionDenied:
    return PermissionDenied(f"your permission reaches {reach}, and nothing new", reason="OUT_OF_SCOPE")


class SubjectScope:
    """Users and service accounts: `own` reaches the caller's own record, `team` those who share a team with the caller."""

    def clause(self, scope: Scope, table: sa.Table) -> sa.ColumnElement[bool] | None:
        """Compare the id with the caller's, and the teams."""
        if scope is Scope.ALL:
            return None
        own = table.c.id == SUBJECT
        return own if scope is Scope.OWN else sa.or_(own, sa.func.coalesce(table.c.teams.overlap(TEAMS), sa.false()))

    def check(self, principal: Principal, scope: Scope, message: Any) -> None:
        """Refuse new records to whoever does not reach all."""
        if scope is not Scope.ALL:
            raise _refuse("yourself" if scope is Scope.OWN else "your teams")


class TeamScope:
    """Teams: whoever does not reach all of them reaches those of the caller."""

    def clause(self, scope: Scope, table: sa.Table) -> sa.ColumnElement[bool] | None:
        """Compare the id with the caller's teams."""
        return None if scope is Scope.ALL else table.c.id == sa.any_(TEAMS)

    def check(self, principal: Principal, scope: Scope, message: Any) -> None:
        """Refuse new teams to whoever does not reach all."""
        if scope is not Scope.ALL:
            raise _refuse("your teams")


class WholeScope:
    """Roles and tenants: they are nobody's own, so only who reaches all of them reaches any."""

    def clause(self, scope: Scope, table: sa.Table) -> sa.ColumnElement[bool] | None:
        """Reach nothing but with all."""
        return None if scope is Scope.ALL else sa.false()

    def check(self, principal: Principal, scope: Scope, message: Any) -> None:
        """Refuse new records to whoever does not reach all."""
        if scope is not Scope.ALL:
            raise _refuse("nothing here")
