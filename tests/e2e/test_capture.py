"""A form on the web captures leads through the gateway, as a browser sends it: without a token."""

from __future__ import annotations

import httpx
import pytest

from tests.e2e.rest import Rest, new_tenant

INPUTS = [{"input": "mail", "field": "email", "required": True}, {"input": "name", "field": "family_name"}]


@pytest.fixture(scope="module")
def rest(platform):
    with Rest(platform, tenant=new_tenant(platform)) as client:
        yield client


@pytest.fixture(scope="module")
def place(rest, platform):
    """Where the form is sent to."""
    origins = ["https://www.example.com"]
    form = rest("POST", "leadForms", {"displayName": "Web", "inputs": INPUTS, "allowedOrigins": origins})
    key = rest("POST", f"{form['name']}:rotateKey", {})["key"]
    return f"{platform.url}/v1/leadForms/{key}:capture"


def test_form_and_json_are_heard(rest, place):
    answers = [
        httpx.post(place, data={"mail": "form@example.com", "name": "Curie & Söhne"}),
        httpx.post(place, json={"mail": "json@example.com", "name": "Curie & Söhne"}),
        httpx.post(place, data={"mail": "json@example.com"}),
    ]
    assert [(answer.status_code, answer.json()) for answer in answers] == [(200, {"status": "received"})] * 3
    leads = {lead["email"]: lead for lead in rest.all("leads")}
    assert leads["form@example.com"]["familyName"] == "Curie & Söhne"
    assert "json@example.com" in leads


def test_pages_of_the_origin_may_read_the_answer(place):
    answer = httpx.post(place, data={"mail": "a@example.com"}, headers={"origin": "https://www.example.com"})
    assert answer.headers["access-control-allow-origin"] == "https://www.example.com"
    refused = httpx.post(place, data={"mail": "a@example.com"}, headers={"origin": "https://evil.example"})
    assert (refused.status_code, "access-control-allow-origin" in refused.headers) == (403, False)


@pytest.mark.parametrize(
    ("sent", "status", "said"),
    [
        ({"data": {"name": "x"}}, 400, "mail"),
        ({"data": {"mail": "nobody"}}, 400, "mail"),
        ({"content": b"x", "headers": {"content-type": "text/plain"}}, 400, "submission"),
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 400, "submission"),
        ({"data": {"mail": "a@example.com", "name": "x" * 70_000}}, 400, "submission"),
    ],
    ids=range(5),
)
def test_what_is_wrong_is_named(place, sent, status, said):
    answer = httpx.post(place, **sent)
    assert (answer.status_code, said in answer.text) == (status, True)


def test_wrong_key_is_not_found(place):
    answer = httpx.post(place.replace("kontor_form_", "kontor_form_x"), data={"mail": "a@example.com"})
    assert answer.status_code == 404
