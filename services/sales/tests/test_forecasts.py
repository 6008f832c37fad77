"""What deals will bring: rates, quotas, adjustments, roll-up, snapshots and the bridge between them."""

from __future__ import annotations

import datetime as dt
import uuid
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import psycopg.errors
import pytest
from grpc import StatusCode

from kontor.sales.v1 import forecast_service_pb2
from kontor_kit.tracing import start_span
from kontor_sales.forecasts import snapshots
from kontor_sales.service import _records

RollUp = forecast_service_pb2.RollUpForecastRequest
Kind = forecast_service_pb2.BridgeForecastResponse.Kind
OMITTED, PIPELINE, BEST_CASE, COMMIT, CLOSED = range(5)
"""Places of the lines."""
TODAY = dt.datetime.now(dt.UTC).date()


def money(amount, currency="EUR"):
    number = Decimal(str(amount))
    return {"currency_code": currency, "units": int(number), "nanos": int(number % 1 * 10**9)}


def amount(given):
    return given.units + Decimal(given.nanos) / 10**9


def amounts(sums):
    return {one.currency_code: amount(one) for one in sums}


def date(day):
    return {"year": day.year, "month": day.month, "day": day.day}


def rate(caller, currency, value, day, base="EUR"):
    return caller(
        "CreateExchangeRate",
        exchange_rate={
            "currency_code": currency, "base_currency_code": base, "rate": {"value": value}, "start_date": date(day),
        },
    )  # fmt: skip


def deal(caller, worth=None, currency="EUR", *, day=TODAY, **fields):
    """Create a deal that is to close today."""
    record = {"display_name": "Deal", "close_date": date(day), **fields}
    if worth is not None:
        record["amount"] = money(worth, currency)
    return caller("CreateOpportunity", opportunity=record).name


def roll_up(caller, **fields):
    return caller("RollUpForecast", **{"period": "FORECAST_PERIOD_MONTH", **fields})


def update(caller, name, **fields):
    return caller("UpdateOpportunity", opportunity={"name": name, **fields})


@pytest.fixture
def pipeline(anna):
    stages = [
        {"id": "first", "display_name": "1", "probability": {"value": "0.1"}},
        {"id": "second", "display_name": "2", "probability": {"value": "0.333"}},
    ]
    return anna("CreatePipeline", pipeline={"display_name": "P", "stages": stages, "default": True})


@pytest.fixture
def reason(anna):
    return anna("CreateCloseReason", close_reason={"display_name": "Price", "outcome": "OUTCOME_LOST"}).name


class TestExchangeRates:
    def test_of_a_day_is_the_last_one_before(self, anna, pipeline):
        for currency, value, days in (("USD", "0.9", 40), ("USD", "0.8", 10), ("USD", "0.5", -1), ("GBP", "1.2", 1)):
            rate(anna, currency, value, TODAY - dt.timedelta(days=days))
        deal(anna, "100.01", "USD")
        deal(anna, 10, "GBP")
        deal(anna, 1)
        line = roll_up(anna).total.lines[PIPELINE]
        assert amounts(line.amounts) == {"USD": Decimal("100.01"), "GBP": 10, "EUR": 1}
        assert amount(line.base_amount) == Decimal("80.01") + 12 + 1

    def test_what_has_no_rate_is_told_apart(self, anna, pipeline):
        rate(anna, "USD", "0.5", TODAY)
        deal(anna, 100, "JPY")
        deal(anna, 100, "USD")
        total = roll_up(anna).total
        assert amounts(total.unconverted_amounts) == {"JPY": 100}
        assert amount(total.lines[PIPELINE].base_amount) == 50

    def test_without_rates_the_only_currency_is_the_base(self, anna, pipeline):
        deal(anna, 100, "JPY")
        assert amount(roll_up(anna).total.lines[PIPELINE].base_amount) == 100
        deal(anna, 1, "USD")
        found = roll_up(anna)
        assert (found.base_currency_code, found.total.lines[PIPELINE].HasField("base_amount")) == ("", False)

    def test_is_frozen_when_a_deal_closes(self, anna, pipeline):
        """Later rates, changed and deleted ones alter open deals only."""
        used = rate(anna, "USD", "0.5", TODAY - dt.timedelta(days=3))
        won = deal(anna, 100, "USD")
        deal(anna, 100, "USD")
        assert amount(anna("MarkOpportunityWon", name=won).base_amount) == 50
        rate(anna, "USD", "0.7", TODAY)
        lines = roll_up(anna).total.lines
        assert (amount(lines[CLOSED].base_amount), amount(lines[PIPELINE].base_amount)) == (50, 70)
        anna("UpdateExchangeRate", exchange_rate={"name": used.name, "rate": {"value": "0.1"}})
        anna("DeleteExchangeRate", name=used.name)
        assert amount(roll_up(anna).total.lines[CLOSED].base_amount) == 50
        assert not anna("ReopenOpportunity", name=won).HasField("base_amount")
        assert amount(roll_up(anna).total.lines[PIPELINE].base_amount) == 140
        assert amount(anna("MarkOpportunityWon", name=won).base_amount) == 70

    def test_of_imported_deals_is_that_of_the_day_on_which_they_closed(self, anna, pipeline):
        for value, days in (("0.5", 100), ("0.25", 50)):
            rate(anna, "USD", value, TODAY - dt.timedelta(days=days))
        past = dt.datetime.combine(TODAY, dt.time(), dt.UTC) - dt.timedelta(days=60)
        row = {"opportunity": {"display_name": "D", "stage": "won", "amount": money(100, "USD")}, "close_time": past}
        [name] = anna("ImportOpportunities", requests=[row]).opportunities
        assert amount(anna("GetOpportunity", name=name).base_amount) == 50

    def test_what_closed_before_there_was_a_rate_is_converted_by_one_that_came_later(self, anna, pipeline):
        won = deal(anna, 100, "USD")
        assert not anna("MarkOpportunityWon", name=won).HasField("base_amount")
        rate(anna, "USD", "0.5", TODAY - dt.timedelta(days=1))
        assert amount(roll_up(anna).total.lines[CLOSED].base_amount) == 50

    @pytest.mark.parametrize(
        ("fields", "path"),
        [
            ({"currency_code": "XXX1"}, "currency_code"),
            ({"currency_code": "EUR"}, "currency_code"),
            ({"rate": {"value": "0"}}, "rate"),
            ({"rate": {"value": "-1"}}, "rate"),
            ({"rate": {"value": "NaN"}}, "rate"),
            ({"rate": {"value": "1.0000000000001"}}, "rate"),
            ({"start_date": {"year": 2026}}, "start_date"),
        ],
        ids=range(7),
    )
    def test_that_makes_no_sense(self, anna, fields, path):
        record = {
            "currency_code": "USD", "base_currency_code": "EUR", "rate": {"value": "1"}, "start_date": date(TODAY),
        }  # fmt: skip
        refusal = anna.refusal("CreateExchangeRate", exchange_rate={**record, **fields})
        assert (refusal.code, [*refusal.violations]) == (StatusCode.INVALID_ARGUMENT, [f"exchange_rate.{path}"])

    def test_has_one_base_currency_and_one_rate_a_day(self, anna):
        rate(anna, "USD", "1", TODAY)
        record = {
            "currency_code": "GBP",
            "base_currency_code": "CHF",
            "rate": {"value": "1"},
            "start_date": date(TODAY),
        }
        assert anna.refusal("CreateExchangeRate", exchange_rate=record).reason == "OTHER_BASE_CURRENCY"
        record |= {"currency_code": "USD", "base_currency_code": "EUR"}
        assert anna.refusal("CreateExchangeRate", exchange_rate=record).code is StatusCode.ALREADY_EXISTS


class TestRollUp:
    def test_weighs_by_stage_and_keeps_categories_apart_from_it(self, anna, pipeline, reason):
        deal(anna, 100, stage="first", forecast_category="FORECAST_CATEGORY_COMMIT")
        deal(anna, "0.05", stage="second", forecast_category="FORECAST_CATEGORY_COMMIT")
        deal(anna, 10, stage="second", forecast_category="FORECAST_CATEGORY_BEST_CASE")
        deal(anna, 7, stage="first", forecast_category="FORECAST_CATEGORY_OMITTED")
        deal(anna, stage="first")
        won, lost = deal(anna, 1000, forecast_category="FORECAST_CATEGORY_OMITTED"), deal(anna, 5000)
        anna("MarkOpportunityWon", name=won)
        anna("MarkOpportunityLost", name=lost, close_reasons=[{"close_reason": reason}])
        deal(anna, 1, day=TODAY + dt.timedelta(days=40))
        lines = roll_up(anna).total.lines
        assert [line.count for line in lines] == [1, 1, 1, 2, 1]
        assert [amount(line.base_amount) for line in lines] == [7, 0, 10, Decimal("100.05"), 1000]
        weighted = [amount(line.weighted_base_amount) for line in lines]
        assert weighted == [Decimal("0.7"), 0, Decimal("3.33"), Decimal("10.02"), 1000]
        cumulative = roll_up(anna, mode="MODE_CUMULATIVE").total.lines
        assert [line.count for line in cumulative] == [1, 5, 4, 3, 1]
        assert [amount(line.base_amount) for line in cumulative][1:] == [
            Decimal("1110.05"), Decimal("1110.05"), Decimal("1100.05"), 1000,
        ]  # fmt: skip

    def test_adjustments_overlay_and_survive_every_mode(self, anna, pipeline):
        """Elsewhere a switch of the mode wipes them, or they change the deals."""
        ben = anna.colleague("*:all")
        name = deal(anna, 100, forecast_category="FORECAST_CATEGORY_COMMIT")
        before = anna("GetOpportunity", name=name)
        record = {
            "period": "FORECAST_PERIOD_MONTH", "start_date": date(TODAY.replace(day=1)), "owner": anna.user,
            "forecast_category": "FORECAST_CATEGORY_COMMIT",
        }  # fmt: skip
        mine = anna("CreateForecastAdjustment", forecast_adjustment={**record, "amount": money(20)})
        theirs = ben("CreateForecastAdjustment", forecast_adjustment={**record, "amount": money(-5)})
        assert (mine.level, theirs.level) == (1, 2)
        for _ in range(2):
            single = roll_up(anna).total.lines
            cumulative = roll_up(anna, mode="MODE_CUMULATIVE").total.lines
            for line in (single[COMMIT], cumulative[COMMIT], cumulative[PIPELINE]):
                assert (amount(line.owner_adjustment), amount(line.manager_adjustment)) == (20, -5)
                assert (amount(line.base_amount), amount(line.forecast_amount)) == (100, 115)
            assert amount(single[PIPELINE].forecast_amount) == 0
        assert anna("GetOpportunity", name=name) == before
        assert amount(roll_up(anna, period="FORECAST_PERIOD_QUARTER").total.lines[COMMIT].forecast_amount) == 100
        again = {**record, "amount": money(1)}
        assert anna.refusal("CreateForecastAdjustment", forecast_adjustment=again).code is StatusCode.ALREADY_EXISTS

    def test_what_people_above_say_is_not_for_the_owner_to_change(self, anna):
        ben = anna.colleague("*:own")
        record = {
            "period": "FORECAST_PERIOD_MONTH", "start_date": date(TODAY.replace(day=1)), "owner": ben.user,
            "forecast_category": "FORECAST_CATEGORY_COMMIT", "amount": money(1),
        }  # fmt: skip
        name = anna("CreateForecastAdjustment", forecast_adjustment=record).name
        assert ben("GetForecastAdjustment", name=name).level == 2
        change = {"forecast_adjustment": {"name": name, "amount": money(2)}}
        assert ben.refusal("UpdateForecastAdjustment", **change).code is StatusCode.PERMISSION_DENIED
        assert ben.refusal("DeleteForecastAdjustment", name=name).code is StatusCode.PERMISSION_DENIED
        other = {**record, "owner": anna.user}
        refusal = ben.refusal("CreateForecastAdjustment", forecast_adjustment=other)
        assert refusal.code is StatusCode.PERMISSION_DENIED
        off = {**record, "start_date": date(TODAY.replace(day=2))}
        assert anna.refusal("CreateForecastAdjustment", forecast_adjustment=off).code is StatusCode.INVALID_ARGUMENT
        huge = {**record, "amount": money(-(2**62))}
        assert anna.refusal("CreateForecastAdjustment", forecast_adjustment=huge).code is StatusCode.INVALID_ARGUMENT

    def test_quotas_of_users_and_teams(self, anna, pipeline):
        rate(anna, "USD", "0.5", TODAY.replace(day=1) - dt.timedelta(days=1))
        team = f"teams/{uuid.uuid4()}"
        period = {"period": "FORECAST_PERIOD_MONTH", "start_date": date(TODAY.replace(day=1))}
        anna("CreateQuota", quota={**period, "amount": money(400, "USD"), "team": team})
        anna("CreateQuota", quota={**period, "amount": money(1000), "team": team, "whole_team": True})
        anna("CreateQuota", quota={**period, "period": "FORECAST_PERIOD_YEAR", "amount": money(1)})
        anna("MarkOpportunityWon", name=deal(anna, 100, team=team))
        found = roll_up(anna, group_by="GROUPING_OWNER")
        assert [(group.group, amount(group.quota), group.attainment) for group in found.groups] == [
            (anna.user, 200, 0.5)
        ]
        assert amount(found.total.quota) == 200
        [group] = roll_up(anna, group_by="GROUPING_TEAM").groups
        assert (group.group, amount(group.quota), group.attainment) == (team, 1000, 0.1)
        again = {**period, "amount": money(1)}
        assert anna.refusal("CreateQuota", quota=again).code is StatusCode.ALREADY_EXISTS
        assert anna.refusal("CreateQuota", quota={**again, "whole_team": True}).code is StatusCode.INVALID_ARGUMENT
        huge = {**again, "amount": money(2**62), "owner": f"users/{uuid.uuid4()}"}
        assert anna.refusal("CreateQuota", quota=huge).code is StatusCode.INVALID_ARGUMENT

    def test_has_nothing_of_others_for_who_sees_only_their_own(self, anna, pipeline):
        """Group totals leak where they go another way than lists; so would adjustments and quotas."""
        team = uuid.uuid4()
        ben, eva = anna.colleague("*:own"), anna.colleague("*:team", teams=[team])
        period = {"period": "FORECAST_PERIOD_MONTH", "start_date": date(TODAY.replace(day=1))}
        for caller, worth, fields in (
            (anna, 1, {}),
            (anna, 2, {"team": f"teams/{team}"}),
            (ben, 8, {}),
        ):
            deal(caller, worth, **fields)
            anna("MarkOpportunityWon", name=deal(caller, 10 * worth, **fields))
        for caller, worth in ((anna, 100), (ben, 800)):
            adjusted = {**period, "forecast_category": "FORECAST_CATEGORY_PIPELINE", "amount": money(worth)}
            caller("CreateForecastAdjustment", forecast_adjustment=adjusted)
            caller("CreateQuota", quota={**period, "amount": money(worth)})
        for caller, worth, overlaid in (
            (anna, 11, 900), (ben, 8, 800), (eva, 2, 0), (anna.colleague("*:own"), 0, 0),
        ):  # fmt: skip
            for group_by in ("GROUPING_UNSPECIFIED", "GROUPING_OWNER", "GROUPING_TEAM"):
                found = roll_up(caller, group_by=group_by)
                for forecasts in ([found.total], found.groups or [found.total]):
                    lines = [line for forecast in forecasts for line in forecast.lines]
                    pipeline_lines = [line for line in lines if line.category == PIPELINE + 1]
                    assert sum(amount(line.base_amount) for line in pipeline_lines) == worth
                    assert sum(amount(line.base_amount) for line in lines if line.category == CLOSED + 1) == 10 * worth
                    assert sum(amount(line.manager_adjustment) for line in pipeline_lines) == 0
                    assert sum(amount(line.owner_adjustment) for line in pipeline_lines) == overlaid
                    if group_by != "GROUPING_TEAM":
                        assert sum(amount(forecast.quota) for forecast in forecasts) == overlaid
        assert anna.colleague("sales.quotas.read:all").refusal("RollUpForecast", period=1).code is (
            StatusCode.PERMISSION_DENIED
        )

    def test_pages_have_every_group_once_and_the_whole_each_time(self, anna, pipeline):
        period = {"period": "FORECAST_PERIOD_MONTH", "start_date": date(TODAY.replace(day=1))}
        people = [anna.colleague("*:own") for _ in range(7)]
        for number, person in enumerate(people):
            if number % 3 == 0:
                deal(person, number + 1)
            elif number % 3 == 1:
                anna("MarkOpportunityWon", name=deal(person, number + 1))
            else:
                person("CreateQuota", quota={**period, "amount": money(number + 1)})
        asked = {"group_by": "GROUPING_OWNER", "page_size": 3}
        pages = [roll_up(anna, **asked)]
        while pages[-1].next_page_token:
            pages.append(roll_up(anna, **asked, page_token=pages[-1].next_page_token))
        assert [len(page.groups) for page in pages] == [3, 3, 1]
        assert [group.group for page in pages for group in page.groups] == sorted(person.user for person in people)
        assert all(page.total == pages[0].total for page in pages)
        assert list(roll_up(anna, group_by="GROUPING_OWNER").groups) == [
            group for page in pages for group in page.groups
        ]
        other = {"group_by": "GROUPING_TEAM", "page_token": pages[0].next_page_token}
        assert [*anna.refusal("RollUpForecast", period=1, **other).violations] == ["page_token"]

    def test_of_one_pipeline(self, anna, pipeline):
        other = anna("CreatePipeline", pipeline={"display_name": "Q"}).name
        deal(anna, 1)
        deal(anna, 2, pipeline=other)
        assert amount(roll_up(anna, pipeline=other).total.lines[PIPELINE].base_amount) == 2

    def test_by_the_fiscal_year(self, anna, pipeline):
        asked = {"date": {"year": 2027, "month": 2, "day": 28}, "fiscal_year_start_month": 2}
        found = roll_up(anna, period="FORECAST_PERIOD_QUARTER", **asked)
        assert (found.start_date.month, found.end_date.month, found.end_date.day) == (2, 4, 30)
        refusal = anna.refusal("RollUpForecast", period=1, date={"year": 2027})
        assert [*refusal.violations] == ["date"]


def bridged(caller, earlier, later, **fields):
    """Ask for the bridge, see that it adds up, and return it."""
    found = caller(
        "BridgeForecast",
        **{"from_snapshot": earlier.name, "to_snapshot": later.name, "period": "FORECAST_PERIOD_MONTH", **fields},
    )
    end = amounts(found.start_amounts)
    for step in found.steps:
        for currency, change in amounts(step.amounts).items():
            end[currency] = end.get(currency, Decimal(0)) + change
    assert {currency: left for currency, left in end.items() if left} == {
        currency: left for currency, left in amounts(found.end_amounts).items() if left
    }
    base = amount(found.start_base_amount) + sum(amount(step.base_amount) for step in found.steps)
    assert base == amount(found.end_base_amount)
    return found


def take(caller):
    return caller("CreateForecastSnapshot", forecast_snapshot={})


def changes(found):
    return {(Kind.Name(step.kind)[5:], step.count): amounts(step.amounts) for step in found.steps}


class TestSnapshots:
    def test_the_bridge_tells_what_happened(self, anna, pipeline, reason):
        month_later = TODAY + dt.timedelta(days=40)
        rate(anna, "USD", "0.5", TODAY - dt.timedelta(days=1))
        won, lost, pushed = deal(anna, 1), deal(anna, 2), deal(anna, 4)
        pulled, revalued, gone = deal(anna, 8, day=month_later), deal(anna, 16), deal(anna, 32)
        deal(anna, 64, "USD")
        omitted = deal(anna, 128)
        first = take(anna)
        update(anna, won, amount=money("1.5"))
        anna("MarkOpportunityWon", name=won)
        anna("MarkOpportunityLost", name=lost, close_reasons=[{"close_reason": reason}])
        update(anna, pushed, close_date=date(month_later))
        update(anna, pulled, close_date=date(TODAY), amount=money(9, "USD"))
        update(anna, revalued, amount=money("16.01"))
        anna("DeleteOpportunity", name=gone)
        update(anna, omitted, forecast_category="FORECAST_CATEGORY_OMITTED")
        deal(anna, 256)
        anna("MarkOpportunityWon", name=deal(anna, 512))
        rate(anna, "USD", "0.6", TODAY)
        second = take(anna)
        found = bridged(anna, first, second)
        assert amounts(found.start_amounts) == {"EUR": 1 + 2 + 4 + 16 + 32 + 128, "USD": 64}
        assert changes(found) == {
            ("NEW", 2): {"EUR": 256 + 512},
            ("PULLED_IN", 1): {"EUR": 8},
            ("PUSHED_OUT", 1): {"EUR": -4},
            ("WON", 2): {"EUR": Decimal("-1.5") - 512},
            ("LOST", 1): {"EUR": -2},
            ("REVALUED", 3): {"EUR": Decimal("0.5") - 8 + Decimal("0.01"), "USD": 9},
            ("REMOVED", 1): {"EUR": -32},
            ("RECATEGORIZED", 1): {"EUR": -128},
            ("EXCHANGED", 1): {},
        }
        assert {change.opportunity for change in found.changes} >= {won, lost, pushed, pulled, revalued, gone, omitted}
        anna("ReopenOpportunity", name=won)
        assert changes(bridged(anna, second, take(anna))) == {("REOPENED", 1): {"EUR": Decimal("1.5")}}

    def test_never_changes(self, anna, pipeline, server):
        name = deal(anna, 1)
        first, second = take(anna), take(anna)
        update(anna, name, amount=money(2))
        anna("DeleteOpportunity", name=name)
        assert not bridged(anna, first, second).steps
        with server.database.connect("app") as connection:
            privilege = "SELECT has_table_privilege('forecast_deals', 'UPDATE')"
            assert connection.execute(privilege).fetchone() == (False,)

    def test_the_bridge_has_nothing_of_others(self, anna, pipeline):
        ben = anna.colleague("*:own")
        mine, theirs = deal(anna, 1), deal(ben, 2)
        first = take(anna)
        update(anna, mine, owner=ben.user, amount=money(4))
        update(anna, theirs, owner=anna.user, amount=money(8))
        second = take(anna)
        assert changes(bridged(ben, first, second)) == {("REASSIGNED", 2): {"EUR": 4 - 2}}
        assert changes(bridged(anna, first, second)) == {("REVALUED", 2): {"EUR": 9}}
        outsider = anna.colleague("*:own")
        found = bridged(outsider, first, second)
        assert not any((found.steps, found.start_amounts, found.end_amounts, found.changes))

    def test_what_cannot_be_bridged(self, anna, pipeline):
        first, second = take(anna), take(anna)
        asked = {"from_snapshot": second.name, "to_snapshot": first.name, "period": 1}
        assert [*anna.refusal("BridgeForecast", **asked).violations] == ["to_snapshot"]
        asked["from_snapshot"] = f"forecastSnapshots/{uuid.uuid4()}"
        assert anna.refusal("BridgeForecast", **asked).code is StatusCode.NOT_FOUND

    def test_are_taken_once_a_day_by_however_many(self, anna, pipeline, server):
        deal(anna, 1)
        records, system = _records(server.runtime), server.runtime.system
        job = snapshots.job(records["forecastSnapshots"], lambda: TODAY)

        def daily():
            return list(anna("ListForecastSnapshots", filter="kind = KIND_DAILY").forecast_snapshots)

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(lambda _: job.run_once(system), range(4))) == 1
        assert [(one.day.year, one.day.month, one.day.day) for one in daily()] == [tuple(TODAY.timetuple()[:3])]
        assert anna.tenant not in snapshots.due(system, TODAY)
        # Who lost the lease, and takes it all the same.
        with pytest.raises(psycopg.errors.UniqueViolation), server.runtime.database.write(anna.tenant) as tx:
            records["forecastSnapshots"].take_daily(tx, start_span(), TODAY)
        assert len(daily()) == 1
        with server.runtime.database.write(anna.tenant) as tx:
            records["forecastSnapshots"].take_daily(tx, start_span(), TODAY + dt.timedelta(days=1))
        assert len(daily()) == 2
