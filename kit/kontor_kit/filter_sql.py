"""Filters as SQL: typed against the resource's contract, refused where no index serves them, compiled once a shape.

What a filter may name stands in the proto: fields with `(kontor.api.v1.use).filter`. A single value is compared in its
column; a field with many values, and a custom field, through its terms.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from kontor.api.v1 import annotations_pb2
from kontor_kit import literals
from kontor_kit.custom_fields import Definition
from kontor_kit.errors import InvalidArgument
from kontor_kit.filters import And, Comparison, Node, Not, Operator, Value
from kontor_kit.folding import fold
from kontor_kit.mapping import pattern_of, reference_type
from kontor_kit.tables import KEY_TEXT
from kontor_kit.terms import AFTER_ALL, MAX_LENGTH, Term, encode, end_of, first_of

Convert = Callable[[Value, str], Any]
Bind = Callable[[Value], dict[str, Any]]
"""Makes the SQL parameters of one value of a filter."""

CUSTOM = "custom_fields"
TENANT = sa.bindparam("tenant", type_=sa.Uuid)

_INTEGERS = {
    FieldDescriptor.TYPE_INT32: 32,
    FieldDescriptor.TYPE_INT64: 64,
    FieldDescriptor.TYPE_UINT32: 32,
    FieldDescriptor.TYPE_SINT32: 32,
    FieldDescriptor.TYPE_SINT64: 64,
}
_ORDERED = frozenset((Operator.EQ, Operator.NE, Operator.LT, Operator.LE, Operator.GT, Operator.GE))
_EQUAL = frozenset((Operator.EQ, Operator.NE))


@dataclass(frozen=True, slots=True)
class FilterField:
    """A field that a filter may name."""

    path: str
    operators: frozenset[Operator]
    convert: Convert
    """Makes what the column or the term is compared with."""
    column: sa.Column[Any] | None
    """The column of a single value; None where the field is kept as terms."""
    folded: bool = False
    """Whether the column holds folded text, with the exact text in the column `exact`."""
    exact: sa.Column[Any] | None = None
    text: bool = False
    """Whether a trailing wildcard can be used."""


@dataclass(frozen=True, slots=True)
class CompiledFilter:
    """A filter's condition, and how the values of a filter of this shape become its parameters."""

    clause: sa.ColumnElement[bool]
    binds: tuple[Bind, ...]

    def parameters(self, values: list[Value]) -> dict[str, Any]:
        """Return the parameters for the values, which stand in the order of the comparisons."""
        parameters: dict[str, Any] = {}
        for bind, value in zip(self.binds, values, strict=True):
            parameters.update(bind(value))
        return parameters


class FilterFields:
    """The fields of one resource that a filter may name, and the conditions they make."""

    def __init__(
        self, descriptor: Descriptor, table: sa.Table, among: sa.BindParameter[Sequence[uuid.UUID]] | None = None
    ) -> None:
        """`among` are the ids of the only records that are held against a filter, where they are known before."""
        self._table = table
        self._among = among
        self._terms = table.metadata.tables.get("terms")
        self.fields = {field.path: field for field in _declared(descriptor, table)}
        self._has_custom = CUSTOM in self.fields

    def compile(self, node: Node, definitions: Mapping[str, Definition]) -> CompiledFilter:
        """Make the condition; raises InvalidArgument for the field `filter` where it cannot be had by an index."""
        binds: list[Bind] = []
        clause, unserved = self._compile(node, definitions, binds)
        if unserved:
            raise InvalidArgument(
                ("filter", f"{unserved} is only excluded, which no index serves; add a condition on what is wanted")
            )
        return CompiledFilter(clause, tuple(binds))

    def field(self, path: tuple[str, ...], definitions: Mapping[str, Definition]) -> FilterField:
        """Return the field at `path`; raises InvalidArgument where there is none a filter may name."""
        name = ".".join(path)
        if self._has_custom and path[0] == CUSTOM and len(path) == 2:
            definition = definitions.get(path[1])
            if definition is None:
                raise InvalidArgument(("filter", f"{name}: there is no such custom field"))
            if not definition.filterable:
                raise InvalidArgument(("filter", f"{name} is not filterable by its definition"))
            operators = frozenset((Operator.HAS,)) if definition.repeated else _ORDERED | {Operator.HAS}
            return FilterField(name, operators, definition.literal, None, text=definition.is_text)
        field = self.fields.get(name)
        if field is None or name == CUSTOM:
            known = ", ".join(path for path in self.fields if path != CUSTOM)
            raise InvalidArgument(("filter", f"{name} is not a field that can be filtered by; there are {known}"))
        return field

    def _compile(
        self, node: Node, definitions: Mapping[str, Definition], binds: list[Bind]
    ) -> tuple[sa.ColumnElement[bool], str]:
        """Return the condition, and the path of what no index serves; empty where one does."""
        if isinstance(node, Comparison):
            return self._comparison(node, self.field(node.path, definitions), binds)
        if isinstance(node, Not):
            clause, _ = self._compile(node.operand, definitions, binds)
            # A comparison with an empty column is neither true nor false; what is not there is not equal.
            return sa.not_(sa.func.coalesce(clause, sa.false())), _first_path(node)
        parts = [self._compile(operand, definitions, binds) for operand in node.operands]
        clauses, unserved = zip(*parts, strict=True)
        if isinstance(node, And):
            return sa.and_(*clauses), "" if not all(unserved) else unserved[0]
        return sa.or_(*clauses), next(filter(None, unserved), "")

    def _comparison(
        self, node: Comparison, field: FilterField, binds: list[Bind]
    ) -> tuple[sa.ColumnElement[bool], str]:
        number = len(binds)
        if node.value.any:
            if node.operator is not Operator.HAS:
                raise InvalidArgument(("filter", f"{field.path}: write {field.path}:* to ask whether it is set"))
            binds.append(lambda value: {})
            return self._presence(field)
        if node.operator not in field.operators:
            allowed = " ".join(sorted(operator.value for operator in field.operators))
            raise InvalidArgument(
                ("filter", f"{field.path} cannot be compared with {node.operator.value}; use {allowed}")
            )
        if node.value.prefix and not field.text:
            raise InvalidArgument(("filter", f"{field.path} is not text, so that a wildcard cannot be used"))
        if field.column is None:
            clause = self._term_clause(node, field, number, binds)
        else:
            clause = _column_clause(node, field, field.column, number, binds)
        return clause, field.path if node.operator is Operator.NE else ""

    def _presence(self, field: FilterField) -> tuple[sa.ColumnElement[bool], str]:
        if field.column is None:
            term, name = self._term_column(field.path), self.term_field(field.path)
            return self._has_term(sa.and_(term >= first_of(name), term < end_of(name))), ""
        # Not served: usually nearly every record has it.
        return field.column.is_not(None), field.path

    def _term_clause(
        self, node: Comparison, field: FilterField, number: int, binds: list[Bind]
    ) -> sa.ColumnElement[bool]:
        convert, path, name = field.convert, field.path, self.term_field(field.path)
        term, low = self._term_column(path), sa.bindparam(f"v{number}", type_=KEY_TEXT)
        if node.value.prefix:
            binds.append(lambda given: _prefix(number, Term(name, encode(given.text)).text))
            condition = _between(term, low, sa.bindparam(f"v{number}_end", type_=KEY_TEXT))
        else:
            binds.append(lambda given: {f"v{number}": Term(name, encode(convert(given, path))).text})
            operator = Operator.EQ if node.operator in (Operator.HAS, Operator.NE) else node.operator
            condition = _compare(operator, term, low)
            if operator in (Operator.LT, Operator.LE):
                condition = sa.and_(term >= first_of(name), condition)
            elif operator in (Operator.GT, Operator.GE):
                condition = sa.and_(condition, term < end_of(name))
        clause = self._has_term(condition)
        return sa.not_(clause) if node.operator is Operator.NE else clause

    def _term_column(self, path: str) -> sa.Column[str]:
        if self._terms is None:
            raise ValueError(f"the filter field {path} needs the table `terms`, which the service does not have")
        return self._terms.c.term

    def _has_term(self, condition: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
        assert self._terms is not None
        found = sa.select(self._terms.c.id).where(self._terms.c.tenant_id == TENANT, condition)
        if self._among is not None:
            # Or the planner may look at all records that have the term, for each handful that is asked for.
            found = found.where(self._terms.c.id == sa.any_(self._among))
        return self._table.c.id.in_(found)

    def term_field(self, path: str) -> str:
        """Return the name under which the terms of `path` are kept: the collection stands before it."""
        return f"{self._table.name}.{path}"


def use_of(field: FieldDescriptor) -> annotations_pb2.FieldUse:
    """Return what the contract says the field can be used for."""
    options: Any = field.GetOptions()
    found: annotations_pb2.FieldUse = options.Extensions[annotations_pb2.use]
    return found


def _declared(descriptor: Descriptor, table: sa.Table, prefix: str = "", repeated: bool = False) -> list[FilterField]:
    """Collect the fields marked in the contract, also those within messages."""
    found: list[FilterField] = []
    for field in descriptor.fields:
        path = f"{prefix}{field.name}"
        if use_of(field).filter:
            if prefix or field.is_repeated or field.name == CUSTOM:
                found.append(_term_field(field, path))
            else:
                found.append(_column_field(field, path, table))
        elif field.message_type is not None and field.message_type.full_name.startswith("kontor."):
            found += _declared(field.message_type, table, f"{path}.", repeated or field.is_repeated)
    return found


def _term_field(field: FieldDescriptor, path: str) -> FilterField:
    convert, text = _converter(field)
    if reference_type(field):
        convert = _to_name(pattern_of(reference_type(field)))
    elif field.enum_type is not None:
        convert = _to_enum_name(field.enum_type)
    return FilterField(path, frozenset((Operator.HAS,)), convert, None, text=text)


def _column_field(field: FieldDescriptor, path: str, table: sa.Table) -> FilterField:
    convert, text = _converter(field)
    if text and f"{path}_key" in table.c:
        return FilterField(path, _ORDERED, convert, table.c[f"{path}_key"], folded=True, exact=table.c[path], text=True)
    ordered = not (reference_type(field) or field.enum_type is not None or field.type == FieldDescriptor.TYPE_BOOL)
    return FilterField(path, _ORDERED if ordered else _EQUAL, convert, table.c[path], text=text)


def _converter(field: FieldDescriptor) -> tuple[Convert, bool]:
    """Return what reads a literal of the field's type, and whether the field is text."""
    if reference_type(field):
        pattern = pattern_of(reference_type(field))
        return lambda value, path: literals.to_reference(value, path, pattern), False
    if field.enum_type is not None:
        descriptor = field.enum_type
        return lambda value, path: literals.to_enum(value, path, descriptor), False
    if field.message_type is not None:
        return _MESSAGES[field.message_type.full_name], False
    if field.type in _INTEGERS:
        bits = _INTEGERS[field.type]
        return lambda value, path: literals.to_int(value, path, bits=bits), False
    if field.type in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
        return literals.to_float, False
    if field.type == FieldDescriptor.TYPE_BOOL:
        return literals.to_bool, False
    return lambda value, path: value.text, True


_MESSAGES: dict[str, Convert] = {
    "google.protobuf.Timestamp": literals.to_timestamp,
    "google.type.Date": literals.to_date,
    "google.protobuf.Struct": lambda value, path: value.text,
}


def _to_name(pattern: str) -> Convert:
    collection = pattern.partition("/")[0]
    return lambda value, path: f"{collection}/{literals.to_reference(value, path, pattern)}"


def _to_enum_name(descriptor: Any) -> Convert:
    def convert(value: Value, path: str) -> str:
        literals.to_enum(value, path, descriptor)
        return value.text

    return convert


def _column_clause(
    node: Comparison, field: FilterField, column: sa.Column[Any], number: int, binds: list[Bind]
) -> sa.ColumnElement[bool]:
    name, convert, path = f"v{number}", field.convert, field.path
    low = sa.bindparam(name, type_=column.type)
    key: Callable[[Any], Any] = fold if field.folded else lambda given: given
    if node.value.prefix:
        binds.append(lambda given: _prefix(number, key(given.text)[:MAX_LENGTH]))
        clause = _between(column, low, sa.bindparam(f"{name}_end", type_=column.type))
    elif field.exact is not None and node.operator in _EQUAL:
        # The index finds what is the same when folded, the column itself decides.
        binds.append(lambda given: {name: key(given.text), f"{name}_exact": given.text})
        clause = sa.and_(column == low, field.exact == sa.bindparam(f"{name}_exact", type_=field.exact.type))
    else:
        binds.append(lambda given: {name: key(convert(given, path))})
        clause = _compare(Operator.EQ if node.operator is Operator.NE else node.operator, column, low)
    return sa.not_(sa.func.coalesce(clause, sa.false())) if node.operator is Operator.NE else clause


def _prefix(number: int, text: str) -> dict[str, str]:
    return {f"v{number}": text, f"v{number}_end": text + AFTER_ALL}


def _between(
    column: sa.ColumnElement[Any], low: sa.BindParameter[Any], end: sa.BindParameter[Any]
) -> sa.ColumnElement[bool]:
    return sa.and_(column >= low, column < end)


def _compare(operator: Operator, column: sa.ColumnElement[Any], value: sa.BindParameter[Any]) -> sa.ColumnElement[bool]:
    match operator:
        case Operator.EQ:
            return column == value
        case Operator.LT:
            return column < value
        case Operator.LE:
            return column <= value
        case Operator.GT:
            return column > value
        case _:
            return column >= value


def _first_path(node: Node) -> str:
    while not isinstance(node, Comparison):
        node = node.operand if isinstance(node, Not) else node.operands[0]
    return ".".join(node.path)
