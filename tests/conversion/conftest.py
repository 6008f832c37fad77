"""Sales and contacts in this process, and who works on the operations of sales."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from kontor_contacts import service as contacts_service
from kontor_kit.calls import MethodSpec
from kontor_kit.clients import Peers
from kontor_kit.db import Database
from kontor_kit.operations.runner import Runner
from kontor_sales import service as sales_service


class Killed(BaseException):
    """The process ends at this point."""


class Calls:
    """Stands for the calls on somebody's behalf, whose rights are all, with a test's own token."""

    def __init__(self, signer, peers):
        self._signer, self._peers = signer, peers
        self.asked = []
        """The methods called."""
        self.before: Callable = lambda number, spec: None
        self.after: Callable = lambda number, spec: None

    def __call__(self, method, request, *, tenant_id, subject, request_id):
        spec = MethodSpec.of(method)
        self.asked.append(spec.name)
        number = len(self.asked)
        self.before(number, spec)
        token = self._signer.token(tenant=str(tenant_id), sub=subject, act={"sub": "serviceAccounts/sales"})
        metadata = (("authorization", f"Bearer {token}"), ("idempotency-key", request_id))
        answer = self._peers.call(method, request, metadata=metadata)
        self.after(number, spec)
        return answer


@pytest.fixture(scope="module")
def contacts(serve):
    return serve(contacts_service.service())


@pytest.fixture(scope="module")
def sales(serve, contacts, peer):
    return serve(sales_service.service(), peers={"contacts": contacts.address, "identity": peer.address})


@pytest.fixture
def anna(sales, contacts):
    """Calls sales as somebody who may do everything; `anna.contacts` calls contacts."""
    caller = sales.caller()
    caller.contacts = contacts.caller(tenant=caller.tenant, user=caller.user)
    return caller


@pytest.fixture
def calls(signer, sales, contacts):
    peers = Peers({"contacts": contacts.address, "sales": sales.address})
    yield Calls(signer, peers)
    peers.close()


@pytest.fixture
def work(sales, calls):
    """Work on the operations of sales until none is due; a new worker takes over from one that is killed."""
    system, app = (Database(sales.database.url(role), pool_size=4, name=f"test-{role}") for role in ("system", "app"))
    system.open()
    app.open()
    runtime = SimpleNamespace(settings=sales.runtime.settings, database=app, page_tokens=sales.runtime.page_tokens)
    runner = Runner(
        "sales.kontor",
        sales.service.operations,
        system=system,
        database=app,
        service=sales.service.use(runtime),
        calls=calls,
        lease_seconds=0.0,
        first_pause=0.0,
    )

    def working(turns=200):
        for _ in range(turns):
            try:
                if not runner.work_once():
                    return
            except Killed:
                continue
        raise AssertionError("there is no end to it")

    yield working
    system.close()
    app.close()
