"""What becomes of an opportunity when the partner's registration of the deal ends, or goes on."""

from __future__ import annotations

import datetime as dt

import pytest

from kontor.partners.v1 import deal_registration_pb2
from kontor_kit.ids import uuid7
from kontor_kit.testing.telling import teller
from kontor_sales.service import service

PARTNER = f"accounts/{uuid7()}"
END = dt.datetime(2030, 5, 1, 10, 0, 0, 123456, tzinfo=dt.UTC)


@pytest.fixture
def tell(server, anna):
    with teller(server, service()) as telling:

        def run(event, opportunity, **fields):
            registration = deal_registration_pb2.DealRegistration(
                name=f"dealRegistrations/{uuid7()}",
                opportunity=opportunity,
                **{"protection_end_time": END, **fields},
            )
            telling(anna.tenant, f"kontor.partners.v1.deal_registration.{event}", registration)

        yield run


@pytest.fixture
def brought(anna):
    """An opportunity that a partner brought, and is protected in."""
    wanted = {"display_name": "Robots", "partner": PARTNER, "partner_protection_end_time": END}
    return anna("CreateOpportunity", opportunity=wanted)


class TestProtection:
    @pytest.mark.parametrize("event", ["cancelled", "expired"])
    def test_ends_with_the_registration(self, anna, tell, brought, event):
        tell(event, brought.name)
        after = anna("GetOpportunity", name=brought.name)
        assert (after.partner, after.HasField("partner_protection_end_time")) == ("", False)

    def test_is_extended(self, anna, tell, brought):
        later = END + dt.timedelta(days=30)
        extension = {"days": 30, "evidence": "A tender"}
        tell("extended", brought.name, protection_end_time=later, extensions=[extension])
        after = anna("GetOpportunity", name=brought.name)
        assert after.partner == PARTNER
        assert after.partner_protection_end_time.ToDatetime(dt.UTC) == later

    def test_of_another_registration_stays(self, anna, tell, brought):
        tell("expired", brought.name, protection_end_time=END - dt.timedelta(days=1))
        assert anna("GetOpportunity", name=brought.name) == brought

    def test_who_brought_a_deal_that_was_won_stays(self, anna, tell, brought):
        won = anna("MarkOpportunityWon", name=brought.name)
        tell("expired", brought.name)
        assert anna("GetOpportunity", name=brought.name) == won

    def test_nothing_happens_where_there_is_no_opportunity(self, anna, tell):
        tell("cancelled", "")
        tell("cancelled", f"opportunities/{uuid7()}")
