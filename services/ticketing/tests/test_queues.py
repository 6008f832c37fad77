"""Queues: what they must be like, and whom they choose."""

from __future__ import annotations

import datetime as dt
from fractions import Fraction

import pytest
from grpc import StatusCode
from hypothesis import given, settings
from hypothesis import strategies as st

from kontor.ticketing.v1 import queue_pb2, ticket_pb2
from kontor_kit.ids import uuid7
from kontor_ticketing.queues import rules


def user():
    return f"users/{uuid7()}"


class TestStored:
    def test_comes_back_in_every_field_and_in_its_normal_form(self, anna):
        sent = {
            "display_name": " Hardware ",
            "description": "What can be touched.",
            "members": [{"user": user(), "skills": ["Printers", "printers ", "Servers"], "capacity": 5, "weight": 2}],
            "assignment": 2,
            "skill_rules": [{"skill": "printers", "type": 2, "tag": "printer", "language_code": "de-ch"}],
            "reopen_policy": 3,
            "reopen_days": 14,
        }
        created = anna("CreateQueue", queue=sent)
        assert anna("GetQueue", name=created.name) == created
        assert (created.display_name, created.reopen_days) == ("Hardware", 14)
        assert [*created.members[0].skills] == ["printers", "Servers"]
        assert created.skill_rules[0].language_code == "de-CH"

    def test_is_manual_and_opens_tickets_again_where_nothing_else_is_said(self, anna):
        created = anna("CreateQueue", queue={"display_name": "Any"})
        assert (created.assignment, created.reopen_policy) == (rules.MANUAL, rules.REOPEN_ALLOWED)

    def test_is_called_like_no_other(self, anna):
        anna("CreateQueue", queue={"display_name": "Sales"})
        refusal = anna.refusal("CreateQueue", queue={"display_name": "sáles"})
        assert (refusal.code, refusal.message) == (StatusCode.ALREADY_EXISTS, "another queue is called so")

    @pytest.mark.parametrize(
        ("fields", "path"),
        [
            pytest.param({"display_name": " "}, "display_name", id="no-name"),
            pytest.param({"reopen_days": 3}, "reopen_days", id="days-for-nothing"),
            pytest.param({"reopen_policy": 3}, "reopen_days", id="no-days"),
            pytest.param({"skill_rules": [{"skill": " "}]}, "skill_rules[0].skill", id="no-skill"),
            pytest.param(
                {"skill_rules": [{"skill": "a", "language_code": "?"}]},
                "skill_rules[0].language_code",
                id="no-language",
            ),
            pytest.param({"members": [{"user": "users/x"}]}, "members[0].user", id="no-user"),
        ],
    )
    def test_names_the_field_that_is_wrong(self, anna, fields, path):
        refusal = anna.refusal("CreateQueue", queue={"display_name": "Q", **fields})
        assert (refusal.code, [*refusal.violations]) == (StatusCode.INVALID_ARGUMENT, [f"queue.{path}"])

    def test_has_each_member_once_and_only_those_who_are_there(self, anna, peer):
        twice = {"user": user()}
        refusal = anna.refusal("CreateQueue", queue={"display_name": "Q", "members": [twice, twice]})
        assert [*refusal.violations] == ["queue.members[1].user"]
        peer.absent.add(gone := user())
        refusal = anna.refusal("CreateQueue", queue={"display_name": "Q", "members": [{"user": gone}]})
        assert [*refusal.violations] == ["queue.members[0].user"]


SOLVED = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


class TestReopening:
    @pytest.mark.parametrize(
        ("policy", "days", "after", "allowed"),
        [
            pytest.param(rules.REOPEN_ALLOWED, 0, 1000, True, id="always"),
            pytest.param(rules.REOPEN_FOLLOW_UP, 0, 0, False, id="never"),
            pytest.param(rules.REOPEN_WITHIN_DAYS, 14, 14, True, id="on-the-last-day"),
            pytest.param(rules.REOPEN_WITHIN_DAYS, 14, 15, False, id="too-late"),
        ],
    )
    def test_follows_the_policy(self, policy, days, after, allowed):
        queue = queue_pb2.Queue(reopen_policy=policy, reopen_days=days)
        assert rules.can_reopen(queue, SOLVED, SOLVED + dt.timedelta(days=after)) is allowed

    def test_is_allowed_where_there_is_no_queue(self):
        assert rules.can_reopen(None, SOLVED, SOLVED + dt.timedelta(days=9999))


class TestSkills:
    @pytest.mark.parametrize(
        ("rule", "needed"),
        [
            pytest.param({}, True, id="any"),
            pytest.param({"tag": "PRINTER"}, True, id="tag-whatever-its-case"),
            pytest.param({"tag": "screen"}, False, id="other-tag"),
            pytest.param({"type": 2}, True, id="type"),
            pytest.param({"type": 3}, False, id="other-type"),
            pytest.param({"language_code": "de"}, True, id="language-without-country"),
            pytest.param({"language_code": "de-AT"}, False, id="other-country"),
            pytest.param({"tag": "printer", "type": 3}, False, id="only-one-of-two"),
        ],
    )
    def test_are_needed_where_all_that_the_rule_says_holds(self, rule, needed):
        ticket = ticket_pb2.Ticket(type=2, tags=["printer"], language_code="de-CH")
        queue = queue_pb2.Queue(skill_rules=[{"skill": "Café", **rule}])
        assert rules.needed_skills(queue, ticket) == (frozenset({"cafe"}) if needed else frozenset())


SKILLS = st.frozensets(st.sampled_from(["a", "b", "c"]))
CANDIDATES = st.lists(
    st.builds(
        rules.Candidate,
        user=st.integers(0, 99).map("users/{:02}".format),
        skills=SKILLS,
        capacity=st.integers(0, 3),
        weight=st.integers(1, 3),
        absence=st.sampled_from(["", "", "is away"]),
        here=st.integers(0, 4),
        load=st.integers(0, 9),
        turn=st.integers(0, 5),
    ),
    max_size=8,
    unique_by=lambda candidate: candidate.user,
)
METHODS = st.sampled_from([rules.LEAST_LOADED, rules.ROUND_ROBIN])


class TestChoice:
    @settings(max_examples=150)
    @given(method=METHODS, candidates=CANDIDATES, needed=SKILLS)
    def test_is_never_somebody_who_cannot_and_somebody_where_anybody_can(self, method, candidates, needed):
        choice = rules.choose(method, candidates, needed)
        able = {
            candidate.user
            for candidate in candidates
            if not candidate.absence
            and needed <= candidate.skills
            and (not candidate.capacity or candidate.here < candidate.capacity)
        }
        assert bool(choice.chosen) == bool(able)
        assert {candidate.user for candidate in candidates} == able | choice.passed_over.keys()
        assert all(choice.passed_over.values())
        if choice.chosen:
            assert choice.chosen.user in able

    @settings(max_examples=150)
    @given(method=METHODS, candidates=CANDIDATES, needed=SKILLS, order=st.randoms(use_true_random=False))
    def test_depends_on_the_members_and_not_on_their_order(self, method, candidates, needed, order):
        shuffled = [*candidates]
        order.shuffle(shuffled)
        assert rules.choose(method, candidates, needed).chosen == rules.choose(method, shuffled, needed).chosen

    @settings(max_examples=150)
    @given(candidates=CANDIDATES)
    def test_has_the_smallest_load_for_their_weight(self, candidates):
        choice = rules.choose(rules.LEAST_LOADED, candidates, frozenset())
        ready = [candidate for candidate in candidates if candidate.user not in choice.passed_over]
        if ready:
            smallest = min(Fraction(candidate.load, candidate.weight) for candidate in ready)
            assert Fraction(choice.chosen.load, choice.chosen.weight) == smallest

    def test_goes_round(self):
        members = {name: rules.Candidate(name) for name in ("users/a", "users/b", "users/c")}
        chosen = []
        for turn in range(1, 7):
            name = rules.choose(rules.ROUND_ROBIN, [*members.values()], frozenset()).chosen.user
            members[name] = rules.Candidate(name, turn=turn)
            chosen.append(name[-1])
        assert "".join(chosen) == "abcabc"

    def test_says_why_somebody_was_passed_over(self):
        candidates = [
            rules.Candidate("users/a", absence="is away"),
            rules.Candidate("users/b", frozenset({"x"}), capacity=2, here=2),
            rules.Candidate("users/c"),
        ]
        said = rules.choose(rules.LEAST_LOADED, candidates, frozenset({"x"})).passed_over
        assert said == {
            "users/a": "is away",
            "users/b": "has 2 of the queue, which is all they can take",
            "users/c": "has no skill x",
        }
