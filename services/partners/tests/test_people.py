"""The people of a partner: whichever way they look at lead offers, they see their own and nothing of others."""

from __future__ import annotations

import pytest
from grpc import StatusCode

from kontor.changes.v1 import stream_pb2
from kontor_kit.changes.sequencer import Sequencer
from kontor_kit.db import Database
from kontor_kit.ids import uuid7
from kontor_partners.lead_offers import rules
from kontor_partners.tables import metadata
from services.partners.tests.offering import ANSWER, known_lead, offers
from services.partners.tests.partnering import active, person, programme


@pytest.fixture
def sequence(server):
    """Return a function that moves everything that waits into the change log."""
    database = Database(server.database.settings().system_database_url, pool_size=2)
    database.open()
    sequencer = Sequencer(metadata, database)

    def run() -> None:
        while sequencer.advance():
            pass

    yield run
    database.close()


def followed(caller, start) -> str:
    """Return everything that the change stream tells, as text."""
    spec = caller.running.methods["Subscribe"]
    subscribe = caller.running.channel.unary_stream(
        spec.full_name, lambda message: message.SerializeToString(), spec.output.FromString
    )
    token = (("authorization", f"Bearer {caller.token}"),)
    request = stream_pb2.SubscribeRequest(start=start, until_end=True)
    return "".join(map(str, subscribe(request, metadata=token, timeout=30)))


class TestPeople:
    @pytest.fixture
    def two(self, anna, peer):
        terms, wanted = programme(anna), known_lead(peer)
        both = {each.name: each for each in (active(anna, terms), active(anna, terms))}
        first = anna("DistributeLead", lead=wanted.name)
        anna("DeclineLeadOffer", name=first.name, reason="Too far")
        (second,) = [offer for offer in offers(anna, wanted) if offer.state == rules.OFFERED]
        return wanted, [(both[offer.partner], offer) for offer in (first, second)]

    def test_see_their_own_offers_only(self, anna, two):
        wanted, [(north, declined), (_, open_offer)] = two
        ned = person(anna, north)
        assert ned("GetLeadOffer", name=declined.name).reason == "Too far"
        assert ned.refusal("GetLeadOffer", name=open_offer.name).code is StatusCode.NOT_FOUND
        names = [declined.name, open_offer.name]
        assert ned.refusal("BatchGetLeadOffers", names=names).code is StatusCode.NOT_FOUND
        for given in ("", f'lead = "{wanted.name}"', "state = STATE_OFFERED", f'partner = "{open_offer.partner}"'):
            found = ned("ListLeadOffers", filter=given, include_total_size=True)
            mine = [] if "OFFERED" in given or "partner" in given else [declined.name]
            assert ([each.name for each in found.lead_offers], found.total_size) == (mine, len(mine))

    def test_answer_their_own_offers_only(self, anna, two):
        _, [(north, _), (south, open_offer)] = two
        ned = person(anna, north)
        for method, fields in (("AcceptLeadOffer", ANSWER), ("DeclineLeadOffer", {"reason": "No"})):
            assert ned.refusal(method, name=open_offer.name, **fields).code is StatusCode.NOT_FOUND
        assert person(anna, south)("AcceptLeadOffer", name=open_offer.name, **ANSWER).state == rules.ACCEPTED

    def test_learn_nothing_of_the_choice(self, anna, two):
        _, [(north, declined), (south, open_offer)] = two
        ned, sue = person(anna, north), person(anna, south)
        for who, offer in ((ned, declined), (sue, open_offer)):
            for method in ("ExplainLeadOffer", "RecallLeadOffer", "UpdateLeadOffer"):
                fields = {"lead_offer": {"name": offer.name}} if "Update" in method else {"name": offer.name}
                extra = {"reason": "So"} if "Recall" in method else {}
                assert who.refusal(method, **fields, **extra).code is StatusCode.PERMISSION_DENIED
        assert south.name not in str(ned("GetLeadOffer", name=declined.name))
        assert north.name not in str(sue("GetLeadOffer", name=open_offer.name))

    def test_changes_and_stream_tell_of_their_own(self, anna, two, sequence):
        _, [(north, declined), (south, open_offer)] = two
        sequence()
        ned = person(anna, north)
        told = {change.resource_name for change in ned("ListChanges").changes}
        assert {north.name, declined.name} <= told
        assert not {south.name, open_offer.name} & told
        assert ned.refusal("ListChanges", parent=open_offer.name).code is StatusCode.NOT_FOUND
        assert south.name not in str(ned("ListChanges"))
        for start in (stream_pb2.SubscribeRequest.START_EARLIEST, stream_pb2.SubscribeRequest.START_SNAPSHOT):
            streamed = followed(ned, start)
            assert north.name in streamed
            assert declined.name in streamed
            assert south.name not in streamed
            assert open_offer.name not in streamed

    def test_of_two_partners_see_the_offers_of_both(self, anna, two):
        wanted, pairs = two
        both = person(anna, *(made for made, _ in pairs))
        assert {offer.name for offer in offers(both, wanted)} == {offer.name for _, offer in pairs}

    def test_people_who_change_sides_leave_what_they_saw(self, anna, two):
        """The team is the partner's, wherever its records stand: nothing is left behind with the people before."""
        _, [(north, declined), _] = two
        ned = person(anna, north)
        anna("UpdatePartner", partner={"name": north.name, "partner_team": f"teams/{uuid7()}"})
        assert ned.refusal("GetLeadOffer", name=declined.name).code is StatusCode.NOT_FOUND
        assert len(ned("ListLeadOffers").lead_offers) == 0
