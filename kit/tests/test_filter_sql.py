"""Filters as SQL find what a plain reading of the filter finds, over random records and random filters."""

from __future__ import annotations

import datetime as dt
import random
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa
from google.protobuf.json_format import MessageToDict, ParseDict
from grpc import StatusCode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects.postgresql import ARRAY

from kit.tests import widgets
from kit.tests.widgets import Widget
from kontor_kit.db import Statement
from kontor_kit.definitions import Definitions
from kontor_kit.filter_sql import TENANT, FilterFields
from kontor_kit.filters import And, Comparison, Node, Not, Operator, Or, Value, unparse, values
from kontor_kit.folding import fold
from kontor_kit.ids import uuid7

EQ, NE, LT, LE, GT, GE, HAS = Operator
ORDER = {LT: lambda a, b: a < b, LE: lambda a, b: a <= b, GT: lambda a, b: a > b, GE: lambda a, b: a >= b}

TEXTS = ["rad", "Rad", "RÄD", "radio", "ra", "", "10", "é", "e\u0301", "Straße", "strasse", "zz top", 'q"uote', "back\\sl",
         "st*r", "ra\U0010fffd", "a" * 600, "a" * 599 + "b"]  # fmt: skip
SHORT = [text for text in TEXTS if 0 < len(text) <= 50]
NUMBERS = [-(2**31), -7, -1, 0, 1, 2, 10, 2**31 - 1]
FLOATS = [-1e300, -2.5, -0.0, 0.0, 0.1, 1.0, 2.5, 1e-300, 1e300]
DATES = [dt.date(1, 1, 1), dt.date(1999, 12, 31), dt.date(2026, 2, 28), dt.date(2026, 3, 1), dt.date(9999, 12, 31)]
TIMES = [dt.datetime(2026, 3, 1, 12, 0, 0, micro, dt.UTC) for micro in (0, 1, 999_999)] + [
    dt.datetime(1, 1, 1, tzinfo=dt.UTC), dt.datetime(9999, 12, 31, 23, 59, 59, 999_999, dt.UTC),
]  # fmt: skip
USERS = [f"users/{uuid7()}" for _ in range(3)]
PARENTS = [f"widgets/{uuid7()}" for _ in range(3)]
COLOURS = ["COLOUR_RED", "COLOUR_GREEN", "COLOUR_BLUE"]


class Field(NamedTuple):
    """A field as the plain reading has it: how a record gets a value, and what is compared."""

    path: str
    kind: str
    """`one` value, `key` (a text that is compared folded), `many` values, or `custom` (one, kept as a term)."""
    values: list[Any]
    write: Callable[[dict, list[Any]], None]
    """Puts values (one, or several for `many`; none for nothing) into the JSON form of a record."""
    operators: list[Operator]
    literal: Callable[[Any], str] = str
    text: bool = False
    empty: Any = None
    """What the column holds where the record has nothing."""


def put(name):
    def write(record, values):
        if values:
            record[name] = values[0]

    return write


def put_custom(key):
    def write(record, values):
        if values:
            record.setdefault("custom_fields", {})[key] = values[0]

    return write


def put_all(name):
    return lambda record, values: record.__setitem__(name, values)


def stamp(moment):
    return moment.isoformat().replace("+00:00", "Z")


def put_as(name, form, into=put):
    return lambda record, values: into(name)(record, [form(value) for value in values])


EQUAL, ORDERED = [EQ, NE], [EQ, NE, LT, LE, GT, GE]
FIELDS = [
    Field("display_name", "key", SHORT, put("display_name"), ORDERED, text=True),
    Field("size", "one", [number for number in NUMBERS if number >= 0], put("size"), ORDERED, empty=0),
    Field("weight", "one", [*NUMBERS, 2**63 - 1, -(2**63)], put("weight"), ORDERED),
    Field("ratio", "one", FLOATS, put("ratio"), ORDERED, repr, empty=0.0),
    Field("broken", "one", [True, False], put("broken"), EQUAL, lambda value: str(value).lower(), empty=False),
    Field("colour", "one", COLOURS, put("colour"), EQUAL, empty="COLOUR_UNSPECIFIED"),
    Field("made_on", "one", DATES, put_as("made_on", lambda day: {"year": day.year, "month": day.month, "day": day.day}),
          ORDERED, dt.date.isoformat),
    Field("checked_at", "one", TIMES, put_as("checked_at", stamp), ORDERED, stamp),
    Field("parent", "one", PARENTS, put("parent"), EQUAL),
    Field("owner", "one", USERS, put("owner"), EQUAL),
    Field("colours", "many", COLOURS, put_all("colours"), [HAS]),
    Field("tags", "many", SHORT, put_all("tags"), [HAS], text=True),
    Field("watchers", "many", USERS, put_all("watchers"), [HAS]),
    Field("parts.code", "many", SHORT,
          lambda record, values: record.__setitem__("parts", [{"code": value} for value in values]), [HAS], text=True),
    Field("custom_fields.text", "custom", TEXTS, put_custom("text"), [*ORDERED, HAS], text=True),
    Field("custom_fields.whole", "custom", [*NUMBERS, 10**15 - 1], put_custom("whole"), [*ORDERED, HAS]),
    Field("custom_fields.number", "custom", FLOATS, put_custom("number"), [*ORDERED, HAS], repr),
    Field("custom_fields.flag", "custom", [True, False], put_custom("flag"), [*ORDERED, HAS],
          lambda value: str(value).lower()),
    Field("custom_fields.day", "custom", DATES, put_as("day", dt.date.isoformat, put_custom), [*ORDERED, HAS],
          dt.date.isoformat),
    Field("custom_fields.moment", "custom", TIMES, put_as("moment", stamp, put_custom), [*ORDERED, HAS], stamp),
    Field("custom_fields.choice", "custom", ["red", "Blue"], put_custom("choice"), [*ORDERED, HAS], text=True),
    Field("custom_fields.choices", "many", ["red", "Blue"],
          lambda record, values: values and record.setdefault("custom_fields", {}).__setitem__("choices", values),
          [HAS], text=True),
]  # fmt: skip
BY_PATH = {field.path: field for field in FIELDS}

Record = dict[str, list[Any]]
"""The values that a record has, by path."""


def cut(text: str) -> str:
    return fold(text)[:500]


def compared(field: Field, value: Any) -> Any:
    """Return what a value is compared as."""
    return cut(value) if isinstance(value, str) and field.kind in ("many", "custom") else value


def holds(node: Node, record: Record) -> bool:
    """Read a filter plainly."""
    match node:
        case Not(operand):
            return not holds(operand, record)
        case And(operands):
            return all(holds(operand, record) for operand in operands)
        case Or(operands):
            return any(holds(operand, record) for operand in operands)
    field, operator = BY_PATH[".".join(node.path)], node.operator
    have = record[field.path]
    if node.value.any:
        return any(value != "" for value in have) or field.empty is not None
    wanted = next((value for value in field.values if field.literal(value) == node.value.text), node.value.text)
    if node.value.prefix:
        found = any(fold(str(value))[:500].startswith(fold(node.value.text)[:500]) for value in have if value != "")
        return found is not (operator is NE)
    if operator is NE:
        return not holds(Comparison(node.path, EQ, node.value), record)
    if not have and field.empty is not None:
        have = [field.empty]
    have = [value for value in have if value != ""]
    if field.kind == "key" and operator in ORDER:
        return any(ORDER[operator](fold(value).encode(), fold(wanted).encode()) for value in have)
    pairs = [(compared(field, value), compared(field, wanted)) for value in have]
    if operator in ORDER:
        pairs = [(_bytes(left), _bytes(right)) for left, right in pairs]
        return any(ORDER[operator](left, right) for left, right in pairs)
    return any(left == right for left, right in pairs)


def _bytes(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value


@st.composite
def comparisons(draw) -> Comparison:
    field = draw(st.sampled_from(FIELDS))
    path = tuple(field.path.split("."))
    form = draw(st.sampled_from(["value"] * 6 + ["prefix"] * 2 + ["any"]))
    if form == "any":
        return Comparison(path, HAS, Value("", prefix=True))
    operator = draw(st.sampled_from(field.operators))
    text = field.literal(draw(st.sampled_from(field.values)))
    if form == "prefix" and field.text and operator in (EQ, NE, HAS):
        start = text[: draw(st.integers(1, 3))]
        return Comparison(path, operator, Value(start, quoted=True, prefix=True)) if start else draw(comparisons())
    return Comparison(path, operator, Value(text, quoted=True))


def nodes() -> st.SearchStrategy[Node]:
    return st.recursive(
        comparisons(),
        lambda inner: st.one_of(
            st.builds(Not, inner),
            st.builds(lambda *parts: And(parts), inner, inner),
            st.builds(lambda *parts: Or(parts), inner, inner),
        ),
        max_leaves=6,
    )


class Filled:
    """A tenant with records, and what they hold by name."""

    def __init__(self, caller, records):
        self.caller, self.records = caller, records


@pytest.fixture(scope="module")
def filled(server):
    """150 random records."""
    caller = server.caller()
    kinds = {"text": "STRING", "whole": "INTEGER", "number": "NUMBER", "flag": "BOOLEAN", "day": "DATE",
             "moment": "TIMESTAMP", "choice": "ENUM", "choices": "MULTI_ENUM"}  # fmt: skip
    for key, kind in kinds.items():
        widgets.define(server.database, caller.tenant, key, kind, options=["red", "Blue"] if "choice" in key else None)
    held, requests, chosen = [], [], random.Random(4)
    with server.database.connect() as connection:
        assert connection.execute("SELECT count(*) FROM custom_field_definitions").fetchall() == [(8,)]
    for _ in range(150):
        record: Record = {}
        document: dict = {}
        for field in FIELDS:
            most = 3 if field.kind == "many" else 1
            least = 1 if field.path in ("display_name", "owner") else 0
            number = min(chosen.randint(least, most), len(field.values))
            record[field.path] = values = chosen.sample(field.values, number)
            field.write(document, values)
        held.append(record)
        requests.append({"widget": ParseDict(document, Widget()), "allow_duplicates": True})
    made = caller("BatchCreateWidgets", requests=requests).widgets
    return Filled(caller, {widget.name: record for widget, record in zip(made, held, strict=True)})


class TestFilters:
    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(nodes())
    def test_find_what_a_plain_reading_finds(self, filled, node):
        # What is only excluded is refused; together with what every record has, it is not.
        filter_text = f"({unparse(node)}) AND create_time > 2000-01-01T00:00:00Z"
        answer = filled.caller("ListWidgets", filter=filter_text, page_size=1000, include_total_size=True)
        found = {widget.name for widget in answer.widgets}
        assert found == {name for name, record in filled.records.items() if holds(node, record)}, filter_text
        assert answer.total_size == len(found)

    @settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(nodes())
    def test_find_the_same_among_some_that_are_known_before(self, filled, server, node):
        resource, caller = widgets.Widgets.RESOURCE, filled.caller
        some = sa.bindparam("some", type_=ARRAY(sa.Uuid))
        definitions = Definitions(resource.table.metadata)
        names = [*filled.records][::2]
        with server.runtime.database.read(caller.tenant) as tx:
            fields = FilterFields(resource.descriptor, resource.table, among=some)
            node = And((node, Comparison(("create_time",), GT, Value("2000-01-01T00:00:00Z", False))))
            compiled = fields.compile(node, definitions.load(tx, resource.collection))
            table = resource.table.c
            asked = sa.select(table.id).where(table.tenant_id == TENANT, table.id == sa.any_(some), compiled.clause)
            given = {"tenant": caller.tenant, "some": [uuid.UUID(name.rpartition("/")[2]) for name in names]}
            rows = tx.run(Statement(asked), {**given, **compiled.parameters(values(node))})
        expected = {name for name in names if holds(node.operands[0], filled.records[name])}
        assert {f"widgets/{row[0]}" for row in rows} == expected

    @pytest.mark.parametrize(
        "text",
        [
            "NOT tags:x",
            "size != 1",
            "NOT size = 1",
            "tags:x OR NOT tags:y",
            "weight:*",
            "NOT tags:x AND size != 1",
            "(NOT tags:x OR size = 1) AND NOT tags:y",
        ],
    )
    def test_refuse_what_no_index_serves(self, filled, text):
        refusal = filled.caller.refusal("ListWidgets", filter=text)
        assert (refusal.code, [*refusal.violations]) == (StatusCode.INVALID_ARGUMENT, ["filter"])

    @pytest.mark.parametrize(
        ("text", "named"),
        [
            ("nope = 1", "nope"),
            ("note = x", "note"),
            ("parts = x", "parts"),
            ("custom_fields = x", "custom_fields"),
            ("custom_fields.nope = x", "custom_fields.nope"),
            ("size = x", "size"),
            ("size:1", "size"),
            ("size > 99999999999", "size"),
            ("ratio > inf", "ratio"),
            ("broken = yes", "broken"),
            ("broken > false", "broken"),
            ("colour = RED", "colour"),
            ("colours:RED", "colours"),
            ("made_on = 2026-02-30", "made_on"),
            ("checked_at > 2026-02-28", "checked_at"),
            ("parent = users/1", "parent"),
            ("owner > users/1", "owner"),
            ("tags = x", "tags"),
            ("watchers:x", "watchers"),
            ('size = "1*"', "size"),
            ("custom_fields.day > 1", "custom_fields.day"),
            ("custom_fields.choices = red", "custom_fields.choices"),
            ("tags:x AND", "filter"),
        ],
    )
    def test_refuse_what_cannot_be_compared_and_name_it(self, filled, text, named):
        refusal = filled.caller.refusal("ListWidgets", filter=text)
        assert (refusal.code, [*refusal.violations]) == (StatusCode.INVALID_ARGUMENT, ["filter"])
        assert named == "filter" or named in refusal.violations["filter"]

    def test_bear_text_of_every_kind(self, filled):
        for text in ("'; DROP TABLE widgets", "%", "_", "\\", "$1", "%(tenant)s", "\U0010ffff*", "x" * 2000):
            escaped = text.replace("\\", "\\\\")
            for path, operator in (("tags", ":"), ("display_name", "="), ("custom_fields.text", ">")):
                try:
                    filled.caller("ListWidgets", filter=f'{path} {operator} "{escaped}"')
                except Exception as error:  # noqa: BLE001
                    assert error.code() is StatusCode.INVALID_ARGUMENT, text  # noqa: PT017


def test_plain_reading_knows_every_field_of_the_contract():
    declared = set(widgets.Widgets.RESOURCE.filter_fields.fields) - {"custom_fields", "main_part.code"}
    assert declared - {field.path for field in FIELDS} == {"serial", "team", "create_time", "update_time"}


def test_documents_are_what_is_written():
    document: dict = {}
    BY_PATH["made_on"].write(document, [DATES[1]])
    assert MessageToDict(ParseDict(document, Widget()))["madeOn"]["year"] == 1999
