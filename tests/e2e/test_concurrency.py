"""Many who want the same at the same time, through the gateway: one wins, and all are told the truth."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.rest import Rest, details, new_tenant

THREADS = 8
REPETITIONS = 1000


@pytest.fixture(scope="module")
def rest(platform):
    with Rest(platform, new_tenant(platform)) as client:
        yield client


@pytest.fixture
def account(rest):
    return rest("POST", "accounts", {"displayName": "Contended", "employeeCount": 1}, allowDuplicates=True)


def at_once(*calls):
    """Run calls at the same moment, each in a thread, and return what they return."""
    barrier = threading.Barrier(len(calls))

    def run(call):
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def reason(answer):
    return details(answer.json())["ErrorInfo"]["reason"]


class TestTwoWriters:
    # Again and again, so that they meet in different places.
    @pytest.mark.parametrize("attempt", range(5))
    def test_with_the_same_etag_one_wins_and_the_other_is_told_what_differs(self, rest, account, attempt):
        def write(count):
            body = {"employeeCount": count, "tier": "TIER_KEY", "etag": account["etag"]}
            return rest.send("PATCH", account["name"], body, updateMask="employeeCount,tier")

        answers = at_once(*(lambda count=count: write(count) for count in (2, 3)))
        won, lost = sorted(answers, key=lambda answer: answer.status_code)
        assert (won.status_code, lost.status_code) == (200, 409)
        stored = rest("GET", account["name"])
        assert stored == won.json()
        assert (lost.json()["code"], reason(lost)) == (10, "STALE_ETAG")
        conflict = details(lost.json())["EditConflict"]
        submitted = {2: 3, 3: 2}[stored["employeeCount"]]
        assert (conflict["resourceName"], conflict["currentEtag"]) == (account["name"], stored["etag"])
        assert conflict["fields"] == [
            {"field": "employee_count", "currentValue": stored["employeeCount"], "submittedValue": submitted}
        ]

    def test_with_if_match_one_wins_and_the_other_gets_412(self, rest, account):
        def write(count):
            headers = {"if-match": f'"{account["etag"]}"'}
            return rest.send("PATCH", account["name"], {"employeeCount": count}, headers=headers)

        answers = at_once(*(lambda count=count: write(count) for count in (2, 3)))
        won, lost = sorted(answers, key=lambda answer: answer.status_code)
        assert (won.status_code, lost.status_code) == (200, 412)
        assert (lost.json()["code"], reason(lost)) == (9, "ETAG_MISMATCH")
        assert rest("GET", account["name"]) == won.json()

    def test_with_other_fields_both_win_without_an_etag(self, rest, account):
        bodies = ({"employeeCount": 9}, {"legalName": "Contended Inc."})
        answers = at_once(*(lambda body=body: rest.send("PATCH", account["name"], body) for body in bodies))
        assert [answer.status_code for answer in answers] == [200, 200]
        stored = rest("GET", account["name"])
        assert (stored["employeeCount"], stored["legalName"], stored["etag"]) == (9, "Contended Inc.", "v3")

    def test_with_the_same_external_id_one_record_comes_to_be(self, rest):
        path = f"accounts/externalIds/erp/{uuid.uuid4()}"
        answers = at_once(*[lambda: rest("PATCH", path, {"displayName": "Upserted at once"})] * THREADS)
        assert len({answer["account"]["name"] for answer in answers}) == 1
        assert sum(answer.get("created", False) for answer in answers) == 1


class TestIdempotencyKey:
    def test_a_thousand_times_from_eight_threads_is_one_record_and_one_answer(self, rest):
        tag = uuid.uuid4().hex
        headers = {"idempotency-key": str(uuid.uuid4())}
        body = {"displayName": "Once", "tags": [tag]}

        def repeat():
            return [rest.send("POST", "accounts", body, headers=headers) for _ in range(REPETITIONS // THREADS)]

        answers = [answer for answers in at_once(*[repeat] * THREADS) for answer in answers]
        assert len(answers) == REPETITIONS
        assert {(answer.status_code, answer.content) for answer in answers} == {(200, answers[0].content)}
        assert rest.all("accounts", filter=f'tags:"{tag}"') == [answers[0].json()]

    def test_with_another_body_is_refused(self, rest):
        headers = {"idempotency-key": str(uuid.uuid4())}
        first, other = {"displayName": "First body"}, {"displayName": "Other body"}
        assert rest.send("POST", "accounts", first, headers=headers).status_code == 200
        refused = rest.send("POST", "accounts", other, headers=headers)
        assert refused.status_code == 422
        assert rest.all("accounts", filter='displayName = "Other body"') == []

    def test_of_a_call_that_failed_may_be_used_again(self, rest):
        headers = {"idempotency-key": str(uuid.uuid4())}
        assert rest.send("POST", "accounts", {"displayName": ""}, headers=headers).status_code == 400
        assert rest.send("POST", "accounts", {"displayName": "Mended"}, headers=headers).status_code == 200

    def test_of_another_tenant_is_another_key(self, platform, rest):
        headers, body = {"idempotency-key": str(uuid.uuid4())}, {"displayName": "Same key"}
        with Rest(platform, new_tenant(platform)) as other:
            names = {client.send("POST", "accounts", body, headers=headers).json()["name"] for client in (rest, other)}
        assert len(names) == 2
