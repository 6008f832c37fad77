"""Rate limits and retries."""

import grpc
import pytest

from gateway.tests.conftest import PLENTY
from gateway.tests.fakes import abort, details
from kontor_gateway.settings import Limit, RateLimits

ACCOUNTS = "/kontor.contacts.v1.AccountService/"


@pytest.fixture(scope="module")
def limited(start):
    # Long enough that no bucket is filled again within a test.
    limits = RateLimits(tenant=Limit(9, 600), client=Limit(4, 600), address=Limit(3, 600))
    return start(rate_limits=limits)


class TestRateLimits:
    def test_a_client_is_limited_and_told_so(self, limited):
        token = limited.token(sub="users/one", tenant="one")
        first = limited.call("GET", "/v1/accounts", token=token)
        assert first.headers["ratelimit-policy"] == '"client";q=4;w=600'
        name, remaining, reset = first.headers["ratelimit"].split(";")
        assert (name, remaining) == ('"client"', "r=3")
        assert 0 <= int(reset.removeprefix("t=")) <= 600
        assert [limited.call("GET", "/v1/accounts", token=token).status_code for _ in range(3)] == [200] * 3
        refused = limited.call("GET", "/v1/accounts", token=token)
        assert refused.status_code == 429
        assert refused.json()["code"] == 8
        assert details(refused)["ErrorInfo"]["reason"] == "RATE_LIMITED"
        assert int(refused.headers["retry-after"]) > 0
        assert not [name for name in refused.headers if name.startswith("x-ratelimit")]

    def test_others_are_not_limited_by_it(self, limited):
        for number in range(4):
            token = limited.token(sub=f"users/{number}", tenant=f"tenant-{number}")
            assert limited.call("GET", "/v1/accounts", token=token).status_code == 200

    def test_a_tenant_is_limited_over_all_its_clients(self, limited):
        statuses = []
        for number in range(5):
            token = limited.token(sub=f"users/{number}", tenant="two")
            statuses += [limited.call("GET", "/v1/accounts", token=token).status_code for _ in range(2)]
        assert statuses == [200] * 9 + [429]

    def test_grpc_is_limited_too(self, limited):
        metadata = (("authorization", f"Bearer {limited.token(sub='users/grpc', tenant='three')}"),)
        with grpc.insecure_channel(limited.address) as channel:
            method = channel.unary_unary(ACCOUNTS + "GetAccount")
            for _ in range(4):
                method(b"", metadata=metadata)
            with pytest.raises(grpc.RpcError) as error:
                method(b"", metadata=metadata)
        assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert int(dict(error.value.initial_metadata() + error.value.trailing_metadata())["retry-after"]) > 0

    def test_getting_tokens_is_limited_by_address(self, limited):
        statuses = [limited.call("GET", "/oauth2/token", token="").status_code for _ in range(4)]
        assert statuses == [400, 400, 400, 429]


class TestRetries:
    @pytest.mark.parametrize(
        ("verb", "path", "method", "headers", "tries"),
        [
            ("GET", "/v1/accounts/a", "GetAccount", {}, 3),
            ("DELETE", "/v1/accounts/a", "DeleteAccount", {}, 1),
            ("PATCH", "/v1/accounts/a", "UpdateAccount", {}, 1),
            ("PATCH", "/v1/accounts/a", "UpdateAccount", {"idempotency-key": "k"}, 3),
        ],
    )
    @pytest.mark.parametrize(
        ("code", "status"),
        # A server that stops cancels what comes in at this moment.
        [
            pytest.param(grpc.StatusCode.UNAVAILABLE, 503, id="away"),
            pytest.param(grpc.StatusCode.CANCELLED, 499, id="stops"),
        ],
    )
    def test_who_is_away_or_stops_is_tried_again_when_it_does_no_harm(
        self, gateway, verb, path, method, headers, tries, code, status
    ):
        gateway.upstream.answers[ACCOUNTS + method] = abort(code, "later")
        options = {"json": {}} if verb == "PATCH" else {}
        assert gateway.call(verb, path, headers=headers, **options).status_code == status
        assert len(gateway.upstream.calls) == tries

    def test_other_errors_are_not_tried_again(self, gateway):
        gateway.upstream.answers[ACCOUNTS + "GetAccount"] = abort(grpc.StatusCode.INTERNAL, "broken")
        assert gateway.call("GET", "/v1/accounts/a").status_code == 500
        assert len(gateway.upstream.calls) == 1

    def test_replica_that_cannot_be_reached_is_passed_over(self, start, contract):
        gateway = start(rate_limits=PLENTY, dead_replica=True)
        statuses = {gateway.call("POST", "/v1/accounts", json={}).status_code for _ in range(10)}
        assert statuses == {200}
