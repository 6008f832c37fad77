"""A tenant is taken out of contacts and put into another database of it: records, history, and what followers hear."""

import contextlib
import gzip
import hashlib
import json
import threading
import time
import uuid

import grpc
import psycopg
import pytest

from kontor.changes.v1 import stream_pb2
from kontor_contacts.service import service
from kontor_contacts.tables import metadata
from kontor_kit.changes.sequencer import Sequencer
from kontor_kit.changes.upkeep import Upkeep
from kontor_kit.db import Database
from kontor_kit.errors import KontorError
from kontor_kit.forgetting import Forgetting
from kontor_kit.main import run
from kontor_kit.principals import PLATFORM_TENANT
from kontor_kit.tenants.exporting import export
from kontor_kit.tenants.restoring import restore
from kontor_kit.testing import answer
from kontor_kit.testing.running import running
from services.contacts.tests.test_changes import Subscription, create

EARLIEST = stream_pb2.SubscribeRequest.Start.START_EARLIEST
SNAPSHOT = stream_pb2.SubscribeRequest.Start.START_SNAPSHOT
MONTHS_AGO = "UPDATE change_log SET log_time = log_time - interval '100 days' WHERE tenant_id = %s AND version = 1"


class Place:
    """A contacts with a database of its own, and what an operator does with it."""

    def __init__(self, running):
        self.running = running
        self.settings = running.database.settings()
        self.system = Database(self.settings.system_database_url, pool_size=2)
        self.system.open()
        self.sequencer = Sequencer(metadata, self.system)

    def sequence(self):
        while self.sequencer.advance():
            pass

    def export(self, tenant, folder):
        self.sequence()
        return export(service(), self.settings, tenant, folder)

    def restore(self, folder):
        return restore(service(), self.settings, folder)

    def chains(self):
        """The numbers of changes of each tenant, None where the chain is broken."""
        return {
            each.tenant_id: each.changes if each.broken_at is None else None
            for each in Upkeep(metadata, self.system).verify()
        }

    def forget(self, tenant):
        while Forgetting(metadata, self.system).advance(tenant, "r").end_time is None:
            pass

    def follower(self):
        """One of the platform's own services, which follows all tenants."""
        permissions = ("contacts.changes.read:all", "contacts.changes.follow:all")
        return self.running.caller(*permissions, tenant=PLATFORM_TENANT, user=f"serviceAccounts/{uuid.uuid4()}")

    def rows(self, query, *parameters):
        with self.running.database.connect() as connection:
            cursor = connection.execute(query, parameters)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
def place(databases, signer, keys):
    """Make places: `place()`."""
    with contextlib.ExitStack() as stack:

        def make():
            made = Place(stack.enter_context(running(service(), databases.new(service()), signer, keys)))
            stack.callback(made.system.close)
            return made

        yield make


@pytest.fixture
def here(place):
    return place()


@pytest.fixture
def there(place):
    return place()


def told(caller, **request):
    """Return what a subscription up to the end of the log tells, and the position behind it."""
    subscription = Subscription(caller, until_end=True, **request)
    responses = list(subscription.call)
    return [each for each in responses if each.WhichOneof("content") != "heartbeat"], responses[-1].position


def refusal(caller, **request):
    with pytest.raises(grpc.RpcError) as error:
        told(caller, **request)
    return answer(error.value).reason


def written(caller):
    """Write two accounts, one of them twice; return them."""
    first, second = create(caller, "First", tags=["vip"], emails=[{"address": "a@b.example"}]), create(caller, "Second")
    first = caller("UpdateAccount", account={"name": first.name, "etag": first.etag, "display_name": "Changed"})
    return [first, second]


class TestRecordsAndHistory:
    def test_are_the_same_there(self, here, there, tmp_path):
        anna, bob = here.running.caller(), here.running.caller()
        accounts = written(anna)
        create(bob, "Of somebody else")
        manifest = here.export(anna.tenant, tmp_path)
        there.restore(tmp_path)
        again = there.running.caller(tenant=anna.tenant)
        assert [again("GetAccount", name=each.name) for each in accounts] == accounts
        assert again("ListAccounts", filter='tags:"vip"').accounts == accounts[:1]
        assert again("SearchAccounts", query="chnged").results[0].account == accounts[0]
        assert again("ListChanges") == anna("ListChanges")
        assert not there.running.caller(tenant=bob.tenant)("ListAccounts").accounts
        assert manifest.position == here.rows("SELECT max(position) FROM change_log")[0][0]

    def test_go_on_there(self, here, there, tmp_path):
        anna = here.running.caller()
        accounts = written(anna)
        here.export(anna.tenant, tmp_path)
        create(there.running.caller(), "Was there before")
        there.sequence()
        there.restore(tmp_path)
        again = there.running.caller(tenant=anna.tenant)
        again("DeleteAccount", name=accounts[0].name)
        there.sequence()
        history = again("ListChanges", parent=accounts[0].name).changes
        assert [change.type.rpartition(".")[2] for change in history] == ["deleted", "updated", "created"]
        assert there.chains()[anna.tenant] == 4

    def test_that_was_not_in_the_log_yet_comes_into_it_there(self, here, there, tmp_path):
        anna = here.running.caller()
        accounts = written(anna)
        export(service(), here.settings, anna.tenant, tmp_path)
        there.restore(tmp_path)
        there.sequence()
        again = there.running.caller(tenant=anna.tenant)
        assert [change.version for change in again("ListChanges", parent=accounts[0].name).changes] == [2, 1]
        assert there.chains() == {anna.tenant: 3}

    def test_belong_together_while_others_write(self, here, there, tmp_path):
        anna, enough = here.running.caller(), threading.Event()

        def write():
            while not enough.is_set():
                create(anna, "Account")
                here.sequence()

        writer = threading.Thread(target=write)
        writer.start()
        time.sleep(0.2)
        export(service(), here.settings, anna.tenant, tmp_path)
        enough.set()
        writer.join()
        there.restore(tmp_path)
        there.sequence()
        [(accounts, changes)] = there.rows("SELECT (SELECT count(*) FROM accounts), (SELECT count(*) FROM change_log)")
        assert accounts == changes > 0

    def test_of_a_tenant_that_was_moved_can_be_moved_again(self, here, there, place, tmp_path):
        anna = here.running.caller()
        written(anna)
        here.sequence()
        here.rows(MONTHS_AGO, anna.tenant)
        here.export(anna.tenant, tmp_path / "first")
        there.restore(tmp_path / "first")
        there.export(anna.tenant, tmp_path / "second")
        third = place()
        third.restore(tmp_path / "second")
        assert third.chains() == there.chains() == {anna.tenant: 3}
        assert third.running.caller(tenant=anna.tenant)("ListChanges") == anna("ListChanges")


class TestOldHistory:
    """What is older than followers can lag behind."""

    @pytest.fixture
    def anna(self, here, tmp_path):
        anna = here.running.caller()
        written(anna)
        here.sequence()
        here.rows(MONTHS_AGO, anna.tenant)
        here.export(anna.tenant, tmp_path)
        return anna

    def test_lies_before_the_beginning_in_the_months_that_it_is_of(self, there, anna, tmp_path):
        there.restore(tmp_path)
        assert there.rows("SELECT count(*) FROM change_log_default") == [(0,)]
        assert there.rows("SELECT count(*) FROM change_log WHERE position < 0") == [(2,)]
        there.rows("SELECT drop_change_log(now() - interval '35 days')")
        assert there.chains() == {anna.tenant: 1}

    def test_is_kept_from_now_on_where_it_is_told_again(self, here, there, tmp_path):
        anna = here.running.caller()
        written(anna)
        here.sequence()
        here.rows("UPDATE change_log SET log_time = log_time - interval '5 days'")
        [(began,)] = there.rows("SELECT clock_timestamp()")
        here.export(anna.tenant, tmp_path)
        there.restore(tmp_path)
        assert there.rows("SELECT count(*) FROM change_log WHERE position > 0 AND log_time < %s", began) == [(0,)]
        assert there.chains() == {anna.tenant: 3}

    def test_is_told_to_the_tenant_only(self, there, anna, tmp_path):
        follower = there.follower()
        _, position = told(follower, all_tenants=True)
        there.restore(tmp_path)
        again = there.running.caller(tenant=anna.tenant)
        responses, _ = told(again, start=EARLIEST)
        assert [each.change.version for each in responses] == [1, 1, 2]
        assert [each.change.id for each in responses] == [change.id for change in reversed(anna("ListChanges").changes)]
        assert len(told(again, position=responses[0].position)[0]) == 2
        assert [each.change.version for each in told(follower, position=position, all_tenants=True)[0]] == [2]


class TestFollowers:
    def test_of_the_platform_are_told_what_they_may_not_have_had_under_its_ids(self, here, there, tmp_path):
        anna, follower = here.running.caller(), there.follower()
        written(anna)
        here.export(anna.tenant, tmp_path)
        create(there.running.caller(), "Was there before")
        there.sequence()
        _, position = told(follower, all_tenants=True)
        there.restore(tmp_path)
        responses, position = told(follower, position=position, all_tenants=True)
        assert [each.change.id for each in responses] == [change.id for change in reversed(anna("ListChanges").changes)]
        assert {each.tenant for each in responses} == {f"tenants/{anna.tenant}"}
        create(there.running.caller(), "Comes later")
        there.sequence()
        assert len(told(follower, position=position, all_tenants=True)[0]) == 1

    @pytest.mark.parametrize("log", ["as it was", "empty"])
    def test_of_the_tenant_begin_with_a_snapshot_and_no_others_do(self, here, tmp_path, log):
        anna, bob = here.running.caller(), here.running.caller()
        accounts = written(anna) if log == "as it was" else []
        create(bob, "Of somebody else")
        here.export(anna.tenant, tmp_path)
        positions = [told(caller)[1] for caller in (anna, bob)]
        here.forget(anna.tenant)
        here.restore(tmp_path)
        assert refusal(anna, position=positions[0]) == "POSITION_OF_ANOTHER_INCARNATION"
        assert told(bob, position=positions[1])[0] == []
        responses, position = told(anna, start=SNAPSHOT)
        assert len(responses) == len(accounts)
        create(anna, "Comes later")
        here.sequence()
        assert len(told(anna, position=position)[0]) == 1


class TestRefused:
    @pytest.fixture
    def anna(self, here, tmp_path):
        anna = here.running.caller()
        written(anna)
        here.export(anna.tenant, tmp_path)
        return anna

    def refused(self, there, folder):
        with pytest.raises(KontorError) as error:
            there.restore(folder)
        assert there.rows("SELECT count(*) FROM accounts") == [(0,)]
        return error.value.reason

    def change(self, folder, **changes):
        path = folder / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    def test_where_something_of_the_tenant_is_there(self, there, anna, tmp_path):
        there.running.caller(tenant=anna.tenant)("CreateContact", contact={"family_name": "A"}, request_id="r")
        assert self.refused(there, tmp_path) == "TENANT_EXISTS"

    def test_where_it_is_of_another_schema(self, there, anna, tmp_path):
        self.change(tmp_path, revision="0001")
        assert self.refused(there, tmp_path) == "OTHER_SCHEMA"

    def test_where_it_is_of_another_service(self, there, anna, tmp_path):
        self.change(tmp_path, service="sales")
        assert self.refused(there, tmp_path) == "OTHER_SERVICE"

    @pytest.mark.parametrize("file", ["accounts.copy.gz", "terms.copy.gz"])
    def test_where_a_file_is_not_what_was_exported(self, there, anna, tmp_path, file):
        path = tmp_path / file
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        assert self.refused(there, tmp_path) == "ARCHIVE_BROKEN"

    def test_where_it_was_not_written_to_its_end(self, there, anna, tmp_path):
        (tmp_path / "manifest.json").unlink()
        assert self.refused(there, tmp_path) == "ARCHIVE_BROKEN"

    @pytest.mark.parametrize(
        ("table", "before", "after"),
        [
            ("change_log", b"account.updated", b"account.created"),
            ("accounts", None, str(uuid.uuid4()).encode()),
            ("accounts", b"\n", b""),
        ],
        ids=["history", "tenant", "rows"],
    )
    def test_where_somebody_changed_it_with_its_digests(self, there, anna, tmp_path, table, before, after):
        """The chain of the log is not mended as easily, and no rows of other tenants come in."""
        path = tmp_path / f"{table}.copy.gz"
        content = gzip.decompress(path.read_bytes())
        changed = content.replace(before or str(anna.tenant).encode(), after, 1)
        assert changed != content
        path.write_bytes(gzip.compress(changed))
        tables = json.loads((tmp_path / "manifest.json").read_text())["tables"]
        tables[table]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        self.change(tmp_path, tables=tables)
        with pytest.raises((KontorError, psycopg.Error)):
            there.restore(tmp_path)
        assert there.rows("SELECT count(*) FROM accounts") == [(0,)]
        assert there.rows("SELECT count(*) FROM change_log") == [(0,)]

    def test_where_the_folder_has_something(self, here, anna, tmp_path):
        with pytest.raises(KontorError) as error:
            here.export(anna.tenant, tmp_path)
        assert error.value.reason == "FOLDER_NOT_EMPTY"


class TestCommand:
    def test_exports_and_restores(self, here, there, monkeypatch, capsys, tmp_path):
        anna = here.running.caller()
        written(anna)
        here.sequence()
        folder = ["--folder", str(tmp_path)]
        monkeypatch.setenv("KONTOR_CONTACTS_OWNER_DATABASE_URL", here.settings.owner_database_url)
        assert run("contacts", service, ["tenant", "export", "--tenant", str(anna.tenant), *folder]) == 0
        assert run("contacts", service, ["tenant", "restore", *folder]) == 1
        said = capsys.readouterr()
        assert said.out.startswith("contacts: exported ")
        assert "TENANT_EXISTS" in said.err
        monkeypatch.setenv("KONTOR_CONTACTS_OWNER_DATABASE_URL", there.settings.owner_database_url)
        assert run("contacts", service, ["tenant", "restore", *folder]) == 0
        assert capsys.readouterr().out.startswith("contacts: restored ")
