"""What is to be done when its time has come: widgets that were to be checked by some moment."""

from __future__ import annotations

import dataclasses
import datetime as dt
import shutil

import pytest

from kit.tests import widgets
from kit.tests.widgets import Widget
from kontor_kit import migrations
from kontor_kit.db import Database
from kontor_kit.due import Due
from kontor_kit.errors import FailedPrecondition
from kontor_kit.principals import Scope

NOON = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)
BEFORE, AFTER = (NOON + dt.timedelta(hours=hours) for hours in (-1, 1))
STUBBORN = "stubborn"


REVISION = """
from kontor_kit import migrations
from kontor_kit.operations import schema

revision, down_revision, branch_labels, depends_on = "0003", "0002", None, None


def upgrade():
    schema.create_operations()
    migrations.let_system_look("widgets")
"""


@pytest.fixture(scope="module")
def server(serve, databases, tmp_path_factory):
    folder = tmp_path_factory.mktemp("migrations") / "widgets"
    shutil.copytree(widgets.service().migrations, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "0003_due.py").write_text(REVISION)
    service = dataclasses.replace(widgets.service(), migrations=folder)
    database = databases.empty(service)
    migrations.migrate(database.settings(), service)
    return serve(service, database)


@pytest.fixture(autouse=True)
def clean(server):
    with server.database.connect() as connection:
        connection.execute("TRUNCATE widgets, terms, change_pending")


@pytest.fixture
def system(server):
    database = Database(server.database.url("system"), pool_size=2)
    database.open()
    yield database
    database.close()


def check(service, tx, trace, id, now):
    """Say in the record that it was checked, and when."""
    own = service.own_call(tx, trace)
    locked = service.store.lock(tx, service.reach(own), Scope.ALL, [id])[id]
    if locked.message.display_name == STUBBORN:
        raise FailedPrecondition("it does not want to")
    after = Widget()
    after.CopyFrom(locked.message)
    after.note = f"checked at {now:%H:%M}"
    after.ClearField("checked_at")
    service.put(tx, own, locked, after, "updated")


@pytest.fixture
def look(server, system):
    """Look for what is due at a moment, with the conditions given."""

    def run(now, *conditions, do=check, **options):
        job = Due("check-widgets", "widgets", conditions or ["checked_at <= :now"], do, **options)
        [service] = server.service.servicers(server.runtime)
        with server.database.connect() as connection:
            connection.execute("DELETE FROM leases WHERE name = %s", [job.name])
        job.periodic(server.runtime.database, service, lambda: now).run_once(system)

    return run


def make(caller, name="A", checked_at=BEFORE, **fields):
    return caller("CreateWidget", widget={"display_name": name, "checked_at": checked_at, **fields}).name


def notes(caller, **arguments):
    return {widget.display_name: widget.note for widget in caller("ListWidgets", **arguments).widgets}


def test_it_is_done_for_what_is_due_in_all_tenants_and_for_nothing_else(server, anna, look):
    other = server.caller()
    for caller in (anna, other):
        make(caller, "due")
        make(caller, "not yet", AFTER)
    look(NOON)
    assert notes(anna) == notes(other) == {"due": "checked at 12:00", "not yet": ""}


def test_it_is_done_once(anna, look):
    name = make(anna)
    look(NOON)
    first = anna("GetWidget", name=name)
    look(AFTER)
    assert anna("GetWidget", name=name) == first


def test_what_is_deleted_is_left_out_where_it_is_only_marked(anna, look):
    name = make(anna)
    anna("DeleteWidget", name=name)
    look(NOON)
    assert notes(anna, show_deleted=True) == {"A": ""}
    look(NOON, marks=False)
    assert notes(anna, show_deleted=True) == {"A": "checked at 12:00"}


def test_each_condition_finds_its_own(anna, look):
    make(anna, "time")
    make(anna, "size", AFTER, size=9)
    make(anna, "neither", AFTER)
    look(NOON, "checked_at <= :now", "size = 9")
    assert notes(anna) == {"time": "checked at 12:00", "size": "checked at 12:00", "neither": ""}


def test_one_that_fails_keeps_nobody_waiting_and_is_tried_again(anna, look):
    stubborn = make(anna, STUBBORN)
    make(anna, "willing")
    look(NOON)
    assert notes(anna) == {STUBBORN: "", "willing": "checked at 12:00"}
    anna("UpdateWidget", widget={"name": stubborn, "display_name": "tamed"}, update_mask={"paths": ["display_name"]})
    look(NOON)
    assert notes(anna)["tamed"] == "checked at 12:00"


def test_however_many_there_are_each_is_dealt_with_in_its_own_tenant(server, anna, look):
    other, number = server.caller(), 230
    for caller in (anna, other):
        row = {"widget": {"display_name": "A", "checked_at": BEFORE}, "allow_duplicates": True}
        caller("BatchCreateWidgets", requests=[row] * number)
    seen = []

    def note(service, tx, trace, id, now):
        seen.append((tx.tenant_id, id))

    look(NOON, do=note)
    assert len(seen) == len(set(seen)) == 2 * number
    assert {tenant for tenant, _ in seen} == {anna.tenant, other.tenant}
