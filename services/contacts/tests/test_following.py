"""Another service follows contacts for all tenants: nothing is missing and nothing comes twice, whatever breaks off."""

import contextlib
import threading
import time
from collections import Counter

import grpc
import pytest

from kit.tests import consumer
from kontor_contacts.service import service
from kontor_contacts.tables import metadata
from kontor_kit.changes.sequencer import Sequencer
from kontor_kit.changes.upkeep import Upkeep
from kontor_kit.clients import connect
from kontor_kit.db import Database
from kontor_kit.errors import Unavailable
from kontor_kit.inbox.following import Follower
from kontor_kit.inbox.receiving import Inbox
from kontor_kit.principals import PLATFORM_TENANT
from kontor_kit.testing import answer
from kontor_kit.testing.running import running
from services.contacts.tests.test_changes import Subscription, create

ROBOT = "serviceAccounts/0198a000-0000-7000-8000-0000000000bb"
TYPES = ("kontor.contacts.v1.account.*",)


class Source:
    """Contacts, which can be stopped and started again, with its sequencer."""

    def __init__(self, database, signer, keys, peer):
        self.database = database
        self._start = lambda: running(service(), database, signer, keys, peers={"identity": peer.address})
        self._stack = contextlib.ExitStack()
        self.now = self._stack.enter_context(self._start())
        self.system = Database(database.url("system"), pool_size=3)
        self.system.open()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=Sequencer(metadata, self.system).run, args=(self._stopping,))
        self._thread.start()
        self.lifetime = 600
        self.refusals = 0

    def restart(self):
        self._stack.close()
        self.now = self._stack.enter_context(self._start())

    def token(self):
        if self.refusals:
            self.refusals -= 1
            raise Unavailable("identity is away")
        permissions = ("contacts.changes.read:all", "contacts.changes.follow:all")
        claims = {"tenant": str(PLATFORM_TENANT), "sub": ROBOT, "exp": int(time.time()) + self.lifetime}
        return self.now.signer.token(*permissions, **claims)

    def connect(self, _):
        return connect(self.now.address, token=self.token)

    def close(self):
        self._stopping.set()
        self._thread.join()
        self.system.close()
        self._stack.close()


@pytest.fixture
def source(databases, signer, keys, peer):
    made = Source(databases.new(service()), signer, keys, peer)
    yield made
    made.close()


@pytest.fixture
def received(databases, source):
    """What lies in the inbox of a service that follows: `received()` lists (type, name, version)."""
    database = databases.new(consumer.service())
    system = Database(database.url("system"), pool_size=2)
    system.open()
    handlers = consumer.plain_handlers(TYPES)
    follower = Follower("contacts", Inbox(consumer.metadata, system, handlers), handlers, source.connect)
    stopping = threading.Event()
    thread = threading.Thread(target=follower.run, args=(stopping,))

    def rows():
        if not thread.is_alive():
            thread.start()
        with database.connect() as connection:
            query = "SELECT event_type, resource_name, version FROM inbox ORDER BY receive_time, event_id"
            return [(kind.rpartition(".")[2], *rest) for kind, *rest in connection.execute(query)]

    yield rows
    stopping.set()
    thread.join(5)
    assert not thread.is_alive()
    system.close()


def await_that(condition, seconds=20):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.05)


def await_sequenced(source):
    with source.database.connect() as connection:
        await_that(lambda: connection.execute("SELECT count(*) FROM change_pending").fetchone() == (0,))


def test_records_of_all_tenants_are_told_first_and_then_their_changes_through_every_break(source, received):
    anna, berta = source.now.caller(), source.now.caller()
    old = create(anna, "Old").name, create(berta, "Old too").name
    await_sequenced(source)
    await_that(lambda: len(received()) == 2)
    assert {(kind, name) for kind, name, _ in received()} == {("snapshot", name) for name in old}
    for number in range(3):
        anna("UpdateAccount", account={"name": old[0], "display_name": f"v{number}"})
    await_that(lambda: len(received()) == 5)
    source.restart()
    # Of a token that ends in between, and is fetched anew.
    source.lifetime = 1
    anna, berta = source.now.caller(tenant=anna.tenant), source.now.caller(tenant=berta.tenant)
    until = time.monotonic() + 2.5
    number = 0
    while time.monotonic() < until:
        anna("UpdateAccount", account={"name": old[0], "display_name": f"w{number}"})
        berta("UpdateAccount", account={"name": old[1], "display_name": f"w{number}"})
        number += 1
        time.sleep(0.02)
    await_that(lambda: len(received()) >= 5 + 2 * number)
    told = Counter((name, version) for _, name, version in received())
    wanted = {(old[0], version) for version in range(1, 5 + number)} | {
        (old[1], version) for version in range(1, 2 + number)
    }
    assert told == Counter(wanted)


def test_a_token_that_cannot_be_had_is_waited_for(source, received):
    source.refusals = 2
    name = create(source.now.caller(), "A").name
    await_that(lambda: [found for _, found, _ in received()] == [name])
    assert source.refusals == 0


def test_a_position_that_is_good_no_more_leads_to_a_snapshot(source, received):
    anna = source.now.caller()
    first = create(anna, "First").name
    await_sequenced(source)
    await_that(lambda: len(received()) == 1)
    second = create(anna, "Second").name
    await_that(lambda: ("created", second, 1) in received())
    Upkeep(metadata, source.system).restored()
    source.restart()
    await_that(lambda: ("snapshot", second, 1) in received())
    third = create(source.now.caller(tenant=anna.tenant), "Third").name
    await_that(lambda: ("created", third, 1) in received())
    assert Counter(received()) == Counter(
        [("snapshot", first, 1), ("created", second, 1), ("snapshot", second, 1), ("created", third, 1)]
    )


@pytest.mark.parametrize(
    ("tenant", "user", "permissions"),
    [
        (None, ROBOT, ["*:all"]),
        (PLATFORM_TENANT, None, ["*:all"]),
        (PLATFORM_TENANT, ROBOT, ["contacts.changes.read:all"]),
        (PLATFORM_TENANT, ROBOT, ["contacts.changes.read:all", "contacts.changes.follow:team"]),
    ],
)
def test_only_services_of_the_platform_see_all_tenants(serve, tenant, user, permissions):
    contacts = serve(service())
    with pytest.raises(grpc.RpcError) as error:
        Subscription(contacts.caller(*permissions, tenant=tenant, user=user), all_tenants=True).next()
    assert answer(error.value).code is grpc.StatusCode.PERMISSION_DENIED
