"""The service, running, and somebody who may do everything in a tenant of their own."""

import pytest

from kontor_kit.testing.telling import teller
from kontor_marketing.service import service


@pytest.fixture(scope="module")
def server(serve, peer):
    return serve(service(), peers={"identity": peer.address, "contacts": peer.address})


@pytest.fixture
def anna(server):
    return server.caller()


@pytest.fixture
def tell(server):
    """Tell the service of what happened elsewhere."""
    with teller(server, service()) as telling:
        yield telling
