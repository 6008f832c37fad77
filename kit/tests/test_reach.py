"""Who reaches which records: tenants, missing rights, and the scopes own, team and all, through every method."""

from __future__ import annotations

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode

from kit.tests.widgets import Widgets
from kontor.api.v1.conflict_pb2 import Suspects
from kontor_kit.calls import MethodSpec
from kontor_kit.ids import uuid7

KEY = {"system": "erp", "key": "1"}
# One request of each method for the record `name`, which belongs to somebody else.
ON_ONE = {
    "GetWidget": lambda name: {"name": name},
    "BatchGetWidgets": lambda name: {"names": [name]},
    "UpdateWidget": lambda name: {"widget": {"name": name, "size": 5}},
    "DeleteWidget": lambda name: {"name": name},
    "UndeleteWidget": lambda name: {"name": name},
}
CHANGING = ["UpdateWidget", "DeleteWidget", "UndeleteWidget"]


@pytest.fixture
def anna(server):
    """Has a record that everything below looks for; she is in no team of the others."""
    return server.caller()


@pytest.fixture
def hers(anna):
    return anna("CreateWidget", widget={"display_name": "Annas Rad", "tags": ["x"], "external_ids": [KEY], "size": 3})


def state(rows, anna):
    tables = ("widgets", "terms", "external_ids", "change_pending")
    return [rows(f"SELECT * FROM {table} WHERE tenant_id = %s ORDER BY 1, 2", anna.tenant) for table in tables]


def listed(caller, **arguments):
    return [widget.display_name for widget in caller("ListWidgets", **arguments).widgets]


def searched(caller, query):
    return [result.widget.display_name for result in caller("SearchWidgets", query=query).results]


class TestForeignTenant:
    @pytest.mark.parametrize("method", ON_ONE)
    def test_finds_nothing(self, server, anna, hers, rows, method):
        if method == "UndeleteWidget":
            anna("DeleteWidget", name=hers.name)
        before = state(rows, anna)
        assert server.caller().refusal(method, **ON_ONE[method](hers.name)).code is StatusCode.NOT_FOUND
        assert state(rows, anna) == before

    def test_lists_searches_and_counts_nothing(self, server, hers):
        stranger = server.caller()
        answer = stranger("ListWidgets", include_total_size=True, show_deleted=True)
        assert ([*answer.widgets], answer.total_size) == ([], 0)
        assert listed(stranger, filter="tags:x") == []
        assert listed(stranger, filter=f'parent != "{hers.name}" AND size = 3') == []
        assert [searched(stranger, query) for query in ("annas", "anas", "an")] == [[], [], []]

    def test_suspects_nothing_and_has_external_ids_of_its_own(self, server, anna, hers):
        stranger = server.caller()
        stranger("CreateWidget", widget={"display_name": "Annas Rad"})
        assert stranger("UpsertWidget", external_id=KEY, widget={"display_name": "B"}).created
        assert anna("GetWidget", name=hers.name) == hers

    def test_cannot_use_a_page_token(self, server, anna, hers):
        anna("CreateWidget", widget={"display_name": "B"})
        token = anna("ListWidgets", page_size=1).next_page_token
        refusal = server.caller().refusal("ListWidgets", page_size=1, page_token=token)
        assert [*refusal.violations] == ["page_token"]


class TestMissingRight:
    @pytest.mark.parametrize("method", [method.name for method in Widgets.SERVICE.methods])
    def test_refused_before_the_request_is_looked_at(self, server, method):
        needed = MethodSpec.of(Widgets.SERVICE.methods_by_name[method]).permission
        others = {"read", "create", "update", "delete"} - {needed.rpartition(".")[2]}
        caller = server.caller(*(f"test.widgets.{verb}:all" for verb in others), "other.widgets.*:all")
        refusal = caller.refusal(method)
        assert (refusal.code, refusal.metadata["permission"]) == (StatusCode.PERMISSION_DENIED, needed)

    def test_upsert_creates_nothing_without_the_right_to_create(self, server, rows):
        caller = server.caller("test.widgets.update:all", "test.widgets.read:all")
        refusal = caller.refusal("UpsertWidget", external_id=KEY, widget={"display_name": "A"})
        assert (refusal.code, refusal.metadata["permission"]) == (StatusCode.PERMISSION_DENIED, "test.widgets.create")
        assert rows("SELECT 1 FROM widgets WHERE tenant_id = %s", caller.tenant) == []


@pytest.mark.parametrize("scope", ["own", "team"])
class TestOutsideOfScope:
    @pytest.fixture
    def ben(self, anna, scope):
        return anna.colleague(f"*:{scope}", teams=[uuid7()])

    @pytest.mark.parametrize("method", ON_ONE)
    def test_finds_nothing(self, anna, ben, hers, rows, method):
        if method == "UndeleteWidget":
            anna("DeleteWidget", name=hers.name)
        before = state(rows, anna)
        assert ben.refusal(method, **ON_ONE[method](hers.name)).code is StatusCode.NOT_FOUND
        assert state(rows, anna) == before

    def test_lists_searches_and_counts_only_what_it_reaches(self, ben, hers):
        ben("CreateWidget", widget={"display_name": "Bens Rad", "tags": ["x"]})
        for arguments in ({}, {"filter": "tags:x"}, {"order_by": "size desc"}, {"show_deleted": True}):
            answer = ben("ListWidgets", **arguments, include_total_size=True)
            assert ([widget.display_name for widget in answer.widgets], answer.total_size) == (["Bens Rad"], 1)
        assert searched(ben, "rad") == ["Bens Rad"]
        assert [searched(ben, query) for query in ("annas", "anas", "an")] == [[], [], []]

    def test_is_not_told_of_suspects(self, ben, hers):
        assert ben("CreateWidget", widget={"display_name": "Annas Rad"}).name != hers.name

    def test_is_told_only_of_suspects_it_reaches(self, ben, hers):
        his = ben("CreateWidget", widget={"display_name": "Annas Rad"})
        refusal = ben.refusal("CreateWidget", widget={"display_name": "Annas Rad"})
        assert [suspect.resource_name for suspect in refusal.detail(Suspects).suspects] == [his.name]
        assert hers.name not in str(refusal)

    def test_cannot_change_by_external_id_and_learns_nothing_of_the_record(self, anna, ben, hers, rows):
        before = state(rows, anna)
        refusal = ben.refusal("UpsertWidget", external_id=KEY, widget={"display_name": "Mine"})
        assert (refusal.code, refusal.reason) == (StatusCode.PERMISSION_DENIED, "OUT_OF_SCOPE")
        assert hers.name not in str(refusal)
        assert state(rows, anna) == before

    def test_cannot_create_for_somebody_else(self, anna, ben):
        refusal = ben.refusal("CreateWidget", widget={"display_name": "A", "owner": anna.user})
        assert (refusal.code, refusal.reason) == (StatusCode.PERMISSION_DENIED, "OUT_OF_SCOPE")
        refusal = ben.refusal("UpsertWidget", external_id=KEY, widget={"display_name": "A", "owner": anna.user})
        assert (refusal.code, refusal.reason) == (StatusCode.PERMISSION_DENIED, "OUT_OF_SCOPE")
        batch = ben("BatchCreateWidgets", return_partial_success=True,
                    requests=[{"widget": {"display_name": "A", "owner": anna.user}}])  # fmt: skip
        assert [status.code for status in batch.failed_requests.values()] == [StatusCode.PERMISSION_DENIED.value[0]]

    def test_cannot_give_a_record_away(self, anna, ben):
        his = ben("CreateWidget", widget={"display_name": "A"})
        refusal = ben.refusal("UpdateWidget", widget={"name": his.name, "owner": anna.user})
        assert (refusal.code, refusal.reason) == (StatusCode.PERMISSION_DENIED, "OUT_OF_SCOPE")
        mask = FieldMask(paths=["owner"])
        assert ben.refusal("UpdateWidget", widget={"name": his.name}, update_mask=mask).reason == "OUT_OF_SCOPE"


class TestTeamScope:
    @pytest.fixture
    def team(self):
        return uuid7()

    @pytest.fixture
    def ours(self, anna, team):
        external_ids = [{"system": "erp", "key": "2"}]
        return anna(
            "CreateWidget",
            widget={"display_name": "Unser Rad", "team": f"teams/{team}", "external_ids": external_ids},
        )

    def test_reaches_the_records_of_the_team_and_its_own(self, anna, hers, ours, team):
        ben = anna.colleague("*:team", teams=[uuid7(), team])
        his = ben("CreateWidget", widget={"display_name": "Bens Rad"})
        assert set(listed(ben)) == {"Unser Rad", "Bens Rad"}
        assert ben("ListWidgets", include_total_size=True).total_size == 2
        assert set(searched(ben, "rad")) == {"Unser Rad", "Bens Rad"}
        assert len(ben("BatchGetWidgets", names=[ours.name, his.name]).widgets) == 2
        assert ben("UpdateWidget", widget={"name": ours.name, "size": 8}).size == 8
        assert not ben("UpsertWidget", external_id=ours.external_ids[0], widget={"size": 9}).created
        ben("DeleteWidget", name=ours.name)
        ben("UndeleteWidget", name=ours.name)

    def test_own_does_not_reach_the_records_of_the_team(self, anna, ours, team):
        ben = anna.colleague("*:own", teams=[team])
        assert listed(ben) == []
        assert ben.refusal("GetWidget", name=ours.name).code is StatusCode.NOT_FOUND

    def test_gives_records_to_its_teams_only(self, anna, team):
        ben = anna.colleague("*:team", teams=[team])
        ben("CreateWidget", widget={"display_name": "A", "owner": anna.user, "team": f"teams/{team}"})
        refusal = ben.refusal(
            "CreateWidget", widget={"display_name": "B", "owner": anna.user, "team": f"teams/{uuid7()}"}
        )
        assert refusal.reason == "OUT_OF_SCOPE"


class TestReadableButNotWritable:
    @pytest.mark.parametrize("scope", ["own", "team"])
    @pytest.mark.parametrize("method", CHANGING)
    def test_is_permission_denied(self, anna, hers, rows, method, scope):
        if method == "UndeleteWidget":
            anna("DeleteWidget", name=hers.name)
        ben = anna.colleague("test.widgets.read:all", f"test.widgets.*:{scope}")
        before = state(rows, anna)
        refusal = ben.refusal(method, **ON_ONE[method](hers.name))
        assert (refusal.code, refusal.reason) == (StatusCode.PERMISSION_DENIED, "OUT_OF_SCOPE")
        assert state(rows, anna) == before

    def test_reads_no_further_than_the_permission_to_read(self, anna, hers):
        """Whoever may delete everything and read their own does not learn by deleting what else there is."""
        ben = anna.colleague("test.widgets.read:own", "test.widgets.delete:all", "test.widgets.update:all")
        assert ben.refusal("DeleteWidget", name=hers.name).code is StatusCode.NOT_FOUND
        assert ben.refusal("UpdateWidget", widget={"name": hers.name, "size": 1}).code is StatusCode.NOT_FOUND
        refusal = ben.refusal("UpsertWidget", external_id=KEY, widget={"size": 1})
        assert refusal.code is StatusCode.PERMISSION_DENIED
