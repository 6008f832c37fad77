"""Working calendars: what is theirs alone; what they share with all resources is tested in the kit."""

from __future__ import annotations

import threading

import pytest
from grpc import StatusCode


def slot(day, start, end):
    return {"day": day, "start": {"hours": start}, "end": {"hours": end}}


WEEK = [slot(day, 9, 17) for day in range(1, 6)]


def calendar(display_name="Munich", **fields):
    return {"display_name": display_name, "time_zone": "Europe/Berlin", "slots": WEEK, **fields}


def create(caller, *args, **fields):
    return caller("CreateWorkingCalendar", working_calendar=calendar(*args, **fields))


class TestStored:
    def test_comes_back_in_every_field_and_in_its_normal_form(self, anna):
        closed = {"date": {"month": 12, "day": 24}, "display_name": "Christmas Eve"}
        short = {
            "date": {"year": 2026, "month": 12, "day": 31},
            "display_name": "Stocktaking",
            "hours": [{"start": {"hours": 9}, "end": {"hours": 12, "minutes": 30}}],
        }
        created = create(anna, country_code="de", subdivision="BY", exceptions=[closed, short])
        assert anna("GetWorkingCalendar", name=created.name) == created
        assert (created.country_code, created.subdivision, created.time_zone) == ("DE", "BY", "Europe/Berlin")
        assert (created.exceptions[0].date.year, created.exceptions[1].hours[0].end.minutes) == (0, 30)
        assert len(created.slots) == 5

    def test_name_is_unique(self, anna):
        create(anna)
        refusal = anna.refusal("CreateWorkingCalendar", working_calendar=calendar("munich"))
        assert refusal.code is StatusCode.ALREADY_EXISTS

    @pytest.mark.parametrize(
        ("fields", "path"),
        [
            ({"display_name": " "}, "display_name"),
            ({"time_zone": "Mars/Olympus"}, "time_zone"),
            ({"time_zone": ""}, "time_zone"),
            ({"slots": []}, "slots"),
            ({"slots": [{"day": 0, "start": {}, "end": {}}]}, "slots[0].day"),
            ({"slots": [slot(1, 24, 5)]}, "slots[0].start"),
            ({"slots": [slot(1, 9, 25)]}, "slots[0].end"),
            ({"slots": [{"day": 1, "start": {"hours": 9, "seconds": 1}, "end": {"hours": 10}}]}, "slots[0].start"),
            ({"country_code": "ZZ"}, "country_code"),
            ({"country_code": "DE", "subdivision": "XX"}, "subdivision"),
            ({"subdivision": "BY"}, "subdivision"),
            (
                {"exceptions": [{"date": {"year": 2026, "month": 2, "day": 29}, "display_name": "Leap"}]},
                "exceptions[0].date",
            ),
            ({"exceptions": [{"date": {"month": 5, "day": 1}, "display_name": "A"}] * 2}, "exceptions[1].date"),
            (
                {
                    "exceptions": [
                        {
                            "date": {"month": 5, "day": 1},
                            "display_name": "A",
                            "hours": [{"start": {"hours": 9}, "end": {"hours": 9}}],
                        }
                    ]
                },
                "exceptions[0].hours[0].end",
            ),
        ],
    )
    def test_names_the_field_that_is_wrong(self, anna, fields, path):
        refusal = anna.refusal("CreateWorkingCalendar", working_calendar=calendar(**fields))
        assert (refusal.code, [*refusal.violations]) == (StatusCode.INVALID_ARGUMENT, [f"working_calendar.{path}"])


class TestDefault:
    def test_is_one(self, anna):
        first, second = create(anna, "First", default=True), create(anna, "Second", default=True)
        assert not anna("GetWorkingCalendar", name=first.name).default
        assert anna("GetWorkingCalendar", name=second.name).default

    def test_is_one_also_where_several_are_marked_at_once(self, anna):
        threads = [threading.Thread(target=create, args=(anna, f"C{n}"), kwargs={"default": True}) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(anna("ListWorkingCalendars").working_calendars) == 4
        assert len(anna("ListWorkingCalendars", filter="default = true").working_calendars) == 1
