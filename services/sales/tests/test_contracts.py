"""Contracts: ended, renewed, and brought up again in time, once."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor

import pytest
from grpc import StatusCode

from kontor_kit.ids import parse_name
from kontor_kit.tracing import start_span
from kontor_sales.contracts import rules
from kontor_sales.contracts.api import RENEW_CONTRACTS
from kontor_sales.service import service
from services.sales.tests.selling import TODAY, date, day, euro, order

ACCOUNT = "accounts/01900000-0000-7000-8000-000000000001"


def contract(caller, **fields):
    usual = {
        "display_name": "Care",
        "account": ACCOUNT,
        "start_date": day(-300),
        "end_date": day(65),
        "renewal": rules.RENEWAL_MANUAL,
        "renewal_months": 12,
        "renewal_lead_days": 30,
        "notice_days": 30,
        "amount": euro(1200),
    }
    return caller("CreateContract", contract={**usual, **fields})


@pytest.fixture
def pass_time(server):
    """Run the job as if it were so many days later, in as many processes."""

    def run(days: int, processes: int = 1) -> None:
        runtime, now = server.runtime, dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
        job = RENEW_CONTRACTS.periodic(runtime.database, service().use(runtime), lambda: now)
        with server.database.connect() as connection:
            connection.execute("UPDATE leases SET expire_time = 'epoch' WHERE name = %s", [job.name])
        with ThreadPoolExecutor(processes) as pool:
            list(pool.map(lambda _: job.run_once(server.runtime.system), range(processes)))

    return run


def events(caller, name) -> list[str]:
    with caller.running.database.connect() as connection:
        rows = connection.execute(
            "SELECT event_type FROM change_pending WHERE resource_name = %s ORDER BY sequence", [name]
        ).fetchall()
    return [row[0].removeprefix("kontor.sales.v1.contract.") for row in rows]


class TestStored:
    def test_comes_back_with_the_days_that_follow(self, anna):
        made = contract(anna, order=order(anna).name, tags=["care"])
        assert anna("GetContract", name=made.name) == made
        assert made.notice_date.day == (TODAY + dt.timedelta(days=35)).day
        assert rules.day_of(made, "renewal_due_date") == TODAY + dt.timedelta(days=5)

    def test_names_what_is_wrong(self, anna):
        wanted = {"display_name": "Care", "account": ACCOUNT, "start_date": day(0), "end_date": day(-1)}
        assert [*anna.refusal("CreateContract", contract=wanted).violations] == ["contract.end_date"]
        for field, year, terms in (("end_date", 9999, {}), ("start_date", 1, {"notice_months": 120})):
            days = {"start_date": day(0), "end_date": day(1), field: {"year": year, "month": 1, "day": 1}}
            refusal = anna.refusal("CreateContract", contract={**wanted, **terms, **days})
            assert [*refusal.violations] == [f"contract.{field}"]

    def test_own_scope_sees_own_contracts_only(self, anna):
        made = contract(anna)
        bert = anna.colleague("sales.contracts.*:own")
        assert len(bert("ListContracts").contracts) == 0
        assert bert.refusal("RenewContract", name=made.name).code is StatusCode.NOT_FOUND


class TestEnding:
    def test_by_notice(self, anna):
        made = contract(anna)
        ended = anna("TerminateContract", name=made.name, reason="Moved")
        assert (ended.state, ended.termination_reason) == (rules.TERMINATED, "Moved")
        assert ended.end_date == made.end_date
        assert anna.refusal("RenewContract", name=made.name).reason == "TERMINATED"

    def test_renewed_it_goes_on(self, anna):
        made = contract(anna, end_date=date(dt.date(2030, 6, 30)))
        after = anna("RenewContract", name=made.name, amount=euro(1500))
        assert rules.day_of(after, "end_date") == dt.date(2031, 6, 30)
        assert (after.renewal_count, after.amount.units) == (1, 1500)

    def test_not_beyond_the_days_there_are(self, anna):
        made = contract(anna, end_date=date(dt.date(9000, 12, 31)), renewal_months=600)
        assert [*anna.refusal("RenewContract", name=made.name).violations] == ["end_date"]
        endless = contract(anna, end_date=None, renewal=rules.RENEWAL_NONE)
        late = {"notice_date": {"year": 9999, "month": 12, "day": 31}, "reason": "Moved"}
        for name in (made.name, endless.name):
            assert [*anna.refusal("TerminateContract", name=name, **late).violations] == ["notice_date"]

    def test_stale_etag_is_aborted(self, anna):
        made = contract(anna)
        anna("RenewContract", name=made.name)
        assert anna.refusal("RenewContract", name=made.name, etag=made.etag).code is StatusCode.ABORTED


class TestRenewing:
    def test_raises_an_opportunity_in_time_and_once(self, anna, pass_time):
        made = contract(anna, owner=anna.user)
        pass_time(4)
        assert not anna("GetContract", name=made.name).renewal_opportunity
        pass_time(5, processes=4)
        pass_time(6)
        found = anna("GetContract", name=made.name)
        deal = anna("GetOpportunity", name=found.renewal_opportunity)
        assert (deal.account, deal.owner, deal.amount.units, deal.source) == (ACCOUNT, anna.user, 1200, "renewal")
        assert len(anna("ListOpportunities").opportunities) == 1
        assert events(anna, made.name) == ["created", "renewal_due"]
        assert not found.HasField("renewal_due_date")

    def test_once_more_for_the_next_term(self, anna, pass_time):
        made = contract(anna)
        pass_time(5)
        anna("UpdateContract", contract={"name": made.name, "renewal_lead_days": 31})
        pass_time(6)
        assert events(anna, made.name) == ["created", "renewal_due", "updated"]
        anna("RenewContract", name=made.name)
        pass_time(7)
        pass_time(400)
        assert events(anna, made.name)[3:] == ["renewed", "renewal_due"]
        assert len(anna("ListOpportunities").opportunities) == 2

    def test_once_even_where_several_do_the_same_contract(self, anna, server, pass_time):
        made = contract(anna)
        contracts = service().use(server.runtime)["contracts"]
        id = parse_name(made.name, "contracts/{contract}", "name")

        def work(_: int) -> bool:
            with contracts.shared.database.write(anna.tenant) as tx:
                return contracts.pass_time(tx, start_span(), id, TODAY + dt.timedelta(days=10))

        with ThreadPoolExecutor(8) as pool:
            assert sorted(pool.map(work, range(8))) == [False] * 7 + [True]
        assert len(anna("ListOpportunities").opportunities) == 1

    def test_automatic_ones_go_on_by_themselves(self, anna, pass_time):
        made = contract(anna, renewal=rules.RENEWAL_AUTOMATIC, start_date=date(dt.date(2024, 1, 1)), end_date=day(-1))
        pass_time(0)
        after = anna("GetContract", name=made.name)
        assert rules.day_of(after, "end_date") >= TODAY
        assert after.renewal_count == 1
        assert "renewed" in events(anna, made.name)

    def test_what_was_ended_or_deleted_is_left_alone(self, anna, pass_time):
        ended, deleted = contract(anna), contract(anna)
        anna("TerminateContract", name=ended.name, reason="Moved")
        anna("DeleteContract", name=deleted.name)
        pass_time(40)
        assert len(anna("ListOpportunities").opportunities) == 0

    def test_event_is_told_where_no_opportunity_can_be_created(self, anna, pass_time):
        made = contract(anna)
        pipeline = anna("ListPipelines").pipelines
        deal = anna("CreateOpportunity", opportunity={"display_name": "First"}) if not pipeline else None
        name = deal.pipeline if deal else pipeline[0].name
        stages = anna("GetPipeline", name=name).stages
        stages[0].entry_criteria.required_fields.append("partner")
        anna("UpdatePipeline", pipeline={"name": name, "stages": stages})
        pass_time(5)
        found = anna("GetContract", name=made.name)
        assert not found.renewal_opportunity
        assert events(anna, made.name) == ["created", "renewal_due"]
