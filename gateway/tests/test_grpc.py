"""gRPC and gRPC-Web through the gateway."""

import base64
import re

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from gateway.tests.fakes import abort

GET = "/kontor.contacts.v1.AccountService/GetAccount"


def call(gateway, path, request=b"", *, token=None):
    metadata = (("authorization", f"Bearer {gateway.token() if token is None else token}"),)
    with grpc.insecure_channel(gateway.address) as channel:
        return channel.unary_unary(path)(request, metadata=metadata, timeout=10)


def status_of(error):
    trailing = dict(error.value.trailing_metadata())
    return status_pb2.Status.FromString(trailing["grpc-status-details-bin"])


def test_passes_requests_and_answers(gateway):
    request = gateway.upstream.message("kontor.contacts.v1.GetAccountRequest")(name="accounts/a")
    account = gateway.upstream.message("kontor.contacts.v1.Account")
    gateway.upstream.answers[GET] = lambda *_: account(display_name="A")
    assert account.FromString(call(gateway, GET, request.SerializeToString())).display_name == "A"
    assert gateway.upstream.calls[-1].request == request


def test_passes_errors_with_details(gateway):
    info = error_details_pb2.ErrorInfo(reason="ETAG_MISMATCH", domain="contacts.kontor")
    headers = (("x-kontor-http-status", "412"),)
    gateway.upstream.answers[GET] = abort(grpc.StatusCode.FAILED_PRECONDITION, "no", info, headers=headers)
    with pytest.raises(grpc.RpcError) as error:
        call(gateway, GET)
    assert error.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert status_of(error).details[0].type_url.endswith("ErrorInfo")


@pytest.mark.parametrize(
    "path",
    [
        "/kontor.contacts.v1.AccountService/Nothing",
        "/kontor.nothing.v1.NothingService/Get",
        "/grpc.health.v1.Health/Check",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    ],
)
def test_what_is_not_in_the_contract_is_unimplemented(gateway, path):
    with pytest.raises(grpc.RpcError) as error:
        call(gateway, path)
    assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert error.value.details() == "There is nothing at this address."
    info = error_details_pb2.ErrorInfo()
    assert status_of(error).details[0].Unpack(info)
    assert info.domain == "gateway.kontor"


def test_unreachable_service_is_unavailable(start):
    gateway = start(upstreams={"identity": [("127.0.0.1", 9)]})
    with pytest.raises(grpc.RpcError) as error:
        call(gateway, "/kontor.identity.v1.UserService/GetUser")
    assert error.value.code() == grpc.StatusCode.UNAVAILABLE
    assert error.value.details() == "The service cannot be reached, try again later."


def frames(content):
    while content:
        size = int.from_bytes(content[1:5], "big")
        yield content[0], content[5 : 5 + size]
        content = content[5 + size :]


@pytest.mark.parametrize("text", [False, True])
def test_grpc_web(gateway, text):
    account = gateway.upstream.message("kontor.contacts.v1.Account")
    gateway.upstream.answers[GET] = lambda *_: account(display_name="A")
    kind = "application/grpc-web-text+proto" if text else "application/grpc-web+proto"
    body = b"\0\0\0\0\0"
    answer = gateway.call(
        "POST",
        GET,
        content=base64.b64encode(body) if text else body,
        headers={"content-type": kind, "accept": kind, "x-grpc-web": "1"},
    )
    # Each frame of the text form is padded by itself.
    parts = re.findall(rb"[^=]+=*", answer.content)
    content = b"".join(base64.b64decode(part) for part in parts) if text else answer.content
    (_, message), (flag, trailers) = list(frames(content))
    assert account.FromString(message).display_name == "A"
    assert flag == 0x80
    assert b"grpc-status:0" in trailers


def test_grpc_web_is_told_the_right_status(gateway):
    headers = {"content-type": "application/grpc-web+proto"}
    answer = gateway.call("POST", GET + "x", content=b"\0\0\0\0\0", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["grpc-status"] == "12"
    assert answer.headers["grpc-message"] == "There is nothing at this address."
    assert not answer.content


def test_json_is_not_taken_at_a_grpc_path(gateway):
    answer = gateway.call("POST", GET, json={})
    assert answer.status_code == 404


def test_grpc_is_not_taken_at_a_rest_path(gateway):
    answer = gateway.call("POST", "/v1/accounts", content=b"\0\0\0\0\0", headers={"content-type": "application/grpc"})
    assert not gateway.upstream.calls
    assert answer.headers.get("grpc-status", "0") != "0" or answer.status_code == 415
