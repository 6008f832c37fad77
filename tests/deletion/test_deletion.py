"""A tenant is deleted in all services, whatever is killed meanwhile; nobody else loses a row."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import socket
import subprocess
import sys
import uuid
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest

from kontor.identity.v1 import tenant_service_pb2
from kontor.operations.v1 import operation_pb2
from kontor_contacts import service as contacts_service
from kontor_contacts import tables as contacts_tables
from kontor_identity import service as identity_service
from kontor_identity import tables as identity_tables
from kontor_identity.commands import BOOTSTRAP
from kontor_kit import forgetting
from kontor_kit.ids import uuid7
from kontor_kit.operations.runner import Runner
from kontor_kit.principals import PLATFORM_TENANT
from tests.deletion.filling import count, fill
from tests.deletion.working import KEY, deletion

ROOT = Path(__file__).parents[2]
KILLS = 30
ROWS = 7
CODE = grpc.StatusCode
METADATA = {"contacts": contacts_tables.metadata, "identity": identity_tables.metadata}


@pytest.fixture(scope="module")
def contacts(serve):
    return serve(contacts_service.service())


@pytest.fixture(scope="module")
def identity(serve):
    with_test_keys = dataclasses.replace(identity_service.service(), keys=None)
    return serve(with_test_keys, http_listen="127.0.0.1:0", key_encryption_key=KEY)


@pytest.fixture(scope="module")
def operator(identity):
    return identity.caller(tenant=PLATFORM_TENANT, user=BOOTSTRAP)


@pytest.fixture
def tenant(operator):
    return operator("CreateTenant", tenant={"slug": f"t-{uuid.uuid4().hex[:12]}", "display_name": "Example"})


@pytest.fixture
def rows(contacts, identity):
    """Count the rows of a tenant, by service and table."""

    def rows(tenant_id):
        found = {}
        for name, server in (("contacts", contacts), ("identity", identity)):
            with server.database.connect() as connection:
                found[name] = count(connection, METADATA[name], tenant_id)
        return found

    return rows


@pytest.fixture
def filled(contacts, identity, tenant, rows):
    """The id of a tenant with rows in all tables of both services, and that of another such tenant."""
    first, second = uuid.UUID(tenant.name.partition("/")[2]), uuid7()
    for name, server in (("contacts", contacts), ("identity", identity)):
        with server.database.connect() as connection:
            for id in (first, second):
                if name == "identity" and id == first:
                    continue  # It is founded: with tenant, roles and the like.
                fill(connection, METADATA[name], id, ROWS)
    assert all(number for tables in rows(second).values() for number in tables.values())
    return first, second


@pytest.fixture
def work(contacts, identity, signer):
    """Work on the operations of identity until none is due."""

    def work(*, grace=0, turns=20, peers=None):
        token = signer.token(tenant=str(PLATFORM_TENANT), sub=BOOTSTRAP)
        peers = {"contacts": contacts.address} if peers is None else peers
        with deletion(identity.database, peers, token, grace=grace) as (made, system, app):
            runner = Runner(
                "identity.kontor",
                identity.service.operations,
                system=system,
                database=app,
                service=made,
                first_pause=0.0,
            )
            for _ in range(turns):
                runner.work_once()

    return work


def certificate(operation):
    response = tenant_service_pb2.DeleteTenantResponse()
    assert operation.done, operation
    assert operation.response.Unpack(response), operation
    return response


def shown(operation):
    metadata = operation_pb2.OperationMetadata()
    assert operation.metadata.Unpack(metadata)
    return metadata


def test_nothing_is_left_but_the_certificate(operator, tenant, filled, rows, work):
    gone, other = filled
    before, others = rows(gone), rows(other)
    operation = operator("DeleteTenant", name=tenant.name)
    assert operator.refusal("GetTenant", name=f"tenants/{uuid7()}").code is CODE.NOT_FOUND
    assert shown(operation).kind == "delete_tenant"
    work()
    assert {number for tables in rows(gone).values() for number in tables.values()} == {0}
    assert rows(other) == others
    operation = operator("GetOperation", name=operation.name)
    told = certificate(operation)
    assert (told.tenant, told.slug) == (tenant.name, tenant.slug)
    assert [service.service for service in told.services] == ["contacts", "identity"]
    # What the deletion itself wrote into the log is among what was deleted.
    assert dict(told.services[0].rows) == {name: number for name, number in before["contacts"].items() if number}
    assert told.services[1].rows["roles"] == before["identity"]["roles"] == 5
    assert all(each.end_time.ToDatetime() >= each.begin_time.ToDatetime() for each in told.services)
    assert (shown(operation).done_units, shown(operation).total_units) == (5, 5)
    assert operator.refusal("GetTenant", name=tenant.name).code is CODE.NOT_FOUND
    assert operator.refusal("DeleteTenant", name=tenant.name).code is CODE.NOT_FOUND
    again = operator("CreateTenant", tenant={"slug": tenant.slug, "display_name": "Anew"})
    assert again.name != tenant.name


def test_it_can_be_undeleted_as_long_as_its_data_is_there(operator, tenant, filled, rows, work):
    gone, _ = filled
    before = rows(gone)["contacts"]
    operation = operator("DeleteTenant", name=tenant.name)
    work(grace=60, turns=3)
    waiting = shown(operator("GetOperation", name=operation.name))
    assert (waiting.state, waiting.stage, waiting.done_units) == (1, "wait", 1)
    assert "until" in waiting.last_failure.message
    operator("UndeleteTenant", name=tenant.name)
    work(grace=60)
    ended = operator("GetOperation", name=operation.name)
    assert (ended.done, ended.error.code) == (True, CODE.FAILED_PRECONDITION.value[0])
    assert rows(gone)["contacts"] == before
    assert not operator("GetTenant", name=tenant.name).HasField("delete_time")


@pytest.mark.parametrize("turns", [0, 2])
def test_who_cancels_it_brings_the_tenant_back(operator, tenant, work, turns):
    operation = operator("DeleteTenant", name=tenant.name)
    work(grace=60, turns=turns)
    operator("CancelOperation", name=operation.name)
    work(grace=60)
    assert operator("GetOperation", name=operation.name).error.code == CODE.CANCELLED.value[0]
    assert not operator("GetTenant", name=tenant.name).HasField("delete_time")


def test_each_deletion_of_a_tenant_is_its_own(operator, tenant, work):
    first = operator("DeleteTenant", name=tenant.name)
    operator("UndeleteTenant", name=tenant.name)
    second = operator("DeleteTenant", name=tenant.name)
    operator("UndeleteTenant", name=tenant.name)
    third = operator("DeleteTenant", name=tenant.name)
    operator("CancelOperation", name=first.name)
    work(grace=60)
    assert operator("GetOperation", name=first.name).error.code == CODE.CANCELLED.value[0]
    assert operator("GetOperation", name=second.name).error.code == CODE.FAILED_PRECONDITION.value[0]
    assert operator("GetTenant", name=tenant.name).HasField("delete_time")
    work()
    assert operator("GetOperation", name=third.name).done


def test_once_it_began_there_is_no_way_back(operator, tenant, filled, rows, work):
    gone, _ = filled
    operation = operator("DeleteTenant", name=tenant.name)
    work(turns=2, peers={"contacts": "127.0.0.1:1"})
    assert shown(operator("GetOperation", name=operation.name)).stage == "forget_elsewhere"
    assert operator.refusal("UndeleteTenant", name=tenant.name).reason == "ALREADY_FORGOTTEN"
    operator("CancelOperation", name=operation.name)
    work()
    certificate(operator("GetOperation", name=operation.name))
    assert {number for tables in rows(gone).values() for number in tables.values()} == {0}


def test_the_same_request_starts_one(operator, tenant):
    request = {"name": tenant.name, "request_id": str(uuid.uuid4())}
    assert operator("DeleteTenant", **request) == operator("DeleteTenant", **request)


def test_nothing_is_started_when_only_validated(operator, tenant):
    name = operator("DeleteTenant", name=tenant.name, validate_only=True).name
    assert operator.refusal("GetOperation", name=name).code is CODE.NOT_FOUND
    assert not operator("GetTenant", name=tenant.name).HasField("delete_time")


class TestTenantData:
    """What a service answers to identity."""

    def test_is_told_once(self, contacts, filled, rows):
        gone, other = filled
        others, before = rows(other), rows(gone)["contacts"]
        identity = contacts.caller(tenant=PLATFORM_TENANT, user=BOOTSTRAP)
        request = {"tenant": f"tenants/{gone}", "request_id": "r"}
        first = identity("DeleteTenantData", **request)
        assert first.done
        assert dict(first.rows) == {name: number for name, number in before.items() if number}
        assert identity("DeleteTenantData", **request) == first
        assert rows(other) == others

    def test_is_deleted_bit_by_bit(self, contacts, filled, rows, monkeypatch):
        ticks = itertools.count()
        monkeypatch.setattr(forgetting, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
        gone, _ = filled
        before = rows(gone)["contacts"]
        forgets = forgetting.Forgetting(METADATA["contacts"], contacts.runtime.system)
        steps = 0
        while (receipt := forgets.advance(gone, "bits", seconds=40, size=2)).end_time is None:
            steps += 1
            assert steps < 1000
        assert steps > 1
        assert receipt.rows == {name: number for name, number in before.items() if number}

    def test_the_operators_cannot_be_forgotten(self, contacts):
        identity = contacts.caller(tenant=PLATFORM_TENANT, user=BOOTSTRAP)
        refused = identity.refusal("DeleteTenantData", tenant=f"tenants/{PLATFORM_TENANT}", request_id="r")
        assert (refused.code, refused.reason) == (CODE.FAILED_PRECONDITION, "PLATFORM_TENANT")

    @pytest.mark.parametrize(
        ("of", "user", "permissions"),
        [
            (uuid7(), BOOTSTRAP, ()),
            (PLATFORM_TENANT, f"users/{uuid7()}", ()),
            (PLATFORM_TENANT, BOOTSTRAP, ("contacts.changes.*:all",)),
            (PLATFORM_TENANT, BOOTSTRAP, ("*:team",)),
        ],
        ids=["tenant", "person", "permission", "scope"],
    )
    def test_is_for_services_of_the_platform_only(self, contacts, filled, rows, of, user, permissions):
        gone, _ = filled
        before = rows(gone)
        caller = contacts.caller(*permissions, tenant=of, user=user)
        refused = caller.refusal("DeleteTenantData", tenant=f"tenants/{gone}", request_id="r")
        assert refused.code is CODE.PERMISSION_DENIED
        assert rows(gone) == before

    @pytest.mark.parametrize(("field", "value"), [("tenant", "tenants/x"), ("request_id", "")])
    def test_bad_input_is_refused(self, contacts, field, value):
        identity = contacts.caller(tenant=PLATFORM_TENANT, user=BOOTSTRAP)
        request = {"tenant": f"tenants/{uuid7()}", "request_id": "r", field: value}
        assert list(identity.refusal("DeleteTenantData", **request).violations) == [field]

    def test_the_role_that_serves_deletes_nobody(self, contacts, filled):
        with contacts.database.connect("app") as app, pytest.raises(Exception, match="permission denied"):
            app.execute("SELECT delete_tenant_rows(%s, 'accounts', 1)", [filled[0]])


def test_whoever_is_killed_it_is_done_once(contacts, identity, operator, tenant, filled, rows, work, signer, keys):
    gone, other = filled
    before, others = rows(gone), rows(other)
    operation = operator("DeleteTenant", name=tenant.name)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    given = {
        "server": contacts.database.server_url,
        "contacts": contacts.database.name,
        "identity": identity.database.name,
        "keys": str(keys),
        "listen": listen,
        "token": signer.token(tenant=str(PLATFORM_TENANT), sub=BOOTSTRAP),
    }
    subprocess.run(  # our own module
        [sys.executable, "-m", "tests.deletion.killing", str(KILLS), json.dumps(given)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])},
        check=True,
        timeout=120,
    )
    with identity.database.connect() as connection:
        name = operation.name.rpartition("/")[2]
        [(epoch,)] = connection.execute("SELECT epoch FROM operations WHERE id = %s", [name]).fetchall()
        assert epoch >= 3, "the kills hit nobody"
        connection.execute("UPDATE operations SET due_time = now() WHERE state = 1")
    work()
    told = certificate(operator("GetOperation", name=operation.name))
    assert {number for tables in rows(gone).values() for number in tables.values()} == {0}
    assert rows(other) == others
    assert dict(told.services[0].rows) == {name: number for name, number in before["contacts"].items() if number}
    with identity.database.connect() as connection:
        [(number,)] = connection.execute(
            "SELECT count(*) FROM tenant_deletions WHERE tenant_id = %s", [gone]
        ).fetchall()
    assert number == 1
