"""The standard methods, on the widgets: what each of them does when all is well, and what it refuses."""

from __future__ import annotations

import pytest

from kit.tests import widgets


@pytest.fixture(scope="module")
def server(serve):
    return serve(widgets.service())


@pytest.fixture
def anna(server):
    return server.caller()


def test_returns_the_record_as_created(anna):
    created = anna("CreateWidget", widget={"display_name": "A", "owner": anna.user})
    assert anna("GetWidget", name=created.name) == created
