"""References to records of other services: their owner says who may know of them."""

from __future__ import annotations

from types import SimpleNamespace
from uuid import UUID

import grpc
import pytest

from kontor_kit.references import Foreign, References
from kontor_kit.testing import settings

TENANT = UUID(int=1)
NAME = f"accounts/{UUID(int=7 << 76 | 2 << 62 | 1)}"
ACCOUNT = Foreign("account", False, "contacts", "/kontor.contacts.v1.AccountService/GetAccount", "accounts/{account}")


class Refused(grpc.RpcError):
    def code(self):
        return grpc.StatusCode.NOT_FOUND


class Owner:
    """The service that owns the account, which anna may see."""

    def __init__(self):
        self.asked = []
        self.reference_seconds = 0.2

    def channel(self, service):
        return SimpleNamespace(unary_unary=lambda *_: self.ask)

    def ask(self, name, *, timeout, metadata):
        self.asked.append(dict(metadata)["authorization"])
        if self.asked[-1] != "anna":
            raise Refused


@pytest.fixture
def owner():
    return Owner()


@pytest.fixture
def check(owner):
    references = References(owner)

    def check(who):
        principal = SimpleNamespace(tenant_id=TENANT, subject=f"users/{who}")
        return references.check(SimpleNamespace(principal=principal, metadata={"authorization": who}), ACCOUNT, [NAME])

    return check


def test_a_yes_is_remembered(owner, check):
    assert [check("anna"), check("anna")] == [[], []]
    assert owner.asked == ["anna"]


def test_a_yes_to_somebody_is_none_to_others(check):
    assert check("anna") == []
    assert [violation.field for violation in check("ben")] == ["account"]


def test_services_in_tests_wait_for_others_on_slow_machines(server):
    assert server.runtime.settings.reference_seconds == settings().reference_seconds == 30
