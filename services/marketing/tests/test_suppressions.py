"""Suppressions: whom nobody is to contact, by record and by address, and which reason counts."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from kontor_marketing.suppressions import rules
from services.marketing.tests.marketing import CONTACT, contact, party_of

EMAIL, PHONE, POST, ALL = range(1, 5)
BOUNCED, MANUAL, UNSUBSCRIBED, COMPLAINED, ERASED = range(10, 60, 10)


@pytest.fixture
def rosa(anna, tell):
    rosa = contact("Rosa", "Rosa@example.com", owner=anna.user)
    tell(anna.tenant, f"{CONTACT}.created", rosa, 1)
    return party_of(rosa)


def suppress(caller, **fields):
    return caller("CreateSuppression", suppression={"channel": EMAIL, "reason": MANUAL, **fields})


class TestStored:
    def test_comes_back_with_its_address_as_it_is_compared(self, anna, rosa):
        made = suppress(anna, party=rosa, address="ROSA@Example.com", note="Called")
        assert anna("GetSuppression", name=made.name) == made
        assert made.address == "rosa@example.com"
        assert made.start_time.seconds > 0

    @pytest.mark.parametrize(
        ("fields", "path"),
        [
            ({}, "party"),
            ({"address": "nobody"}, "address"),
            ({"address": "+41 44 268 66 66", "channel": POST}, "address"),
            ({"address": "a@example.com", "end_time": "2001-01-01T00:00:00Z"}, "end_time"),
        ],
        ids=["nobody", "no-address", "letters", "end"],
    )
    def test_names_the_field_that_is_wrong(self, anna, fields, path):
        if "end_time" in fields:
            fields = {**fields, "end_time": dt.datetime(2001, 1, 1, tzinfo=dt.UTC)}
        refusal = anna.refusal("CreateSuppression", suppression={"channel": EMAIL, "reason": MANUAL, **fields})
        assert [*refusal.violations] == [f"suppression.{path}"]

    def test_one_of_a_kind_at_a_time(self, anna, rosa):
        first = suppress(anna, party=rosa)
        refusal = anna.refusal("CreateSuppression", suppression={"party": rosa, "channel": EMAIL, "reason": MANUAL})
        assert refusal.code is StatusCode.ALREADY_EXISTS
        anna("LiftSuppression", name=first.name, reason="Called")
        assert suppress(anna, party=rosa).name != first.name

    def test_whoever_may_not_see_the_party_may_not_suppress_it(self, anna, rosa):
        bert = anna.colleague("marketing.suppressions.*:own", "marketing.parties.read:own")
        refusal = bert.refusal("CreateSuppression", suppression={"party": rosa, "channel": EMAIL, "reason": MANUAL})
        assert [*refusal.violations] == ["suppression.party"]
        assert bert.refusal("OptOutParty", name=rosa).code is StatusCode.NOT_FOUND

    def test_whoever_reaches_some_parties_suppresses_these(self, anna, tell):
        bert = anna.colleague("marketing.suppressions.*:own", "marketing.parties.read:all")
        his, other = contact("His", "his@example.com", owner=bert.user), contact("Other", owner=anna.user)
        for each in (his, other):
            tell(anna.tenant, f"{CONTACT}.created", each, 1)
        assert bert("OptOutParty", name=party_of(his)).address == "his@example.com"
        for sent in (
            {"party": party_of(other)},
            {"address": "x@example.com"},
            {"party": party_of(his), "address": "x@example.com"},
        ):
            refusal = bert.refusal("CreateSuppression", suppression={"channel": EMAIL, "reason": MANUAL, **sent})
            assert (refusal.code, refusal.reason) == (StatusCode.PERMISSION_DENIED, "OUT_OF_SCOPE")
        assert bert.refusal("OptOutParty", name=party_of(other)).code is StatusCode.PERMISSION_DENIED


class TestLifting:
    def test_ends_it_and_keeps_it(self, anna, rosa):
        made = suppress(anna, party=rosa)
        lifted = anna("LiftSuppression", name=made.name, reason="Called, wants it again")
        assert (lifted.lift_reason, lifted.HasField("end_time")) == ("Called, wants it again", True)
        assert anna.refusal("LiftSuppression", name=made.name, reason="Again").reason == "ENDED"

    def test_stale_etag_is_aborted(self, anna, rosa):
        made = suppress(anna, party=rosa)
        anna("UpdateSuppression", suppression={"name": made.name, "note": "Wrote"})
        refusal = anna.refusal("LiftSuppression", name=made.name, reason="Called", etag=made.etag)
        assert refusal.code is StatusCode.ABORTED

    def test_what_was_erased_stays_so(self, anna):
        made = suppress(anna, address="gone@example.com", channel=ALL, reason=ERASED)
        assert anna.refusal("LiftSuppression", name=made.name, reason="Called").reason == "ERASED"

    def test_end_is_not_set_by_an_update(self, anna, rosa):
        made = suppress(anna, party=rosa)
        refusal = anna.refusal(
            "UpdateSuppression", suppression={"name": made.name, "end_time": dt.datetime.now(dt.UTC)}
        )
        assert [*refusal.violations] == ["suppression.end_time"]


class TestOptingOut:
    def test_is_one_suppression_of_party_and_address(self, anna, rosa):
        made = anna("OptOutParty", name=rosa, note="By phone")
        assert (made.party, made.address, made.channel, made.reason) == (rosa, "rosa@example.com", ALL, UNSUBSCRIBED)
        assert anna("OptOutParty", name=rosa) == made
        assert len(anna("ListSuppressions").suppressions) == 1

    @pytest.mark.parametrize(
        ("channel", "address"), [(EMAIL, "rosa@example.com"), (PHONE, ""), (POST, ""), (ALL, "rosa@example.com")]
    )
    def test_is_by_the_first_address_that_the_channel_has(self, anna, rosa, channel, address):
        made = anna("OptOutParty", name=rosa, channel=channel)
        assert (made.party, made.channel, made.address) == (rosa, channel, address)

    def test_holds_from_now_on_where_one_would_have_begun_later(self, anna, rosa):
        begins = dt.datetime.now(dt.UTC) + dt.timedelta(days=30)
        known = suppress(anna, party=rosa, address="rosa@example.com", reason=UNSUBSCRIBED, start_time=begins)
        made = anna("OptOutParty", name=rosa, channel=EMAIL)
        assert made.name == known.name
        assert made.start_time.ToDatetime(dt.UTC) <= dt.datetime.now(dt.UTC)
        assert anna("GetSuppression", name=made.name) == made
        assert anna("OptOutParty", name=rosa, channel=EMAIL) == made

    def test_tells_nobody_of_one_whom_the_permission_does_not_reach(self, anna, rosa):
        anna("OptOutParty", name=rosa, note="By phone")
        bert = anna.colleague("marketing.suppressions.*:own", "marketing.parties.read:all")
        assert bert.refusal("OptOutParty", name=rosa).code is StatusCode.PERMISSION_DENIED

    def test_many_times_at_once_is_one(self, anna, rosa):
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda _: anna("OptOutParty", name=rosa).name, range(8)))
        assert len(set(made)) == 1
        assert [each.etag for each in anna("ListSuppressions").suppressions] == ["v1"]


class TestStrongest:
    def test_later_bounce_does_not_hide_the_own_wish(self):
        day = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
        wish = SimpleNamespace(reason=UNSUBSCRIBED, start_time=day)
        bounce = SimpleNamespace(reason=BOUNCED, start_time=day + dt.timedelta(days=1))
        assert rules.strongest([bounce, wish]) is wish
        assert rules.strongest([]) is None

    @given(st.lists(st.tuples(st.sampled_from([10, 20, 30, 40, 50]), st.datetimes()), min_size=1))
    def test_is_the_same_in_whatever_order_they_came(self, found):
        each = [SimpleNamespace(reason=reason, start_time=time) for reason, time in found]
        one, other = rules.strongest(each), rules.strongest(each[::-1])
        assert one is not None
        assert other is not None
        assert (one.reason, one.start_time) == (other.reason, other.start_time)
        assert one.reason == max(reason for reason, _ in found)
