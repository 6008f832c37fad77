"""Filter values as typed values."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto
from hypothesis import given
from hypothesis import strategies as st

from kontor_kit import literals
from kontor_kit.errors import InvalidArgument
from kontor_kit.filters import Value

LABEL = FieldDescriptorProto.DESCRIPTOR.enum_types_by_name["Label"]
ID = uuid.UUID("01890000-0000-7000-8000-000000000001")


@pytest.mark.parametrize(
    ("read", "text", "expected"),
    [
        (literals.to_int, "-12", -12),
        (literals.to_float, "2.997e9", 2.997e9),
        (literals.to_float, "-1", -1.0),
        (literals.to_bool, "true", True),
        (literals.to_bool, "false", False),
        (literals.to_timestamp, "2026-01-31T08:00:00Z", dt.datetime(2026, 1, 31, 8, tzinfo=dt.UTC)),
        (
            literals.to_timestamp,
            "2026-01-31t08:00:00.123456789+01:30",
            dt.datetime(2026, 1, 31, 6, 30, 0, 123456, dt.UTC),
        ),
        (literals.to_date, "2024-02-29", dt.date(2024, 2, 29)),
        (literals.to_duration, "90s", dt.timedelta(seconds=90)),
        (literals.to_duration, "-1.5s", dt.timedelta(seconds=-1.5)),
    ],
)
def test_typed_value_when_well_formed(read: Callable[[Value, str], Any], text: str, expected: Any) -> None:
    assert read(Value(text), "path") == expected


@pytest.mark.parametrize(
    ("read", "texts"),
    [
        (literals.to_int, ["", "1.5", "9223372036854775808", "٣", "1 ", "1_000", "0x1"]),
        (literals.to_float, ["", "nan", "inf", "1e999", "1.", ".5", "1_0.0"]),
        (literals.to_bool, ["", "True", "1", "yes"]),
        (
            literals.to_timestamp,
            ["", "2026-01-31", "2026-01-31T08:00:00", "2026-02-30T08:00:00Z", "0000-01-01T00:00:00Z",
             "0001-01-01T00:00:00+01:00", "2026-01-31T24:00:00Z", "2026-01-31T08:00:60Z", "2026-01-31 08:00:00Z"],
        ),
        (literals.to_date, ["", "2026-02-30", "20260131", "2026-W05-6", "2026-01-31T00:00:00Z"]),
        (literals.to_duration, ["", "90", "90m", "s", "999999999999s"]),
    ],
)  # fmt: skip
def test_refused_naming_the_path_when_malformed(read: Callable[[Value, str], Any], texts: list[str]) -> None:
    for value in [*map(Value, texts), Value("1", prefix=True)]:
        with pytest.raises(InvalidArgument) as caught:
            read(value, "some.path")
        ((field, description),) = caught.value.violations
        assert field == "filter"
        assert description.startswith("some.path is compared with ")


def test_int_of_fewer_bits() -> None:
    assert literals.to_int(Value("-2147483648"), "path", bits=32) == -(2**31)
    with pytest.raises(InvalidArgument):
        literals.to_int(Value("2147483648"), "path", bits=32)


def test_enum_by_name() -> None:
    assert literals.to_enum(Value("LABEL_REPEATED"), "label", LABEL) == 3
    with pytest.raises(InvalidArgument, match="LABEL_OPTIONAL, LABEL_REPEATED, LABEL_REQUIRED"):
        literals.to_enum(Value("repeated"), "label", LABEL)


def test_reference() -> None:
    assert literals.to_reference(Value(f"things/{ID}"), "parent", "things/{thing}") == ID
    for text in (str(ID), f"others/{ID}", f"things/{ID}".upper(), ""):
        with pytest.raises(InvalidArgument, match="parent is compared"):
            literals.to_reference(Value(text), "parent", "things/{thing}")


@given(st.datetimes().filter(lambda local: 1 < local.year < 9999), st.integers(-1439, 1439))
def test_same_moment_when_written_and_read(local: dt.datetime, offset: int) -> None:
    moment = local.replace(tzinfo=dt.timezone(dt.timedelta(minutes=offset)))
    assert literals.to_timestamp(Value(moment.isoformat()), "path") == moment
