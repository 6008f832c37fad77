"""Custom fields: values against their definitions."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontor_kit.custom_fields import Definition, FieldType, check
from kontor_kit.filters import Value

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


def definition(type_: str, **more: Any) -> dict[str, Definition]:
    return {"f": Definition("f", FieldType(type_), **more)}


COLOURS = {"options": frozenset(("red", "green", "old")), "retired": frozenset(("old",))}


@pytest.mark.parametrize(
    ("defined", "value", "normal"),
    [
        (definition("STRING"), "", ""),
        (definition("STRING", max_length=2), "ab", "ab"),
        (definition("INTEGER"), 3.0, 3),
        (definition("INTEGER", min_value=3, max_value=3), 3, 3),
        (definition("NUMBER"), 2.5, 2.5),
        (definition("NUMBER"), -1e300, -1e300),
        (definition("BOOLEAN"), False, False),
        (definition("DATE"), "2024-02-29", "2024-02-29"),
        (definition("TIMESTAMP"), "2026-01-31T08:00:00.5+01:00", "2026-01-31T07:00:00.500000Z"),
        (definition("ENUM", **COLOURS), "red", "red"),
        (definition("MULTI_ENUM", **COLOURS), ["green", "red"], ["green", "red"]),
        (definition("MULTI_ENUM", **COLOURS), [], []),
        (definition("EMAIL"), "A@B.DE", "A@B.DE"),
    ],
)
def test_normal_form_when_right(defined: dict[str, Definition], value: Any, normal: Any) -> None:
    checked = check({"f": value}, defined, "r.custom_fields")
    assert checked == ({"f": normal}, [])
    assert type(checked.values["f"]) is type(normal)
    assert check(checked.values, defined, "r.custom_fields") == checked


@pytest.mark.parametrize(
    ("defined", "values"),
    [
        (definition("STRING", max_length=2), ["abc", 1, True, ["a"], {"a": "b"}, "\0"]),
        (definition("STRING"), ["x" * 1001]),
        (definition("INTEGER", min_value=1, max_value=9), [0, 10, 1.5, "3", True, 1e15, float("nan"), float("inf")]),
        (definition("NUMBER", max_value=9), [9.1, "3", False, float("-inf")]),
        (definition("BOOLEAN"), [0, 1, "true", ""]),
        (definition("DATE"), ["2026-02-30", "31.1.2026", "", "2026-01-31T08:00:00Z", 20260131]),
        (definition("TIMESTAMP"), ["2026-01-31", "2026-01-31T08:00:00", "", 5]),
        (definition("ENUM", **COLOURS), ["blue", "old", "", ["red"], 1]),
        (definition("MULTI_ENUM", **COLOURS), ["red", ["blue"], ["red", "red"], [["red"]], [None], ["old"]]),
        ({}, ["x", 0]),
    ],
)
def test_path_named_when_wrong(defined: dict[str, Definition], values: list[Any]) -> None:
    for value in values:
        checked = check({"f": value}, defined, "r.custom_fields")
        assert checked.values == {}
        assert [violation.field for violation in checked.violations] == ["r.custom_fields.f"]


class TestRequired:
    REQUIRED = definition("STRING", required=True)

    @pytest.mark.parametrize("values", [{}, {"f": None}, {"f": ""}])
    def test_asked_of_a_new_record_and_of_one_that_had_it(self, values: dict[str, Any]) -> None:
        assert check(values, self.REQUIRED, "p").violations == [("p.f", "is required")]
        assert check(values, self.REQUIRED, "p", before={"f": "a"}).violations == [("p.f", "is required")]

    def test_not_asked_of_a_record_that_never_had_it(self) -> None:
        assert check({}, self.REQUIRED, "p", before={}).violations == []

    def test_false_and_zero_are_values(self) -> None:
        assert check({"f": False}, definition("BOOLEAN", required=True), "p").violations == []
        assert check({"f": 0}, definition("INTEGER", required=True), "p").violations == []


class TestStored:
    def test_kept_when_unchanged_although_the_definition_is_gone_or_stricter(self) -> None:
        assert check({"f": 7}, {}, "p", before={"f": 7}) == ({"f": 7}, [])
        assert check({"f": 7}, definition("INTEGER", max_value=5), "p", before={"f": 7}) == ({"f": 7}, [])

    def test_retired_options_are_kept_but_not_taken(self) -> None:
        both = definition("MULTI_ENUM", **COLOURS)
        assert check({"f": ["old", "red"]}, both, "p", before={"f": ["old"]}).violations == []
        assert check({"f": ["old", "red"]}, both, "p", before={"f": ["green"]}).violations != []

    def test_true_is_not_one(self) -> None:
        assert check({"f": True}, definition("INTEGER"), "p", before={"f": 1}).violations != []


def test_formats_bring_text_into_form() -> None:
    def lower(text: str) -> str:
        if "@" not in text:
            raise ValueError("is no address")
        return text.lower()

    formats = {FieldType.EMAIL: lower}
    assert check({"f": "A@B"}, definition("EMAIL"), "p", formats=formats).values == {"f": "a@b"}
    assert check({"f": "AB"}, definition("EMAIL"), "p", formats=formats).violations == [("p.f", "is no address")]


def test_typed_values_and_filter_literals_agree() -> None:
    day = definition("DATE")["f"]
    assert day.typed("2026-01-31") == [dt.date(2026, 1, 31)] == [day.literal(Value("2026-01-31"), "f")]
    moment = definition("TIMESTAMP")["f"]
    (stored,) = moment.typed(check({"f": "2026-01-31T08:00:00+01:00"}, {"f": moment}, "p").values["f"])
    assert stored == moment.literal(Value("2026-01-31T07:00:00Z"), "f")
    assert definition("MULTI_ENUM")["f"].typed(["a", "b"]) == ["a", "b"]
    assert definition("STRING")["f"].literal(Value("x"), "f") == "x"


@given(st.sampled_from(FieldType), JSON)
def test_checked_values_pass_again_and_can_be_compared(type_: FieldType, value: Any) -> None:
    defined = {"f": Definition("f", type_, options=frozenset(("a", "0")))}
    checked = check({"f": value}, defined, "p")
    assert bool(checked.values) == (value is not None and not checked.violations)
    assert check(checked.values, defined, "p") == (checked.values, [])
    for stored in checked.values.values():
        defined["f"].typed(stored)
