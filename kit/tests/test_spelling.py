"""The two spellings of fields."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontor_kit.spelling import proto_path


@pytest.mark.parametrize(
    ("path", "spelled"),
    [
        ("display_name", "display_name"),
        ("displayName", "display_name"),
        ("customFields.year_established", "custom_fields.year_established"),
        ("a.b2C", "a.b2_c"),
        ("AND", "AND"),
        ("Name", "Name"),
    ],
)
def test_path_is_spelled_as_in_the_protos(path: str, spelled: str) -> None:
    assert proto_path(path) == spelled


@given(st.from_regex(r"[a-z][a-z0-9]+(_[a-z][a-z0-9]+)*", fullmatch=True))
def test_both_spellings_are_the_same(path: str) -> None:
    head, *rest = path.split("_")
    assert proto_path(head + "".join(map(str.capitalize, rest))) == proto_path(path) == path
