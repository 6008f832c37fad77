"""Records that need one more permission to be seen."""

from __future__ import annotations

import itertools

import pytest

from kit.tests.widgets import Widget, widgets
from kontor_kit.errors import PermissionDenied
from kontor_kit.ids import uuid7
from kontor_kit.principals import Principal, Scope
from kontor_kit.resource import Resource
from kontor_kit.scopes import GuardedScope, OwnerScope
from kontor_kit.store import Page, Reach, Store

MEND = "test.widgets.mend"
GUARDED = Resource(Widget, widgets, scope=GuardedScope(OwnerScope(), "broken", True, MEND))


@pytest.fixture(scope="module")
def people(server):
    """Anna, and the team that she is in."""
    team = uuid7()
    return server.caller(teams=[team]), f"teams/{team}"


@pytest.fixture(scope="module")
def made(people):
    """One record of each kind: whose it is, and whether it is broken."""
    anna, team = people
    whose = {Scope.OWN: {"owner": anna.user}, Scope.TEAM: {"owner": f"users/{uuid7()}", "team": team}}
    whose[Scope.ALL] = {"owner": f"users/{uuid7()}"}
    for scope, broken in itertools.product(Scope, (False, True)):
        fields = {"display_name": f"{scope.name} {broken}", "broken": broken, **whose[scope]}
        anna("CreateWidget", widget=fields)
    return list(itertools.product(Scope, (False, True)))


@pytest.mark.parametrize("pattern", [MEND, "test.widgets.*", "test.*", "*"])
@pytest.mark.parametrize("mend", [None, *Scope])
@pytest.mark.parametrize("read", list(Scope))
def test_are_seen_as_far_as_both_permissions_reach(server, people, made, read, mend, pattern):
    anna, _ = people
    permissions = {} if mend is None else {pattern: mend}
    principal = Principal(anna.tenant, anna.user, permissions, frozenset(anna.teams))
    with server.runtime.database.read(anna.tenant) as tx:
        found, _ = Store(GUARDED).page(tx, Reach(principal, read), Page(size=10))
    seen = {
        f"{scope.name} {broken}" for scope, broken in made if scope <= read and (not broken or scope <= (mend or 0))
    }
    assert {record.display_name for record in found} == seen


def test_are_not_written_by_who_may_not_see_them(people):
    anna, _ = people
    reader = Principal(anna.tenant, anna.user, {"test.widgets.read": Scope.ALL})
    GUARDED.scope.check(reader, Scope.ALL, Widget(broken=False))
    with pytest.raises(PermissionDenied):
        GUARDED.scope.check(reader, Scope.ALL, Widget(broken=True))
