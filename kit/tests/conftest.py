"""The service of the widgets, running, and somebody who may do everything in a tenant of their own."""

import pytest

from kit.tests import widgets


@pytest.fixture(scope="module")
def server(serve):
    return serve(widgets.service())


@pytest.fixture
def anna(server):
    return server.caller()


@pytest.fixture
def rows(server):
    """Run SQL as the superuser, who sees all tenants: `rows("SELECT ...", parameter)`."""
    with server.database.connect() as connection:
        yield lambda sql, *parameters: connection.execute(sql, parameters).fetchall()


@pytest.fixture
def define(server):
    """Define a custom field of widgets: `define(anna, "segment", "STRING", filterable=True)`."""

    def make(caller, key, kind, **more):
        widgets.define(server.database, caller.tenant, key, kind, **more)

    return make
