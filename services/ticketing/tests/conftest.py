"""The service, running, and somebody who may do everything in a tenant of their own."""

import pytest

from kontor_ticketing.service import service


@pytest.fixture(scope="module")
def server(serve, peer, tmp_path_factory):
    peers = {"identity": peer.address, "contacts": peer.address}
    return serve(service(), peers=peers, storage_url=f"file://{tmp_path_factory.mktemp('storage')}")


@pytest.fixture
def anna(server):
    return server.caller()
