"""What is stored beside the records: terms, changes, custom fields; and the edges that PostgreSQL itself guards."""

from __future__ import annotations

import dataclasses
import uuid

import psycopg
import pytest
import sqlalchemy as sa
from alembic import autogenerate
from alembic.migration import MigrationContext
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToDict
from grpc import StatusCode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kit.tests import widgets
from kit.tests.widgets import Widget, Widgets
from kontor_kit import migrations
from kontor_kit.ids import uuid7
from kontor_kit.mapping import Codec
from kontor_kit.terms import Term, terms
from kontor_kit.tracing import start_span

WORDS = st.sampled_from(["a", "A", "ä", "b", "x y", "x  y", "a" * 50])
CHANGE = st.fixed_dictionaries(
    {},
    optional={
        "display_name": WORDS,
        "size": st.integers(0, 3),
        "tags": st.lists(WORDS, unique=True, max_size=3),
        "colours": st.lists(st.integers(1, 3), unique=True, max_size=3),
        "parts": st.lists(st.fixed_dictionaries({"code": WORDS}), max_size=3),
        "main_part": st.fixed_dictionaries({"code": WORDS}),
        "custom_fields": st.fixed_dictionaries(
            {}, optional={"text": WORDS, "number": st.integers(-3, 3), "hidden": WORDS}
        ),
    },
)
TABLES = ["change_pending", "custom_field_definitions", "external_ids", "requests", "terms", "widgets"]


def expected_terms(widget):
    """Return the terms that a record must have, by what the contract and `widgets.Widgets` say."""
    names = widgets.FILE.message_types_by_name["Widget"].enum_types_by_name["Colour"].values_by_number
    parts = [*widget.parts, *([widget.main_part] if widget.HasField("main_part") else [])]
    values = {
        "tags": [*widget.tags],
        "colours": [names[number].name for number in widget.colours],
        "watchers": [*widget.watchers],
        "parts.code": [part.code for part in widget.parts],
        "main_part.code": [part.code for part in parts[len(widget.parts) :]],
        "match.display_name": [widget.display_name],
    }
    custom = MessageToDict(widget.custom_fields)
    values |= {f"custom_fields.{key}": [custom[key]] for key in ("text", "number") if key in custom}
    return {term for path, found in values.items() for term in terms(f"widgets.{path}", found)}


def stored_terms(rows, name):
    found = rows("SELECT term FROM terms WHERE id = %s", name.rpartition("/")[2])
    return {Term(*text.split("=", 1)) for (text,) in found}


class TestTerms:
    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(CHANGE, min_size=1, max_size=5))
    def test_are_always_those_of_the_record(self, anna, rows, define, history):
        if not rows("SELECT 1 FROM custom_field_definitions WHERE tenant_id = %s", anna.tenant):
            define(anna, "text", "STRING")
            define(anna, "number", "NUMBER")
            define(anna, "hidden", "STRING", filterable=False)
        first = {"display_name": "A", **history[0]}
        widget = anna("CreateWidget", widget=first, allow_duplicates=True)
        assert stored_terms(rows, widget.name) == expected_terms(widget)
        for change in history[1:]:
            mask = FieldMask(paths=[*change])
            widget = anna("UpdateWidget", widget={"name": widget.name, **change}, update_mask=mask)
            assert stored_terms(rows, widget.name) == expected_terms(widget)

    def test_stay_while_the_record_is_deleted(self, anna, rows):
        widget = anna("CreateWidget", widget={"display_name": "A", "tags": ["x"]})
        anna("DeleteWidget", name=widget.name)
        assert stored_terms(rows, widget.name) == expected_terms(widget)


class TestBeside:
    def test_what_is_kept_beside_the_message_has_its_default_and_stays_through_changes(self, anna, rows):
        name = anna("CreateWidget", widget={"display_name": "a"}).name
        id = name.rpartition("/")[2]
        assert rows("UPDATE widgets SET sightings = sightings + 2 WHERE id = %s RETURNING sightings", id) == [(2,)]
        anna("UpdateWidget", widget={"name": name, "display_name": "b"})
        assert rows("SELECT sightings FROM widgets WHERE id = %s", id) == [(2,)]


class TestNew:
    """What a service stores itself."""

    @pytest.fixture
    def store(self, server, anna):
        """Store a widget as the service does, under an id."""
        [records] = server.service.servicers(server.runtime)

        def run(id):
            with server.runtime.database.write(anna.tenant) as tx:
                own = records.own_call(tx, start_span())
                return records.new(tx, own, Widget(name=f"widgets/{uuid7()}", display_name="Wheel"), id=id)

        return run

    def test_gets_the_id_that_was_given_out_before(self, anna, store, rows):
        id = uuid7()
        made = store(id)
        assert made.name == f"widgets/{id}"
        assert anna("GetWidget", name=made.name) == made
        assert rows("SELECT event_type FROM change_pending WHERE resource_name = %s", made.name) == [
            ("kontor.test.v1.widget.created",)
        ]

    def test_an_id_is_one_records(self, anna, store):
        made = store(uuid7())
        with pytest.raises(psycopg.errors.UniqueViolation):
            store(uuid.UUID(made.name.rpartition("/")[2]))
        assert anna("ListWidgets", filter='display_name = "Wheel"').widgets == [made]


class TestChanges:
    def test_say_who_did_it_and_how(self, server, rows):
        anna = server.caller(act={"sub": f"serviceAccounts/{uuid7()}"}, client_id="the-console")
        trace = "0af7651916cd43dd8448eb211c80319c"
        metadata = {"traceparent": f"00-{trace}-b7ad6b7169203331-01", "idempotency-key": "r-1"}
        widget = anna("CreateWidget", widget={"display_name": "A"}, metadata=metadata)
        [(tenant, subject, actor, client_id, peer, request_id, trace_id)] = rows(
            "SELECT tenant_id, subject, actor, client_id, peer, request_id, trace_id FROM change_pending"
            " WHERE resource_name = %s",
            widget.name,
        )
        assert (tenant, subject, client_id, trace_id) == (anna.tenant, anna.user, "the-console", trace)
        assert actor.startswith("serviceAccounts/")
        assert peer
        assert request_id == "r-1"

    def test_know_the_request_id_of_the_body(self, anna, rows):
        widget = anna("CreateWidget", widget={"display_name": "A"}, request_id="r-2")
        assert rows("SELECT request_id FROM change_pending WHERE resource_name = %s", widget.name) == [("r-2",)]

    def test_follow_one_another_without_a_gap(self, anna, rows):
        widget = anna("CreateWidget", widget={"display_name": "A"})
        for size in range(1, 6):
            anna("UpdateWidget", widget={"name": widget.name, "size": size})
        anna("DeleteWidget", name=widget.name)
        last = anna("UndeleteWidget", name=widget.name)
        found = rows(
            "SELECT version, before, after FROM change_pending WHERE resource_name = %s ORDER BY sequence", widget.name
        )
        assert [version for version, _, _ in found] == [*range(1, 9)]
        assert [before for _, before, _ in found[1:]] == [after for _, _, after in found[:-1]]
        assert Widget.FromString(found[-1][2]) == last == anna("GetWidget", name=widget.name)


class TestCustomFields:
    @pytest.fixture
    def defined(self, anna, define):
        define(anna, "segment", "ENUM", options=["gold", "silver"])
        define(anna, "rank", "INTEGER", min_value=1, max_value=9)
        define(anna, "code", "STRING", required=True)
        return anna

    def test_are_stored_and_can_be_changed_one_by_one(self, defined):
        fields = {"segment": "gold", "rank": 3, "code": "x"}
        widget = defined("CreateWidget", widget={"display_name": "A", "custom_fields": fields})
        mask = FieldMask(paths=["custom_fields.rank", "custom_fields.segment"])
        change = {"name": widget.name, "custom_fields": {"rank": 4}}
        changed = defined("UpdateWidget", widget=change, update_mask=mask)
        assert MessageToDict(changed.custom_fields) == {"rank": 4, "code": "x"}
        assert defined("GetWidget", name=widget.name) == changed

    @pytest.mark.parametrize(
        ("fields", "path"),
        [
            ({"code": "x", "nope": 1}, "nope"),
            ({"code": "x", "rank": "3"}, "rank"),
            ({"code": "x", "rank": 10}, "rank"),
            ({"code": "x", "segment": "lead"}, "segment"),
            ({"code": 1}, "code"),
            ({}, "code"),
        ],
    )
    def test_are_refused_by_name_when_wrong(self, defined, rows, fields, path):
        refusal = defined.refusal("CreateWidget", widget={"display_name": "A", "custom_fields": fields})
        assert (refusal.code, [*refusal.violations]) == (
            StatusCode.INVALID_ARGUMENT, [f"widget.custom_fields.{path}"],
        )  # fmt: skip
        assert rows("SELECT 1 FROM widgets WHERE tenant_id = %s", defined.tenant) == []

    def test_required_ones_are_asked_of_a_record_without_any(self, defined):
        refusal = defined.refusal("CreateWidget", widget={"display_name": "A"})
        assert [*refusal.violations] == ["widget.custom_fields.code"]

    def test_cannot_be_filtered_by_unless_defined_so(self, anna, define):
        define(anna, "plain", "STRING", filterable=False)
        refusal = anna.refusal("ListWidgets", filter="custom_fields.plain = x")
        assert [*refusal.violations] == ["filter"]

    def test_are_those_of_the_tenant(self, defined, server):
        stranger = server.caller()
        refusal = stranger.refusal("CreateWidget", widget={"display_name": "A", "custom_fields": {"code": "x"}})
        assert [*refusal.violations] == ["widget.custom_fields.code"]

    def test_are_known_as_soon_as_they_are_used(self, anna, define):
        anna("CreateWidget", widget={"display_name": "A"})
        define(anna, "late", "STRING")
        anna("CreateWidget", widget={"display_name": "B", "custom_fields": {"late": "x"}})


class TestRowSecurity:
    @pytest.fixture
    def app(self, server):
        with server.database.connect("app") as connection:
            yield connection

    @pytest.fixture
    def tenants(self, server):
        callers = [server.caller(), server.caller()]
        for caller in callers:
            widget = {"display_name": "A", "tags": ["x"], "external_ids": [{"system": "erp", "key": "1"}]}
            caller("CreateWidget", widget=widget, request_id="r")
            widgets.define(server.database, caller.tenant, "text", "STRING")
        return [caller.tenant for caller in callers]

    @pytest.mark.parametrize("table", TABLES)
    def test_shows_nothing_without_a_tenant_and_only_its_own_with_one(self, app, tenants, table):
        assert app.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
        for tenant in tenants:
            with app.transaction():
                app.execute("SELECT set_config('kontor.tenant_id', %s, true)", [str(tenant)])
                seen = app.execute(f"SELECT DISTINCT tenant_id FROM {table}").fetchall()
            assert seen == [(tenant,)]
        # The setting ended with the transaction.
        assert app.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)

    @pytest.mark.parametrize("table", TABLES)
    def test_lets_nothing_be_changed_or_made_for_others(self, app, tenants, table, rows):
        before = rows(f"SELECT count(*) FROM {table}")
        with app.transaction():
            app.execute("SELECT set_config('kontor.tenant_id', %s, true)", [str(uuid7())])
            assert app.execute(f"DELETE FROM {table} WHERE tenant_id = %s", [tenants[0]]).rowcount == 0
            assert app.execute(f"UPDATE {table} SET tenant_id = tenant_id").rowcount == 0
        app.execute("SELECT set_config('kontor.tenant_id', %s, false)", [str(tenants[1])])
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app.execute(f"UPDATE {table} SET tenant_id = %s", [tenants[0]])
        assert rows(f"SELECT count(*) FROM {table}") == before

    def test_holds_for_every_table(self, rows):
        found = rows("SELECT relname, relrowsecurity FROM pg_class WHERE relkind IN ('r', 'p')"
                     " AND relnamespace = 'public'::regnamespace")  # fmt: skip
        assert sorted(name for name, secured in found if secured) == TABLES
        assert [name for name, secured in found if not secured] == ["alembic_version"]

    def test_every_index_of_a_table_of_records_begins_with_the_tenant(self, rows):
        found = rows("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'")
        exempt = {"alembic_version_pkc", "change_pending_pkey", "requests_create_time"}
        assert {name for name, definition in found if "(tenant_id" not in definition} == exempt

    def test_search_finds_nothing_without_a_tenant(self, app, tenants):
        search = "SELECT count(*) FROM search_widgets('a', NULL, NULL, 10)"
        assert app.execute(search).fetchone() == (0,)

    def test_others_cannot_search(self, server):
        with server.database.connect("system") as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT count(*) FROM search_widgets('a', NULL, NULL, 10)")

    def test_system_role_sees_what_it_works_on(self, server, tenants):
        with server.database.connect("system") as connection:
            for table in ("requests", "change_pending"):
                [(number,)] = connection.execute(f"SELECT count(DISTINCT tenant_id) FROM {table}").fetchall()
                assert number >= 2
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("SELECT 1 FROM widgets")

    def test_app_role_makes_no_tables(self, app):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app.execute("CREATE TABLE mine (id int)")


class TestMigrations:
    def test_make_the_tables_as_they_are_declared(self, server):
        engine = sa.create_engine(
            sa.make_url(server.database.url("owner")).set(drivername="postgresql+psycopg"), poolclass=sa.NullPool
        )
        with engine.connect() as connection:
            context = MigrationContext.configure(
                connection, opts={"compare_type": True, "compare_server_default": True}
            )
            assert autogenerate.compare_metadata(context, widgets.metadata) == []

    def test_go_down_and_up_again_and_can_be_repeated(self, databases):
        database = databases.empty(widgets.service())
        settings = database.settings()
        for revision in ("0001", "head", "head", "-1", "base", "head"):
            migrations.migrate(settings, widgets.service(), revision)
            with database.connect() as connection:
                tables = connection.execute("SELECT relname FROM pg_class WHERE relkind = 'r'"
                                            " AND relnamespace = 'public'::regnamespace").fetchall()  # fmt: skip
                functions = connection.execute(
                    "SELECT count(*) FROM pg_proc WHERE proname LIKE 'search\\_%'"
                ).fetchone()
            made = {"base": (1, 0), "0001": (6, 0), "-1": (6, 0), "head": (len(TABLES) + 1, 1)}[revision]
            assert (len(tables), *functions) == made


def test_resource_says_what_it_is_called():
    resource = Widgets.RESOURCE
    assert (resource.kind, resource.collection, resource.singular, resource.plural) == (
        "Widget", "widgets", "widget", "widgets",
    )  # fmt: skip
    assert resource.event_prefix == "kontor.test.v1.widget"


def test_events_have_one_form():
    assert dataclasses.replace(Widgets.RESOURCE, events=("created", "hand_over_offered")).events
    with pytest.raises(ValueError, match="snake_case: handOverOffered"):
        dataclasses.replace(Widgets.RESOURCE, events=("created", "handOverOffered"))


def test_a_computed_field_needs_no_column_and_is_not_written():
    """Its value is the service's business, see `Records.decorate`."""
    descriptor, table = Widget.DESCRIPTOR, Widgets.RESOURCE.table
    codec = Codec(descriptor, table, "widgets", {"size"})
    assert "size" not in codec.dump(Widget(size=7), "")
    assert [str(column) for column in codec.columns(("size",))] == ["NULL"]
    assert codec.loader(("size",))((None,)) == Widget()
