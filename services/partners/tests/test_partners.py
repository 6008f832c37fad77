"""Partners: how far they are, at which level, and what their people see."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor

import pytest
from grpc import StatusCode

from kontor_kit.ids import uuid7
from kontor_partners.partners import rules
from kontor_partners.partners.api import BEGIN_LEVELS
from kontor_partners.service import service
from services.partners.tests.partnering import partner


def levels(partner) -> list[str]:
    return [period.level for period in partner.level_periods]


@pytest.fixture
def pass_time(server):
    """Run the job as if it were so many days later, in as many processes."""

    def run(days: int, processes: int = 1) -> None:
        runtime, now = server.runtime, dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
        job = BEGIN_LEVELS.periodic(runtime.database, service().use(runtime), lambda: now)
        with server.database.connect() as connection:
            connection.execute("UPDATE leases SET expire_time = 'epoch' WHERE name = %s", [job.name])
        with ThreadPoolExecutor(processes) as pool:
            list(pool.map(lambda _: job.run_once(runtime.system), range(processes)))

    return run


def events(caller, name) -> list[str]:
    with caller.running.database.connect() as connection:
        rows = connection.execute(
            "SELECT event_type FROM change_pending WHERE resource_name = %s ORDER BY sequence", [name]
        ).fetchall()
    return [row[0].removeprefix("kontor.partners.v1.partner.") for row in rows]


class TestStored:
    def test_comes_back_in_form(self, anna):
        made = partner(anna, region_codes=["ch", "DE", "de"], product_families=[" Pumps "])
        assert anna("GetPartner", name=made.name) == made
        assert (list(made.region_codes), list(made.product_families)) == (["CH", "DE"], ["Pumps"])
        assert (made.state, made.type, made.owner) == (rules.PROSPECT, rules.RESELLER, anna.user)

    def test_names_what_is_wrong(self, anna):
        wanted = {"display_name": " ", "account": f"accounts/{uuid7()}", "region_codes": ["CH", "QQ"]}
        violations = anna.refusal("CreatePartner", partner=wanted).violations
        assert {*violations} == {"partner.display_name", "partner.region_codes[1]"}

    def test_a_company_is_one_partner(self, anna):
        made = partner(anna)
        again = {"display_name": "Again", "account": made.account}
        assert anna.refusal("CreatePartner", partner=again).code is StatusCode.ALREADY_EXISTS

    def test_a_team_is_that_of_one_partner(self, anna):
        made = partner(anna)
        other = {"display_name": "Other", "account": f"accounts/{uuid7()}", "partner_team": made.partner_team}
        refusal = anna.refusal("CreatePartner", partner=other)
        assert (refusal.code, refusal.message) == (StatusCode.ALREADY_EXISTS, "the team belongs to another partner")
