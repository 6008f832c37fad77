"""Service level policies: what is theirs alone; what they share with all resources is tested in the kit."""

from __future__ import annotations

import pytest
from grpc import StatusCode


def calendar(caller, display_name="Munich", **fields):
    week = [{"day": day, "start": {"hours": 9}, "end": {"hours": 17}} for day in range(1, 6)]
    given = {"display_name": display_name, "time_zone": "Europe/Berlin", "slots": week, **fields}
    return caller("CreateWorkingCalendar", working_calendar=given)


def policy(display_name="Gold", **fields):
    targets = [{"first_response": {"seconds": 3600}, "resolution": {"seconds": 8 * 3600}}]
    return {"display_name": display_name, "targets": targets, **fields}


def create(caller, *args, **fields):
    return caller("CreateSlaPolicy", sla_policy=policy(*args, **fields))


class TestStored:
    def test_comes_back_in_every_field(self, anna):
        queue = anna("CreateQueue", queue={"display_name": "Second level"}).name
        sent = {
            "order": 5,
            "ticket_types": [2],
            "priorities": [3, 4],
            "queues": [queue],
            "tags": ["vip"],
            "targets": [{"priority": 4, "resolution": {"seconds": 60}}, {"first_response": {"seconds": 1800}}],
            "working_calendar": calendar(anna).name,
            "warning_lead": {"seconds": 900},
            "counts_pending": True,
        }
        created = create(anna, **sent)
        assert anna("GetSlaPolicy", name=created.name) == created
        assert (created.standard, created.policy_version, created.warning_lead.seconds) == (False, 1, 900)
        assert (list(created.queues), list(created.ticket_types), len(created.targets)) == ([queue], [2], 2)

    @pytest.mark.parametrize(
        ("fields", "path"),
        [
            ({"display_name": " "}, "display_name"),
            ({"targets": []}, "targets"),
            ({"targets": [{"priority": 1}]}, "targets[0]"),
            ({"targets": [{"resolution": {"seconds": 5}}] * 2}, "targets[1].priority"),
            ({"targets": [{"resolution": {"seconds": 0}}]}, "targets[0].resolution"),
            (
                {"targets": [{"first_response": {"seconds": 5}, "resolution": {"seconds": 4}}]},
                "targets[0].first_response",
            ),
            ({"queues": ["queues/01900000-0000-7000-8000-000000000000"]}, "queues[0]"),
            (
                {"working_calendar": "workingCalendars/01900000-0000-7000-8000-000000000000"},
                "working_calendar",
            ),
        ],
    )
    def test_names_the_field_that_is_wrong(self, anna, fields, path):
        refusal = anna.refusal("CreateSlaPolicy", sla_policy=policy(**fields))
        assert (refusal.code, [*refusal.violations]) == (StatusCode.INVALID_ARGUMENT, [f"sla_policy.{path}"])

    def test_promises_nothing_that_its_calendar_never_reaches(self, anna):
        yearly = {"display_name": "Fair", "date": {"month": 5, "day": 1}}
        hours = [{"start": {"hours": 9}, "end": {"hours": 10}}]
        seldom = calendar(anna, "Fair", slots=[], exceptions=[{**yearly, "hours": hours}])
        refusal = anna.refusal(
            "CreateSlaPolicy",
            sla_policy=policy(working_calendar=seldom.name, targets=[{"resolution": {"seconds": 3600 * 24}}]),
        )
        assert [*refusal.violations] == ["sla_policy.targets[0].resolution"]

    def test_without_conditions_there_is_one(self, anna):
        assert create(anna).standard
        refusal = anna.refusal("CreateSlaPolicy", sla_policy=policy("Silver"))
        assert (refusal.code, refusal.message) == (StatusCode.ALREADY_EXISTS, "another policy has no conditions")


class TestVersions:
    def test_count_up_when_something_changes(self, anna):
        created = create(anna)
        again = anna("UpdateSlaPolicy", sla_policy={"name": created.name, "display_name": "Gold"})
        assert again == created
        changed = anna("UpdateSlaPolicy", sla_policy={"name": created.name, "warning_lead": {"seconds": 60}})
        assert changed.policy_version == 2
        anna("DeleteSlaPolicy", name=created.name)
        assert anna("UndeleteSlaPolicy", name=created.name).policy_version == 2

    def test_count_up_when_the_calendar_changes(self, anna):
        used = calendar(anna)
        created = create(anna, working_calendar=used.name)
        anna("UpdateWorkingCalendar", working_calendar={"name": used.name, "default": True})
        assert anna("GetSlaPolicy", name=created.name).policy_version == 1
        anna("UpdateWorkingCalendar", working_calendar={"name": used.name, "time_zone": "Europe/Rome"})
        assert anna("GetSlaPolicy", name=created.name).policy_version == 2

    def test_calendar_cannot_change_so_that_a_policy_cannot_be_kept(self, anna):
        used = calendar(anna)
        create(anna, working_calendar=used.name)
        seldom = {"display_name": "Fair", "date": {"month": 5, "day": 1}}
        hours = [{"start": {"hours": 9}, "end": {"minutes": 1, "hours": 9}}]
        given = {"name": used.name, "slots": [], "exceptions": [{**seldom, "hours": hours}]}
        refusal = anna.refusal(
            "UpdateWorkingCalendar",
            working_calendar=given,
            update_mask={"paths": ["slots", "exceptions"]},
        )
        assert [*refusal.violations] == ["working_calendar.slots"]
        assert "Gold" in refusal.message

    def test_calendar_changes_whatever_a_deleted_policy_promised(self, anna):
        used = calendar(anna)
        gone = create(anna, working_calendar=used.name)
        anna("DeleteSlaPolicy", name=gone.name)
        hours = [{"start": {"hours": 9}, "end": {"minutes": 1, "hours": 9}}]
        seldom = {"display_name": "Fair", "date": {"month": 5, "day": 1}, "hours": hours}
        anna(
            "UpdateWorkingCalendar",
            working_calendar={"name": used.name, "slots": [], "exceptions": [seldom]},
            update_mask={"paths": ["slots", "exceptions"]},
        )
        refusal = anna.refusal("UndeleteSlaPolicy", name=gone.name)
        assert all("cannot be reached" in violation for violation in refusal.violations.values())


class TestCalendar:
    def test_is_the_default_one_where_none_is_named(self, anna):
        assert not create(anna, "Before", tags=["x"]).working_calendar
        used = calendar(anna, default=True)
        assert create(anna, "After").working_calendar == used.name

    def test_stays_as_long_as_a_policy_counts_by_it(self, anna):
        used = calendar(anna)
        created = create(anna, working_calendar=used.name)
        refusal = anna.refusal("DeleteWorkingCalendar", name=used.name)
        assert (refusal.code, refusal.reason) == (StatusCode.FAILED_PRECONDITION, "WORKING_CALENDAR_IN_USE")
        anna("DeleteSlaPolicy", name=created.name)
        anna("DeleteWorkingCalendar", name=used.name)
        assert anna.refusal("UndeleteSlaPolicy", name=created.name).code is StatusCode.FAILED_PRECONDITION
