"""Lead forms: what people send becomes a lead of the form's tenant, and nothing is told of what is known."""

from __future__ import annotations

import json
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc import StatusCode

from kontor.contacts.v1.contact_pb2 import Contact
from kontor_kit.calls import MethodSpec
from kontor_kit.ids import uuid7
from kontor_kit.testing import answer
from kontor_kit.testing.telling import teller
from kontor_sales.lead_forms.api import LeadForms
from kontor_sales.service import service

CAPTURE = MethodSpec.of(LeadForms.SERVICE.methods_by_name["CaptureLead"])
INPUTS = [
    {"input": "mail", "field": "email", "required": True},
    {"input": "name", "field": "family_name"},
    {"input": "firm", "field": "company"},
    {"input": "utm_medium", "field": "touch.medium"},
]


@pytest.fixture
def form(anna):
    return anna(
        "CreateLeadForm",
        lead_form={"display_name": "Website", "inputs": INPUTS, "source": "web", "campaign": "Autumn", "tags": ["new"]},
    )


@pytest.fixture
def key(anna, form):
    return anna("RotateLeadFormKey", name=form.name).key


@pytest.fixture
def capture(server):
    """Sends a form as somebody on the web does, without a token."""
    send = server.channel.unary_unary(CAPTURE.full_name, lambda m: m.SerializeToString(), CAPTURE.output.FromString)

    def capturing(key, sent, *, kind="application/x-www-form-urlencoded", origin="", request_id=""):
        data = sent if isinstance(sent, bytes) else urllib.parse.urlencode(sent).encode()
        request = CAPTURE.input(key=key, submission={"content_type": kind, "data": data}, request_id=request_id)
        metadata = (("origin", origin),) if origin else ()
        try:
            return send.with_call(request, timeout=30, metadata=metadata)
        except grpc.RpcError as error:
            return answer(error)

    return capturing


def heard(outcome):
    return json.loads(outcome[0].data) == {"status": "received"}


class TestCapture:
    def test_makes_a_lead_of_what_was_sent(self, anna, form, key, capture):
        assert heard(capture(key, {"mail": "a@b.example", "name": "Curie", "utm_medium": "email", "other": "x"}))
        [lead] = anna("ListLeads").leads
        assert (lead.email, lead.family_name, lead.source, lead.lead_form) == ("a@b.example", "Curie", "web", form.name)
        assert ([*lead.tags], lead.owner) == (["new"], "")
        [touch] = lead.touches
        assert (touch.campaign, touch.medium) == ("Autumn", "email")

    def test_takes_flat_json(self, anna, key, capture):
        body = json.dumps({"mail": "a@b.example", "firm": "Acme", "count": 3, "yes": True}).encode()
        assert heard(capture(key, body, kind="application/json; charset=utf-8"))
        assert anna("ListLeads").leads[0].company == "Acme"

    @pytest.mark.parametrize(
        ("sent", "kind", "field"),
        [
            ({"name": "Curie"}, "application/x-www-form-urlencoded", "mail"),
            ({"mail": "nobody"}, "application/x-www-form-urlencoded", "mail"),
            ({"mail": "a@b.example", "firm": "x" * 201}, "application/x-www-form-urlencoded", "firm"),
            (b"{", "application/json", "submission"),
            (b"[]", "application/json", "submission"),
            (b'{"mail": {"a": 1}}', "application/json", "submission"),
            (b'{"mail": "a@b.example", "name": "\\ud800"}', "application/json", "submission"),
            (b"[" * 50_000, "application/json", "submission"),
            (b"\xff", "application/json", "submission"),
            (b"a=b", "text/plain", "submission"),
            (b"a=" + b"x" * 65_536, "application/x-www-form-urlencoded", "submission"),
            (b"&".join([b"a=b"] * 300), "application/x-www-form-urlencoded", "submission"),
            (b"mail=a%40b.example&name=%00", "application/x-www-form-urlencoded", "name"),
        ],
    )  # fmt: skip
    def test_names_the_input_that_is_wrong(self, anna, key, capture, sent, kind, field):
        refusal = capture(key, sent, kind=kind)
        assert (refusal.code, [*refusal.violations]) == (StatusCode.INVALID_ARGUMENT, [field])
        assert len(anna("ListLeads").leads) == 0

    def test_tells_nothing_of_who_is_known(self, server, anna, key, capture):
        capture(key, {"mail": "known@b.example"})
        contact = Contact(name=f"contacts/{uuid7()}", emails=[{"address": "known@b.example"}])
        with teller(server, service()) as tell:
            tell(anna.tenant, "kontor.contacts.v1.contact.created", contact, 1)
        known, new = (capture(key, {"mail": f"{name}@b.example"}) for name in ("known", "new"))
        assert known[0] == new[0]
        assert dict(known[1].initial_metadata()).keys() == dict(new[1].initial_metadata()).keys()
        linked = {lead.email: lead.contact for lead in anna("ListLeads").leads}
        assert linked == {"known@b.example": contact.name, "new@b.example": ""}

    def test_does_not_hear_machines(self, anna, capture):
        inputs = {"display_name": "Trap", "inputs": INPUTS, "honeypot": "website"}
        form = anna("CreateLeadForm", lead_form=inputs)
        key = anna("RotateLeadFormKey", name=form.name).key
        assert heard(capture(key, {"mail": "a@b.example", "website": "spam"}))
        assert len(anna("ListLeads").leads) == 0
        assert heard(capture(key, {"mail": "a@b.example", "website": ""}))
        assert len(anna("ListLeads").leads) == 1

    def test_captures_a_repeated_request_once(self, anna, key, capture):
        for _ in range(3):
            assert heard(capture(key, {"mail": "a@b.example"}, request_id="r"))
        assert len(anna("ListLeads").leads) == 1

    def test_keeps_to_the_limit_of_a_day(self, anna, capture):
        form = anna("CreateLeadForm", lead_form={"display_name": "Few", "inputs": INPUTS, "daily_limit": 3})
        key = anna("RotateLeadFormKey", name=form.name).key
        with ThreadPoolExecutor(8) as pool:
            outcomes = [*pool.map(lambda n: capture(key, {"mail": f"a{n}@b.example"}), range(8))]
        refused = [each for each in outcomes if not isinstance(each, tuple)]
        assert [(each.code, each.reason) for each in refused] == [(StatusCode.RESOURCE_EXHAUSTED, "DAILY_LIMIT")] * 5
        assert len(anna("ListLeads").leads) == 3

    def test_lets_pages_of_allowed_origins_only(self, anna, capture):
        allowed = {"display_name": "Ours", "inputs": INPUTS, "allowed_origins": ["https://WWW.example.com"]}
        form = anna("CreateLeadForm", lead_form=allowed)
        key = anna("RotateLeadFormKey", name=form.name).key
        sent = {"mail": "a@b.example"}
        refusal = capture(key, sent, origin="https://evil.example")
        assert (refusal.code, refusal.reason) == (StatusCode.PERMISSION_DENIED, "ORIGIN_NOT_ALLOWED")
        _, call = capture(key, sent, origin="https://www.example.com")
        assert dict(call.initial_metadata())["access-control-allow-origin"] == "https://www.example.com"
        assert heard(capture(key, sent))

    def test_keeps_what_people_agree_to(self, anna, capture):
        for inputs, sent, agrees in (
            (INPUTS, {}, True),
            ([*INPUTS, {"input": "ok", "field": "consent"}], {}, False),
            ([*INPUTS, {"input": "ok", "field": "consent"}], {"ok": "on"}, True),
        ):
            form = anna("CreateLeadForm", lead_form={"display_name": "C", "inputs": inputs, "consent_text": "Yes."})
            key = anna("RotateLeadFormKey", name=form.name).key
            capture(key, {"mail": "a@b.example", **sent})
            [lead] = anna("ListLeads", filter=f"lead_form = {form.name}").leads
            assert lead.HasField("consent") is agrees
            assert not agrees or (lead.consent.text == "Yes." and lead.consent.consent_time.seconds)


class TestKeys:
    @pytest.mark.parametrize("wrong", ["kontor_form_x", "' OR true --", "k" * 100])
    def test_unknown_ones_open_nothing(self, capture, key, wrong):
        refusal = capture(wrong, {"mail": "a@b.example"})
        assert (refusal.code, refusal.violations) == (StatusCode.NOT_FOUND, {})

    def test_are_stored_as_digests_only(self, server, anna, key):
        with server.database.connect() as connection:
            tables = "lead_form_keys", "lead_forms", "change_pending", "requests"
            for table in tables:
                rows = connection.execute(f"SELECT t::text FROM {table} t").fetchall()
                assert not any(key in row or key.encode().hex() in row for (row,) in rows), table

    def test_end_after_the_overlap_when_another_is_made(self, anna, form, key, capture):
        second = anna("RotateLeadFormKey", name=form.name).key
        sent = {"mail": "a@b.example"}
        assert heard(capture(key, sent))
        third = anna("RotateLeadFormKey", name=form.name, overlap=Duration()).key
        assert [capture(old, sent).code for old in (key, second)] == [StatusCode.NOT_FOUND] * 2
        assert heard(capture(third, sent))

    def test_open_nothing_of_a_form_that_is_paused_or_deleted(self, anna, form, key, capture):
        anna("UpdateLeadForm", lead_form={"name": form.name, "state": 2})
        assert capture(key, {"mail": "a@b.example"}).code is StatusCode.NOT_FOUND
        anna("UpdateLeadForm", lead_form={"name": form.name, "state": 1})
        anna("DeleteLeadForm", name=form.name)
        assert capture(key, {"mail": "a@b.example"}).code is StatusCode.NOT_FOUND

    def test_are_made_by_who_may_change_the_form(self, server, anna, form):
        reader = anna.colleague("sales.leadForms.read:all")
        assert reader.refusal("RotateLeadFormKey", name=form.name).code is StatusCode.PERMISSION_DENIED
        assert server.caller().refusal("RotateLeadFormKey", name=form.name).code is StatusCode.NOT_FOUND


class TestForm:
    @pytest.mark.parametrize(
        ("fields", "path"),
        [
            ({"inputs": []}, "inputs"),
            ({"inputs": [{"input": "a", "field": "owner"}]}, "inputs[0].field"),
            ({"inputs": [{"input": "a", "field": "score"}]}, "inputs[0].field"),
            ({"inputs": [{"input": "a", "field": "custom_fields."}]}, "inputs[0].field"),
            ({"inputs": [INPUTS[0], INPUTS[0]]}, "inputs[1].input"),
            ({"honeypot": "mail"}, "honeypot"),
            ({"allowed_origins": ["https://example.com/path"]}, "allowed_origins[0]"),
            ({"allowed_origins": ["*"]}, "allowed_origins[0]"),
            ({"daily_limit": -1}, "daily_limit"),
        ],
    )
    def test_names_the_field_that_is_wrong(self, anna, fields, path):
        refusal = anna.refusal("CreateLeadForm", lead_form={"display_name": "F", "inputs": INPUTS, **fields})
        assert (refusal.code, [*refusal.violations]) == (StatusCode.INVALID_ARGUMENT, [f"lead_form.{path}"])
