"""The mapping between the row of a resource and its message, compiled once from the proto and the table.

proto field                          column                                   empty is stored as
name, etag                           id, version                              -
string                               text                                     NULL
number, bool, enum                   number, boolean, smallint                the value
... with presence (`optional`)       the same                                 NULL
reference to a resource              uuid                                     NULL
repeated string / enum / reference   text[] / smallint[] / uuid[]             NULL
message, repeated message, Struct    jsonb, with proto field names            NULL
Timestamp, Date                      timestamptz, date                        NULL
Money                                <field>_amount, <field>_currency         NULL
Decimal                              numeric                                  NULL
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection
from decimal import Decimal
from typing import Any, NamedTuple

import sqlalchemy as sa
from google.api import resource_pb2
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from kontor_kit import money
from kontor_kit.errors import InvalidArgument
from kontor_kit.ids import parse_name

Load = Callable[[Any], Any]
Dump = Callable[[Any, str], Any]

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class FieldCodec(NamedTuple):
    """How one field of the message stands in the row."""

    name: str
    column: sa.ColumnElement[Any]
    """What to select for the field."""
    load: Load | None
    """Makes what the message's constructor takes from a selected value that is not NULL; None where it is the same."""
    columns: tuple[str, ...]
    """The columns that are written; empty for what the kit itself keeps."""
    dump: Dump | None
    """Makes the values of `columns` (one value, or a tuple of them) from a field of a message and its path."""


def collection_of(resource_type: str) -> str:
    """Return the collection of a resource type: `identity.kontor/User` is kept in `users`."""
    kind = resource_type.rpartition("/")[2]
    plural = kind + ("es" if kind.endswith(("s", "x", "ch", "sh")) else "s")
    if kind.endswith("y") and kind[-2] not in "aeiou":
        plural = f"{kind[:-1]}ies"
    return plural[0].lower() + plural[1:]


def reference_type(field: FieldDescriptor) -> str:
    """Return the type of resource that a string field refers to; empty where it is no reference or one to any type."""
    options = field.GetOptions()
    if not options.HasExtension(resource_pb2.resource_reference):
        return ""
    kind: str = options.Extensions[resource_pb2.resource_reference].type
    return "" if kind == "*" else kind


def snake_case(name: str) -> str:
    """Return a name of several words as fields spell it: `ServiceAccount` -> `service_account`."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


def pattern_of(resource_type: str) -> str:
    """Return the pattern of a resource type's names: `identity.kontor/ServiceAccount` -> `serviceAccounts/{service_account}`."""
    return f"{collection_of(resource_type)}/{{{snake_case(resource_type.rpartition('/')[2])}}}"


class Codec:
    """The fields of one message in one table."""

    def __init__(
        self, descriptor: Descriptor, table: sa.Table, collection: str, computed: Collection[str] = ()
    ) -> None:
        self.message_class: type[Message] = message_factory.GetMessageClass(descriptor)
        self.fields: dict[str, FieldCodec] = {}
        for field in descriptor.fields:
            if field.name in computed:
                self.fields[field.name] = FieldCodec(field.name, sa.null(), None, (), None)
            else:
                self.fields[field.name] = _field_codec(field, table, collection)

    def columns(self, names: tuple[str, ...] | None = None) -> list[sa.ColumnElement[Any]]:
        """Return what to select for the fields `names`, for all of them where it is None."""
        return [codec.column for codec in self._chosen(names)]

    def loader(self, names: tuple[str, ...] | None = None) -> Callable[[tuple[Any, ...]], Any]:
        """Return a function that makes a message of the values selected by `columns(names)`; more may stand behind."""
        message_class = self.message_class
        plan = [(codec.name, codec.load) for codec in self._chosen(names)]

        def load(row: tuple[Any, ...]) -> Any:
            return message_class(
                **{
                    name: value if convert is None else convert(value)
                    for (name, convert), value in zip(plan, row, strict=False)
                    if value is not None
                }
            )

        return load

    def dump(self, message: Message, prefix: str, names: tuple[str, ...] | None = None) -> dict[str, Any]:
        """Return the column values of the fields `names`; raises InvalidArgument with paths that begin with `prefix`."""
        values: dict[str, Any] = {}
        for codec in self._chosen(names):
            if codec.dump is None:
                continue
            value = codec.dump(message, f"{prefix}{codec.name}")
            if len(codec.columns) == 1:
                values[codec.columns[0]] = value
            else:
                values.update(zip(codec.columns, value, strict=True))
        return values

    def _chosen(self, names: tuple[str, ...] | None) -> list[FieldCodec]:
        return list(self.fields.values()) if names is None else [self.fields[name] for name in names]


def _field_codec(field: FieldDescriptor, table: sa.Table, collection: str) -> FieldCodec:
    name = field.name
    if name == "name":
        return FieldCodec(name, _named(collection, table.c.id), None, (), None)
    if name == "etag":
        return FieldCodec(
            name, sa.literal_column("'v'", sa.Text).concat(sa.cast(table.c.version, sa.Text)), None, (), None
        )
    if name in ("create_time", "update_time", "delete_time"):
        return FieldCodec(name, table.c[name], _load_timestamp, (), None)
    if field.message_type is not None and field.message_type.full_name == "google.type.Money" and not field.is_repeated:
        amount, currency = table.c[f"{name}_amount"], table.c[f"{name}_currency"]
        column = sa.cast(currency, sa.Text) + sa.literal_column("' '", sa.Text) + sa.cast(amount, sa.Text)
        return FieldCodec(name, column, _load_money, (amount.name, currency.name), _dump_money(name))
    if name not in table.c:
        raise ValueError(f"table {table.name} has no column for the field {field.full_name}")
    load, dump, column = _converters(field, table.c[name])
    return FieldCodec(name, column, load, (name,), dump)


def _named(collection: str, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return sa.literal_column(f"'{collection}/'", sa.Text).concat(sa.cast(column, sa.Text))


def _converters(field: FieldDescriptor, column: sa.Column[Any]) -> tuple[Load | None, Dump, sa.ColumnElement[Any]]:
    name, kind = field.name, field.message_type
    if kind is not None:
        load, dump = _message_converters(field)
        return load, dump, sa.cast(column, sa.Text) if kind.full_name == "google.type.Decimal" else column
    referred = reference_type(field)
    if referred and field.is_repeated:
        collection, pattern = collection_of(referred), pattern_of(referred)
        return (
            lambda keys: [f"{collection}/{key}" for key in keys],
            lambda message, path: (
                [parse_name(value, pattern, f"{path}[{index}]") for index, value in enumerate(getattr(message, name))]
                or None
            ),
            column,
        )
    if referred and isinstance(column.type, sa.Uuid):
        collection, pattern = collection_of(referred), pattern_of(referred)

        def dump_reference(message: Any, path: str) -> Any:
            value = getattr(message, name)
            return parse_name(value, pattern, path) if value else None

        return None, dump_reference, _named(collection, column)
    if field.is_repeated:
        return None, lambda message, path: list(getattr(message, name)) or None, column
    if field.has_presence:
        return None, lambda message, path: getattr(message, name) if message.HasField(name) else None, column
    if field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
        return None, lambda message, path: getattr(message, name) or None, column
    return None, lambda message, path: getattr(message, name), column


def _message_converters(field: FieldDescriptor) -> tuple[Load | None, Dump]:
    name, full_name = field.name, field.message_type.full_name  # type: ignore[union-attr]
    if field.is_repeated:
        return None, lambda message, path: [plain(item) for item in getattr(message, name)] or None
    load, convert = _SINGLE.get(full_name, (None, lambda value, path: plain(value)))
    return load, lambda message, path: convert(getattr(message, name), path) if message.HasField(name) else None


def plain(message: Message) -> dict[str, Any]:
    """Return a message as a document with proto field names and enum numbers: what its constructor takes."""
    result: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.message_type is None:
            result[field.name] = list(value) if field.is_repeated else value
        elif field.is_repeated:
            result[field.name] = [plain(item) for item in value]
        else:
            result[field.name] = plain(value)
    return result


def _load_money(text: str) -> dict[str, Any]:
    currency, _, amount = text.partition(" ")
    return money.fields(Decimal(amount), currency)


def _dump_money(name: str) -> Dump:
    def dump(message: Any, path: str) -> tuple[Decimal | None, str | None]:
        if not message.HasField(name):
            return None, None
        value = getattr(message, name)
        if len(value.currency_code) != 3 or not value.currency_code.isascii() or not value.currency_code.isupper():
            raise InvalidArgument((f"{path}.currency_code", "must be an ISO 4217 code, for example EUR"))
        if abs(value.nanos) > 999_999_999 or value.units * value.nanos < 0:
            raise InvalidArgument((f"{path}.nanos", "must lie within one unit and have the sign of the units"))
        return money.amount(value), value.currency_code

    return dump


def _load_timestamp(moment: dt.datetime) -> dict[str, int]:
    # As protobuf does it itself, in a third of the time: a page of a list has a hundred of them.
    past = moment - _EPOCH
    return {"seconds": past.days * 86400 + past.seconds, "nanos": past.microseconds * 1000}


def _dump_timestamp(value: Any, path: str) -> dt.datetime:
    try:
        moment: dt.datetime = value.ToDatetime(dt.UTC)
    except (ValueError, OverflowError):
        raise InvalidArgument((path, "must be a time between the years 1 and 9999")) from None
    return moment


def _dump_date(value: Any, path: str) -> dt.date:
    try:
        return dt.date(value.year, value.month, value.day)
    except ValueError:
        raise InvalidArgument((path, "must be a whole date: a year, a month and a day that exist")) from None


def _dump_decimal(value: Any, path: str) -> Decimal:
    try:
        number = Decimal(value.value)
        if number.is_finite():
            return number
    except ArithmeticError:
        pass
    raise InvalidArgument((path, "must be a decimal number, for example 12.50"))


_SINGLE: dict[str, tuple[Load | None, Dump]] = {
    "google.protobuf.Timestamp": (_load_timestamp, _dump_timestamp),
    "google.protobuf.Struct": (None, lambda value, path: json_format.MessageToDict(value)),
    "google.type.Date": (lambda value: {"year": value.year, "month": value.month, "day": value.day}, _dump_date),
    "google.type.Decimal": (lambda value: {"value": value}, _dump_decimal),
}
