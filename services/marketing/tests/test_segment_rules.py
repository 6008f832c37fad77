"""Who is in a segment: as its rule says of each party, and as if evaluated from scratch after whatever happened."""

from __future__ import annotations

import random
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontor_kit.db import Database
from kontor_kit.operations.runner import Runner
from kontor_marketing.segments import rules
from kontor_marketing.segments.api import EVALUATE
from kontor_marketing.service import service
from services.marketing.tests.marketing import CONTACT, contact, party_of

STATIC, RULE = rules.STATIC, rules.RULE
SEGMENTS = [uuid.UUID(int=number) for number in range(1, 7)]
PARTIES = [uuid.UUID(int=number) for number in range(11, 17)]


@st.composite
def graphs(draw):
    """Return the rules of some segments, each referring to some of those before it, and whom they have of their own."""
    known, own = {}, {}
    for place, id in enumerate(SEGMENTS):
        others = st.frozensets(st.sampled_from(SEGMENTS[:place]), max_size=2) if place else st.just(frozenset())
        kind = draw(st.sampled_from([STATIC, RULE]))
        text = draw(st.sampled_from(["", "a"]))
        known[id] = rules.Rule(kind, text, draw(others), draw(others)) if kind == RULE else rules.Rule(kind)
        own[id] = draw(st.frozensets(st.sampled_from(PARTIES)))
    live = set(draw(st.frozensets(st.sampled_from(PARTIES))))
    # As they come from the database: in any order.
    order = draw(st.permutations(SEGMENTS))
    return {id: known[id] for id in order}, own, live


def is_in(party, segment, known, own, live):
    """Whether a party is in a segment, by what the contract says."""
    rule = known[segment]
    if party not in live:
        return False
    if (rule.kind == STATIC or rule.filter) and party not in own[segment]:
        return False
    if rule.include and not any(is_in(party, each, known, own, live) for each in rule.include):
        return False
    return not any(is_in(party, each, known, own, live) for each in rule.exclude)


class TestMembers:
    @given(graphs())
    def test_are_those_of_whom_the_contract_says_so(self, graph):
        known, own, live = graph
        found = rules.members(known, own, live)
        for segment in SEGMENTS:
            assert found[segment] == {party for party in PARTIES if is_in(party, segment, known, own, live)}

    @given(graphs(), st.sampled_from(SEGMENTS))
    def test_need_no_more_than_what_is_referred_to(self, graph, segment):
        known, own, live = graph
        needed = {id: known[id] for id in rules.referred([segment], known)}
        assert rules.members(needed, own, live)[segment] == rules.members(known, own, live)[segment]

    @given(graphs(), st.sampled_from(SEGMENTS))
    def test_change_only_where_something_refers_to_what_changed(self, graph, segment):
        known, own, live = graph
        before = rules.members(known, own, live)
        after = rules.members(known, {**own, segment: set(PARTIES) - own[segment]}, live)
        reached = rules.referring([segment], known)
        assert {id for id in SEGMENTS if before[id] != after[id]} <= reached
        assert all(segment in rules.referred([id], known) for id in reached)


TAGS = ("a", "b", "c")
FILTERS = ("tags:a", "tags:b", "tags:a OR tags:c", "tags:a AND NOT tags:b", "language_code = de")


def fits(text, party):
    """Whether a party fits one of FILTERS."""
    has = {tag: tag in party.tags for tag in TAGS}
    return {
        "tags:a": has["a"],
        "tags:b": has["b"],
        "tags:a OR tags:c": has["a"] or has["c"],
        "tags:a AND NOT tags:b": has["a"] and not has["b"],
        "language_code = de": party.language_code == "de",
        "": True,
    }[text]


@dataclass
class World:
    """A tenant, and what it should be like."""

    caller: object
    tell: object
    choose: random.Random
    contacts: dict = field(default_factory=dict)
    versions: dict = field(default_factory=dict)
    segments: dict = field(default_factory=dict)
    picked: dict = field(default_factory=dict)

    def told(self, name):
        one = self.contacts[name]
        self.versions[name] = self.versions.get(name, 0) + 1
        self.tell(self.caller.tenant, f"{CONTACT}.updated", one, self.versions[name])

    def add_contact(self):
        one = contact("Rosa", tags=self.some(TAGS), language_code=self.choose.choice(["de", "fr"]))
        self.contacts[party_of(one)] = one
        self.told(party_of(one))

    def change_contact(self):
        name = self.choose.choice([*self.contacts])
        one = self.contacts[name]
        one.ClearField("tags")
        one.tags.extend(self.some(TAGS))
        if self.choose.random() < 0.3:
            one.ClearField("delete_time") if one.HasField("delete_time") else one.delete_time.GetCurrentTime()
        self.told(name)

    def add_list(self):
        made = self.caller("CreateSegment", segment={"display_name": "List", "kind": STATIC})
        self.segments[made.name], self.picked[made.name] = rules.Rule(STATIC), set()

    def add_rule(self):
        sent = {"display_name": "Rule", "kind": RULE, **self.rule([*self.segments])}
        made = self.caller("CreateSegment", segment=sent)
        self.keep(made)

    def change_rule(self):
        ruled = [name for name, rule in self.segments.items() if rule.kind == RULE]
        if ruled:
            name = self.choose.choice(ruled)
            # Only to those made before it, so that there is no circle.
            before = [*self.segments][: [*self.segments].index(name)]
            sent = {"name": name, **self.rule(before)}
            mask = {"paths": ["filter", "include_segments", "exclude_segments"]}
            self.keep(self.caller("UpdateSegment", segment=sent, update_mask=mask))

    def pick(self):
        live = [name for name, one in self.contacts.items() if not one.HasField("delete_time")]
        if not self.picked or not live:
            return
        name, some = self.choose.choice([*self.picked]), self.some(live)
        if some and self.choose.random() < 0.7:
            self.caller("AddSegmentMembers", name=name, parties=some)
            self.picked[name].update(some)
        elif some:
            self.caller("RemoveSegmentMembers", name=name, parties=some)
            self.picked[name].difference_update(some)

    def keep(self, made):
        refers = (frozenset(made.include_segments), frozenset(made.exclude_segments))
        self.segments[made.name] = rules.Rule(RULE, made.filter, *refers)

    def rule(self, others):
        include = self.some(others)[:2]
        text = self.choose.choice([*FILTERS, "tags:a"] + [""] * bool(include))
        return {"filter": text, "include_segments": include, "exclude_segments": self.some(others)[:2]}

    def some(self, among):
        return [each for each in among if self.choose.random() < 0.4]

    def expected(self):
        own = {
            name: self.picked[name]
            if rule.kind == STATIC
            else {party for party, one in self.contacts.items() if fits(rule.filter, one)}
            for name, rule in self.segments.items()
        }
        live = {party for party, one in self.contacts.items() if not one.HasField("delete_time")}
        return {
            name: {party for party in self.contacts if is_in(party, name, self.segments, own, live)}
            for name in self.segments
        }

    def found(self):
        found = {}
        for name in self.segments:
            members = self.caller("ListSegmentMembers", name=name, page_size=1000).members
            found[name] = {member.party.name for member in members}
        return found


@pytest.fixture
def runner(server):
    system = Database(server.database.url("system"), pool_size=4)
    system.open()
    records = service().use(server.runtime)
    yield Runner("marketing.kontor", [EVALUATE], system=system, database=server.runtime.database, service=records)
    system.close()


def drain(runner):
    while runner.work_once():
        pass


@pytest.mark.parametrize("seed", range(6))
def test_kept_up_to_date_they_are_as_evaluated_from_scratch(server, tell, runner, seed):
    world = World(server.caller(), tell, random.Random(seed))
    steps = [world.add_contact, world.change_contact, world.add_list, world.add_rule, world.change_rule, world.pick]
    for _ in range(3):
        world.add_contact()
    world.add_list()
    for _ in range(25):
        world.choose.choices(steps, weights=[2, 5, 1, 2, 3, 4])[0]()
        if world.choose.random() < 0.2:
            drain(runner)
            assert world.found() == world.expected()
    drain(runner)
    assert world.found() == world.expected()
    with server.database.connect() as connection:
        [(twice,)] = connection.execute(
            "SELECT count(*) FROM segment_memberships a JOIN segment_memberships b USING (tenant_id, segment, party)"
            " WHERE a.id < b.id AND tstzrange(a.enter_time, a.leave_time) && tstzrange(b.enter_time, b.leave_time)"
        )
    assert twice == 0


def test_whoever_comes_last_leaves_what_is_right(server, tell, runner):
    """Parties, lists and rules change at the same time, and the operations of the rules run meanwhile."""
    world = World(server.caller(), tell, random.Random(7))
    for _ in range(20):
        world.add_contact()
    world.add_list()
    [(segment, picked)] = world.picked.items()
    picked.update(world.contacts)
    world.caller("AddSegmentMembers", name=segment, parties=[*picked])
    for _ in range(3):
        world.add_rule()
    drain(runner)

    def change_contacts():
        for _ in range(25):
            world.change_contact()

    def change_rules():
        for _ in range(12):
            world.change_rule()

    def change_lists():
        [(segment, picked)] = world.picked.items()
        for _ in range(12):
            if some := world.some([*picked])[:3]:
                world.caller("RemoveSegmentMembers", name=segment, parties=some)
                picked.difference_update(some)

    def evaluate():
        for _ in range(40):
            runner.work_once()

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(each) for each in (change_contacts, change_rules, change_lists, evaluate)]:
            done.result()
    drain(runner)
    assert world.found() == world.expected()
