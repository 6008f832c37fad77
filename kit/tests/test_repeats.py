"""Requests that come twice, and requests that come at the same time."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc import StatusCode

from kontor_kit.testing import answer


def at_once(threads, call, arguments):
    """Return what each call answered, or how it was refused; `threads` at a time."""

    def attempt(argument):
        try:
            return call(argument)
        except grpc.RpcError as error:
            return answer(error)

    with ThreadPoolExecutor(threads) as pool:
        return [*pool.map(attempt, arguments)]


def count(rows, caller, table="widgets"):
    return rows(f"SELECT count(*) FROM {table} WHERE tenant_id = %s", caller.tenant)[0][0]


class TestRequestId:
    def test_gives_the_first_answer_again(self, anna, rows):
        request = {"widget": {"display_name": "A"}, "request_id": "r-1"}
        first = anna("CreateWidget", **request)
        etag = anna.headers["etag"]
        anna("UpdateWidget", widget={"name": first.name, "size": 1})
        assert anna("CreateWidget", **request) == first
        assert anna.headers["etag"] == etag
        assert count(rows, anna) == 1

    def test_header_does_the_same(self, anna, rows):
        request = {"widget": {"display_name": "A"}}
        first, second = (anna("CreateWidget", **request, metadata={"idempotency-key": "r-1"}) for _ in range(2))
        assert first == second
        assert count(rows, anna) == 1

    @pytest.mark.parametrize("method", ["UpdateWidget", "DeleteWidget", "UpsertWidget", "BatchCreateWidgets"])
    def test_holds_for_every_method_that_writes(self, anna, rows, method):
        made = anna("CreateWidget", widget={"display_name": "A"})
        request = {
            "UpdateWidget": {"widget": {"name": made.name, "size": 1, "etag": "v1"}},
            "DeleteWidget": {"name": made.name},
            "UpsertWidget": {"external_id": {"system": "erp", "key": "1"}, "widget": {"display_name": "B"}},
            "BatchCreateWidgets": {"requests": [{"widget": {"display_name": "C"}}]},
        }[method]
        first = anna(method, **request, request_id="r-1")
        headers = anna.headers
        assert anna(method, **request, request_id="r-1") == first
        assert anna.headers.get("etag") == headers.get("etag")
        assert count(rows, anna, "change_pending") == 2

    def test_refuses_another_request(self, anna, rows):
        anna("CreateWidget", widget={"display_name": "A"}, request_id="r-1")
        refusal = anna.refusal("CreateWidget", widget={"display_name": "B"}, request_id="r-1")
        assert (refusal.code, refusal.reason) == (StatusCode.INVALID_ARGUMENT, "IDEMPOTENCY_KEY_REUSED")
        assert refusal.headers["x-kontor-http-status"] == "422"
        made = anna("CreateWidget", widget={"display_name": "C"}, request_id="r-2")
        refusal = anna.refusal("DeleteWidget", name=made.name, request_id="r-2")
        assert refusal.reason == "IDEMPOTENCY_KEY_REUSED"
        assert count(rows, anna) == 2

    def test_belongs_to_who_sent_it(self, anna, server):
        made = anna("CreateWidget", widget={"display_name": "A"}, request_id="r-1")
        other = anna.colleague()("CreateWidget", widget={"display_name": "B"}, request_id="r-1")
        foreign = server.caller()("CreateWidget", widget={"display_name": "A"}, request_id="r-1")
        assert len({made.name, other.name, foreign.name}) == 3

    def test_is_free_again_when_the_request_was_refused(self, anna):
        anna.refusal("CreateWidget", widget={"display_name": "A", "price": {"currency_code": "x"}}, request_id="r-1")
        anna("CreateWidget", widget={"display_name": "A"}, request_id="r-1")

    def test_too_long_is_refused(self, anna):
        assert [*anna.refusal("CreateWidget", widget={"display_name": "A"}, request_id="r" * 129).violations] == [
            "request_id"
        ]
        refusal = anna.refusal("CreateWidget", widget={"display_name": "A"}, metadata={"idempotency-key": "r" * 129})
        assert refusal.code is StatusCode.INVALID_ARGUMENT

    def test_a_thousand_times_at_once_makes_one_record(self, anna, rows):
        request = {"widget": {"display_name": "A"}, "request_id": "r-1"}
        answers = at_once(
            8, lambda _: anna("CreateWidget", **request).SerializeToString(deterministic=True), range(1000)
        )
        assert len(set(answers)) == 1
        assert count(rows, anna) == count(rows, anna, "change_pending") == count(rows, anna, "requests") == 1


class TestAtOnce:
    def test_one_of_two_writers_with_the_same_etag_wins(self, anna, rows):
        for _ in range(10):
            made = anna("CreateWidget", widget={"display_name": "A"}, allow_duplicates=True)
            change = lambda size: anna("UpdateWidget", widget={"name": made.name, "size": size, "etag": made.etag})  # noqa: B023, E731
            answers = at_once(2, change, [1, 2])
            lost = [found for found in answers if getattr(found, "code", None) is StatusCode.ABORTED]
            [won] = [found for found in answers if found not in lost]
            assert [found.reason for found in lost] == ["STALE_ETAG"]
            assert anna("GetWidget", name=made.name) == won

    def test_writers_without_an_etag_all_win_one_after_the_other(self, anna, rows):
        made = anna("CreateWidget", widget={"display_name": "A"})
        at_once(8, lambda size: anna("UpdateWidget", widget={"name": made.name, "size": size}), range(1, 41))
        versions = rows("SELECT version FROM change_pending WHERE resource_name = %s ORDER BY sequence", made.name)
        assert versions == [(version,) for version in range(1, 42)]
        assert anna("GetWidget", name=made.name).etag == "v41"

    def test_upserts_of_one_key_make_one_record(self, anna, rows):
        def upsert(size):
            key = {"system": "erp", "key": "1"}
            return anna("UpsertWidget", external_id=key, widget={"display_name": "A", "size": size})

        answers = at_once(8, upsert, range(1, 41))
        assert Counter(found.created for found in answers) == {True: 1, False: 39}
        assert (
            len({found.widget.name for found in answers}) == count(rows, anna) == count(rows, anna, "external_ids") == 1
        )

    def test_creates_with_one_external_id_make_one_record(self, anna, rows):
        keys = [{"system": "erp", "key": "1"}]
        answers = at_once(
            8,
            lambda number: anna("CreateWidget", widget={"display_name": f"{number}", "external_ids": keys}),
            range(16),
        )
        refused = [found for found in answers if getattr(found, "code", None) is StatusCode.ALREADY_EXISTS]
        assert (len(refused), count(rows, anna), count(rows, anna, "terms")) == (15, 1, 1)

    def test_batches_with_the_same_terms_do_not_deadlock(self, anna, rows):
        def create(number):
            order = ["x", "y", "z"] if number % 2 else ["z", "y", "x"]
            requests = [{"widget": {"display_name": f"{number} {tag}", "tags": [tag]}} for tag in order]
            return anna("BatchCreateWidgets", requests=requests)

        answers = at_once(8, create, range(24))
        assert sum(len(found.widgets) for found in answers) == 72
