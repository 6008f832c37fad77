"""The fixture `platform`: one instance for all tests and all workers of a run."""

import os
import tempfile
from pathlib import Path

import pytest

from tests.e2e.calls import connected
from tests.e2e.contract import services
from tests.e2e.support import Platform, shared_platform

# An instance that is already there, by its data folder: for whoever writes tests and does not want to wait.
RUNNING = "KONTOR_TEST_PLATFORM"
# The first test waits for the platform.
TIMEOUT = pytest.mark.timeout(300)


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent == Path(__file__).parent and item.get_closest_marker("timeout") is None:
            item.add_marker(TIMEOUT)


@pytest.fixture(scope="session")
def platform(testrun_uid):
    """`url`, `address(service)`, `token(tenant=, role=, user=)`, `status()`, `database_url(service, role)`."""
    if os.environ.get(RUNNING):
        yield Platform(Path(os.environ[RUNNING]))
    else:
        with shared_platform(Path(tempfile.gettempdir()) / f"kontor-e2e-{testrun_uid}") as running:
            yield running


@pytest.fixture(scope="session")
def client(platform):
    """Calls methods in all ways, see `Client`."""
    with connected(platform, services()) as opened:
        yield opened
