r"""Filters of List methods: the language of AIP-160 as a tree (https://google.aip.dev/160).

    filter      = sequence { "AND" sequence }
    sequence    = alternative { alternative }                   juxtaposition means AND here
    alternative = term { "OR" term }                            so OR binds tighter than AND
    term        = [ "NOT" | "-" ] ( comparison | "(" filter ")" )
    comparison  = field { "." field } operator value
    operator    = "=" | "!=" | "<" | "<=" | ">" | ">=" | ":"

Left out, and refused with a sentence: functions, a value without a field, and wildcards anywhere but at the end.
A field is spelled as in the protos or as in JSON: `display_name` is `displayName`.
In a quoted string a backslash escapes `\`, `"`, `'` and `*`, and makes `\n`, `\r`, `\t`.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import NoReturn, TypeAlias

from kontor_kit.errors import InvalidArgument
from kontor_kit.spelling import proto_path

MAX_LENGTH = 4096
MAX_DEPTH = 20
MAX_COMPARISONS = 50


class Operator(enum.Enum):
    """How a field is compared with a value."""

    EQ = "="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="
    HAS = ":"


@dataclass(frozen=True, slots=True)
class Value:
    """What a field is compared with, as it was written, without quotes and escapes."""

    text: str
    quoted: bool = False
    prefix: bool = False
    """Whether a `*` followed: `text` is how the field begins."""

    @property
    def any(self) -> bool:
        """Whether the value is a lone `*`: the field is set, to whatever value."""
        return self.prefix and not self.text


@dataclass(frozen=True, slots=True)
class Comparison:
    """One field compared with one value."""

    path: tuple[str, ...]
    operator: Operator
    value: Value
    position: int = field(default=0, compare=False)
    """Where in the text it begins, counted in characters from 1."""


@dataclass(frozen=True, slots=True)
class And:
    """All of the operands hold; at least two, none of them an And."""

    operands: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """One of the operands holds; at least two, none of them an Or."""

    operands: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The operand does not hold."""

    operand: Node


Node: TypeAlias = Comparison | And | Or | Not

_SPACE = re.compile(r"[ \t\r\n]*")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*")
_OPERATOR = re.compile(r"<=|>=|!=|[=<>:]")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"|' r"'((?:[^'\\]|\\.)*)'", re.DOTALL)
_BARE = re.compile(r"[^\s()<>=,\"'\\]+")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {"\\": "\\", '"': '"', "'": "'", "*": "*", "n": "\n", "r": "\r", "t": "\t"}
_OPERATORS = {operator.value: operator for operator in Operator}
_KEYWORDS = frozenset(("AND", "OR", "NOT"))


def parse(text: str) -> Node | None:
    """Read a filter; None where it is blank. Raises InvalidArgument for the field `filter`, with the position."""
    if len(text) > MAX_LENGTH:
        raise InvalidArgument(("filter", f"must not be longer than {MAX_LENGTH} characters"))
    if "\0" in text:
        raise InvalidArgument(("filter", f"NUL is not allowed, at position {text.index(chr(0)) + 1}"))
    parser = _Parser(text)
    if parser.position == len(text):
        return None
    node = parser.expression(depth=0)
    if parser.position != len(text):
        parser.fail("a closing parenthesis without an opening one" if parser.at(")") else "AND, OR or a field expected")
    return node


class _Parser:
    """Recursive descent over the text; `position` is always at the next character that is not white space."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.comparisons = 0
        self.move(0)

    def move(self, position: int) -> None:
        self.position = _SPACE.match(self.text, position).end()  # type: ignore[union-attr]

    def at(self, character: str) -> bool:
        return self.text.startswith(character, self.position)

    def fail(self, what: str, position: int | None = None) -> NoReturn:
        place = (self.position if position is None else position) + 1
        raise InvalidArgument(("filter", f"{what}, at position {place}"))

    def word(self) -> str:
        """The word ahead, without taking it; empty where there is none."""
        match = _WORD.match(self.text, self.position)
        return match.group() if match else ""

    def take(self, word: str) -> bool:
        if self.word() != word:
            return False
        self.move(self.position + len(word))
        return True

    def expression(self, depth: int) -> Node:
        operands = [self.alternative(depth)]
        while True:
            explicit = self.take("AND")
            if not explicit and (self.position == len(self.text) or self.at(")")):
                break
            operands.append(self.alternative(depth))
        return _joined(And, operands)

    def alternative(self, depth: int) -> Node:
        operands = [self.term(depth)]
        while self.take("OR"):
            operands.append(self.term(depth))
        return _joined(Or, operands)

    def term(self, depth: int) -> Node:
        if self.at("-"):
            self.move(self.position + 1)
            return Not(self.simple(depth))
        return Not(self.simple(depth)) if self.take("NOT") else self.simple(depth)

    def simple(self, depth: int) -> Node:
        if not self.at("("):
            return self.comparison()
        if depth == MAX_DEPTH:
            self.fail(f"parentheses are nested deeper than {MAX_DEPTH}")
        opening = self.position
        self.move(opening + 1)
        node = self.expression(depth + 1)
        if not self.at(")"):
            self.fail("a parenthesis is never closed", opening)
        self.move(self.position + 1)
        return node

    def comparison(self) -> Comparison:
        start = self.position
        path = self.word()
        if not path or path in _KEYWORDS:
            self.refuse_start(path)
        self.move(start + len(path))
        match = _OPERATOR.match(self.text, self.position)
        if match is None:
            if self.at("("):
                self.fail(
                    f"functions such as {path}() are not supported; use the search method to look for words", start
                )
            self.refuse_bare(start)
        self.comparisons += 1
        if self.comparisons > MAX_COMPARISONS:
            self.fail(f"there are more than {MAX_COMPARISONS} comparisons", start)
        self.move(match.end())
        operator = _OPERATORS[match.group()]
        return Comparison(tuple(proto_path(path).split(".")), operator, self.value(operator), start + 1)

    def value(self, operator: Operator) -> Value:
        start = self.position
        if match := _STRING.match(self.text, start):
            raw, quoted = match.group(match.lastindex or 0), True
        elif match := _BARE.match(self.text, start):
            raw, quoted = match.group(), False
        elif self.at("("):
            self.fail("a list of values is not supported; compare the field with each of them, joined by OR")
        elif self.at('"') or self.at("'"):
            self.fail("a string is never closed")
        else:
            self.fail("a value is expected")
        end = match.end()
        if self.text.startswith("(", end):
            self.fail("functions are not supported; put the value in quotes if it is one", start)
        if not quoted and raw in _KEYWORDS:
            self.fail(f"a value is expected, not {raw}; put it in quotes if it is one", start)
        value = self.unescaped(raw, quoted, start)
        if value.prefix and operator not in (Operator.EQ, Operator.NE, Operator.HAS):
            self.fail(f"a wildcard cannot be compared by {operator.value}", start)
        self.move(end)
        return value

    def unescaped(self, raw: str, quoted: bool, start: int) -> Value:
        if "\\" not in raw:
            text, stars, prefix = raw, raw.count("*"), raw.endswith("*")
        else:
            for escape in _ESCAPE.finditer(raw):
                if escape.group(1) not in _ESCAPED:
                    self.fail(f"{escape.group()} is not an escape sequence", start + 1 + escape.start())
            plain = _ESCAPE.sub("_", raw)
            stars, prefix = plain.count("*"), plain.endswith("*")
            text = _ESCAPE.sub(lambda escape: _ESCAPED[escape.group(1)], raw)
        if stars > prefix:
            self.fail("a wildcard can only stand at the end of a value; \\* in quotes is the character itself", start)
        return Value(text[:-1] if prefix else text, quoted, prefix)

    def refuse_start(self, word: str) -> NoReturn:
        if word:
            self.fail(f"a field is expected, not {word}")
        if self.position == len(self.text):
            self.fail("a comparison is expected, but the filter ends")
        if self.at(")") or _OPERATOR.match(self.text, self.position):
            self.fail("a field is expected")
        self.refuse_bare(self.position)

    def refuse_bare(self, start: int) -> NoReturn:
        self.fail("a field with an operator and a value is expected; use the search method to look for words", start)


def _joined(kind: type[And | Or], operands: list[Node]) -> Node:
    if len(operands) == 1:
        return operands[0]
    flat: list[Node] = []
    for operand in operands:
        if isinstance(operand, kind):
            flat.extend(operand.operands)
        else:
            flat.append(operand)
    return kind(tuple(flat))


def shape(node: Node | None) -> Hashable:
    """Return the tree without the values' texts: filters of one shape need the same SQL with other parameters."""
    match node:
        case None:
            return None
        case Comparison(path, operator, value):
            return path, operator, value.prefix, value.any
        case Not(operand):
            return Not, shape(operand)
        case And(operands) | Or(operands):
            return type(node), *map(shape, operands)


def values(node: Node | None) -> list[Value]:
    """Return the values of all comparisons in the order in which they stand in the filter."""
    match node:
        case None:
            return []
        case Comparison():
            return [node.value]
        case Not(operand):
            return values(operand)
        case And(operands) | Or(operands):
            return [value for operand in operands for value in values(operand)]


def unparse(node: Node | None) -> str:
    """Write a filter that reads as `node`."""
    match node:
        case None:
            return ""
        case Comparison(path, operator, value):
            return f"{'.'.join(path)} {operator.value} {_written(value)}"
        case Not(operand):
            return f"NOT {_grouped(operand, Not, And, Or)}"
        case And(operands):
            return " AND ".join(_grouped(operand, And) for operand in operands)
        case Or(operands):
            return " OR ".join(_grouped(operand, And, Or, Not) for operand in operands)


def _grouped(node: Node, *kinds: type) -> str:
    text = unparse(node)
    return f"({text})" if isinstance(node, kinds) else text


def _written(value: Value) -> str:
    star = "*" if value.prefix else ""
    if not value.quoted:
        return value.text + star
    text = value.text.replace("\\", "\\\\").replace('"', '\\"').replace("*", "\\*")
    return f'"{text}{star}"'
