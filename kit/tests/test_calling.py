"""Operations call other services on behalf of who started them: with the right token, the same request id, the trace."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from urllib.parse import parse_qs

import grpc
import pytest

from kit.tests import operating
from kit.tests.test_credentials import endpoint as endpoint
from kontor_kit.clients import Peers
from kontor_kit.errors import PermissionDenied, Unavailable
from kontor_kit.operations.calling import Calls
from kontor_kit.operations.work import FAILED, RUNNING, SUCCEEDED
from kontor_kit.sagas import Saga, Step
from kontor_kit.testing import TENANT, USER

MILL = operating.FILE.services_by_name["MillService"].methods_by_name["Mill"]


@pytest.fixture
def other():
    """Another service: `calls` are method, metadata and message of each call; it answers as `outcomes` say, then well."""
    seen = SimpleNamespace(calls=[], outcomes=[])

    def answer(data, context):
        metadata = dict(context.invocation_metadata())
        seen.calls.append((metadata, operating.MillRequest.FromString(data).sacks))
        if seen.outcomes:
            context.abort(seen.outcomes.pop(0), "no")
        return operating.Operation(name="made").SerializeToString()

    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            assert details.method == "/kontor.test.v1.MillService/Mill"
            return grpc.unary_unary_rpc_method_handler(answer)

    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers((Handler(),))
        address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        seen.peers = Peers({"test": address})
        yield seen
        seen.peers.close()
        server.stop(None).wait()


@pytest.fixture(scope="module")
def database(databases):
    return databases.new(operating.service())


@pytest.fixture
def run(database, endpoint, other):
    """Run a saga of one step that calls the other service; return the operation's row."""

    def run(*steps, turns=10, calls=None):
        saga = Saga("call", steps or [Step("ask", ask, unask)], request=operating.MillRequest)
        with operating.pools(database) as pools, database.connect() as connection:
            connection.execute("DELETE FROM operations")
            id = operating.start(pools[1], "call", operating.MillRequest(sacks=3))
            calls = Calls(other.peers, endpoint.url, "sales", "secret") if calls is None else calls or None
            runner = operating.runner(pools, saga.kind, calls=calls, lease_seconds=0.0, first_pause=0.0)
            for _ in range(turns):
                runner.work_once()
            return connection.execute(
                "SELECT id, state, checkpoint, traceparent FROM operations WHERE id = %s", [id]
            ).fetchone()

    return run


def ask(given):
    return given.call(MILL, given.work.request).name


def unask(given):
    given.call(MILL, operating.MillRequest(sacks=-1))


def test_the_token_speaks_for_who_started_it(run, endpoint, other):
    id, state, checkpoint, _ = run()
    assert (state, checkpoint["results"]) == (SUCCEEDED, {"ask": "made"})
    [(metadata, sacks)] = other.calls
    assert sacks == 3
    assert metadata["authorization"] == "Bearer token 1"
    assert metadata["idempotency-key"] == f"{id}/ask"
    assert metadata["traceparent"]
    [(_, _, _, body)] = endpoint.asked
    assert parse_qs(body.decode()) == {
        "grant_type": ["urn:ietf:params:oauth:grant-type:token-exchange"],
        "subject_token": [f"tenants/{TENANT}/{USER}"],
        "subject_token_type": ["urn:kontor:token-type:subject"],
    }


def test_a_step_that_is_tried_again_bears_the_same_request_id(run, endpoint, other):
    other.outcomes = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL]
    assert run()[1] == SUCCEEDED
    assert len(other.calls) == 3
    assert len({metadata["idempotency-key"] for metadata, _ in other.calls}) == 1
    assert len(endpoint.asked) == 1


def test_what_undoes_it_bears_another(run, other):
    def refuse(given):
        raise PermissionDenied("no")

    id, state, *_ = run(Step("ask", ask, unask), Step("refuse", refuse))
    assert state == FAILED
    assert [(metadata["idempotency-key"], sacks) for metadata, sacks in other.calls] == [
        (f"{id}/ask", 3),
        (f"{id}/ask/undo", -1),
    ]


def test_nobody_is_acted_for_who_is_not_let_in(run, endpoint, other):
    endpoint.status, endpoint.refusal = 400, {"error": "invalid_grant"}
    assert run()[1] == FAILED
    assert other.calls == []


@pytest.mark.parametrize("status", [400, 401, 429, 503])
def test_without_a_token_it_waits(run, endpoint, other, status):
    endpoint.status = status
    assert run(turns=2)[1] == RUNNING
    assert other.calls == []


def test_without_credentials_it_waits(run, other):
    assert run(turns=2, calls=False)[1] == RUNNING


def test_a_service_that_is_not_configured_is_unavailable(endpoint):
    calls = Calls(Peers({}), endpoint.url, "sales", "secret")
    with pytest.raises(Unavailable, match="test"):
        calls(MILL, operating.MillRequest(), tenant_id=TENANT, subject=USER, request_id="r")


def test_each_subject_has_a_token_of_its_own(endpoint, other):
    calls = Calls(other.peers, endpoint.url, "sales", "secret")
    for subject in (USER, f"{USER[:-1]}f", USER):
        calls(MILL, operating.MillRequest(), tenant_id=TENANT, subject=subject, request_id="r")
    assert [metadata["authorization"] for metadata, _ in other.calls] == [
        "Bearer token 1",
        "Bearer token 2",
        "Bearer token 1",
    ]
    assert len(endpoint.asked) == 2
