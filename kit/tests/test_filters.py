"""The filter language: what is read, what is refused, and that writing and reading are inverse."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontor_kit.errors import InvalidArgument
from kontor_kit.filters import And, Comparison, Not, Operator, Or, Value, parse, shape, unparse, values


def equals(path: str, text: str, **flags: bool) -> Comparison:
    return Comparison(tuple(path.split(".")), Operator.EQ, Value(text, **flags))


A, B, C, D = (equals(letter, "1") for letter in "abcd")


class TestReading:
    @pytest.mark.parametrize("text", ["", " ", "\t\r\n"])
    def test_nothing_when_blank(self, text: str) -> None:
        assert parse(text) is None

    @pytest.mark.parametrize(
        ("text", "tree"),
        [
            ("a=1", A),
            ("a = 1 AND b = 1", And((A, B))),
            ("a=1 b=1", And((A, B))),
            ("a=1 AND b=1 OR c=1", And((A, Or((B, C))))),
            ("a=1 b=1 OR c=1 AND d=1", And((A, Or((B, C)), D))),
            ("(a=1 AND b=1) OR c=1", Or((And((A, B)), C))),
            ("a=1 AND (b=1 AND c=1)", And((A, B, C))),
            ("NOT a=1 b=1", And((Not(A), B))),
            ("-a=1 OR b=1", Or((Not(A), B))),
            ("-(a=1 OR b=1)", Not(Or((A, B)))),
            ("((a=1))", A),
            ("custom_fields.segment = 1", equals("custom_fields.segment", "1")),
            ("labels.AND = 1", equals("labels.AND", "1")),
            ("customFields.segment = xY", equals("custom_fields.segment", "xY")),
        ],
    )
    def test_tree_when_well_formed(self, text: str, tree: object) -> None:
        assert parse(text) == tree

    @pytest.mark.parametrize("operator", list(Operator))
    def test_every_operator(self, operator: Operator) -> None:
        assert parse(f"a{operator.value}1") == Comparison(("a",), operator, Value("1"))

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("vip", Value("vip")),
            ("-30.5e3", Value("-30.5e3")),
            ("2026-01-31T08:00:00+01:00", Value("2026-01-31T08:00:00+01:00")),
            ("accounts/0190", Value("accounts/0190")),
            ("Łódź", Value("Łódź")),
            ('"Müller & Söhne (OR)"', Value("Müller & Söhne (OR)", quoted=True)),
            ("'it''s'", None),
            (r"'it\'s'", Value("it's", quoted=True)),
            (r'"a\\b\"c\n"', Value('a\\b"c\n', quoted=True)),
            ("abc*", Value("abc", prefix=True)),
            ('"a b*"', Value("a b", quoted=True, prefix=True)),
            (r'"5\*"', Value("5*", quoted=True)),
            (r'"5\**"', Value("5*", quoted=True, prefix=True)),
            ('""', Value("", quoted=True)),
            ("*", Value("", prefix=True)),
        ],
    )
    def test_value(self, text: str, value: Value | None) -> None:
        if value is None:
            with pytest.raises(InvalidArgument):
                parse(f"a={text}")
        else:
            assert parse(f"a={text}") == Comparison(("a",), Operator.EQ, value)

    def test_presence_when_the_value_is_a_lone_star(self) -> None:
        assert [value.any for value in values(parse('a:* b:"*" c:x* d:""'))] == [True, True, False, False]


class TestRefusing:
    @pytest.mark.parametrize(
        ("text", "what", "position"),
        [
            ("acme", "search method", 1),
            ('a=1 "acme"', "search method", 5),
            ("a=1 AND acme OR b=1", "search method", 9),
            ("lower(a) = 1", "search method", 1),
            ("a = lower(b)", "functions", 5),
            ("a:(1 OR 2)", "list of values", 3),
            ("a=", "value is expected", 3),
            ("a=AND b=1", "value is expected", 3),
            ("=1", "field is expected", 1),
            ("a=1 AND", "filter ends", 8),
            ("AND a=1", "not AND", 1),
            ("a=1 OR OR b=1", "not OR", 8),
            ("NOT NOT a=1", "not NOT", 5),
            ("a=b=c", "field is expected", 4),
            ("(a=1", "never closed", 1),
            ("a=1)", "without an opening one", 4),
            ("()", "field is expected", 2),
            ("a='x", "never closed", 3),
            (r'a="\d"', "escape", 4),
            ("a=*x", "at the end", 3),
            ('a="x*y*"', "at the end", 3),
            ("a<x*", "wildcard", 3),
            ("a=1\0", "NUL", 4),
            ("a=1, b=2", "field with an operator", 4),
        ],
    )
    def test_position_when_malformed(self, text: str, what: str, position: int) -> None:
        with pytest.raises(InvalidArgument) as caught:
            parse(text)
        ((field, description),) = caught.value.violations
        assert field == "filter"
        assert what in description
        assert description.endswith(f"at position {position}")

    @pytest.mark.parametrize(
        "text", ["a=" + "1" * 4095, "(" * 21 + "a=1" + ")" * 21, "a=1 " * 51, "NOT " + "(" * 4000, "-(" * 2000]
    )
    def test_limits(self, text: str) -> None:
        with pytest.raises(InvalidArgument):
            parse(text)

    def test_accepted_up_to_the_limits(self) -> None:
        assert parse("(" * 20 + "a=1" + ")" * 20) == A
        assert len(values(parse("a=1 " * 50))) == 50

    @given(st.text(alphabet="ab.=<>!:()\"'\\*-, ANDORT1\n", max_size=40) | st.text(max_size=40))
    def test_only_invalid_argument_for_any_text(self, text: str) -> None:
        with contextlib.suppress(InvalidArgument):
            parse(text)


WORDS = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
VALUES = st.builds(Value, TEXTS, quoted=st.just(True), prefix=st.booleans()) | st.builds(
    Value, st.from_regex(r"[A-Za-z0-9_/:.+-]{1,8}", fullmatch=True), prefix=st.booleans()
)


@st.composite
def comparisons(draw: st.DrawFn) -> Comparison:
    value = draw(VALUES.filter(lambda value: value.text not in ("AND", "OR", "NOT")))
    operators = (Operator.EQ, Operator.NE, Operator.HAS) if value.prefix else tuple(Operator)
    path = draw(st.lists(WORDS, min_size=1, max_size=3))
    return Comparison(tuple(path), draw(st.sampled_from(operators)), value)


def joined(kind: type[And | Or]):
    def build(operands: list[object]) -> object:
        flat = [inner for operand in operands for inner in (operand.operands if type(operand) is kind else (operand,))]
        return kind(tuple(flat))

    return build


TREES = st.recursive(
    comparisons(),
    lambda inner: (
        st.lists(inner, min_size=2, max_size=3).map(joined(And))
        | st.lists(inner, min_size=2, max_size=3).map(joined(Or))
        | st.builds(Not, inner)
    ),
    max_leaves=8,
)


class TestRoundTrip:
    @given(TREES)
    def test_same_tree_when_written_and_read(self, tree) -> None:
        assert parse(unparse(tree)) == tree

    @given(TREES)
    def test_values_stand_in_order_of_the_text(self, tree) -> None:
        again = parse(unparse(tree))
        assert values(again) == values(tree)
        assert hash(shape(again)) == hash(shape(tree))


class TestShape:
    def test_same_when_only_texts_differ(self) -> None:
        assert shape(parse("a=1 AND (b:x OR NOT c>2)")) == shape(parse('a="2" AND (b:"y" OR -c>3)'))

    @pytest.mark.parametrize("other", ["b=1", "a!=1", "a=1*", "a=*", "NOT a=1", "a=1 a=1", "a=1 OR a=1", ""])
    def test_different_when_the_sql_is(self, other: str) -> None:
        assert shape(parse("a=1")) != shape(parse(other))
