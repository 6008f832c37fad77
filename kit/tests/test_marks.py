"""Marks: of widgets of one colour, one at most is broken."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import pytest

from kit.tests import widgets
from kontor_kit.clients import Peers
from kontor_kit.marks import Mark
from kontor_kit.shared import Shared

RED, GREEN = 1, 2
BROKEN = Mark(widgets.Widgets.RESOURCE, "broken", among="colour")


class MarkedWidgets(widgets.Widgets):
    """Serves widgets that take the mark from each other."""

    def prepare(self, tx, call, before, after):
        super().prepare(tx, call, before, after)
        BROKEN.take(self, tx, call, before, after)


def servicers(runtime):
    peers = Peers.of(runtime.settings)
    tokens = runtime.page_tokens()
    shared = Shared.of("test.kontor", widgets.metadata, database=runtime.database, page_tokens=tokens, peers=peers)
    return [MarkedWidgets(shared)]


@pytest.fixture(scope="module")
def server(serve):
    return serve(dataclasses.replace(widgets.service(), servicers=servicers))


@pytest.fixture
def make(anna):
    """Make a widget, broken and red unless it is said otherwise."""

    def create(name, caller=anna, **fields):
        return caller("CreateWidget", widget={"display_name": name, "broken": True, "colour": RED, **fields})

    return create


def holders(caller):
    return {widget.display_name for widget in caller("ListWidgets", filter="broken = true").widgets}


def test_it_passes_on_to_who_is_given_it(anna, make):
    make("first")
    second = make("second")
    assert holders(anna) == {"second"}
    third = make("third", broken=False)
    anna("UpdateWidget", widget={"name": third.name, "broken": True}, update_mask={"paths": ["broken"]})
    assert holders(anna) == {"third"}
    assert anna("GetWidget", name=second.name).etag == "v2"


def test_it_is_one_among_those_that_agree(anna, make):
    make("red")
    green = make("green", colour=GREEN)
    assert holders(anna) == {"red", "green"}
    anna("UpdateWidget", widget={"name": green.name, "colour": RED}, update_mask={"paths": ["colour"]})
    assert holders(anna) == {"green"}


def test_it_is_each_tenants_own(server, anna, make):
    other = server.caller()
    make("ours")
    make("theirs", other)
    assert (holders(anna), holders(other)) == ({"ours"}, {"theirs"})


def test_who_has_it_and_is_changed_takes_nothing(anna, make):
    kept = make("kept")
    after = anna("UpdateWidget", widget={"name": kept.name, "size": 3}, update_mask={"paths": ["size"]})
    assert (after.broken, after.etag, holders(anna)) == (True, "v2", {"kept"})


def test_who_comes_back_takes_it(anna, make):
    first = make("first")
    anna("DeleteWidget", name=first.name)
    second = make("second")
    assert anna("GetWidget", name=second.name).etag == "v1", "a deleted one is asked for nothing"
    anna("UndeleteWidget", name=first.name)
    assert holders(anna) == {"first"}


def test_it_is_taken_from_what_the_caller_may_not_see_and_the_caller_did_it(anna, make, rows):
    ben = anna.colleague("test.widgets.*:own")
    hidden = make("hidden")
    make("shown", ben)
    assert holders(anna) == {"shown"}
    told = rows(
        "SELECT event_type, subject FROM change_pending WHERE resource_name = %s ORDER BY sequence", hidden.name
    )
    assert told[1:] == [("kontor.test.v1.widget.updated", ben.user)]


def test_who_are_given_it_at_once_do_not_both_have_it(anna, make):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(make, ["a", "b", "c", "d"]))
    assert len(holders(anna)) == 1
