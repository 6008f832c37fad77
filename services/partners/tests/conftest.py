"""The service, running, and somebody who may do everything in a tenant of their own."""

import pytest

from kontor_kit.db import Database
from kontor_kit.operations.runner import Runner
from kontor_partners.deal_registrations.approval import APPROVE_DEAL
from kontor_partners.service import service
from services.partners.tests import partnering
from services.partners.tests.sales import Asked, Sales


@pytest.fixture(scope="module")
def asked():
    peer = Asked()
    yield peer
    peer.close()


@pytest.fixture(scope="module")
def server(serve, peer):
    return serve(service(), peers={"identity": peer.address, "contacts": peer.address, "sales": peer.address})


@pytest.fixture
def anna(server):
    return server.caller()


@pytest.fixture
def programme(anna):
    return partnering.programme(anna)


@pytest.fixture
def north(anna, programme):
    return partnering.active(anna, programme, "gold", display_name="North")


@pytest.fixture
def south(anna, programme):
    return partnering.active(anna, programme, display_name="South")


@pytest.fixture
def sales(asked):
    asked.sales = Sales()
    return asked.sales


@pytest.fixture(scope="module")
def system(server):
    database = Database(server.database.url("system"), pool_size=2)
    database.open()
    yield database
    database.close()


@pytest.fixture
def work(server, system, sales):
    """Work on what was begun until nothing is due."""
    runner = Runner(
        "partners.kontor",
        [APPROVE_DEAL.kind],
        system=system,
        database=server.runtime.database,
        service=service().use(server.runtime),
        calls=sales,
        first_pause=0.0,
    )

    def run():
        while runner.work_once():
            pass

    return run
