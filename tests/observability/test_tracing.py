"""One request is one trace: through the service it is for, one that is asked, and one that hears of it afterwards."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import grpc
import httpx
import pytest
import sqlalchemy as sa

from kit.tests import operating
from kit.tests.echo import Echo, EchoServicer, EchoStub
from kontor_contacts import service as contacts_service
from kontor_gateway.settings import Options
from kontor_kit.changes.sequencer import Sequencer
from kontor_kit.clients import connect
from kontor_kit.db import Database, Statement
from kontor_kit.due import Due
from kontor_kit.errors import NotFound
from kontor_kit.inbox.events import traceparent
from kontor_kit.inbox.following import Follower
from kontor_kit.inbox.handling import Worker
from kontor_kit.inbox.receiving import Inbox
from kontor_kit.principals import PLATFORM_TENANT
from kontor_kit.spans import SpanSender
from kontor_kit.testing import serving
from kontor_kit.tracing import recording, start_span, within
from kontor_partners import service as partners_service
from kontor_sales import service as sales_service
from tests.observability.conftest import envoy

ROBOT = "serviceAccounts/0198a000-0000-7000-8000-0000000000bb"
CREATED = "kontor.sales.v1.opportunity.created"
HANDLER = "kontor_partners.known_deals.events.know_deal"


@pytest.fixture
def sender(collector):
    made = SpanSender(collector.endpoint, "sales", "serve", "1.0")
    made.start()
    yield made
    if recording.recorder is not None:
        made.stop()


@pytest.fixture(scope="module")
def contacts(serve, peer):
    return serve(contacts_service.service(), peers={"identity": peer.address})


@pytest.fixture(scope="module")
def sales(serve, contacts, peer):
    return serve(sales_service.service(), peers={"contacts": contacts.address, "identity": peer.address})


@pytest.fixture
def partners(serve, sales, peer):
    """Follows sales and handles what it hears: `partners()` does so until there is nothing more."""
    made = serve(partners_service.service(), peers={"sales": sales.address, "identity": peer.address})
    system, source = (Database(each.database.url("system"), pool_size=3) for each in (made, sales))
    system.open()
    source.open()
    handlers, sequencer = made.service.handlers, Sequencer(sales.service.metadata, source)
    inbox = Inbox(made.service.metadata, system, handlers)

    def token():
        permissions = ("sales.changes.read:all", "sales.changes.follow:all")
        return sales.signer.token(*permissions, tenant=str(PLATFORM_TENANT), sub=ROBOT)

    follower = Follower("sales", inbox, handlers, lambda _: connect(sales.address, token=token))
    worker = Worker(
        made.service.metadata,
        handlers,
        system=system,
        database=made.runtime.database,
        service=made.service.use(made.runtime),
    )
    stopping = threading.Event()
    thread = threading.Thread(target=follower.run, args=(stopping,))
    thread.start()
    until = time.monotonic() + 20
    while not inbox.sources.state("sales").position:
        assert time.monotonic() < until, "sales is not followed"
        time.sleep(0.02)

    def work():
        while sequencer.advance():
            pass
        until = time.monotonic() + 20
        while not worker.work_once():
            assert time.monotonic() < until, "nothing was heard of"
            time.sleep(0.02)
        while worker.work_once():
            pass

    yield work
    stopping.set()
    thread.join(5)
    system.close()
    source.close()


def create_opportunity(sales, contacts, **metadata):
    anna = sales.caller()
    account = contacts.caller(tenant=anna.tenant, user=anna.user)(
        "CreateAccount", account={"display_name": "Institut du Radium"}
    )
    fields = {"display_name": "Centrifuge for Marie Curie", "account": account.name}
    anna("CreateOpportunity", opportunity=fields, metadata=metadata)
    return anna


def test_request_is_one_trace_over_calls_database_and_events(collector, sender, contacts, sales, partners):
    ours = start_span()
    anna = create_opportunity(sales, contacts, traceparent=ours.traceparent)
    partners()
    sender.stop()
    tree = collector.of(ours.trace_id)
    served = tree.one(ours.span_id, "SERVER", "kontor.sales.v1.OpportunityService/CreateOpportunity")
    assert served.attributes["rpc.grpc.status_code"] == 0
    assert served.service == "kontor-sales"

    asked = tree.one(served.id, "CLIENT", "kontor.contacts.v1.AccountService/GetAccount")
    answered = tree.one(asked.id, "SERVER", "kontor.contacts.v1.AccountService/GetAccount")
    (looked_up,) = tree.below(answered.id, "CLIENT")
    assert looked_up.attributes["db.system.name"] == "postgresql"
    assert "FROM accounts" in looked_up.attributes["db.query.text"]

    assert any("INSERT INTO change_pending" in span.attributes.get("db.query.text", "")
               for span in tree.below(served.id, "CLIENT"))  # fmt: skip
    told = tree.one(served.id, "PRODUCER", f"create {CREATED}")
    handled = [span for span in tree.below(told.id, "CONSUMER") if span.name == f"process {CREATED}"]
    assert HANDLER in {span.attributes["messaging.consumer.group.name"] for span in handled}
    assert all(any("COMMIT" in sent.name for sent in tree.below(span.id, "CLIENT")) for span in handled)

    known = {ours.span_id, *(span.id for span in tree.spans)}
    assert {span.parent for span in tree.spans} <= known, "a span is part of one that nobody sent"
    for personal in (anna.user, "Curie", "Radium", anna.token):
        assert personal.encode() not in collector.received


def test_gateway_begins_the_trace_and_says_nothing_of_who_asks(collector, sender, contacts, signer, keys, tmp_path):
    upstreams = {"contacts": [("127.0.0.1", int(contacts.address.rpartition(":")[2]))]}
    caller = contacts.caller()
    headers = {"Authorization": f"Bearer {caller.token}", "User-Agent": "the telephone of Marie Curie"}
    with envoy(tmp_path / "envoy", upstreams, keys, Options(access_log="", spans=collector.endpoint)) as (url, _):
        response = httpx.get(f"{url}/v1/accounts", params={"filter": 'displayName="Radium"'}, headers=headers)
        assert response.status_code == 200, response.text
        refused = httpx.post(f"{url}/v1/accounts", json={"emails": [{"address": "Curie"}]}, headers=headers)
        assert refused.status_code == 400
        until = time.monotonic() + 20
        while len(told := [span for span in collector.spans if span.service == "kontor-gateway"]) < 2:
            assert time.monotonic() < until, "the gateway told of nothing"
            time.sleep(0.05)
    sender.stop()
    gateway, refusal = told
    assert (gateway.kind, gateway.parent) == ("SERVER", "")
    assert gateway.attributes["http.status_code"] == "200"
    tree = collector.of(gateway.trace_id)
    served = tree.one(gateway.id, "SERVER", "kontor.contacts.v1.AccountService/ListAccounts")
    assert tree.below(served.id, "CLIENT")
    for personal in (caller.user, caller.token, "Curie", "Radium", "displayName"):
        assert personal.encode() not in collector.received
    assert {gateway.attributes[tag] for tag in ("peer.address", "user_agent")} == {"-"}
    assert not refusal.attributes.get("grpc.message"), "an error's words may repeat what was sent"


def test_failure_is_told_and_refusal_is_none(collector, sender, signer):
    def refuse(request, call):
        raise NotFound("no")

    def break_down(request, call):
        raise RuntimeError("unforeseen")

    ours, token = start_span(), signer.token()
    with (
        serving([EchoServicer(GetEcho=refuse, UpdateEcho=break_down)], signer.verifier()) as server,
        connect(f"127.0.0.1:{server.port}", token=token) as channel,
        within(ours),
    ):
        for call in (EchoStub(channel).GetEcho, EchoStub(channel).UpdateEcho):
            with pytest.raises(grpc.RpcError):
                call(Echo())
    sender.stop()
    spans = {(span.kind, span.name.rpartition("/")[2]): span for span in collector.of(ours.trace_id).spans}
    assert {key: span.failed for key, span in spans.items()} == {
        ("CLIENT", "GetEcho"): False,
        ("SERVER", "GetEcho"): False,
        ("CLIENT", "UpdateEcho"): True,
        ("SERVER", "UpdateEcho"): True,
    }
    assert b"unforeseen" not in collector.received


def test_work_goes_on_in_the_trace_that_began_it(collector, sender, serve):
    mill, ours = serve(operating.service()), start_span()
    mill.caller()("Mill", sacks=1, metadata={"traceparent": ours.traceparent})
    with operating.pools(mill.database) as pools:
        assert operating.runner(pools, operating.MILL).work_once()
    sender.stop()
    tree = collector.of(ours.trace_id)
    begun = tree.one(ours.span_id, "SERVER", "kontor.test.v1.MillService/Mill")
    done = tree.one(begun.id, "CONSUMER", "operation mill")
    assert len(tree.below(done.id, "CLIENT")) > 1


def test_what_is_due_is_a_trace_of_its_own(collector, sender, serve):
    server, seen = serve(operating.service()), []

    def wake(service, tx, trace, id, now):
        seen.append(trace)
        tx.run(Statement(sa.text("SELECT 1")))

    due = Due("wake", "operations", ["state = 1 AND due_time <= :now"], wake, marks=False)
    with operating.pools(server.database) as (system, app):
        operating.start(app, "mill")
        assert due.periodic(app, None).run_once(system)
    sender.stop()
    (trace,) = seen
    tree = collector.of(trace.trace_id)
    done = tree.one("", "INTERNAL", "due wake")
    assert [span.name for span in tree.below(done.id, "CLIENT")] == ["BEGIN, SELECT, SELECT", "COMMIT"]


def test_what_the_caller_does_not_record_is_not_recorded(collector, sender, sales):
    ours = start_span().unrecorded()
    sales.caller()("ListOpportunities", metadata={"traceparent": ours.traceparent})
    sender.stop()
    assert collector.of(ours.trace_id).spans == []


def test_sampler_of_the_environment_decides_alike_on_calls_and_their_events(collector, monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    sender = SpanSender(collector.endpoint, "sales", "serve", "1.0")
    sender.start()
    try:
        calls = [start_span() for _ in range(100)]
        assert {call.is_recorded for call in calls} == {True, False}
        for call in calls:
            told = traceparent(call.trace_id, "things/a", 1, "kontor.things.v1.thing.created")
            assert start_span(told, is_decided=False).is_recorded == call.is_recorded
    finally:
        sender.stop()


def test_collector_that_is_away_costs_spans_and_nothing_else(signer):
    away = SpanSender("http://127.0.0.1:1", "sales", "serve", "1.0")
    away.start()
    with (
        serving([EchoServicer()], signer.verifier()) as server,
        connect(f"127.0.0.1:{server.port}", token=signer.token()) as channel,
    ):
        assert EchoStub(channel).GetEcho(Echo(text="x")).text == "x"
        away.stop()
        assert EchoStub(channel).GetEcho(Echo(text="y")).text == "y"


def test_sdk_is_not_imported_where_nothing_is_traced():
    script = (
        "import sys, kontor_kit.main, kontor_kit.amqp.starting;"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
