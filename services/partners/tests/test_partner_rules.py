"""Levels of partners: whatever is set when, each day since the first has one level."""

from __future__ import annotations

import datetime as dt

from hypothesis import given, settings
from hypothesis import strategies as st

from kontor.partners.v1 import partner_pb2
from kontor_partners.partners import rules

FIRST = dt.date(2026, 1, 1)

STEPS = st.lists(
    st.tuples(st.integers(0, 20), st.sampled_from("abc"), st.integers(0, 20)),
    min_size=1,
    max_size=8,
)
"""Days that pass, the level that is set then, and in how many days it is to begin."""


def days(partner) -> list[tuple[dt.date | None, dt.date | None]]:
    return [(rules.day_of(each, "start_date"), rules.day_of(each, "end_date")) for each in partner.level_periods]


class TestLevels:
    @settings(max_examples=200)
    @given(STEPS)
    def test_periods_follow_each_other_without_a_gap(self, steps):
        partner, today = partner_pb2.Partner(), FIRST
        for passed, level, later in steps:
            today += dt.timedelta(days=passed)
            rules.follow_level(partner, today)
            start = today + dt.timedelta(days=later if partner.level else 0)
            rules.set_level(partner, "programmes/p", level, reason="So", start=start, today=today)
            held = partner.level_periods[1 if partner.next_level else 0]
            assert (held.level, held.HasField("end_date")) == (partner.level, False)
            past = days(partner)[2 if partner.next_level else 1 :]
            following = days(partner)[1 if partner.next_level else 0 :]
            for (newer, _), (older, end) in zip(following, past, strict=False):
                assert end == newer - dt.timedelta(days=1)
                assert older <= end

    @given(st.integers(-1, 5), st.integers(0, 5), st.integers(0, 100))
    def test_only_a_lower_level_has_a_time_of_grace(self, before, after, grace):
        start = rules.first_day((before, after), grace, FIRST)
        assert start == (FIRST + dt.timedelta(days=grace) if after < before else FIRST)

    def test_a_later_day_does_not_begin_a_level_twice(self):
        partner = partner_pb2.Partner(level="gold", programme="programmes/p")
        rules.set_level(partner, "programmes/p", "silver", reason="So", start=FIRST + dt.timedelta(days=3), today=FIRST)
        assert not rules.follow_level(partner, FIRST + dt.timedelta(days=2))
        assert rules.follow_level(partner, FIRST + dt.timedelta(days=9))
        assert not rules.follow_level(partner, FIRST + dt.timedelta(days=9))
        assert rules.day_of(partner.level_periods[0], "start_date") == FIRST + dt.timedelta(days=3)
