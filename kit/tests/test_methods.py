"""The standard methods, on the widgets: what each of them does when all is well, and how it refuses what is wrong."""

from __future__ import annotations

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToDict
from grpc import StatusCode

from kit.tests import widgets
from kit.tests.widgets import Widget
from kontor.api.v1.conflict_pb2 import EditConflict, Suspects
from kontor_kit.ids import uuid7
from kontor_kit.methods import ResourceServicer

NOWHERE = "widgets/01890000-0000-7000-8000-000000000000"

# What stands in parameters is the same in every worker.
SOMEBODY = "0198a000-0000-7000-8000-00000000000a"


def everything() -> dict:
    """A widget with every field set."""
    return {
        "display_name": "Großes Rad",
        "serial": "S-1",
        "size": 7,
        "weight": 0,
        "ratio": 0.25,
        "broken": True,
        "colour": 2,
        "colours": [3, 1],
        "tags": ["VIP", "née"],
        "parts": [{"code": "a-1", "count": 2}, {"code": "b", "colour": 1}],
        "main_part": {"code": "m"},
        "price": {"currency_code": "EUR", "units": -3, "nanos": -10_000_000},
        "quantity": {"value": "12.50"},
        "made_on": {"year": 2026, "month": 2, "day": 28},
        "checked_at": {"seconds": 1_700_000_000, "nanos": 123_456_000},
        "note": "two\nlines",
        "team": f"teams/{uuid7()}",
        "watchers": [f"users/{uuid7()}", f"users/{uuid7()}"],
        "external_ids": [{"system": "erp", "key": "1"}, {"system": "shop", "key": "x"}],
    }


def changes(rows, name):
    return rows("SELECT event_type, version, before, after FROM change_pending WHERE resource_name = %s"
                " ORDER BY sequence", name)  # fmt: skip


class TestGet:
    def test_returns_what_was_stored_in_every_field(self, anna):
        sent = Widget(**everything(), owner=anna.user)
        created = anna("CreateWidget", widget=sent)
        got = anna("GetWidget", name=created.name)
        assert got == created
        for name in ("name", "etag", "create_time", "update_time"):
            assert getattr(got, name)
            got.ClearField(name)
        assert got == sent

    def test_returns_empty_fields_as_empty(self, anna):
        created = anna("CreateWidget", widget={"display_name": "A"})
        got = anna("GetWidget", name=created.name)
        assert [field.name for field, _ in got.ListFields()] == [
            "name", "display_name", "owner", "etag", "create_time", "update_time",
        ]  # fmt: skip

    def test_returns_only_what_the_mask_names(self, anna):
        name = anna("CreateWidget", widget=everything()).name
        mask = FieldMask(paths=["display_name", "price.units", "main_part"])
        got = MessageToDict(anna("GetWidget", name=name, read_mask=mask), preserving_proto_field_name=True)
        assert got == {"display_name": "Großes Rad", "price": {"units": "-3"}, "main_part": {"code": "m"}}

    def test_has_the_etag_in_a_header(self, anna):
        name = anna("CreateWidget", widget={"display_name": "A"}).name
        anna("GetWidget", name=name)
        assert anna.headers["etag"] == '"v1"'

    @pytest.mark.parametrize("name", ["widgets/x", "accounts/01890000-0000-7000-8000-000000000000", NOWHERE.upper()])
    def test_refuses_a_name_that_is_none(self, anna, name):
        refusal = anna.refusal("GetWidget", name=name)
        assert refusal.code is StatusCode.INVALID_ARGUMENT
        assert [*refusal.violations] == ["name"]

    def test_refuses_when_there_is_none(self, anna):
        refusal = anna.refusal("GetWidget", name=NOWHERE)
        assert (refusal.code, refusal.domain) == (StatusCode.NOT_FOUND, "test.kontor")

    def test_refuses_a_mask_with_unknown_paths(self, anna):
        refusal = anna.refusal("GetWidget", name=NOWHERE, read_mask=FieldMask(paths=["nope"]))
        assert (refusal.code, [*refusal.violations]) == (StatusCode.INVALID_ARGUMENT, ["read_mask"])


class TestCreate:
    def test_writes_one_change(self, anna, rows):
        created = anna("CreateWidget", widget=everything())
        [(event, version, before, after)] = changes(rows, created.name)
        assert (event, version, before) == ("kontor.test.v1.widget.created", 1, None)
        assert Widget.FromString(after) == created

    def test_makes_who_creates_the_owner(self, anna):
        assert anna("CreateWidget", widget={"display_name": "A"}).owner == anna.user

    def test_ignores_what_a_caller_cannot_set(self, anna):
        created = anna(
            "CreateWidget",
            widget={"name": NOWHERE, "display_name": "A", "create_time": {"seconds": 1}, "delete_time": {"seconds": 1}},
        )
        assert created.name != NOWHERE
        assert created.create_time.seconds > 1
        assert not created.HasField("delete_time")

    def test_names_every_field_that_is_wrong(self, anna, rows):
        refusal = anna.refusal("CreateWidget", widget={"size": -1, "parts": [{"code": "a"}, {}]})
        assert refusal.code is StatusCode.INVALID_ARGUMENT
        assert set(refusal.violations) == {"widget.display_name", "widget.size", "widget.parts[1].code"}
        assert rows("SELECT 1 FROM widgets WHERE tenant_id = %s", anna.tenant) == []

    @pytest.mark.parametrize(
        ("field", "value", "path"),
        [
            ("display_name", widgets.FORBIDDEN, "display_name"),
            ("price", {"currency_code": "eur"}, "price.currency_code"),
            ("price", {"currency_code": "EUR", "units": 1, "nanos": -1}, "price.nanos"),
            ("quantity", {"value": "many"}, "quantity"),
            ("made_on", {"year": 2026, "month": 2, "day": 30}, "made_on"),
            ("parent", "widgets/1", "parent"),
            ("watchers", [f"users/{SOMEBODY}", "users/x"], "watchers[1]"),
            ("owner", f"users/{'ä' * 300}", "owner"),
            ("team", f"users/{SOMEBODY}", "team"),
        ],
    )
    def test_names_the_field_that_cannot_be_stored(self, anna, field, value, path):
        refusal = anna.refusal("CreateWidget", widget={"display_name": "A", field: value})
        assert (refusal.code, [*refusal.violations]) == (StatusCode.INVALID_ARGUMENT, [f"widget.{path}"])

    def test_refuses_a_reference_to_nobody(self, anna, peer):
        nobody = f"users/{uuid7()}"
        peer.absent.add(nobody)
        refusal = anna.refusal("CreateWidget", widget={"display_name": "A", "watchers": [nobody]})
        assert (refusal.code, [*refusal.violations]) == (StatusCode.INVALID_ARGUMENT, ["widget.watchers[0]"])

    def test_refuses_a_value_that_is_taken_unless_its_record_is_deleted(self, anna):
        first = anna("CreateWidget", widget={"display_name": "A", "serial": "1"})
        refusal = anna.refusal("CreateWidget", widget={"display_name": "B", "serial": "1"})
        assert (refusal.code, refusal.message) == (StatusCode.ALREADY_EXISTS, "the serial is taken")
        anna("DeleteWidget", name=first.name)
        anna("CreateWidget", widget={"display_name": "B", "serial": "1"})
        assert anna.refusal("UndeleteWidget", name=first.name).message == "the serial is taken"

    def test_refuses_a_record_that_looks_like_another(self, anna):
        first = anna("CreateWidget", widget={"display_name": "Rad"})
        refusal = anna.refusal("CreateWidget", widget={"display_name": "RAD"})
        assert (refusal.code, refusal.reason) == (StatusCode.ALREADY_EXISTS, "SUSPECTED_DUPLICATE")
        [suspect] = refusal.detail(Suspects).suspects
        assert (suspect.resource_name, [*suspect.matching_fields]) == (first.name, ["display_name"])
        assert anna("CreateWidget", widget={"display_name": "RAD"}, allow_duplicates=True).name != first.name


class TestUpdate:
    @pytest.fixture
    def stored(self, anna):
        return anna("CreateWidget", widget=everything())

    def test_changes_what_the_mask_names_and_nothing_else(self, anna, stored, rows):
        mask = FieldMask(paths=["size", "tags"])
        updated = anna("UpdateWidget", widget={"name": stored.name, "size": 9, "note": "not this"}, update_mask=mask)
        expected = Widget()
        expected.CopyFrom(stored)
        expected.size, expected.etag = 9, "v2"
        expected.ClearField("tags")
        expected.update_time.CopyFrom(updated.update_time)
        assert updated == expected == anna("GetWidget", name=stored.name)
        _, (event, version, before, after) = changes(rows, stored.name)
        assert (event, version) == ("kontor.test.v1.widget.updated", 2)
        assert (Widget.FromString(before), Widget.FromString(after)) == (stored, updated)

    def test_changes_what_is_set_without_a_mask(self, anna, stored):
        updated = anna("UpdateWidget", widget={"name": stored.name, "note": "new"})
        assert (updated.note, updated.size) == ("new", stored.size)

    def test_writes_nothing_when_nothing_changes(self, anna, stored, rows):
        assert anna("UpdateWidget", widget={"name": stored.name, "size": 7, "note": " two\nlines "}) == stored
        assert len(changes(rows, stored.name)) == 1

    def test_refuses_what_cannot_be_changed(self, anna, stored):
        refusal = anna.refusal("UpdateWidget", widget={"name": stored.name, "serial": "S-2"})
        assert (refusal.code, [*refusal.violations]) == (StatusCode.INVALID_ARGUMENT, ["widget.serial"])

    def test_refuses_to_leave_the_record_wrong(self, anna, stored):
        mask = FieldMask(paths=["display_name", "size"])
        refusal = anna.refusal("UpdateWidget", widget={"name": stored.name, "size": -1}, update_mask=mask)
        assert (refusal.code, set(refusal.violations)) == (
            StatusCode.INVALID_ARGUMENT, {"widget.display_name", "widget.size"},
        )  # fmt: skip

    def test_refuses_a_stale_etag_and_tells_what_differs(self, anna, stored):
        anna("UpdateWidget", widget={"name": stored.name, "size": 8})
        mask = FieldMask(paths=["size", "note"])
        mine = {"name": stored.name, "size": 9, "note": stored.note, "etag": stored.etag}
        refusal = anna.refusal("UpdateWidget", widget=mine, update_mask=mask)
        assert (refusal.code, refusal.reason) == (StatusCode.ABORTED, "STALE_ETAG")
        conflict = refusal.detail(EditConflict)
        [field] = conflict.fields
        assert (conflict.resource_name, conflict.current_etag) == (stored.name, "v2")
        assert (field.field, field.current_value.number_value, field.submitted_value.number_value) == ("size", 8, 9)

    def test_takes_the_etag_that_it_has(self, anna, stored):
        assert anna("UpdateWidget", widget={"name": stored.name, "size": 8, "etag": stored.etag}).etag == "v2"

    def test_refuses_when_if_match_names_another_version(self, anna, stored):
        change = {"widget": {"name": stored.name, "size": 8}}
        refusal = anna.refusal("UpdateWidget", **change, metadata={"if-match": '"v2", "v3"'})
        assert (refusal.code, refusal.reason) == (StatusCode.FAILED_PRECONDITION, "ETAG_MISMATCH")
        assert refusal.headers["x-kontor-http-status"] == "412"
        assert anna("UpdateWidget", **change, metadata={"if-match": '"v2", "v1"'}).size == 8

    def test_refuses_when_deleted(self, anna, stored):
        anna("DeleteWidget", name=stored.name)
        refusal = anna.refusal("UpdateWidget", widget={"name": stored.name, "size": 8})
        assert (refusal.code, refusal.reason) == (StatusCode.FAILED_PRECONDITION, "DELETED")

    def test_moves_external_ids(self, anna, stored):
        other = anna("CreateWidget", widget={"display_name": "B"})
        refusal = anna.refusal(
            "UpdateWidget", widget={"name": other.name, "external_ids": [{"system": "erp", "key": "1"}]}
        )
        assert (refusal.code, refusal.reason) == (StatusCode.ALREADY_EXISTS, "EXTERNAL_ID_TAKEN")
        anna("UpdateWidget", widget={"name": stored.name}, update_mask=FieldMask(paths=["external_ids"]))
        anna("UpdateWidget", widget={"name": other.name, "external_ids": [{"system": "erp", "key": "1"}]})


class TestDelete:
    def test_hides_the_record_from_lists_and_search_but_not_from_get(self, anna, rows):
        created = anna("CreateWidget", widget={"display_name": "Gone", "tags": ["x"]})
        deleted = anna("DeleteWidget", name=created.name)
        assert deleted.HasField("delete_time")
        assert deleted.etag == "v2"
        assert anna("GetWidget", name=created.name) == deleted
        listed = anna("ListWidgets", filter="tags:x", include_total_size=True)
        assert ([*listed.widgets], listed.total_size) == ([], 0)
        assert [*anna("ListWidgets", show_deleted=True).widgets] == [deleted]
        assert [*anna("SearchWidgets", query="gone").results] == []
        assert [*anna("SearchWidgets", query="go").results] == []
        assert [change[0].rpartition(".")[2] for change in changes(rows, created.name)] == ["created", "deleted"]

    def test_refuses_a_second_time(self, anna):
        created = anna("CreateWidget", widget={"display_name": "A"})
        anna("DeleteWidget", name=created.name)
        assert anna.refusal("DeleteWidget", name=created.name).code is StatusCode.NOT_FOUND

    def test_refuses_a_stale_etag(self, anna):
        created = anna("CreateWidget", widget={"display_name": "A"})
        assert anna.refusal("DeleteWidget", name=created.name, etag="v7").code is StatusCode.ABORTED
        refusal = anna.refusal("DeleteWidget", name=created.name, metadata={"if-match": '"v7"'})
        assert refusal.headers["x-kontor-http-status"] == "412"


class TestUndelete:
    def test_brings_the_record_back(self, anna, rows):
        created = anna("CreateWidget", widget={"display_name": "Back", "external_ids": [{"system": "erp", "key": "1"}]})
        anna("DeleteWidget", name=created.name)
        restored = anna("UndeleteWidget", name=created.name, etag="v2")
        assert not restored.HasField("delete_time")
        assert (restored.etag, [*restored.external_ids]) == ("v3", [*created.external_ids])
        assert anna("SearchWidgets", query="back").results[0].widget == restored
        assert changes(rows, created.name)[-1][0] == "kontor.test.v1.widget.undeleted"
        upserted = anna("UpsertWidget", external_id={"system": "erp", "key": "1"}, widget={"size": 3})
        assert upserted.widget.name == created.name

    def test_stores_what_it_brings_into_form(self, anna, rows):
        created = anna("CreateWidget", widget={"display_name": "A"})
        anna("DeleteWidget", name=created.name)
        rows("UPDATE widgets SET note = ' of old ' WHERE id = %s RETURNING id", created.name.partition("/")[2])
        restored = anna("UndeleteWidget", name=created.name)
        assert restored.note == "of old"
        assert anna("GetWidget", name=created.name) == restored

    def test_refuses_when_not_deleted(self, anna):
        created = anna("CreateWidget", widget={"display_name": "A"})
        assert anna.refusal("UndeleteWidget", name=created.name).code is StatusCode.ALREADY_EXISTS

    def test_refuses_when_an_external_id_is_taken_by_now(self, anna):
        key = [{"system": "erp", "key": "1"}]
        first = anna("CreateWidget", widget={"display_name": "A", "external_ids": key})
        anna("DeleteWidget", name=first.name)
        anna("CreateWidget", widget={"display_name": "B", "external_ids": key})
        refusal = anna.refusal("UndeleteWidget", name=first.name)
        assert (refusal.code, refusal.reason) == (StatusCode.ALREADY_EXISTS, "EXTERNAL_ID_TAKEN")


class TestBatchGet:
    def test_returns_the_records_in_the_order_asked_for(self, anna):
        made = [anna("CreateWidget", widget={"display_name": text}) for text in "abc"]
        wanted = [made[2], made[0], made[2]]
        got = anna("BatchGetWidgets", names=[record.name for record in wanted])
        assert [*got.widgets] == wanted

    def test_returns_only_what_the_mask_names(self, anna):
        name = anna("CreateWidget", widget=everything()).name
        got = anna("BatchGetWidgets", names=[name, name], read_mask=FieldMask(paths=["size"]))
        assert [*got.widgets] == [Widget(size=7)] * 2

    def test_refuses_all_when_one_is_missing(self, anna):
        made = anna("CreateWidget", widget={"display_name": "A"})
        refusal = anna.refusal("BatchGetWidgets", names=[made.name, NOWHERE])
        assert refusal.code is StatusCode.NOT_FOUND
        assert NOWHERE in refusal.message
        assert made.name not in refusal.message

    def test_names_what_is_wrong(self, anna):
        refusal = anna.refusal("BatchGetWidgets", names=[NOWHERE, "x"])
        assert [*refusal.violations] == ["names[1]"]


class TestBatchCreate:
    def test_creates_all_in_order(self, anna, rows):
        answer = anna("BatchCreateWidgets", requests=[{"widget": {"display_name": text}} for text in "abc"])
        assert [widget.display_name for widget in answer.widgets] == ["a", "b", "c"]
        assert all(len(changes(rows, widget.name)) == 1 for widget in answer.widgets)

    def test_creates_none_when_one_is_wrong(self, anna, rows):
        requests = [{"widget": {"display_name": "a"}}, {"widget": {"display_name": "b", "parts": [{}]}}]
        refusal = anna.refusal("BatchCreateWidgets", requests=requests)
        assert refusal.code is StatusCode.INVALID_ARGUMENT
        assert [*refusal.violations] == ["requests[1].widget.parts[0].code"]
        assert rows("SELECT 1 FROM widgets WHERE tenant_id = %s", anna.tenant) == []

    def test_takes_rows_without_terms_of_their_own(self):
        # A create request need not offer to try, or to be repeated.
        ResourceServicer._refuse_own_terms(Widget())

    def test_creates_what_can_be_when_asked_to(self, anna, rows):
        requests = [
            {"widget": {"display_name": "a", "serial": "1"}},
            {"widget": {"display_name": ""}},
            {"widget": {"display_name": "b", "serial": "1"}},
            {"widget": {"display_name": widgets.FORBIDDEN}},
            {"widget": {"display_name": "A"}},
            {"widget": {"display_name": "A"}, "allow_duplicates": True},
            {"widget": {"display_name": "c"}, "validate_only": True},
        ]
        answer = anna("BatchCreateWidgets", requests=requests, return_partial_success=True)
        assert [widget.display_name for widget in answer.widgets] == ["a", "A"]
        codes = dict.fromkeys((2, 4), StatusCode.ALREADY_EXISTS.value[0])
        codes |= dict.fromkeys((1, 3, 6), StatusCode.INVALID_ARGUMENT.value[0])
        assert {index: status.code for index, status in answer.failed_requests.items()} == codes
        assert rows("SELECT count(*) FROM widgets WHERE tenant_id = %s", anna.tenant) == [(2,)]
        assert rows("SELECT count(*) FROM change_pending WHERE tenant_id = %s", anna.tenant) == [(2,)]
        assert rows("SELECT count(*) FROM terms WHERE tenant_id = %s", anna.tenant) == [(2,)]


class TestUpsert:
    KEY = {"system": "erp", "key": "1"}  # noqa: RUF012

    def test_creates_then_updates(self, anna, rows):
        first = anna("UpsertWidget", external_id=self.KEY, widget={"display_name": "A", "size": 1})
        assert first.created
        assert [(held.system, held.key) for held in first.widget.external_ids] == [("erp", "1")]
        second = anna("UpsertWidget", external_id=self.KEY, widget={"size": 2})
        assert (second.created, second.widget.name, second.widget.display_name) == (False, first.widget.name, "A")
        assert (second.widget.size, second.widget.etag) == (2, "v2")
        assert [*second.widget.external_ids] == [*first.widget.external_ids]
        assert [change[0].rpartition(".")[2] for change in changes(rows, first.widget.name)] == ["created", "updated"]

    def test_changes_only_what_the_mask_names(self, anna):
        anna("UpsertWidget", external_id=self.KEY, widget={"display_name": "A", "size": 1})
        changed = {"display_name": "B", "size": 2}
        mask = FieldMask(paths=["size"])
        assert anna("UpsertWidget", external_id=self.KEY, widget=changed, update_mask=mask).widget.display_name == "A"

    def test_takes_further_external_ids_and_keeps_its_own(self, anna):
        anna("UpsertWidget", external_id=self.KEY, widget={"display_name": "A"})
        for mask in ([], ["external_ids"], ["*"]):
            changed = {"display_name": "A", "external_ids": [{"system": "shop", "key": "2"}]}
            after = anna("UpsertWidget", external_id=self.KEY, widget=changed, update_mask=FieldMask(paths=mask))
            assert {held.system for held in after.widget.external_ids} == {"shop", "erp"}
        changed = {"external_ids": [{"system": "shop"}]}
        refusal = anna.refusal("UpsertWidget", external_id=self.KEY, widget=changed)
        assert set(refusal.violations) == {"widget.external_ids[0].key"}

    def test_names_what_is_wrong(self, anna):
        refusal = anna.refusal("UpsertWidget", external_id=self.KEY, widget={"size": -1})
        assert set(refusal.violations) == {"widget.display_name", "widget.size"}
        anna("UpsertWidget", external_id=self.KEY, widget={"display_name": "A"})
        assert set(anna.refusal("UpsertWidget", external_id=self.KEY, widget={"size": -1}).violations) == {
            "widget.size"
        }

    def test_refuses_a_key_without_its_parts(self, anna):
        refusal = anna.refusal("UpsertWidget", external_id={}, widget={"display_name": "A"})
        assert refusal.code is StatusCode.INVALID_ARGUMENT


class TestValidateOnly:
    KEY = {"system": "erp", "key": "1"}  # noqa: RUF012

    def counts(self, anna, rows):
        tables = ("widgets", "terms", "external_ids", "change_pending", "requests")
        return [rows(f"SELECT count(*) FROM {table} WHERE tenant_id = %s", anna.tenant)[0][0] for table in tables]

    def test_stores_nothing(self, anna, rows):
        trial = {"validate_only": True, "request_id": "r"}
        created = anna("CreateWidget", widget=everything(), **trial)
        assert created.display_name == "Großes Rad"
        anna("UpsertWidget", external_id=self.KEY, widget=everything(), **trial)
        assert self.counts(anna, rows) == [0] * 5
        stored = anna("CreateWidget", widget=everything())
        before = self.counts(anna, rows)
        assert anna("UpdateWidget", widget={"name": stored.name, "tags": ["new"]}, **trial).tags == ["new"]
        anna("UpsertWidget", external_id=self.KEY, widget={"size": 99}, **trial)
        anna("DeleteWidget", name=stored.name, **trial)
        assert self.counts(anna, rows) == before
        assert anna("GetWidget", name=stored.name) == stored

    def test_finds_what_is_wrong(self, anna):
        anna("CreateWidget", widget={"display_name": "A", "serial": "1"})
        refusal = anna.refusal("CreateWidget", widget={"display_name": "B", "serial": "1"}, validate_only=True)
        assert refusal.code is StatusCode.ALREADY_EXISTS
