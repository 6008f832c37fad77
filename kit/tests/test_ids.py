"""UUIDs of version 7 and resource names."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontor_kit import ids
from kontor_kit.errors import InvalidArgument


class TestUuid7:
    def test_version_variant_and_time(self) -> None:
        before = time.time_ns() // 1_000_000
        made = ids.uuid7()
        assert (made.version, made.variant) == (7, uuid.RFC_4122)
        assert before <= made.int >> 80 <= time.time_ns() // 1_000_000

    def test_greater_each_time(self) -> None:
        made = [ids.uuid7() for _ in range(5000)]
        assert made == sorted(set(made))

    def test_distinct_and_in_order_within_each_thread(self) -> None:
        with ThreadPoolExecutor(4) as pool:
            runs = list(pool.map(lambda _: [ids.uuid7() for _ in range(500)], range(8)))
        assert all(run == sorted(run) for run in runs)
        assert len({made for run in runs for made in run}) == 4000

    def test_greater_when_the_clock_goes_back_or_the_counter_is_full(self) -> None:
        clock = ids._Clock()
        ticks = [clock.tick(100, 5), clock.tick(90, 1), clock.tick(100, 1)]
        clock._last = (100, (1 << 42) - 1)
        ticks += [clock.tick(100, 3), clock.tick(100, 3), clock.tick(200, 0)]
        assert ticks == sorted(set(ticks))


class TestNames:
    @given(st.uuids())
    def test_same_id_when_formatted_and_parsed(self, identifier: uuid.UUID) -> None:
        name = ids.format_name("things", identifier)
        assert ids.parse_name(name, "things/{thing}", "name") == identifier

    @pytest.mark.parametrize(
        "name",
        [
            "",
            "things/",
            "things/1",
            "others/01890000-0000-7000-8000-00000000000a",
            "things/01890000-0000-7000-8000-00000000000A",
            "things/018900000000700080000000000000aa",
            "things/{01890000-0000-7000-8000-00000000000a}",
            "things/01890000-0000-7000-8000-00000000000a/x",
            "01890000-0000-7000-8000-00000000000a",
        ],
    )
    def test_refused_naming_the_field_when_malformed(self, name: str) -> None:
        with pytest.raises(InvalidArgument) as caught:
            ids.parse_name(name, "things/{thing}", "requests[0].name")
        assert caught.value.violations[0].field == "requests[0].name"
        assert "things/{thing}" in caught.value.violations[0].description
