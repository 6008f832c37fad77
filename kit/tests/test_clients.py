"""Channels to other services."""

from __future__ import annotations

import contextvars
import time

import grpc
import pytest
from prometheus_client import CollectorRegistry

from kit.tests.echo import SERVICE, Echo, EchoServicer, EchoStub
from kontor_kit.calls import Call, MethodSpec
from kontor_kit.clients import OUTGOING, Peers, connect, service_config
from kontor_kit.errors import Unavailable
from kontor_kit.ids import uuid7
from kontor_kit.statuses import as_business_error
from kontor_kit.testing import Signer, serving
from kontor_kit.tracing import current_deadline, current_trace, start_span

GET = SERVICE.methods_by_name["GetEcho"]


@pytest.fixture(scope="module")
def signer():
    return Signer()


@pytest.fixture
def servicer():
    return EchoServicer()


@pytest.fixture
def stub(servicer, signer):
    with (
        serving([servicer], signer.verifier()) as server,
        connect(f"127.0.0.1:{server.port}", [SERVICE], token=signer.token, deadline=3.0) as channel,
    ):
        yield EchoStub(channel)


def failing(times):
    """Return a behavior that is unavailable the first `times` times, and the list of its calls."""
    calls = []

    def behavior(request, call):
        calls.append(call)
        if len(calls) <= times:
            raise Unavailable("not yet")
        return request

    return behavior, calls


class TestCalls:
    def test_default_deadline(self, stub, servicer):
        stub.GetEcho(Echo())
        assert 1 < servicer.call.remaining() < 3

    def test_own_timeout(self, stub, servicer):
        stub.GetEcho(Echo(), timeout=1.0)
        assert servicer.call.remaining() < 1

    def test_trace_and_deadline_of_the_call_on_whose_behalf_it_is_made(self, stub, servicer):
        def serve():
            trace = start_span(None)._replace(state="a=1")
            current_trace.set(trace)
            current_deadline.set(time.monotonic() + 0.5)
            stub.GetEcho(Echo(), timeout=10)
            return trace

        trace = contextvars.copy_context().run(serve)
        assert (servicer.call.trace.trace_id, servicer.call.trace.state) == (trace.trace_id, "a=1")
        assert servicer.call.remaining() < 0.5

    def test_are_counted_by_what_became_of_them(self, stub, servicer):
        registry = CollectorRegistry()
        registry.register(OUTGOING)

        def count(code):
            labels = {"rpc_service": SERVICE.full_name, "method": "UpdateEcho", "code": code}
            return registry.get_sample_value("kontor_client_seconds_count", labels) or 0

        before = count("OK"), count("UNAVAILABLE")
        stub.UpdateEcho(Echo())
        servicer.behaviors["UpdateEcho"], _ = failing(1)
        with pytest.raises(grpc.RpcError):
            stub.UpdateEcho(Echo())
        assert (count("OK"), count("UNAVAILABLE")) == (before[0] + 1, before[1] + 1)

    def test_stream_has_no_deadline_of_its_own(self, stub, servicer):
        assert len(list(stub.WatchEchoes(Echo()))) == 2
        assert servicer.call.remaining() == float("inf")


class TestRetries:
    def test_read_is_repeated_while_unavailable(self, stub, servicer):
        servicer.behaviors["GetEcho"], calls = failing(2)
        assert stub.GetEcho(Echo(text="x")).text == "x"
        assert len(calls) == 3

    def test_write_is_not(self, stub, servicer):
        servicer.behaviors["UpdateEcho"], calls = failing(1)
        with pytest.raises(grpc.RpcError):
            stub.UpdateEcho(Echo())
        assert len(calls) == 1

    def test_only_reads_of_the_contract_are_named(self):
        (config,) = service_config([SERVICE])["methodConfig"]
        assert [entry["method"] for entry in config["name"]] == ["GetEcho", "Greet"]
        assert "methodConfig" not in service_config([])


class TestReplicas:
    def test_share_the_calls(self, signer):
        servicers = [EchoServicer(), EchoServicer()]
        for servicer in servicers:
            servicer.behaviors["GetEcho"], servicer.calls = failing(0)
        with (
            serving(servicers[:1], signer.verifier()) as one,
            serving(servicers[1:], signer.verifier()) as other,
            connect(f"ipv4:127.0.0.1:{one.port},127.0.0.1:{other.port}", token=signer.token) as channel,
        ):
            stub = EchoStub(channel)
            until = time.monotonic() + 10
            while not all(servicer.calls for servicer in servicers) and time.monotonic() < until:
                stub.GetEcho(Echo())
        assert all(servicer.calls for servicer in servicers)


class TestFailures:
    def test_other_service_that_is_away_makes_a_call_unavailable(self):
        with connect("127.0.0.1:1") as channel, pytest.raises(grpc.RpcError) as caught:
            EchoStub(channel).GetEcho(Echo(), timeout=2)
        error = as_business_error(caught.value)
        assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVICE_UNAVAILABLE")

    def test_other_refusals_are_not_passed_on(self, stub):
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetEcho(Echo(), metadata=[("authorization", "Bearer x")])
        assert as_business_error(caught.value) is None


class TestPeers:
    """The other services, by the packages of their methods."""

    @pytest.fixture
    def peers(self, servicer, signer):
        with serving([servicer], signer.verifier()) as server:
            found = Peers({"test": f"127.0.0.1:{server.port}"})
            yield found
            found.close()

    def test_who_is_asked_within_a_call_sees_its_caller(self, peers, servicer, signer):
        user = f"users/{uuid7()}"
        call = Call(MethodSpec.of(GET), start_span(), metadata={"authorization": f"Bearer {signer.token(sub=user)}"})
        assert peers.ask(call, GET, Echo(text="x")).text == "x"
        assert servicer.call.principal.subject == user
        assert servicer.call.remaining() < 3
        peers.ask(call, GET, Echo(), timeout=1.0)
        assert servicer.call.remaining() < 1

    def test_a_caller_without_a_token_is_refused(self, peers):
        with pytest.raises(grpc.RpcError) as caught:
            peers.ask(Call(MethodSpec.of(GET), start_span()), GET, Echo())
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED

    def test_other_metadata_travels(self, peers, servicer, signer):
        metadata = (("authorization", f"Bearer {signer.token()}"), ("idempotency-key", "k"))
        peers.call(GET, Echo(), metadata=metadata)
        assert servicer.call.request_id == "k"

    def test_an_unknown_service_is_unavailable(self):
        with pytest.raises(Unavailable):
            Peers({}).call(GET, Echo())
