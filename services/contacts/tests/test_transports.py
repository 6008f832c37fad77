"""Another service follows contacts over the broker: what the broker cannot know of comes over the change stream."""

import threading
from collections import Counter

import pytest

from kit.tests import consumer
from kit.tests.elsewhere import Receiving, Relaying, broker
from kontor_contacts.service import service
from kontor_contacts.tables import metadata
from kontor_kit.amqp.broker import queue
from kontor_kit.changes.positions import ALL_TENANTS, seal
from kontor_kit.changes.upkeep import Upkeep
from kontor_kit.db import Database
from kontor_kit.inbox.events import Handlers
from kontor_kit.inbox.following import Follower
from kontor_kit.inbox.receiving import Inbox
from services.contacts.tests.test_changes import create
from services.contacts.tests.test_following import Source, await_sequenced, await_that

ACCOUNT = "kontor.contacts.v1.account"
EVERYTHING = (f"{ACCOUNT}.*",)

pytestmark = pytest.mark.timeout(120)


class Consumer:
    """A service that follows contacts; by stream and by broker, each as long as a test wants."""

    def __init__(self, databases, source, url, folder):
        self.database = databases.new(consumer.service())
        self.system = Database(self.database.url("system"), pool_size=4)
        self.system.open()
        self.relay = None
        self._source, self._url, self._folder = source, url, folder
        self._running = []

    def follow(self, handlers=None, *, fill=False):
        """Begin to follow the stream: for ever, or up to its end where that is asked for."""
        handlers = handlers or consumer.plain_handlers(EVERYTHING)
        inbox = Inbox(consumer.metadata, self.system, handlers)
        follower = Follower("contacts", inbox, handlers, self._source.connect)
        stopping = threading.Event()
        thread = threading.Thread(target=follower.fill if fill else follower.run, args=(stopping,))
        thread.start()

        def end():
            if not stopping.is_set():
                stopping.set()
                thread.join(10)
                assert not thread.is_alive()

        self._running.append(end)
        return end

    def receive(self):
        """Begin to take from the broker."""
        receiving = Receiving(self.database, self._url, self._folder / f"log-{len(self._running)}", EVERYTHING)
        await_that(lambda: receiving.health() == 200)

        def end():
            receiving.process.kill()
            receiving.process.wait()

        self._running.append(end)
        return end

    def start_relay(self):
        """Have contacts relay its changes."""
        tokens = self._source.now.runtime.page_tokens()
        self.relay = Relaying(
            self._source,
            self._url,
            metadata=metadata,
            service="contacts",
            seal=lambda position: seal(tokens, "contacts.kontor", ALL_TENANTS, position),
        )
        with self._source.database.connect() as connection:
            await_that(lambda: connection.execute("SELECT run FROM change_relay").fetchone() != (None,))

    def delete_queue(self):
        """Have the broker forget what it holds for the consumer."""
        with broker(self._url) as connection:
            queue("consumer")(connection.channel()).delete()

    def close(self):
        for end in self._running:
            end()
        if self.relay is not None:
            self.relay.stop()
        self.system.close()

    def received(self, handler="effect"):
        """Return what lies in the inbox for a handler: (type, name, version)."""
        with self.database.connect() as connection:
            rows = connection.execute(
                "SELECT event_type, resource_name, version FROM inbox WHERE handler LIKE %s", [f"%.{handler}"]
            )
            return [(kind.rpartition(".")[2], *rest) for kind, *rest in rows]

    def await_filled(self):
        """Wait until nothing is asked of the stream any more."""
        with self.database.connect() as connection:
            query = "SELECT bool_and(wanted = filled AND wanted > 0) FROM inbox_sources"
            await_that(lambda: connection.execute(query).fetchone() == (True,))


@pytest.fixture
def source(databases, signer, keys, peer):
    made = Source(databases.new(service()), signer, keys, peer)
    yield made
    made.close()


@pytest.fixture
def follows(databases, source, request, tmp_path):
    """The consumer; the broker only where the test uses it."""
    url = request.getfixturevalue("rabbitmq_url") if "rabbitmq_url" in request.fixturenames else ""
    made = Consumer(databases, source, url, tmp_path)
    yield made
    made.close()


def rename(anna, name, *texts):
    for text in texts:
        anna("UpdateAccount", account={"name": name, "display_name": text})


class TestBroker:
    def test_who_comes_late_is_told_of_the_records_as_they_are_and_then_of_each_change(
        self, source, follows, rabbitmq_url
    ):
        anna, berta = source.now.caller(), source.now.caller()
        old = create(anna, "Old").name, create(berta, "Old too").name
        await_sequenced(source)
        follows.start_relay()
        follows.receive()
        follows.follow(fill=True)
        await_that(lambda: len(follows.received()) == 2)
        follows.await_filled()
        rename(anna, old[0], "A", "B")
        new = create(berta, "New").name
        await_that(lambda: len(follows.received()) == 5)
        assert Counter(follows.received()) == Counter(
            [("snapshot", name, 1) for name in old]
            + [("updated", old[0], 2), ("updated", old[0], 3), ("created", new, 1)]
        )

    def test_what_was_told_while_there_was_no_queue_is_filled_in(self, source, follows, rabbitmq_url):
        anna = source.now.caller()
        follows.start_relay()
        end = follows.receive()
        follows.follow(fill=True)
        follows.await_filled()
        name = create(anna, "A").name
        await_that(lambda: follows.received() == [("created", name, 1)])
        end()
        follows.delete_queue()
        rename(anna, name, "B", "C")
        await_sequenced(source)
        await_that(lambda: follows.relay.lag_seconds == 0)
        follows.receive()
        await_that(lambda: len(follows.received()) == 3)
        rename(anna, name, "D")
        await_that(lambda: len(follows.received()) == 4)
        assert sorted(version for _, _, version in follows.received()) == [1, 2, 3, 4]

    def test_from_one_transport_to_the_other_and_back_nothing_is_lost_and_nothing_told_anew(
        self, source, follows, rabbitmq_url
    ):
        anna = source.now.caller()
        name = create(anna, "1").name
        await_sequenced(source)
        end_following = follows.follow()
        await_that(lambda: len(follows.received()) == 1)
        end_following()
        rename(anna, name, "2")
        # The consumer changes first, contacts later: the relay begins at the end of the log.
        end_receiving = follows.receive()
        end_filling = follows.follow(fill=True)
        await_that(lambda: len(follows.received()) == 2)
        rename(anna, name, "3")
        await_sequenced(source)
        follows.start_relay()
        rename(anna, name, "4")
        await_that(lambda: len(follows.received()) == 4)
        follows.await_filled()
        rename(anna, name, "5")
        await_that(lambda: len(follows.received()) == 5)
        end_receiving()
        end_filling()
        rename(anna, name, "6")
        with follows.database.connect() as connection:
            connection.execute("DELETE FROM inbox")
        follows.follow()
        await_that(lambda: len(follows.received()) >= 1)
        # It goes on where the broker left off.
        assert follows.received() == [("updated", name, 6)]

    def test_a_restored_source_tells_its_records_as_they_are(self, source, follows, rabbitmq_url):
        anna = source.now.caller()
        follows.start_relay()
        follows.receive()
        follows.follow(fill=True)
        follows.await_filled()
        name = create(anna, "A").name
        await_that(lambda: follows.received() == [("created", name, 1)])
        Upkeep(metadata, source.system).restored()
        await_that(lambda: ("snapshot", name, 1) in follows.received())
        follows.await_filled()
        rename(anna, name, "B")
        await_that(lambda: ("updated", name, 2) in follows.received())


class TestStream:
    def test_a_handler_that_is_new_is_told_of_the_records_as_they_are(self, source, follows):
        anna = source.now.caller()
        first = create(anna, "First").name
        await_sequenced(source)
        end = follows.follow(consumer.plain_handlers([f"{ACCOUNT}.created", f"{ACCOUNT}.snapshot"]))
        await_that(lambda: follows.received() == [("snapshot", first, 1)])
        end()
        second = create(anna, "Second").name
        await_sequenced(source)
        handlers = consumer.plain_handlers([f"{ACCOUNT}.created", f"{ACCOUNT}.snapshot"])

        @handlers.on(f"{ACCOUNT}.*")
        def newcomer(event, work):
            """Only what it is told counts."""

        end = follows.follow(handlers)
        await_that(lambda: len(follows.received("newcomer")) == 3)
        # The new one is told all, and what came in between; the other one goes on from where it was.
        assert Counter(follows.received("newcomer")) == Counter(
            [("snapshot", first, 1), ("snapshot", second, 1), ("created", second, 1)]
        )
        assert Counter(follows.received()) == Counter([("snapshot", first, 1), ("created", second, 1)])
        end()
        # Whoever comes back without it, as after a step back to the version before, goes on as well.
        third = create(anna, "Third").name
        follows.follow(consumer.plain_handlers([f"{ACCOUNT}.created", f"{ACCOUNT}.snapshot"]))
        await_that(lambda: ("created", third, 1) in follows.received())
        assert len(follows.received()) == 3

    def test_a_type_that_is_new_to_a_handler_is_told_too(self, source, follows):
        anna = source.now.caller()
        create(anna, "First")
        await_sequenced(source)
        end = follows.follow(consumer.plain_handlers([f"{ACCOUNT}.updated"]))
        with follows.database.connect() as connection:
            await_that(lambda: connection.execute("SELECT position <> '' FROM inbox_sources").fetchall() == [(True,)])
        end()
        assert follows.received() == []
        follows.follow(consumer.plain_handlers([f"{ACCOUNT}.updated", f"{ACCOUNT}.snapshot"]))
        await_that(lambda: [kind for kind, _, _ in follows.received()] == ["snapshot"])

    def test_a_stream_up_to_the_end_ends_there(self, source, follows):
        anna = source.now.caller()
        names = [create(anna, f"Nr. {number}").name for number in range(3)]
        await_sequenced(source)
        handlers = Handlers()
        handlers.on(*EVERYTHING)(consumer.take_effect)
        inbox = Inbox(consumer.metadata, follows.system, handlers)
        follower = Follower("contacts", inbox, handlers, source.connect)
        # Each call returns by itself: nobody stops it.
        assert follower._try(threading.Event(), until_end=True)
        assert sorted(name for _, name, _ in follows.received("take_effect")) == sorted(names)
        rename(anna, names[0], "Other")
        await_sequenced(source)
        assert follower._try(threading.Event(), until_end=True)
        assert ("updated", names[0], 2) in follows.received("take_effect")
