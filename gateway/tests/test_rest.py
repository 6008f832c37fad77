"""REST through the gateway: transcoding, statuses, errors, headers."""

import json
import time

import grpc
import pytest
from google.rpc import error_details_pb2

from gateway.tests.fakes import abort, details
from kontor_gateway.settings import Options

ACCOUNTS = "/kontor.contacts.v1.AccountService/"
INFO = error_details_pb2.ErrorInfo(reason="REASON", domain="contacts.kontor")


class TestTranscoding:
    def test_query_path_and_masks_reach_the_request(self, gateway):
        answer = gateway.call("GET", "/v1/accounts?pageSize=3&filter=a%20b%2Bc&readMask=displayName,create_time")
        assert answer.status_code == 200
        request = gateway.upstream.calls[-1].request
        assert (request.page_size, request.filter) == (3, "a b+c")
        assert list(request.read_mask.paths) == ["display_name", "create_time"]

    def test_body_reaches_the_request_in_either_spelling(self, gateway):
        body = {"displayName": "Ärzte & Söhne", "employee_count": 3, "roles": ["ROLE_MEDIA"], "legalName": None}
        body["customFields"] = {"a": [1.5, {"b": None, "c": True}], "ü": "\U0001f600"}
        assert gateway.call("POST", "/v1/accounts?validate_only=true", json=body).status_code == 200
        request = gateway.upstream.calls[-1].request
        assert request.validate_only
        assert (request.account.display_name, request.account.employee_count) == ("Ärzte & Söhne", 3)
        assert request.account.custom_fields["a"][1]["c"] is True
        assert request.account.custom_fields["ü"] == "\U0001f600"

    def test_mask_stays_empty_when_there_is_none(self, gateway):
        assert gateway.call("PATCH", "/v1/accounts/a", json={"displayName": "x"}).status_code == 200
        request = gateway.upstream.calls[-1].request
        assert request.account.name == "accounts/a"
        assert not request.update_mask.paths

    def test_body_may_repeat_the_name_in_the_path(self, gateway):
        answer = gateway.call("PATCH", "/v1/accounts/a%20b", json={"name": "accounts/a b"})
        assert answer.status_code == 200
        assert gateway.upstream.calls[-1].request.account.name == "accounts/a b"

    def test_empty_body_is_an_empty_message(self, gateway):
        assert gateway.call("POST", "/v1/accounts/a:undelete").status_code == 200
        assert gateway.upstream.calls[-1].request.name == "accounts/a"

    def test_segments_are_decoded_whole(self, gateway):
        gateway.call("PATCH", "/v1/accounts/externalIds/erp/A%2F1%3A2", json={})
        assert gateway.upstream.calls[-1].request.external_id.key == "A/1:2"

    def test_answer_is_camel_case_without_defaults(self, gateway):
        account = gateway.upstream.message("kontor.contacts.v1.Account")
        sent = account(name="accounts/a", display_name="é", roles=[1])
        sent.create_time.FromJsonString("2026-01-02T03:04:05.000006Z")
        sent.annual_revenue.units = 2**53 + 1
        gateway.upstream.answers[ACCOUNTS + "GetAccount"] = lambda *_: sent
        assert gateway.call("GET", "/v1/accounts/a").json() == {
            "name": "accounts/a",
            "displayName": "é",
            "roles": ["ROLE_CUSTOMER"],
            "createTime": "2026-01-02T03:04:05.000006Z",
            "annualRevenue": {"units": "9007199254740993"},
        }

    def test_large_answers_pass(self, gateway):
        account = gateway.upstream.message("kontor.contacts.v1.Account")(display_name="x" * 100)
        page = gateway.upstream.message("kontor.contacts.v1.ListAccountsResponse")(accounts=[account] * 30_000)
        gateway.upstream.answers[ACCOUNTS + "ListAccounts"] = lambda *_: page
        assert len(gateway.call("GET", "/v1/accounts").json()["accounts"]) == 30_000


class TestErrors:
    @pytest.mark.parametrize(
        ("code", "status"),
        [
            (grpc.StatusCode.CANCELLED, 499),
            (grpc.StatusCode.UNKNOWN, 500),
            (grpc.StatusCode.INVALID_ARGUMENT, 400),
            (grpc.StatusCode.DEADLINE_EXCEEDED, 504),
            (grpc.StatusCode.NOT_FOUND, 404),
            (grpc.StatusCode.ALREADY_EXISTS, 409),
            (grpc.StatusCode.PERMISSION_DENIED, 403),
            (grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
            (grpc.StatusCode.FAILED_PRECONDITION, 400),
            (grpc.StatusCode.ABORTED, 409),
            (grpc.StatusCode.OUT_OF_RANGE, 400),
            (grpc.StatusCode.UNIMPLEMENTED, 501),
            (grpc.StatusCode.INTERNAL, 500),
            (grpc.StatusCode.UNAVAILABLE, 503),
            (grpc.StatusCode.UNAUTHENTICATED, 401),
        ],
    )
    def test_status_and_details_of_a_service(self, gateway, code, status):
        gateway.upstream.answers[ACCOUNTS + "GetAccount"] = abort(code, "no, ümlaut", INFO)
        answer = gateway.call("GET", "/v1/accounts/a")
        assert answer.status_code == status
        assert answer.json()["message"] == "no, ümlaut"
        assert details(answer)["ErrorInfo"]["reason"] == "REASON"

    @pytest.mark.parametrize("status", ["412", "422"])
    def test_service_chooses_another_status(self, gateway, status):
        headers = (("x-kontor-http-status", status), ("etag", '"7"'))
        answer = abort(grpc.StatusCode.FAILED_PRECONDITION, "no", INFO, headers=headers)
        gateway.upstream.answers[ACCOUNTS + "UpdateAccount"] = answer
        response = gateway.call("PATCH", "/v1/accounts/a", json={})
        assert response.status_code == int(status)
        assert response.json()["code"] == 9
        assert response.headers["etag"] == '"7"'
        assert "x-kontor-http-status" not in response.headers

    def test_page_comes_with_the_status_that_its_service_chose(self, gateway):
        def answer(_, context):
            context.send_initial_metadata((("x-kontor-http-status", "404"),))
            body = gateway.upstream.message("google.api.HttpBody")
            return body(content_type="text/html; charset=utf-8", data=b"<p>no</p>")

        gateway.upstream.answers["/kontor.marketing.v1.UnsubscribeService/ShowUnsubscribePage"] = answer
        for verb, text in (("GET", "<p>no</p>"), ("HEAD", "")):
            response = gateway.call(verb, "/v1/campaignRecipients:unsubscribe?token=x", token="")
            assert (response.status_code, response.text) == (404, text)
            assert response.headers["content-type"] == "text/html; charset=utf-8"

    def test_plain_text_is_handed_out_as_it_is(self, gateway):
        """Envoy's own answers to gRPC-Web look much like it."""

        def answer(*_):
            return gateway.upstream.message("google.api.HttpBody")(content_type="text/plain", data=b"It smokes.")

        gateway.upstream.answers["/kontor.ticketing.v1.AttachmentService/DownloadAttachment"] = answer
        response = gateway.call("GET", "/v1/attachments/a:download")
        assert (response.status_code, response.text) == (200, "It smokes.")
        assert response.headers["content-type"] == "text/plain"

    @pytest.mark.parametrize(
        ("name", "value"),
        [("kontor.api.v1.Suspects", "suspects"), ("kontor.api.v1.EditConflict", "fields")],
    )
    def test_details_of_the_platform_are_told(self, gateway, name, value):
        detail = gateway.upstream.message(name)()
        getattr(detail, value).add(**{"resource_name": "accounts/b"} if value == "suspects" else {"field": "tier"})
        gateway.upstream.answers[ACCOUNTS + "CreateAccount"] = abort(grpc.StatusCode.ALREADY_EXISTS, "no", INFO, detail)
        answer = gateway.call("POST", "/v1/accounts", json={})
        assert answer.status_code == 409
        assert value in details(answer)[name.rsplit(".", 1)[-1]]

    def test_unknown_address_is_404(self, gateway):
        for path in ("/", "/v1/nothing", "/v1/accountsx", "/v1/accounts/", "/v1/accounts/a/b", "/v1/accounts:nothing"):
            answer = gateway.call("GET", path)
            assert answer.status_code == 404, path
            assert details(answer)["ErrorInfo"]["reason"] == "NO_SUCH_METHOD"

    def test_wrong_method_is_405(self, gateway):
        for verb, path, allowed in (
            ("PUT", "/v1/accounts", "GET, HEAD, POST"),
            ("POST", "/v1/accounts/a", "DELETE, GET, HEAD, PATCH"),
            ("HEAD", "/v1/campaignRecipients:unsubscribeFromAll", "POST"),
        ):
            answer = gateway.call(verb, path)
            assert answer.status_code == 405
            assert answer.headers["allow"] == allowed
            assert verb == "HEAD" or details(answer)["ErrorInfo"]["reason"] == "METHOD_NOT_ALLOWED"

    def test_unreachable_service_is_503(self, start):
        gateway = start(upstreams={"identity": [("127.0.0.1", 9)]})
        answer = gateway.call("GET", "/v1/users")
        assert answer.status_code == 503
        assert answer.json()["message"] == "The service cannot be reached, try again later."
        assert details(answer)["ErrorInfo"]["reason"] == "SERVICE_UNAVAILABLE"

    def test_slow_service_is_504(self, start):
        gateway = start(options=Options(access_log="", timeout_seconds=1))
        account = gateway.upstream.message("kontor.contacts.v1.Account")

        def answer_late(*_):
            time.sleep(1.5)
            return account()

        gateway.upstream.answers[ACCOUNTS + "GetAccount"] = answer_late
        answer = gateway.call("GET", "/v1/accounts/a")
        assert answer.status_code == 504
        assert details(answer)["ErrorInfo"]["reason"] == "DEADLINE_EXCEEDED"


class TestHead:
    """HEAD is answered like GET, without a body."""

    def test_headers_are_those_of_get(self, gateway):
        account = gateway.upstream.message("kontor.contacts.v1.Account")(display_name="x" * 3_000_000)
        gateway.upstream.answers[ACCOUNTS + "GetAccount"] = lambda *_: account
        own = {"date", "x-request-id", "ratelimit"}
        # Twice on one connection: what is left of a body would be taken for the next answer.
        answers = [gateway.call(verb, "/v1/accounts/a") for verb in ("HEAD", "HEAD", "GET")]
        assert [(answer.status_code, len(answer.content)) for answer in answers] == [
            (200, 0),
            (200, 0),
            (200, 3_000_018),
        ]
        heads = [{name: value for name, value in answer.headers.items() if name not in own} for answer in answers]
        assert heads[0] == heads[1] == heads[2]
        assert {call.method for call in gateway.upstream.calls} == {ACCOUNTS + "GetAccount"}

    @pytest.mark.parametrize(
        ("path", "token", "status"),
        [
            ("/v1/accounts?nothing=1", None, 400),
            ("/v1/accounts", "", 401),
            ("/v1/accounts/b", None, 404),
            ("/v1/nothing", None, 404),
            ("/docs", "", 200),
        ],
    )
    def test_refusals_and_documents_have_no_body_either(self, gateway, path, token, status):
        gateway.upstream.answers[ACCOUNTS + "GetAccount"] = abort(grpc.StatusCode.NOT_FOUND, "no", INFO)
        for _ in range(2):
            answer = gateway.call("HEAD", path, token=token)
            assert (answer.status_code, answer.content) == (status, b"")

    def test_streams_have_no_head(self, gateway):
        streams = [
            binding.template
            for method in gateway.contract.methods
            for binding in method.bindings
            if binding.verb == "GET" and method.proto.server_streaming
        ]
        assert streams
        for template in streams:
            assert gateway.call("HEAD", template.text).status_code == 405, template.text
        assert not gateway.upstream.calls


class TestHeaders:
    def test_what_a_service_needs_travels_and_nothing_else(self, gateway):
        sent = {
            "idempotency-key": "k",
            "if-match": '"3"',
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "x-kontor-principal": "users/root",
            "X-Kontor-Http-Status": "200",
            "x-envoy-upstream-rq-timeout-ms": "1",
            "x-envoy-retry-on": "5xx",
            "cookie": "session=secret",
        }
        gateway.call("PATCH", "/v1/accounts/a", json={}, headers=sent)
        metadata = gateway.upstream.calls[-1].metadata
        for name in ("idempotency-key", "if-match", "traceparent"):
            assert metadata[name] == sent[name]
        assert not [name for name in metadata if name.startswith("x-kontor-") or name == "cookie"]
        assert "x-envoy-upstream-rq-timeout-ms" not in metadata

    def test_headers_that_grpc_does_not_allow_do_no_harm(self, gateway):
        sent = {"x!y#z": "1", "some-bin": "???", "user-agent": b"\xe9", "other": "a\tb"}
        assert gateway.call("GET", "/v1/accounts", headers=sent).status_code == 200
        assert not sent.keys() & gateway.upstream.calls[-1].metadata.keys() - {"user-agent"}

    def test_urls_may_be_long(self, gateway):
        names = "&".join(f"names=accounts%2F0198c0de-7a2b-7c3d-8e4f-{number:012}" for number in range(1000))
        assert gateway.call("GET", f"/v1/accounts:batchGet?{names}").status_code == 200
        call = gateway.upstream.calls[-1]
        assert len(call.request.names) == 1000
        assert call.metadata["x-envoy-original-path"] == "/v1/accounts:batchGet"

    def test_a_trace_is_begun_when_there_is_none(self, gateway):
        answer = gateway.call("GET", "/v1/accounts")
        version, trace, span, flags = gateway.upstream.calls[-1].metadata["traceparent"].split("-")
        assert (version, len(trace), len(span), flags) == ("00", 32, 16, "01")
        assert trace == answer.headers["x-request-id"].replace("-", "")

    def test_answers_hide_grpc(self, gateway):
        names = set(gateway.call("GET", "/v1/accounts").headers)
        assert not {"grpc-status", "grpc-message", "grpc-accept-encoding", "server"} & names

    def test_cors_allows_only_the_given_origins(self, start):
        gateway = start(options=Options(access_log="", cors_origins=("https://crm.example.com",)))
        headers = {"access-control-request-method": "PATCH", "origin": "https://crm.example.com"}
        answer = gateway.call("OPTIONS", "/v1/accounts/a", headers=headers, token="")
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://crm.example.com"
        answer = gateway.call("OPTIONS", "/v1/accounts/a", headers=headers | {"origin": "https://x.test"}, token="")
        assert "access-control-allow-origin" not in answer.headers


class TestDocuments:
    @pytest.mark.parametrize(
        ("path", "kind"),
        [
            ("/openapi.json", "application/json"),
            ("/docs", "text/html; charset=utf-8"),
            ("/protos/descriptor.binpb", "application/octet-stream"),
        ],
    )
    def test_is_served_without_a_token(self, gateway, path, kind):
        answer = gateway.call("GET", path, token="")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == kind
        assert len(answer.content) > 10_000

    def test_descriptor_set_is_the_contract(self, gateway):
        assert gateway.call("GET", "/protos/descriptor.binpb", token="").content == gateway.contract.serialized

    def test_gateway_says_that_it_is_ready(self, gateway):
        assert gateway.call("GET", "/healthz", token="").status_code == 200

    def test_identity_answers_in_its_own_form(self, gateway):
        answer = gateway.call("GET", "/oauth2/token", token="")
        assert answer.status_code == 400
        assert answer.json() == {"error": "invalid_request"}
        assert "keys" in gateway.call("GET", "/.well-known/jwks.json", token="").json()


def test_access_log_holds_no_secret(start, tmp_path):
    log = tmp_path / "access.log"
    gateway = start(options=Options(access_log=str(log)))
    token = gateway.token()
    gateway.call("GET", "/v1/accounts:search?query=hush", token=token, headers={"cookie": "hush"})
    # A file that is written in the background.
    for _ in range(200):
        if "search" in log.read_text():
            break
        time.sleep(0.1)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    line = next(line for line in lines if line["path"] == "/v1/accounts:search")
    assert (line["status"], line["method"]) == (200, "GET")
    assert line["subject"].startswith("users/")
    assert token not in log.read_text()
    assert "hush" not in log.read_text()
