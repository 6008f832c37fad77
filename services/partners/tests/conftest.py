"""The service, running, and somebody who may do everything in a tenant of their own."""

import pytest

from kontor_partners.service import service


@pytest.fixture(scope="module")
def server(serve, peer):
    return serve(service(), peers={"identity": peer.address, "contacts": peer.address, "sales": peer.address})


@pytest.fixture
def anna(server):
    return server.caller()
