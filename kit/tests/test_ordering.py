"""Orders of lists."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontor_kit.errors import InvalidArgument
from kontor_kit.ordering import OrderTerm, parse


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", ()),
        ("  ", ()),
        ("a", (("a", False),)),
        (" a  desc ,b.c,d asc", (("a", True), ("b.c", False), ("d", False))),
        ("desc desc", (("desc", True),)),
        ("updateTime desc", (("update_time", True),)),
    ],
)
def test_terms_when_well_formed(text: str, terms: tuple[tuple[str, bool], ...]) -> None:
    assert parse(text) == tuple(OrderTerm(*term) for term in terms)


@pytest.mark.parametrize(
    "text", [",", "a,", "a DESC", "a b", "-a", "a;b", "a, a desc", "a_b, aB", "a,b,c,d,e,f", "a.", ".a", "1a"]
)
def test_refused_when_malformed(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse(text)
    assert caught.value.violations[0].field == "order_by"


@given(st.text(max_size=30))
def test_only_invalid_argument_for_any_text(text: str) -> None:
    with contextlib.suppress(InvalidArgument):
        parse(text)
