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
from services.partners.tests.partnering import TODAY, active, day, partner, person, programme


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

    def test_a_company_can_be_a_partner_in_more_than_one_way(self, anna):
        made = partner(anna)
        again = partner(anna, account=made.account, type=rules.RESELLER + 1)
        found = anna("ListPartners", filter=f'account = "{made.account}"').partners
        assert [each.name for each in found] == [made.name, again.name]

    def test_a_team_is_that_of_one_partner(self, anna):
        made = partner(anna)
        other = {"display_name": "Other", "account": f"accounts/{uuid7()}", "partner_team": made.partner_team}
        refusal = anna.refusal("CreatePartner", partner=other)
        assert (refusal.code, refusal.message) == (StatusCode.ALREADY_EXISTS, "the team belongs to another partner")


class TestGoing:
    def test_goes_its_way(self, anna):
        made = active(anna, programme(anna))
        assert (made.state, made.level) == (rules.ACTIVE, "silver")
        suspended = anna("SuspendPartner", name=made.name, reason="Owes us")
        assert (suspended.state, suspended.state_reason) == (rules.SUSPENDED, "Owes us")
        assert anna("ActivatePartner", name=made.name).state_reason == ""
        assert anna("EndPartner", name=made.name, reason="Sold").state == rules.ENDED
        assert anna("ApplyPartner", name=made.name).state == rules.APPLIED
        told = [
            "created",
            "applied",
            "approved",
            "level_set",
            "activated",
            "suspended",
            "activated",
            "ended",
            "applied",
        ]
        assert events(anna, made.name) == told

    @pytest.mark.parametrize(
        ("steps", "step", "reason"),
        [
            ([], "ApprovePartner", "PARTNER_PROSPECT"),
            ([], "ActivatePartner", "PARTNER_PROSPECT"),
            (["ApplyPartner"], "ActivatePartner", "PARTNER_APPLIED"),
            (["ApplyPartner"], "ApplyPartner", "PARTNER_APPLIED"),
            (["ApplyPartner", "ApprovePartner"], "ActivatePartner", "PARTNER_WITHOUT_LEVEL"),
        ],
    )
    def test_cannot_leave_out_a_step(self, anna, steps, step, reason):
        name = partner(anna).name
        for each in steps:
            anna(each, name=name)
        refusal = anna.refusal(step, name=name)
        assert (refusal.code, refusal.reason) == (StatusCode.FAILED_PRECONDITION, reason)

    def test_state_is_not_written_otherwise(self, anna):
        made = partner(anna)
        anna("UpdatePartner", partner={"name": made.name, "state": rules.ACTIVE, "display_name": "New"})
        assert anna("GetPartner", name=made.name).state == rules.PROSPECT

    def test_one_of_two_writers_is_aborted(self, anna):
        made = partner(anna)

        def apply(_: int) -> str:
            try:
                return str(anna("ApplyPartner", name=made.name, etag=made.etag).state)
            except Exception as error:  # noqa: BLE001  # whatever it is, it is compared
                return str(error.code())

        with ThreadPoolExecutor(2) as pool:
            assert sorted(pool.map(apply, range(2))) == ["2", "StatusCode.ABORTED"]


class TestLevel:
    def test_a_higher_one_begins_at_once(self, anna):
        made = active(anna, programme(anna))
        after = anna("SetPartnerLevel", name=made.name, level="gold", reason="Two engineers")
        assert (after.level, levels(after), after.next_level) == ("gold", ["gold"], "")

    def test_a_lower_one_waits_for_the_time_of_grace(self, anna, pass_time):
        made = active(anna, programme(anna), "gold")
        fallen = anna("SetPartnerLevel", name=made.name, level="silver", reason="Too little sold")
        assert (fallen.level, fallen.next_level, levels(fallen)) == ("gold", "silver", ["silver", "gold"])
        pass_time(29)
        assert anna("GetPartner", name=made.name).level == "gold"
        pass_time(30, processes=4)
        after = anna("GetPartner", name=made.name)
        assert (after.level, after.next_level, levels(after)) == ("silver", "", ["silver", "gold"])
        assert rules.day_of(after.level_periods[1], "end_date") == TODAY + dt.timedelta(days=29)
        assert events(anna, made.name)[-2:] == ["level_set", "level_changed"]

    def test_what_is_to_come_can_be_taken_back(self, anna, pass_time):
        made = active(anna, programme(anna), "gold")
        anna("SetPartnerLevel", name=made.name, level="silver", reason="Too little sold")
        kept = anna("SetPartnerLevel", name=made.name, level="gold", reason="Sold enough after all")
        assert (kept.next_level, levels(kept)) == ("", ["gold"])
        pass_time(31)
        assert anna("GetPartner", name=made.name).level == "gold"

    def test_another_programme_begins_at_once(self, anna):
        made = active(anna, programme(anna), "gold")
        other = programme(anna, display_name="Integrators")
        late = anna.refusal(
            "SetPartnerLevel",
            name=made.name,
            programme=other.name,
            level="silver",
            reason="New",
            start_date=day(2),
        )
        assert [*late.violations] == ["start_date"]
        after = anna("SetPartnerLevel", name=made.name, programme=other.name, level="silver", reason="New")
        assert (after.programme, after.level) == (other.name, "silver")

    def test_must_be_one_of_the_programme(self, anna):
        made = partner(anna)
        refusal = anna.refusal(
            "SetPartnerLevel", name=made.name, programme=programme(anna).name, level="tin", reason="So"
        )
        assert [*refusal.violations] == ["level"]
        assert [*anna.refusal("SetPartnerLevel", name=made.name, level="tin", reason="So").violations] == ["programme"]

    def test_cannot_be_removed_while_partners_are_at_it(self, anna):
        terms = programme(anna)
        made = active(anna, terms, "gold")
        anna("SetPartnerLevel", name=made.name, level="silver", reason="Too little sold")
        for kept in ("silver", "gold"):
            only = [level for level in terms.levels if level.id == kept]
            refusal = anna.refusal("UpdateProgramme", programme={"name": terms.name, "levels": only})
            assert refusal.reason == "LEVEL_IN_USE"
        assert anna.refusal("DeleteProgramme", name=terms.name).reason == "PROGRAMME_IN_USE"


class TestPeople:
    """The people of a partner see what is theirs, whichever way they look, and nothing else."""

    @pytest.fixture
    def two(self, anna):
        terms = programme(anna)
        return [active(anna, terms, display_name=f"Example {name}") for name in ("North", "South")]

    def test_see_their_own_partner_only(self, anna, two):
        north, south = two
        ned = person(anna, north)
        assert ned("GetPartner", name=north.name).display_name == "Example North"
        assert ned.refusal("GetPartner", name=south.name).code is StatusCode.NOT_FOUND
        assert ned.refusal("BatchGetPartners", names=[north.name, south.name]).code is StatusCode.NOT_FOUND
        for given in ({}, {"filter": "state = STATE_ACTIVE"}, {"filter": f'account = "{south.account}"'}):
            found = ned("ListPartners", include_total_size=True, **given)
            mine = [] if "account" in given.get("filter", "") else [north.name]
            assert ([each.name for each in found.partners], found.total_size) == (mine, len(mine))
        found = ned("SearchPartners", query="example")
        assert [result.partner.name for result in found.results] == [north.name]
        assert [result.partner.name for result in ned("SearchPartners", query="ex").results] == [north.name]

    def test_of_two_partners_see_both(self, anna, two):
        both = person(anna, *two)
        names = {each.name for each in two}
        assert {each.name for each in both("ListPartners").partners} == names
        assert {result.partner.name for result in both("SearchPartners", query="example").results} == names

    def test_of_a_partnership_that_ended_see_nothing(self, anna, two):
        north, south = two
        ned, sue = person(anna, north), person(anna, south)
        anna("EndPartner", name=north.name, reason="Sold")
        anna("DeletePartner", name=south.name)
        for who, name in ((ned, north.name), (sue, south.name)):
            assert who.refusal("GetPartner", name=name).code is StatusCode.NOT_FOUND
            assert len(who("ListPartners", show_deleted=True).partners) == 0

    def test_change_nothing(self, anna, two):
        north, _ = two
        ned = person(anna, north)
        for method in ("ApplyPartner", "DeletePartner"):
            assert ned.refusal(method, name=north.name).code is StatusCode.PERMISSION_DENIED
        changed = {"name": north.name, "offer_capacity": 100}
        assert ned.refusal("UpdatePartner", partner=changed).code is StatusCode.PERMISSION_DENIED

    def test_our_own_team_reaches_the_partner_too(self, anna, two):
        team = uuid7()
        made = partner(anna, team=f"teams/{team}")
        tom = anna.colleague("partners.partners.*:team", teams=[team])
        assert [each.name for each in tom("ListPartners").partners] == [made.name]
        assert tom("ApplyPartner", name=made.name).state == rules.APPLIED
