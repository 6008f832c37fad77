"""The fixtures of tests that need a database or a running service: `pytest_plugins = ["kontor_kit.testing.plugin"]`.

    def test_it(serve):
        contacts = serve(service())                         # migrated database, real gRPC, the whole path of calls
        anna = contacts.caller("contacts.accounts.*:own")   # a tenant and a user of her own, and a token
        anna("CreateAccount", account={"display_name": "Acme"})
        assert anna.refusal("GetAccount", name="accounts/0").violations

One PostgreSQL serves a session, and all workers of pytest-xdist; a RabbitMQ is started by the worker that needs one.
Without them, tests that need them are skipped with a line at the end of the run, and fail where the environment
variable CI is set.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from kontor_kit.service import Service
from kontor_kit.testing import Signer, plans, postgres, rabbitmq
from kontor_kit.testing.databases import Databases, ServiceDatabase
from kontor_kit.testing.missing import go_without, summarize
from kontor_kit.testing.running import Peer, Running, running

# Its assertions are to tell as much as those of a test.
pytest.register_assert_rewrite("kontor_kit.testing.schema")

Serve = Callable[..., Running]

_missing = pytest.StashKey[str]()
_resources = pytest.StashKey[ExitStack]()


def pytest_configure(config: pytest.Config) -> None:
    """Start the server for the workers of pytest-xdist, which inherit the environment."""
    config.stash[_resources] = ExitStack()
    distributed = getattr(config.option, "dist", "no") != "no" and not hasattr(config, "workerinput")
    if distributed and not os.environ.get(postgres.URL_VARIABLE):
        _server_url(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the server."""
    config.stash[_resources].close()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Stop the clock of a process's last test: what the run shares ends after it, once other processes are done."""
    if nextitem is None:
        item.ihook.pytest_timeout_cancel_timer(item=item)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say loudly that a part of the tests did not run."""
    summarize(terminalreporter)


def _server_url(config: pytest.Config) -> str:
    """Return the superuser's URL; empty where there is no server."""
    given = os.environ.get(postgres.URL_VARIABLE, "")
    if given or _missing in config.stash:
        return given
    stack = config.stash[_resources]
    try:
        url = stack.enter_context(postgres.running())
    except postgres.PostgresMissing as error:
        config.stash[_missing] = str(error)
        return ""
    os.environ[postgres.URL_VARIABLE] = url
    os.environ[postgres.OWN_VARIABLE] = url
    stack.callback(os.environ.pop, postgres.URL_VARIABLE)
    return url


@pytest.fixture(scope="session")
def postgres_url(pytestconfig: pytest.Config) -> str:
    """The URL of a superuser of a PostgreSQL server."""
    url = _server_url(pytestconfig)
    if not url:
        go_without(pytestconfig.stash[_missing])
    return url


@pytest.fixture(scope="session")
def databases(postgres_url: str) -> Iterator[Databases]:
    """Makes databases of services: `databases.new(service)` is migrated, `databases.empty(service)` is not."""
    made = Databases(postgres_url)
    yield made
    made.close()


@pytest.fixture(scope="session")
def rabbitmq_installed() -> None:
    """That there is a RabbitMQ on this machine, for who starts it otherwise."""
    try:
        rabbitmq.installed()
    except rabbitmq.RabbitMissing as error:
        go_without(error)


@pytest.fixture(scope="session")
def rabbitmq_server(rabbitmq_installed: None) -> Iterator[rabbitmq.Server]:  # noqa: ARG001  # for its effect
    """A RabbitMQ, which a test may stop, kill and start; where it does not run when the test ends, it is started."""
    with rabbitmq.running() as server:
        yield server


@pytest.fixture
def rabbitmq_url(rabbitmq_server: rabbitmq.Server) -> Iterator[str]:
    """The URL of a virtual host of `rabbitmq_server` that is this test's own, so that names need not be."""
    with rabbitmq_server.host() as url:
        yield url


@pytest.fixture(scope="session")
def signer() -> Signer:
    """Signs the tokens."""
    return Signer()


@pytest.fixture(scope="session")
def keys(signer: Signer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file with the public keys of `signer`."""
    path = tmp_path_factory.mktemp("keys") / "jwks.json"
    path.write_text(json.dumps({"keys": [signer.key.as_dict(private=False)]}))
    return path


@pytest.fixture(scope="session")
def peer() -> Iterator[Peer]:
    """Stands for all other services."""
    standing_in = Peer()
    yield standing_in
    standing_in.close()


@pytest.fixture(scope="module")
def serve(databases: Databases, signer: Signer, keys: Path, peer: Peer) -> Iterator[Serve]:
    """Runs services until the module's tests are done: `serve(service, database=None, **settings) -> Running`."""
    with ExitStack() as stack:

        def start(service: Service, database: ServiceDatabase | None = None, **changes: Any) -> Running:
            # Whatever it refers to elsewhere is there.
            settings = {"peers": {"identity": peer.address}, **changes}
            return stack.enter_context(running(service, database or databases.new(service), signer, keys, **settings))

        yield start


@pytest.fixture(scope="module")
def serve_explained(databases: Databases, serve: Serve) -> Serve:
    """Runs a service as `serve` does, on one connection to a database that tells its plans; see `testing.plans`."""

    def start(service: Service, **changes: Any) -> Running:
        database = databases.new(service)
        try:
            plans.explain(database)
        except plans.NotExplained as error:
            go_without(error)
        return serve(service, database, database_pool_size=1, **changes)

    return start
