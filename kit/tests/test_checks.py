"""What every request goes through: times that are none are refused with their paths, wherever they stand."""

from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from kit.tests.things import BatchCreateThingsRequest, CreateThingRequest, Thing
from kontor_kit.checks import Checks
from kontor_kit.errors import InvalidArgument


@pytest.mark.parametrize(
    "time",
    [Timestamp(seconds=10**15), Timestamp(seconds=-(10**15)), Timestamp(nanos=-1), Timestamp(nanos=10**9)],
    ids=["late", "early", "before", "beyond"],
)
def test_time_that_is_none_is_refused_at_any_depth(time: Timestamp) -> None:
    thing = Thing(display_name="a", inner=Thing(display_name="b", due_time=time))
    with pytest.raises(InvalidArgument) as caught:
        Checks().record(BatchCreateThingsRequest(requests=[CreateThingRequest(thing=thing)]))
    assert [violation.field for violation in caught.value.violations] == ["requests[0].thing.inner.due_time"]


@pytest.mark.parametrize("seconds", [-62_135_596_800, 0, 253_402_300_799])
def test_every_other_one_is_taken(seconds: int) -> None:
    Checks().record(Thing(display_name="a", due_time=Timestamp(seconds=seconds, nanos=999_999_999)))
