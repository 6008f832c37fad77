"""The one path of every call."""

from __future__ import annotations

import logging
import time

import grpc
import psycopg
import pytest
from google.rpc import error_details_pb2
from psycopg import errors as postgres
from psycopg_pool import PoolTimeout

from kit.tests.echo import SERVICE, Echo, EchoPart, EchoServicer, EchoStub, bearer
from kontor_kit.calls import Call, MethodSpec
from kontor_kit.errors import Aborted, EtagMismatch, IdempotencyKeyReused, InvalidArgument, NotFound
from kontor_kit.principals import Scope
from kontor_kit.testing import TENANT, Signer, answer, serving
from kontor_kit.tracing import start_span

CODE = grpc.StatusCode
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
def signer():
    return Signer()


@pytest.fixture(scope="module")
def servicer():
    return EchoServicer()


@pytest.fixture(scope="module")
def channel(servicer, signer):
    with (
        serving([servicer], signer.verifier(), max_request_bytes=10_000) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        yield channel


@pytest.fixture
def stub(channel, servicer):
    servicer.behaviors.clear()
    return EchoStub(channel)


def failing(stub, token, error, **kwargs):
    """Return the answer of a call whose method raises `error`."""
    with pytest.raises(grpc.RpcError) as caught:
        stub.GetEcho(Echo(text="x"), metadata=bearer(token, **kwargs))
    return answer(caught.value)


def raising(error):
    def behavior(request, call):
        raise error

    return behavior


class TestMethodSpec:
    def test_contract_is_read(self):
        spec = MethodSpec.of(SERVICE.methods_by_name["GetEcho"])
        assert spec.full_name == "/kontor.test.v1.EchoService/GetEcho"
        assert (spec.permission, spec.is_read, spec.is_streaming) == ("test.echoes.read", True, False)
        assert (spec.input, spec.output) == (Echo, Echo)
        assert not MethodSpec.of(SERVICE.methods_by_name["UpdateEcho"]).is_read
        assert MethodSpec.of(SERVICE.methods_by_name["WatchEchoes"]).is_streaming


class TestAuthentication:
    @pytest.mark.parametrize(
        ("metadata", "reason"),
        [
            (None, "TOKEN_MISSING"),
            ([("authorization", "Bearer not.a.token")], "TOKEN_INVALID"),
            ([("authorization", "Basic dXNlcjpwYXNz")], "TOKEN_INVALID"),
        ],
    )
    def test_refused_without_a_token(self, stub, metadata, reason):
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetEcho(Echo(), metadata=metadata)
        refusal = answer(caught.value)
        assert (refusal.code, refusal.reason, refusal.domain) == (CODE.UNAUTHENTICATED, reason, "test.kontor")

    @pytest.mark.parametrize(
        ("claims", "reason"),
        [
            ({"exp": int(time.time()) - 60}, "TOKEN_EXPIRED"),
            ({"aud": "other"}, "TOKEN_AUDIENCE"),
            ({"iss": "http://other"}, "TOKEN_ISSUER"),
            ({"key": Signer().key}, "TOKEN_INVALID"),
            ({"header": {"kid": "unknown"}}, "TOKEN_INVALID"),
        ],
    )
    def test_refused_with_a_wrong_token(self, stub, signer, claims, reason):
        refusal = failing(stub, signer.token(**claims), None)
        assert (refusal.code, refusal.reason) == (CODE.UNAUTHENTICATED, reason)

    def test_principal_reaches_the_method(self, stub, servicer, signer):
        stub.GetEcho(Echo(), metadata=bearer(signer.token("test.echoes.*:team"), idempotency_key="k", if_match="7"))
        call = servicer.call
        assert (call.principal.tenant_id, call.scope) == (TENANT, Scope.TEAM)
        assert (call.request_id, call.if_match) == ("k", "7")
        assert call.peer.startswith("ipv4:127.0.0.1:")

    def test_public_method_needs_no_token(self, stub, servicer):
        assert stub.Greet(Echo(text="hello")).text == "hello"
        assert servicer.call.principal is None
        assert (servicer.call.request_id, servicer.call.if_match) == ("", "")


class TestAuthorisation:
    def test_missing_permission_is_named(self, stub, signer):
        refusal = failing(stub, signer.token("test.echoes.update:all"), None)
        assert (refusal.code, refusal.reason) == (CODE.PERMISSION_DENIED, "PERMISSION_DENIED")
        assert refusal.metadata == {"permission": "test.echoes.read"}

    def test_comes_before_the_request_is_read(self, stub, signer, channel):
        call = channel.unary_unary("/kontor.test.v1.EchoService/GetEcho")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"\xff\xff", metadata=bearer(signer.token("other.things.read:all")))
        assert caught.value.code() is CODE.PERMISSION_DENIED


class TestValidation:
    def test_field_is_named_by_its_path(self, stub, signer):
        request = Echo(parts=[EchoPart(word="short"), EchoPart(word="too long")])
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetEcho(request, metadata=bearer(signer.token()))
        refusal = answer(caught.value)
        assert refusal.code is CODE.INVALID_ARGUMENT
        assert refusal.violations == {"parts[1].word": "must be at most 5 characters"}

    def test_status_stays_small_when_everything_is_wrong(self, stub, signer):
        request = Echo(parts=[EchoPart(word="too long")] * 500)
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetEcho(request, metadata=bearer(signer.token()))
        refusal = answer(caught.value)
        assert refusal.code is CODE.INVALID_ARGUMENT
        assert 20 < len(refusal.violations) < 500
        assert refusal.violations[""] == f"and {500 - len(refusal.violations) + 1} more"
        assert len(refusal.message) <= 300

    @pytest.mark.parametrize("body", [b"\x0a\x02\xff\xfe", b"\x0a\x7f"], ids=["not UTF-8", "cut off"])
    def test_undecodable_request_is_refused(self, channel, stub, signer, body):
        call = channel.unary_unary("/kontor.test.v1.EchoService/GetEcho")
        with pytest.raises(grpc.RpcError) as caught:
            call(body, metadata=bearer(signer.token()))
        refusal = answer(caught.value)
        assert (refusal.code, refusal.reason) == (CODE.INVALID_ARGUMENT, "MALFORMED_REQUEST")

    def test_oversized_request_is_refused(self, stub, signer):
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetEcho(Echo(text="x" * 20_000), metadata=bearer(signer.token()))
        assert caught.value.code() is CODE.RESOURCE_EXHAUSTED


class TestDeadline:
    def test_callers_deadline_is_kept_with_a_margin(self, stub, servicer, signer):
        stub.GetEcho(Echo(), metadata=bearer(signer.token()), timeout=3)
        assert 1.5 < servicer.call.remaining() < 3

    def test_default_holds_for_a_call_without_one(self, stub, servicer, signer):
        stub.GetEcho(Echo(), metadata=bearer(signer.token()))
        assert 5 < servicer.call.remaining() <= 10

    def test_stream_without_one_has_none(self, stub, servicer, signer):
        assert len(list(stub.WatchEchoes(Echo(), metadata=bearer(signer.token())))) == 2
        assert servicer.call.remaining() == float("inf")

    def test_refused_when_nothing_is_left(self, stub, servicer, signer):
        servicer.call = None
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetEcho(Echo(), metadata=bearer(signer.token()), timeout=0.019)
        assert caught.value.code() is CODE.DEADLINE_EXCEEDED
        assert servicer.call is None


class TestErrors:
    @pytest.mark.parametrize(
        ("error", "code", "reason"),
        [
            (NotFound("no such echo"), CODE.NOT_FOUND, "NOT_FOUND"),
            (Aborted("too late", reason="ETAG"), CODE.ABORTED, "ETAG"),
            (postgres.QueryCanceled(), CODE.DEADLINE_EXCEEDED, "STATEMENT_TIMEOUT"),
            (postgres.SerializationFailure(), CODE.ABORTED, "CONCURRENT_CHANGE"),
            (postgres.DeadlockDetected(), CODE.ABORTED, "CONCURRENT_CHANGE"),
            (psycopg.OperationalError("server closed"), CODE.UNAVAILABLE, "DATABASE_UNAVAILABLE"),
            (postgres.AdminShutdown(), CODE.UNAVAILABLE, "DATABASE_UNAVAILABLE"),
            (PoolTimeout("no connection"), CODE.UNAVAILABLE, "DATABASE_UNAVAILABLE"),
        ],
    )
    def test_status_when_the_method_raises(self, stub, servicer, signer, caplog, error, code, reason):
        servicer.behaviors["GetEcho"] = raising(error)
        refusal = failing(stub, signer.token(), error, traceparent=TRACEPARENT)
        assert (refusal.code, refusal.reason, refusal.domain) == (code, reason, "test.kontor")
        assert refusal.request_id == TRACE
        assert not [record for record in caplog.records if record.levelno >= logging.ERROR]

    @pytest.mark.parametrize(
        ("error", "status"), [(EtagMismatch("changed"), "412"), (IdempotencyKeyReused(("", "reused")), "422")]
    )
    def test_http_status_is_sent_ahead_where_grpc_has_none(self, stub, servicer, signer, error, status):
        servicer.behaviors["GetEcho"] = raising(error)
        assert failing(stub, signer.token(), error).headers["x-kontor-http-status"] == status

    def test_details_of_the_error_are_sent(self, stub, servicer, signer):
        detail = error_details_pb2.ResourceInfo(resource_name="echoes/1")
        servicer.behaviors["GetEcho"] = raising(NotFound("no", metadata={"a": "b"}, details=[detail]))
        refusal = failing(stub, signer.token(), None)
        assert refusal.metadata == {"a": "b"}
        assert refusal.detail(error_details_pb2.ResourceInfo) == detail

    def test_violations_of_the_method_are_sent(self, stub, servicer, signer):
        servicer.behaviors["GetEcho"] = raising(InvalidArgument(("echo.text", "is rude")))
        assert failing(stub, signer.token(), None).violations == {"echo.text": "is rude"}

    @pytest.mark.parametrize("behavior", [raising(RuntimeError("the secret is 42")), lambda request, call: None])
    def test_unforeseen_error_leaks_nothing_and_is_logged_once(self, stub, servicer, signer, caplog, behavior):
        servicer.behaviors["GetEcho"] = behavior
        refusal = failing(stub, signer.token(), None)
        assert (refusal.code, refusal.reason) == (CODE.INTERNAL, "INTERNAL")
        assert refusal.message == f"an internal error; it was logged with the id {refusal.request_id}"
        (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert record.exc_info is not None
        assert record.method == "/kontor.test.v1.EchoService/GetEcho"

    def test_stream_ends_with_the_status_of_its_error(self, stub, servicer, signer):
        def behavior(request, call):
            yield request
            raise NotFound("gone")

        servicer.behaviors["WatchEchoes"] = behavior
        responses = stub.WatchEchoes(Echo(text="x"), metadata=bearer(signer.token()))
        assert next(responses).text == "x"
        with pytest.raises(grpc.RpcError) as caught:
            next(responses)
        assert answer(caught.value).code is CODE.NOT_FOUND


class TestHeadersAndTrace:
    def test_header_is_sent_ahead_of_the_answer(self, stub, servicer, signer):
        def behavior(request, call):
            call.set_header("etag", '"7"')
            return request

        servicer.behaviors["GetEcho"] = behavior
        _, call = stub.GetEcho.with_call(Echo(), metadata=bearer(signer.token()))
        assert dict(call.initial_metadata())["etag"] == '"7"'

    def test_trace_of_the_caller_is_continued(self, stub, servicer, signer):
        stub.GetEcho(Echo(), metadata=bearer(signer.token(), traceparent=TRACEPARENT, tracestate="a=1"))
        trace = servicer.call.trace
        assert (trace.trace_id, trace.flags, trace.state) == (TRACE, "01", "a=1")
        assert trace.span_id != "00f067aa0ba902b7"

    @pytest.mark.parametrize(
        "value", [None, "", "nonsense", TRACEPARENT.replace("4bf9", "ZZZZ"), f"00-{'0' * 32}-{'1' * 16}-01"]
    )
    def test_new_trace_where_none_is_given(self, value):
        trace = start_span(value)
        assert len(trace.trace_id) == 32
        assert start_span(trace.traceparent).trace_id == trace.trace_id

    def test_call_can_be_made_by_hand(self):
        call = Call(MethodSpec.of(SERVICE.methods_by_name["GetEcho"]), start_span())
        assert call.is_active()
        assert call.peer == call.request_id == ""


class TestAccessLog:
    def test_written_for_every_call_at_debug(self, stub, signer, caplog):
        caplog.set_level(logging.DEBUG, "kontor_kit.access")
        stub.GetEcho(Echo(), metadata=bearer(signer.token()))
        (record,) = [record for record in caplog.records if record.name == "kontor_kit.access"]
        assert (record.code, record.tenant) == ("OK", str(TENANT))

    def test_silent_by_default(self, stub, signer, caplog):
        caplog.set_level(logging.INFO)
        stub.GetEcho(Echo(), metadata=bearer(signer.token()))
        assert not caplog.records
