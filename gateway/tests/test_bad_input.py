"""Bad input is refused before it reaches a service, and the field at fault is named."""

import json

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.tests.fakes import details, violated

JSON = {"content-type": "application/json"}


def post(gateway, body, *, path="/v1/accounts", verb="POST", headers=JSON):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return gateway.call(verb, path, content=content, headers=headers)


@pytest.mark.parametrize(
    ("body", "reason", "field"),
    [
        ({"colour": 1}, "UNKNOWN_FIELD", "account.colour"),
        ({"emails": [{"address": "a@b.c"}, {"kindd": 1}]}, "UNKNOWN_FIELD", "account.emails[1].kindd"),
        ({"annualRevenue": {"amount": 1}}, "UNKNOWN_FIELD", "account.annual_revenue.amount"),
        ({"displayName": 1}, "WRONG_TYPE", "account.display_name"),
        ({"displayName": {}}, "WRONG_TYPE", "account.display_name"),
        ({"displayName": ["a"]}, "WRONG_TYPE", "account.display_name"),
        ({"roles": "ROLE_MEDIA"}, "WRONG_TYPE", "account.roles"),
        ({"roles": [None]}, "WRONG_TYPE", "account.roles[0]"),
        ({"roles": [2]}, "WRONG_TYPE", "account.roles[0]"),
        ({"roles": ["ROLE_MEDIA", "ROLE_KING"]}, "UNKNOWN_VALUE", "account.roles[1]"),
        ({"employeeCount": "12"}, "WRONG_TYPE", "account.employee_count"),
        ({"employeeCount": True}, "WRONG_TYPE", "account.employee_count"),
        ({"employeeCount": 1.5}, "WRONG_TYPE", "account.employee_count"),
        ({"employeeCount": 2**31}, "OUT_OF_RANGE", "account.employee_count"),
        ({"annualRevenue": {"units": "1x"}}, "WRONG_TYPE", "account.annual_revenue.units"),
        ({"annualRevenue": {"units": "9223372036854775808"}}, "OUT_OF_RANGE", "account.annual_revenue.units"),
        ({"emails": [{"primary": "yes"}]}, "WRONG_TYPE", "account.emails[0].primary"),
        ({"emails": {"address": "a"}}, "WRONG_TYPE", "account.emails"),
        ({"createTime": "2026-02-29T00:00:00Z"}, "WRONG_TYPE", "account.create_time"),
        ({"createTime": "yesterday"}, "WRONG_TYPE", "account.create_time"),
        ({"createTime": 5}, "WRONG_TYPE", "account.create_time"),
        ({"customFields": []}, "WRONG_TYPE", "account.custom_fields"),
        ([], "WRONG_TYPE", "account"),
        (b'{"displayName":"a","displayName":"b"}', "DUPLICATE_FIELD", "account.display_name"),
        (b'{"displayName":"a","display_name":"b"}', "DUPLICATE_FIELD", "account.display_name"),
        (b'{"customFields":{"a":{"b":1,"b":2}}}', "DUPLICATE_FIELD", "account.custom_fields.a.b"),
        (b'{"customFields":{"a":1e999}}', "OUT_OF_RANGE", "account.custom_fields.a"),
        (b'{"displayName":"\xff"}', "INVALID_UTF8", "account.display_name"),
        (b'{"tags":["ok","\xed\xa0\x80"]}', "INVALID_UTF8", "account.tags[1]"),
        (b'{"display\\u004eame":1}', "WRONG_TYPE", "account.display_name"),
    ],
)
def test_names_the_field(gateway, body, reason, field):
    answer = post(gateway, body)
    assert answer.status_code == 400
    assert answer.json()["code"] == 3
    assert details(answer)["ErrorInfo"] == {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "gateway.kontor",
    }
    assert violated(answer) == field
    assert not gateway.upstream.calls


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"}", b"nul", b'{"displayName"}', b'{"displayName":}', b'{"displayName":"a",}', b'{"displayName":"a"} x',
        b'{displayName:"a"}', b"{'displayName':'a'}", b'{"displayName":"a\nb"}', b'{"displayName":"\\x"}',
        b'{"displayName":"\\ud800"}', b'{"displayName":"\\ud800\\u0041"}', b'{"employeeCount":01}',
        b'{"employeeCount":1.}', b'{"employeeCount":+1}', b'{"employeeCount":-}', b'{"employeeCount":1e}',
        b'{"roles":["ROLE_MEDIA",]}', b'{"roles":["ROLE_MEDIA"', b"\xef\xbb\xbf{}", b"\x00", b" ",
        b'{"customFields":{"a":' + b"[" * 1000 + b"]" * 1000 + b"}}",
        b'{"customFields":' + b'{"a":' * 40 + b"1" + b"}" * 41,
    ],
)  # fmt: skip
def test_refuses_malformed_json(gateway, body):
    answer = post(gateway, body)
    assert answer.status_code == 400
    assert details(answer)["ErrorInfo"]["reason"] == "MALFORMED_JSON"
    assert not gateway.upstream.calls


@pytest.mark.parametrize(
    ("query", "reason", "field"),
    [
        ("colour=1", "UNKNOWN_PARAMETER", "colour"),
        ("pageSize=x", "WRONG_TYPE", "page_size"),
        ("pageSize=", "WRONG_TYPE", "page_size"),
        ("pageSize=99999999999", "OUT_OF_RANGE", "page_size"),
        ("showDeleted=1", "WRONG_TYPE", "show_deleted"),
        ("pageSize=1&page_size=1", "DUPLICATE_PARAMETER", "page_size"),
        ("pageSize.x=1", "UNKNOWN_PARAMETER", "pageSize.x"),
        ("=1", "UNKNOWN_PARAMETER", ""),
        ("readMask=a(b", "WRONG_TYPE", "read_mask"),
    ],
)
def test_names_the_parameter(gateway, query, reason, field):
    answer = gateway.call("GET", f"/v1/accounts?{query}")
    assert answer.status_code == 400
    assert details(answer)["ErrorInfo"]["reason"] == reason
    assert violated(answer) == field
    assert not gateway.upstream.calls


@pytest.mark.parametrize(
    "path", ["/v1/accounts/%ff", "/v1/accounts?filter=%ff", "/v1/accounts?filter=%zz", "/v1/accounts/%c3%28"]
)
def test_refuses_malformed_urls(gateway, path):
    answer = gateway.call("GET", path)
    assert answer.status_code == 400
    assert details(answer)["ErrorInfo"]["reason"] in {"INVALID_UTF8", "MALFORMED_URL"}
    assert not gateway.upstream.calls


def test_fields_of_body_and_path_are_no_parameters(gateway):
    for path in ("/v1/accounts/a?account.tier=TIER_KEY", "/v1/accounts/a?account.name=accounts/b"):
        answer = post(gateway, {}, path=path, verb="PATCH")
        assert details(answer)["ErrorInfo"]["reason"] == "UNKNOWN_PARAMETER"
    answer = post(gateway, {}, path="/v1/accounts/a:undelete?etag=1")
    assert violated(answer) == "etag"


@pytest.mark.parametrize(
    ("verb", "path", "body", "field"),
    [
        ("PATCH", "/v1/accounts/a", {"name": "accounts/b"}, "account.name"),
        ("PATCH", "/v1/accounts/a", {"name": ""}, "account.name"),
        ("POST", "/v1/accounts/a:undelete", {"name": "accounts/b"}, "name"),
    ],
)
def test_body_cannot_contradict_the_path(gateway, verb, path, body, field):
    answer = post(gateway, body, path=path, verb=verb)
    assert answer.status_code == 400
    assert violated(answer) == field
    assert not gateway.upstream.calls


def test_names_the_row_of_a_batch(gateway):
    body = {"requests": [{"account": {"displayName": "a"}}, {"account": {"nam": "b"}}]}
    assert violated(post(gateway, body, path="/v1/accounts:batchCreate")) == "requests[1].account.nam"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/xml"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "application/jsonx"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
def test_refuses_what_is_not_json(gateway, headers):
    answer = post(gateway, {}, headers=headers)
    assert answer.status_code == 415
    assert details(answer)["ErrorInfo"]["reason"].startswith("UNSUPPORTED_")
    assert not gateway.upstream.calls


def test_takes_json_with_charset(gateway):
    assert post(gateway, {}, headers={"content-type": 'Application/JSON; charset="UTF-8"'}).status_code == 200


def test_refuses_a_body_that_is_missing(gateway):
    answer = gateway.call("POST", "/v1/accounts")
    assert answer.status_code == 400
    assert violated(answer) == "account"


def test_refuses_an_unexpected_body(gateway):
    answer = gateway.call("DELETE", "/v1/accounts/a", content=b"{}", headers=JSON)
    assert answer.status_code == 400
    assert details(answer)["ErrorInfo"]["reason"] == "UNEXPECTED_BODY"


def test_refuses_a_body_that_is_too_large(gateway):
    for content in (
        b'{"displayName":"' + b"a" * 5_000_000 + b'"}',
        iter([b'{"displayName":"', b"a" * 5_000_000, b'"}']),
    ):
        answer = gateway.call("POST", "/v1/accounts", content=content, headers=JSON)
        assert answer.status_code == 413
        assert answer.json()["code"] == 3
        assert details(answer)["ErrorInfo"]["reason"] == "REQUEST_TOO_LARGE"
    assert not gateway.upstream.calls


def test_refuses_headers_that_are_too_large(gateway):
    answer = gateway.call("GET", "/v1/accounts", headers={"x": "y" * 300_000})
    assert answer.status_code == 431
    assert details(answer)["ErrorInfo"]["reason"] == "HEADERS_TOO_LARGE"


@pytest.mark.parametrize(
    ("name", "value"), [("Idempotency-Key", ""), ("Idempotency-Key", "k" * 129), ("If-Match", b"\xe9")]
)
def test_refuses_headers_that_cannot_be_passed_on(gateway, name, value):
    answer = gateway.call("DELETE", "/v1/accounts/a", headers={name: value})
    assert answer.status_code == 400
    assert violated(answer) == name
    assert not gateway.upstream.calls


SCALARS = st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FEW
@given(fields=st.dictionaries(st.text(max_size=6), VALUES, max_size=4), is_ascii=st.booleans())
def test_all_valid_json_passes_unchanged(gateway, fields, is_ascii):
    body = json.dumps({"customFields": fields}, ensure_ascii=is_ascii).encode()
    answer = post(gateway, body)
    assert answer.status_code == 200, answer.text
    assert MessageToDict(gateway.upstream.calls[-1].request.account.custom_fields) == fields


@FEW
@given(position=st.integers(0, 70), garbage=st.binary(max_size=3))
def test_whatever_comes_is_taken_whole_or_refused(gateway, position, garbage):
    whole = '{"displayName":"Ü\\n","roles":["ROLE_MEDIA"],"employeeCount":-1.0e1,"tags":[]}'.encode()
    body = whole[:position] + garbage + whole[position + 1 :]
    gateway.upstream.calls.clear()
    answer = post(gateway, body)
    try:
        json.loads(body)
    except ValueError:
        assert body.strip() == b"" or answer.status_code == 400
    if answer.status_code != 200:
        assert answer.status_code == 400, answer.text
        assert details(answer)["ErrorInfo"]["domain"] == "gateway.kontor"
        assert not gateway.upstream.calls
