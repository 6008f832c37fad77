"""Whoever has no good token is refused: at every method, over REST, over gRPC, and over gRPC-Web."""

import grpc
import pytest
from joserfc import jwk

from gateway.tests.fakes import DESCRIPTORS, details
from kontor_gateway.contract import Contract

PROTECTED = [method for method in Contract.load(DESCRIPTORS).methods if not method.is_public]
BAD_TOKENS = {
    "none": lambda gateway: "",
    "garbage": lambda gateway: "garbage",
    "expired": lambda gateway: gateway.token(lifetime=-60),
    "wrong key": lambda gateway: gateway.token(key=jwk.ECKey.generate_key("P-256", {"kid": "test"}, auto_kid=False)),
    "unknown key": lambda gateway: gateway.token(key=jwk.ECKey.generate_key("P-256", {"kid": "x"}, auto_kid=False)),
    "wrong audience": lambda gateway: gateway.token(aud="other"),
    "wrong issuer": lambda gateway: gateway.token(iss="http://other.test"),
    "no algorithm": lambda gateway: "eyJhbGciOiJub25lIn0." + gateway.token().split(".")[1] + ".",
}


def path_of(template):
    return (
        "/"
        + "/".join("x" if part.startswith("*") else part for part in template.segments)
        + (f":{template.verb}" if template.verb else "")
    )


@pytest.mark.parametrize("kind", BAD_TOKENS)
def test_rest_refuses(gateway, kind):
    token = BAD_TOKENS[kind](gateway)
    for method in PROTECTED:
        for binding in method.bindings:
            answer = gateway.call(binding.verb, path_of(binding.template), token=token)
            assert answer.status_code == 401, (method.full_name, answer.text)
            assert answer.json()["code"] == 16
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert details(answer)["ErrorInfo"]["reason"] == "UNAUTHENTICATED"
    assert not gateway.upstream.calls


@pytest.mark.parametrize("kind", BAD_TOKENS)
def test_grpc_refuses(gateway, kind):
    token = BAD_TOKENS[kind](gateway)
    with grpc.insecure_channel(gateway.address) as channel:
        for method in PROTECTED:
            metadata = (("authorization", f"Bearer {token}"),) if token else ()
            with pytest.raises(grpc.RpcError) as error:
                channel.unary_unary(method.path)(b"", metadata=metadata, timeout=5)
            assert error.value.code() == grpc.StatusCode.UNAUTHENTICATED, method.full_name
    assert not gateway.upstream.calls


@pytest.mark.parametrize("kind", ["none", "expired", "wrong audience"])
def test_grpc_web_refuses(gateway, kind):
    token = BAD_TOKENS[kind](gateway)
    for method in PROTECTED:
        headers = {"content-type": "application/grpc-web+proto"}
        answer = gateway.call("POST", method.path, token=token, headers=headers, content=b"\0\0\0\0\0")
        assert answer.headers["grpc-status"] == "16", method.full_name
    assert not gateway.upstream.calls


def test_paths_spelled_otherwise_find_no_way_round(gateway):
    service = "/kontor.contacts.v1.AccountService"
    for path in (f"/{service}/GetAccount", f"{service}//GetAccount", f"{service}/GetAccount/", "//v1/accounts/x",
                 "/v1//accounts/x", "/v1/accounts/x/", "/V1/accounts/x", "/v1/%61ccounts/x", "/v1/accounts;x/y"):  # fmt: skip
        for verb, kind in (("GET", ""), ("POST", "application/grpc"), ("POST", "application/json")):
            answer = gateway.call(verb, path, token="", headers={"content-type": kind})
            assert answer.status_code in {400, 401, 404, 405} or answer.headers["grpc-status"] in {"12", "16"}, path
    assert not gateway.upstream.calls


def test_nobody_is_blamed_when_the_keys_cannot_be_had(start):
    gateway = start(identity_http=[("127.0.0.1", 9)])
    answer = gateway.call("GET", "/v1/accounts")
    assert answer.status_code == 503
    assert details(answer)["ErrorInfo"]["reason"] == "SERVICE_UNAVAILABLE"
    assert gateway.call("GET", "/v1/accounts", token="").status_code == 401
    metadata = (("authorization", f"Bearer {gateway.token()}"),)
    with grpc.insecure_channel(gateway.address) as channel, pytest.raises(grpc.RpcError) as error:
        channel.unary_unary(PROTECTED[0].path)(b"", metadata=metadata, timeout=5)
    assert error.value.code() == grpc.StatusCode.UNAVAILABLE
    assert not gateway.upstream.calls


def test_token_in_the_url_does_not_count(gateway):
    answer = gateway.call("GET", f"/v1/accounts?access_token={gateway.token()}", token="")
    assert answer.status_code == 401
