"""A service with one resource, `widgets`, for the tests of everything that the kit does for all resources."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path

import sqlalchemy as sa
from google.api import annotations_pb2, field_behavior_pb2, resource_pb2  # noqa: F401 - the pool must know the imports
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message_factory import GetMessageClass
from google.rpc import status_pb2  # noqa: F401 - as above
from google.type import date_pb2, decimal_pb2, money_pb2  # noqa: F401 - as above
from grpc_tools import protoc
from psycopg.types.json import Jsonb

from kontor.type.v1 import external_id_pb2  # noqa: F401 - as above
from kontor_kit.clients import Peers
from kontor_kit.custom_fields import FieldType
from kontor_kit.errors import InvalidArgument
from kontor_kit.ids import uuid7
from kontor_kit.methods import ResourceServicer
from kontor_kit.resource import Resource
from kontor_kit.service import Service
from kontor_kit.shared import Shared
from kontor_kit.tables import KEY_TEXT, array_column, index, json_column, kit_tables, resource_table, search_index

HERE = Path(__file__).parent
FORBIDDEN = "forbidden"


def load(source: Path):
    """Compile a proto that imports Kontor's, and return its file descriptor."""
    known = Path(importlib.util.find_spec("kontor").submodule_search_locations[0]) / "descriptors.binpb"
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out.binpb"
        include = [f"-I{source.parent}", f"-I{Path(annotations_pb2.__file__).parents[2]}"]
        arguments = [*include, f"--descriptor_set_in={known}", f"--descriptor_set_out={out}", str(source)]
        if protoc.main(["protoc", *arguments]) != 0:
            raise RuntimeError(f"protoc does not compile {source}")
        files = FileDescriptorSet.FromString(out.read_bytes())
    pool = descriptor_pool.Default()
    pool.Add(files.file[0])
    return pool.FindFileByName(source.name)


FILE = load(HERE / "widgets.proto")
Widget = GetMessageClass(FILE.message_types_by_name["Widget"])

metadata = sa.MetaData()
kit_tables(metadata)
widgets = resource_table(
    "widgets",
    metadata,
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    sa.Column("serial", KEY_TEXT),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("weight", sa.BigInteger),
    sa.Column("ratio", sa.Double, nullable=False),
    sa.Column("broken", sa.Boolean, nullable=False),
    sa.Column("colour", sa.SmallInteger, nullable=False),
    array_column("colours", sa.SmallInteger),
    sa.Column("parent", sa.Uuid),
    array_column("tags", sa.Text),
    json_column("parts"),
    json_column("main_part"),
    sa.Column("price_amount", sa.Numeric),
    sa.Column("price_currency", sa.String(3)),
    sa.Column("quantity", sa.Numeric),
    sa.Column("made_on", sa.Date),
    sa.Column("checked_at", sa.DateTime(timezone=True)),
    sa.Column("note", sa.Text),
    array_column("watchers", sa.Uuid),
    json_column("external_ids"),
    json_column("custom_fields"),
    sa.Column("search_text", sa.Text, nullable=False),
    # Kept beside the message.
    sa.Column("sightings", sa.Integer, nullable=False, server_default=sa.text("0")),
    index("widgets", "display_name_key"),
    index("widgets", "serial", unique=True),
    index("widgets", "size"),
    index("widgets", "create_time"),
    index("widgets", "update_time"),
    search_index("widgets"),
)
resource_table(
    "custom_field_definitions",
    metadata,
    sa.Column("resource_type", KEY_TEXT, nullable=False),
    sa.Column("key", KEY_TEXT, nullable=False),
    sa.Column("type", sa.SmallInteger, nullable=False),
    json_column("options"),
    sa.Column("required", sa.Boolean, nullable=False),
    sa.Column("filterable", sa.Boolean, nullable=False),
    sa.Column("min_value", sa.Double),
    sa.Column("max_value", sa.Double),
    sa.Column("max_length", sa.Integer, nullable=False),
    owned=False,
)


class Widgets(ResourceServicer):
    """Serves widgets; those of one name are suspected to be the same."""

    SERVICE = FILE.services_by_name["WidgetService"]
    RESOURCE = Resource(Widget, widgets, conflicts={"widgets_serial": "the serial is taken"})

    def prepare(self, tx, call, before, after):
        after.note = after.note.strip()
        if after.display_name == FORBIDDEN:
            raise InvalidArgument(("display_name", "is forbidden"))

    def match_terms(self, record):
        return {self.term("match.display_name", record.display_name)}


def service() -> Service:
    """Return the service."""
    return Service(
        name="test",
        package="kontor_test",
        servicers=_servicers,
        metadata=metadata,
        migrations=HERE / "widgets_migrations",
    )


def _servicers(runtime):
    shared = Shared.of(
        "test.kontor",
        metadata,
        database=runtime.database,
        page_tokens=runtime.page_tokens(),
        peers=Peers.of(runtime.settings),
    )
    return [Widgets(shared)]


def define(database, tenant, key, kind, **more):
    """Store the definition of a custom field, whose type is `kind`."""
    values = {"options": None, "required": False, "filterable": True, "min_value": None, "max_value": None} | more
    values["options"] = Jsonb([{"value": option} for option in values["options"]]) if values["options"] else None
    with database.connect() as connection:
        connection.execute(
            "INSERT INTO custom_field_definitions (tenant_id, id, version, create_time, update_time, resource_type,"
            " key, type, options, required, filterable, min_value, max_value, max_length) VALUES (%(tenant)s, %(id)s,"
            " 1, now(), now(), 'widgets', %(key)s, %(type)s, %(options)s, %(required)s, %(filterable)s, %(min_value)s,"
            " %(max_value)s, 0)",
            {"tenant": tenant, "id": uuid7(), "key": key, "type": [*FieldType].index(FieldType(kind)) + 1, **values},
        )
