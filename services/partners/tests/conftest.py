"""The service, running, and somebody who may do everything in a tenant of their own."""

import pytest

from kontor_partners.service import service
from services.partners.tests import partnering


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
