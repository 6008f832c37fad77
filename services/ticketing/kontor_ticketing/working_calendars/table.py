"""The resource and the table of working calendars."""

from typing import Any

import sqlalchemy as sa

from kontor.ticketing.v1 import working_calendar_pb2
from kontor_kit.resource import Resource
from kontor_kit.scopes import TenantScope
from kontor_kit.tables import KEY_TEXT, index, json_column, resource_table
from kontor_ticketing.tables import metadata
from kontor_ticketing.working_calendars import public_holidays, rules

working_calendars = resource_table(
    "working_calendars",
    metadata,
    sa.Column("display_name", sa.Text, nullable=False),
    sa.Column("display_name_key", KEY_TEXT, nullable=False),
    sa.Column("time_zone", sa.Text, nullable=False),
    json_column("slots"),
    sa.Column("country_code", sa.Text),
    sa.Column("subdivision", sa.Text),
    json_column("exceptions"),
    sa.Column("default", sa.Boolean, nullable=False),
    index("working_calendars", "display_name_key", unique=True),
    index("working_calendars", "default"),
    index("working_calendars", "create_time"),
    index("working_calendars", "update_time"),
    owned=False,
)

WORKING_CALENDAR = Resource(
    working_calendar_pb2.WorkingCalendar,
    working_calendars,
    scope=TenantScope(),
    conflicts={"working_calendars_display_name_key": "another calendar is called so"},
)


def working_time(calendar: Any) -> rules.WorkingTime:
    """Return the working time of a calendar's message."""
    if not calendar.country_code:
        return rules.working_time(calendar)
    return rules.working_time(calendar, public_holidays.holidays_of(calendar.country_code, calendar.subdivision))
