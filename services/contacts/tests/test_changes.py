"""The change log of contacts: what it has, who sees it, and how one follows it."""

import threading
import time

import grpc
import psycopg
import pytest

from kontor.changes.v1 import stream_pb2
from kontor.contacts.v1 import account_pb2
from kontor_contacts.service import service
from kontor_contacts.tables import metadata
from kontor_kit.changes.sequencer import Sequencer
from kontor_kit.changes.upkeep import Upkeep
from kontor_kit.db import Database
from kontor_kit.testing import answer


@pytest.fixture(scope="module")
def contacts(serve):
    return serve(service())


@pytest.fixture
def sequence(contacts):
    """Moves everything that waits into the log."""
    database = Database(contacts.database.settings().system_database_url, pool_size=2)
    database.open()
    sequencer = Sequencer(metadata, database)

    def run():
        while sequencer.advance():
            pass

    yield run
    database.close()


class Subscription:
    """Reads a subscription in a thread of its own."""

    def __init__(self, caller, **request):
        spec = caller.running.methods["Subscribe"]
        subscribe = caller.running.channel.unary_stream(
            spec.full_name, lambda m: m.SerializeToString(), spec.output.FromString
        )
        metadata = (("authorization", f"Bearer {caller.token}"),)
        self.call = subscribe(stream_pb2.SubscribeRequest(**request), metadata=metadata, timeout=30)

    def next(self):
        return next(self.call)

    def next_change(self):
        while True:
            response = self.next()
            if response.WhichOneof("content") == "change":
                return response

    def cancel(self):
        self.call.cancel()


def create(caller, name, **fields):
    return caller("CreateAccount", account={"display_name": name, **fields}, allow_duplicates=True)


def test_history_tells_each_change_with_its_values_the_newest_first(contacts, sequence):
    anna = contacts.caller()
    account = create(anna, "Before")
    anna("UpdateAccount", account={"name": account.name, "display_name": "After"})
    anna("DeleteAccount", name=account.name)
    sequence()
    changes = anna("ListChanges", parent=account.name).changes
    assert [change.type.rpartition(".")[2] for change in changes] == ["deleted", "updated", "created"]
    assert [change.version for change in changes] == [3, 2, 1]
    (field,) = changes[1].fields
    assert (field.field, field.old_value.string_value, field.new_value.string_value) == (
        "display_name",
        "Before",
        "After",
    )
    assert changes[1].subject == anna.user


def test_history_is_paged(contacts, sequence):
    anna = contacts.caller()
    account = create(anna, "0")
    for number in range(1, 5):
        anna("UpdateAccount", account={"name": account.name, "display_name": str(number)})
    sequence()
    versions, token = [], ""
    while True:
        page = anna("ListChanges", parent=account.name, page_size=2, page_token=token)
        versions += [change.version for change in page.changes]
        token = page.next_page_token
        if not token:
            break
    assert versions == [5, 4, 3, 2, 1]


def test_history_is_not_found_by_who_may_not_read_the_record(contacts, sequence):
    anna = contacts.caller()
    account = create(anna, "Anna's")
    sequence()
    own = anna.colleague("contacts.changes.read:all", "contacts.accounts.read:own")
    assert own.refusal("ListChanges", parent=account.name).code is grpc.StatusCode.NOT_FOUND
    assert contacts.caller().refusal("ListChanges", parent=account.name).code is grpc.StatusCode.NOT_FOUND
    without = anna.colleague("contacts.changes.read:all")
    assert without.refusal("ListChanges", parent=account.name).code is grpc.StatusCode.PERMISSION_DENIED


def test_audit_trail_has_all_records_that_the_caller_may_read(contacts, sequence):
    anna = contacts.caller()
    names = [create(anna, f"Account {number}").name for number in range(3)]
    own = anna.colleague("contacts.changes.read:all", "contacts.accounts.*:own")
    names.append(create(own, "Own").name)
    contacts.caller()("CreateAccount", account={"display_name": "Another tenant's"})
    sequence()
    assert [change.resource_name for change in anna("ListChanges").changes] == names[::-1]
    assert [change.resource_name for change in own("ListChanges").changes] == names[3:]


def test_subscriber_goes_on_from_a_position_without_gap_or_repeat(contacts, sequence):
    anna = contacts.caller()
    names = [create(anna, f"Account {number}").name for number in range(10)]
    sequence()
    first = Subscription(anna, start="START_EARLIEST")
    seen = [first.next_change() for _ in range(4)]
    first.cancel()
    second = Subscription(anna, position=seen[-1].position)
    seen += [second.next_change() for _ in range(6)]
    second.cancel()
    assert [response.change.resource_name for response in seen] == names


def test_latest_tells_what_happens_from_now_on(contacts, sequence):
    anna = contacts.caller()
    create(anna, "Old")
    sequence()
    subscription = Subscription(anna, start="START_LATEST", types=["kontor.contacts.v1.account.*"])
    assert subscription.next().WhichOneof("content") == "heartbeat"
    later = threading.Timer(0.1, lambda: (create(anna, "New"), sequence()))
    later.start()
    started = time.monotonic()
    change = subscription.next_change().change
    subscription.cancel()
    later.join()
    assert time.monotonic() - started < 10
    record = account_pb2.Account()
    assert change.data.Unpack(record)
    assert record.display_name == "New"


def test_snapshot_has_the_records_and_then_goes_on(contacts, sequence):
    anna = contacts.caller()
    names = {create(anna, f"Account {number}").name for number in range(3)}
    sequence()
    subscription = Subscription(anna, start="START_SNAPSHOT")
    found = set()
    for _ in range(3):
        record = account_pb2.Account()
        subscription.next().snapshot.Unpack(record)
        found.add(record.name)
    assert found == names
    assert subscription.next().WhichOneof("content") == "heartbeat"
    new = create(anna, "New").name
    sequence()
    assert subscription.next_change().change.resource_name == new
    subscription.cancel()


def test_subscriber_sees_only_what_it_may_read(contacts, sequence):
    anna = contacts.caller()
    create(anna, "Anna's")
    stranger = contacts.caller()
    create(stranger, "Another tenant's")
    own = anna.colleague("contacts.changes.read:all", "contacts.accounts.*:own")
    mine = create(own, "Own").name
    sequence()
    subscription = Subscription(own, start="START_EARLIEST")
    assert subscription.next_change().change.resource_name == mine
    subscription.cancel()


@pytest.mark.parametrize("types", [["kontor.contacts.v1.account.eaten"], ["nonsense"], ["kontor.sales.v1.deal.won"]])
def test_unknown_type_is_refused(contacts, types):
    with pytest.raises(grpc.RpcError) as error:
        Subscription(contacts.caller(), types=types).next()
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_position_of_another_tenant_is_refused(contacts, sequence):
    anna = contacts.caller()
    create(anna, "A")
    sequence()
    subscription = Subscription(anna, start="START_EARLIEST")
    position = subscription.next_change().position
    subscription.cancel()
    with pytest.raises(grpc.RpcError) as error:
        Subscription(contacts.caller(), position=position).next()
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_stream_ends_when_the_token_does(contacts):
    anna = contacts.caller()
    short = contacts.caller(tenant=anna.tenant, exp=int(time.time()) + 2)
    subscription = Subscription(short)
    subscription.next()
    with pytest.raises(grpc.RpcError) as error:
        subscription.next_change()
    assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.fixture
def upkeep(contacts):
    database = Database(contacts.database.settings().system_database_url, pool_size=2)
    database.open()
    yield Upkeep(metadata, database)
    database.close()


def test_chain_verifies_also_after_redaction(contacts, sequence, upkeep):
    anna = contacts.caller()
    account = create(anna, "To be forgotten")
    other = create(anna, "To be kept")
    anna("UpdateAccount", account={"name": account.name, "industry": "steel"})
    sequence()
    (verdict,) = upkeep.verify(anna.tenant)
    assert (verdict.changes, verdict.redacted, verdict.broken_at) == (3, 0, None)
    assert upkeep.redact(anna.tenant, account.name) == 2
    (verdict,) = upkeep.verify(anna.tenant)
    assert (verdict.changes, verdict.redacted, verdict.broken_at) == (3, 2, None)
    assert all(change.redacted and not change.fields for change in anna("ListChanges", parent=account.name).changes)
    assert anna("ListChanges", parent=other.name).changes[0].fields


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE change_log SET subject = 'users/somebody-else' WHERE position = %(middle)s",
        "UPDATE change_log SET after = after || 'x'::bytea WHERE position = %(middle)s",
        "DELETE FROM change_log WHERE position = %(middle)s",
        "DELETE FROM change_log WHERE position = %(last)s",
    ],
)
def test_tampering_is_found(contacts, sequence, upkeep, tampering):
    anna = contacts.caller()
    for number in range(3):
        create(anna, f"Account {number}")
    sequence()
    positions = [row["position"] for row in upkeep.rows(anna.tenant)]
    with psycopg.connect(contacts.database.settings().owner_database_url) as connection:
        connection.execute(tampering, {"middle": positions[1], "last": positions[2]})
    (verdict,) = upkeep.verify(anna.tenant)
    assert verdict.broken_at is not None


def test_position_of_another_incarnation_asks_for_a_snapshot(serve):
    contacts = serve(service())
    anna = contacts.caller()
    first = Subscription(anna)
    position = first.next().position
    first.cancel()
    database = Database(contacts.database.settings().system_database_url, pool_size=2)
    database.open()
    Upkeep(metadata, database).restored()
    database.close()
    with pytest.raises(grpc.RpcError) as error:
        Subscription(anna, position=position).next()
    refused = answer(error.value)
    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "POSITION_OF_ANOTHER_INCARNATION")
