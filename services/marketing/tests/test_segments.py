"""Segments: who is in them, kept up to date, and what a caller may see of that."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest
from grpc import StatusCode

from kontor_kit.db import Database
from kontor_kit.operations.runner import Runner
from kontor_marketing.segments.api import EVALUATE
from kontor_marketing.segments.table import members, pending, within
from kontor_marketing.service import service
from services.marketing.tests.marketing import CONTACT, STATUS, contact, party_id, party_of, status

STATIC, RULE = 1, 2


@pytest.fixture(scope="module")
def work(server):
    """Work on what operations are due."""
    system = Database(server.database.url("system"), pool_size=2)
    system.open()
    records = service().use(server.runtime)
    runner = Runner("marketing.kontor", [EVALUATE], system=system, database=server.runtime.database, service=records)

    def run() -> None:
        while runner.work_once():
            pass

    yield run
    system.close()


@pytest.fixture
def people(anna, tell):
    """Return a function that makes contacts with these labels, one each."""

    def make(*tags: str, **fields):
        made = [contact(tag.title(), f"{tag}@example.com", tags=[tag, "all"], **fields) for tag in tags]
        for each in made:
            tell(anna.tenant, f"{CONTACT}.created", each, 1)
        return made

    return make


def listed(caller, *contacts, name="List"):
    made = caller("CreateSegment", segment={"display_name": name, "kind": STATIC})
    if contacts:
        caller("AddSegmentMembers", name=made.name, parties=[party_of(each) for each in contacts])
    return made.name


def ruled(caller, filter="", include=(), exclude=(), name="Rule"):
    segment = {"display_name": name, "kind": RULE, "filter": filter}
    return caller("CreateSegment", segment={**segment, "include_segments": include, "exclude_segments": exclude}).name


def inside(caller, segment, **fields):
    found = caller("ListSegmentMembers", name=segment, **fields)
    return [member.party.name for member in found.members]


class TestLists:
    def test_have_whom_one_puts_on_them(self, anna, people):
        one, two = people("one", "two")
        segment = listed(anna, one, two)
        again = anna("AddSegmentMembers", name=segment, parties=[party_of(one)])
        assert (again.added_count, len(again.segment_memberships)) == (0, 0)
        assert sorted(inside(anna, segment)) == sorted([party_of(one), party_of(two)])
        assert anna("RemoveSegmentMembers", name=segment, parties=[party_of(one)]).removed_count == 1
        assert inside(anna, segment) == [party_of(two)]

    def test_deleted_contacts_are_out_until_they_come_back(self, anna, tell, people):
        [one] = people("one")
        segment = listed(anna, one)
        one.delete_time.GetCurrentTime()
        tell(anna.tenant, f"{CONTACT}.deleted", one, 2)
        assert inside(anna, segment) == []
        one.ClearField("delete_time")
        tell(anna.tenant, f"{CONTACT}.undeleted", one, 3)
        assert inside(anna, segment) == [party_of(one)]

    def test_take_nobody_the_caller_cannot_see(self, anna, people):
        [one] = people("one", owner=anna.user)
        segment = listed(anna)
        bert = anna.colleague("marketing.segments.*:all", "marketing.parties.read:own")
        refusal = bert.refusal("AddSegmentMembers", name=segment, parties=[party_of(one)])
        assert [*refusal.violations] == ["parties[0]"]

    def test_rules_have_no_list(self, anna, people):
        [one] = people("one")
        refusal = anna.refusal("AddSegmentMembers", name=ruled(anna, "tags:one"), parties=[party_of(one)])
        assert refusal.reason == "NOT_STATIC"


class TestRules:
    def test_hold_once_they_were_evaluated(self, anna, people, work):
        one, _ = people("one", "two")
        name = ruled(anna, "tags:one")
        segment = anna("GetSegment", name=name)
        assert segment.evaluation.startswith("services/marketing/operations/")
        assert inside(anna, name) == []
        work()
        assert inside(anna, name) == [party_of(one)]
        after = anna("GetSegment", name=name)
        assert (after.evaluation, after.HasField("evaluate_time")) == ("", True)
        assert anna("GetOperation", name=segment.evaluation).done

    def test_follow_the_party_at_once(self, anna, tell, people, work):
        [one] = people("one")
        name = ruled(anna, "tags:vip")
        work()
        one.tags.append("vip")
        tell(anna.tenant, f"{CONTACT}.updated", one, 2)
        assert inside(anna, name) == [party_of(one)]
        one.tags.remove("vip")
        tell(anna.tenant, f"{CONTACT}.updated", one, 3)
        assert inside(anna, name) == []
        [membership] = anna("ListSegmentMemberships", filter=f"party = {party_of(one)}").segment_memberships
        assert membership.leave_time.ToNanoseconds() > membership.enter_time.ToNanoseconds()

    def test_take_from_others_and_leave_out_others(self, anna, people, work):
        one, two, three = people("one", "two", "three")
        some, no = listed(anna, one, two), listed(anna, two)
        nested = ruled(anna, "", include=[some], exclude=[no])
        outer = ruled(anna, "tags:all", exclude=[nested])
        work()
        assert inside(anna, nested) == [party_of(one)]
        assert set(inside(anna, outer)) == {party_of(two), party_of(three)}
        anna("RemoveSegmentMembers", name=no, parties=[party_of(two)])
        assert set(inside(anna, nested)) == {party_of(one), party_of(two)}
        assert inside(anna, outer) == [party_of(three)]

    def test_change_of_a_rule_reaches_what_refers_to_it(self, anna, people, work):
        one, two = people("one", "two")
        inner = ruled(anna, "tags:one")
        outer = ruled(anna, "tags:all", exclude=[inner])
        work()
        anna("UpdateSegment", segment={"name": inner, "filter": "tags:two"})
        work()
        assert (inside(anna, inner), inside(anna, outer)) == ([party_of(two)], [party_of(one)])

    def test_other_changes_evaluate_nothing(self, anna, work):
        name = ruled(anna, "tags:one")
        work()
        assert anna("UpdateSegment", segment={"name": name, "display_name": "Other"}).evaluation == ""

    @pytest.mark.parametrize(
        ("segment", "path"),
        [
            ({"kind": RULE}, "filter"),
            ({"kind": RULE, "filter": "tags:"}, "filter"),
            ({"kind": RULE, "filter": "shoe_size = 43"}, "filter"),
            ({"kind": RULE, "filter": "NOT tags:one"}, "filter"),
            ({"kind": RULE, "filter": "tier = GOLDEN"}, "filter"),
            ({"kind": RULE, "filter": "owner = nobody"}, "filter"),
            ({"kind": RULE, "filter": 'create_time > "yesterday"'}, "filter"),
            ({"kind": RULE, "filter": "open_complaints > 99999999999999999999"}, "filter"),
            ({"kind": STATIC, "filter": "tags:one"}, "filter"),
            ({"kind": RULE, "include_segments": [f"segments/{uuid.UUID(int=1)}"]}, "include_segments[0]"),
        ],
        ids=["empty", "unfinished", "field", "index", "enum", "name", "time", "number", "list", "reference"],
    )
    def test_names_what_is_wrong(self, anna, segment, path):
        refusal = anna.refusal("CreateSegment", segment={"display_name": "Wrong", **segment})
        assert [*refusal.violations] == [f"segment.{path}"]

    def test_circles_are_refused(self, anna):
        first = ruled(anna, "tags:one")
        second = ruled(anna, include=[first])
        third = ruled(anna, include=[second])
        refusal = anna.refusal("UpdateSegment", segment={"name": first, "exclude_segments": [third]})
        assert [*refusal.violations] == ["segment.exclude_segments[0]"]
        assert anna.refusal("UpdateSegment", segment={"name": first, "include_segments": [first]}).violations

    def test_deleted_segments_have_nobody(self, anna, people, work):
        [one] = people("one")
        name = ruled(anna, "tags:one")
        outer = ruled(anna, "tags:one", exclude=[name])
        assert anna.refusal("DeleteSegment", name=name).reason == "IN_USE"
        anna("DeleteSegment", name=outer)
        anna("DeleteSegment", name=name)
        work()
        assert inside(anna, name) == []
        anna("UndeleteSegment", name=name)
        work()
        assert inside(anna, name) == [party_of(one)]


class TestReading:
    def test_who_was_in_it_when(self, anna, people):
        one, two = people("one", "two")
        segment = listed(anna, one)
        before = dt.datetime.now(dt.UTC)
        anna("RemoveSegmentMembers", name=segment, parties=[party_of(one)])
        anna("AddSegmentMembers", name=segment, parties=[party_of(two)])
        assert inside(anna, segment, at_time=before) == [party_of(one)]
        assert inside(anna, segment) == [party_of(two)]
        assert inside(anna, segment, at_time=before - dt.timedelta(days=1)) == []

    def test_pages_have_everybody_once(self, anna, people):
        made = people(*(f"p{number}" for number in range(7)))
        segment, seen, token = listed(anna, *made), [], ""
        while True:
            page = anna("ListSegmentMembers", name=segment, page_size=3, page_token=token, include_total_size=True)
            seen += [member.party.name for member in page.members]
            assert page.total_size == 7
            token = page.next_page_token
            if not token:
                break
        assert sorted(seen) == sorted(map(party_of, made))

    def test_as_far_as_the_caller_may_see_the_parties(self, anna, people):
        bert = anna.colleague("marketing.*:own", "marketing.segments.read:own")
        [his] = people("his", owner=bert.user)
        [other] = people("other", owner=anna.user)
        segment = listed(anna, his, other)
        page = bert("ListSegmentMembers", name=segment, include_total_size=True)
        assert ([member.party.name for member in page.members], page.total_size) == ([party_of(his)], 1)
        preview = bert("PreviewSegment", filter="tags:all")
        assert ([party.name for party in preview.parties], preview.size) == ([party_of(his)], 1)
        found = bert("ListSegmentMemberships", include_total_size=True)
        assert [each.party for each in found.segment_memberships] == [party_of(his)]
        assert found.total_size == 1

    def test_are_told_with_what_is_known_of_their_addresses(self, anna, tell, people):
        [rosa] = people("one")
        tell(anna.tenant, f"{STATUS}.created", status("one@example.com", opted_out=True), 1)
        [member] = anna("ListSegmentMembers", name=listed(anna, rosa)).members
        assert member.party == anna("GetParty", name=party_of(rosa))
        assert member.party.emails[0].opted_out

    def test_preview_takes_from_others_and_leaves_out_others(self, anna, people):
        one, two, _ = people("one", "two", "three")
        some, no = listed(anna, one, two), listed(anna, two)
        preview = anna("PreviewSegment", filter="tags:all", include_segments=[some], exclude_segments=[no])
        assert [(party.name, party.display_name) for party in preview.parties] == [(party_of(one), "One Example")]
        assert anna("PreviewSegment", filter="tags:all").size == 3
        assert [*anna.refusal("PreviewSegment").violations] == ["filter"]

    def test_another_tenant_sees_nothing(self, server, anna, people):
        segment = listed(anna, *people("one"))
        other = server.caller()
        assert other.refusal("ListSegmentMembers", name=segment).code is StatusCode.NOT_FOUND
        assert not other("ListSegmentMemberships").segment_memberships


def test_campaigns_walk_through_the_members(server, anna, people):
    made = people("one", "two", "three")
    segment, rule = (uuid.UUID(name.rpartition("/")[2]) for name in (listed(anna, *made), ruled(anna, "tags:one")))
    ids = sorted(map(party_id, made))
    with server.runtime.database.read(anna.tenant) as tx:
        assert members(tx, segment, size=2) == ids[:2]
        assert members(tx, segment, ids[1]) == ids[2:]
        assert within(tx, [segment, rule], ids[:1]) == {ids[0]: {segment}}
        assert pending(tx, [segment, rule]) == {rule}
