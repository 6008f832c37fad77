"""The rules of affiliations, address statuses, definitions of custom fields, and saved views."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest
from google.type.date_pb2 import Date
from hypothesis import given
from hypothesis import strategies as st

from kontor.contacts.v1.custom_field_definition_pb2 import CustomFieldDefinition
from kontor_contacts.address_statuses import rules as address_statuses
from kontor_contacts.affiliations import rules as affiliations
from kontor_contacts.custom_field_definitions import rules as definitions
from kontor_contacts.saved_views import rules as saved_views
from kontor_kit.catalogue import collections_with

Option = CustomFieldDefinition.Option


def paths(violations: list) -> list[str]:
    return [violation.field for violation in violations]


class TestPeriod:
    @given(st.none() | st.dates(), st.none() | st.dates())
    def test_wrong_only_when_it_ends_before_it_begins(self, first: dt.date | None, last: dt.date | None) -> None:
        ends = [day and Date(year=day.year, month=day.month, day=day.day) for day in (first, last)]
        wrong = first is not None and last is not None and last < first
        assert paths(affiliations.check_period(*ends)) == (["valid_to"] if wrong else [])

    @pytest.mark.parametrize("date", [Date(), Date(year=2026), Date(year=2026, month=2, day=30), Date(year=-1)])
    def test_whole_days_only(self, date: Date) -> None:
        assert paths(affiliations.check_period(date, date)) == ["valid_from", "valid_to"]


class TestAddressStatus:
    def test_normal_form(self) -> None:
        assert address_statuses.email("Max@EXAMPLE.de") == "max@example.de"
        assert address_statuses.phone("+49 30 123456") == "+4930123456"

    def test_refused(self) -> None:
        with pytest.raises(ValueError):
            address_statuses.email("+4930123456")
        with pytest.raises(ValueError):
            address_statuses.phone("max@example.de")


class TestDefinition:
    def test_options_belong_to_enums(self) -> None:
        assert definitions.check_options("STRING", [], []) == []
        assert paths(definitions.check_options("STRING", [Option(value="a")], [])) == ["options"]
        assert definitions.check_options("ENUM", [Option(value="a")], []) == []

    @pytest.mark.parametrize("options", [[], [Option(value="a", retired=True)]])
    def test_one_must_be_offered(self, options: list) -> None:
        assert paths(definitions.check_options("MULTI_ENUM", options, [])) == ["options"]

    def test_only_for_collections_with_custom_fields(self) -> None:
        having = collections_with("custom_fields")
        assert {"accounts", "contacts", "affiliations", "products"} <= having
        assert definitions.check_collection("products", having) == []
        assert paths(definitions.check_collection("savedViews", having)) == ["resource_type"]

    def test_not_twice_and_not_removed(self) -> None:
        before = [Option(value="a"), Option(value="b")]
        assert paths(definitions.check_options("ENUM", [*before, Option(value="a")], before)) == ["options[2].value"]
        assert paths(definitions.check_options("ENUM", before[:1], before)) == ["options"]
        retired = [before[0], Option(value="b", retired=True)]
        assert definitions.check_options("ENUM", retired, before) == []

    @pytest.mark.parametrize(
        ("type_", "limits", "wrong"),
        [
            ("INTEGER", (1, 2, 0), []),
            ("NUMBER", (2, 1, 0), ["max_value"]),
            ("NUMBER", (0.0, None, 5), ["max_length"]),
            ("STRING", (None, None, 5), []),
            ("DATE", (0.0, 0.0, 0), ["min_value", "max_value"]),
        ],
    )
    def test_limits_belong_to_their_types(self, type_: str, limits: tuple, wrong: list[str]) -> None:
        assert paths(definitions.check_limits(type_, *limits)) == wrong


class TestSavedView:
    OWNER, OTHER, TEAM = (uuid.UUID(int=number) for number in range(3))

    @pytest.mark.parametrize(
        ("visibility", "of_owner", "of_team", "of_others"),
        [("PRIVATE", True, False, False), ("TEAM", True, True, False), ("PUBLIC", True, True, True)],
    )
    def test_who_sees_it(self, visibility: str, of_owner: bool, of_team: bool, of_others: bool) -> None:
        def seen(user: uuid.UUID, *teams: uuid.UUID) -> bool:
            return saved_views.is_visible(visibility, owner=self.OWNER, team=self.TEAM, user=user, teams=teams)

        assert [seen(self.OWNER), seen(self.OTHER, self.TEAM), seen(self.OTHER)] == [of_owner, of_team, of_others]

    def test_team_needed_where_it_sees_the_view(self) -> None:
        assert paths(saved_views.check_visibility("TEAM", "")) == ["team"]
        assert saved_views.check_visibility("TEAM", "teams/1") == []
        assert saved_views.check_visibility("PRIVATE", "") == []
