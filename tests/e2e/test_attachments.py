"""Files go to tickets and come back through the gateway, as a browser sends and saves them."""

from __future__ import annotations

import hashlib
import os

import httpx
import pytest

from tests.e2e.rest import Rest, new_tenant

LARGEST = 4_000_000


@pytest.fixture(scope="module")
def rest(platform):
    with Rest(platform, tenant=new_tenant(platform)) as client:
        yield client


@pytest.fixture(scope="module")
def ticket(rest):
    return rest("POST", "tickets", {"subject": "It smokes"})["name"]


@pytest.fixture
def send(rest, platform, ticket):
    """Sends a file as the body of a request."""

    def post(content, content_type="image/png", **query):
        headers = {"authorization": rest.http.headers["authorization"], "content-type": content_type}
        wanted = {"ticket": ticket, "filename": "Rauch & Qualm.png", **query}
        place = f"{platform.url}/v1/attachments:upload"
        return httpx.post(place, params=wanted, content=content, headers=headers, timeout=30)

    return post


def test_largest_file_goes_there_and_back(rest, platform, send):
    content = os.urandom(LARGEST)
    answer = send(content)
    assert answer.status_code == 200, answer.text
    made = answer.json()
    assert (made["sizeBytes"], made["sha256"]) == (str(LARGEST), hashlib.sha256(content).hexdigest())
    headers = {"authorization": rest.http.headers["authorization"]}
    saved = httpx.get(f"{platform.url}/v1/{made['name']}:download", headers=headers, timeout=30)
    assert (saved.status_code, saved.content) == (200, content)
    assert saved.headers["content-type"] == "image/png"
    assert saved.headers["content-disposition"].endswith("filename*=UTF-8''Rauch%20%26%20Qualm.png")
    assert saved.headers["x-content-type-options"] == "nosniff"
    anonymous = httpx.get(f"{platform.url}/v1/{made['name']}:download")
    assert anonymous.status_code == 401


def test_page_is_not_handed_out_as_one(rest, platform, send):
    made = send(b"<script>alert(1)</script>", "text/html").json()
    headers = {"authorization": rest.http.headers["authorization"]}
    saved = httpx.get(f"{platform.url}/v1/{made['name']}:download", headers=headers)
    assert saved.headers["content-type"] == "application/octet-stream"
    assert saved.headers["content-disposition"].startswith("attachment;")


@pytest.mark.parametrize(
    ("content", "query", "status", "said"),
    [
        pytest.param(b"x" * (LARGEST + 1), {}, 400, "4,000,000 bytes", id="too-large"),
        pytest.param(b"x" * 5_000_000, {}, 413, "", id="too-large-for-the-gateway"),
        pytest.param(b"", {}, 400, "content", id="empty"),
        pytest.param(b"x", {"ticket": "tickets/x"}, 400, "ticket", id="no-ticket"),
        pytest.param(b"x", {"folder": "x"}, 400, "folder", id="unknown-field"),
    ],
)
def test_what_is_wrong_is_named(send, content, query, status, said):
    answer = send(content, **query)
    assert (answer.status_code, said in answer.text) == (status, True), answer.text
