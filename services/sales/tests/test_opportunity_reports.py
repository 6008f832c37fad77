"""What many opportunities come to: imports, boards and groups, and which of them are stalled."""

from __future__ import annotations

import datetime as dt
import uuid
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from grpc import StatusCode

from kontor.sales.v1.opportunity_service_pb2 import AnalyzeOpportunitiesRequest
from kontor_sales.opportunities.stalling import WATCH
from kontor_sales.service import service

Dimension = AnalyzeOpportunitiesRequest.Dimension
START = dt.datetime(2025, 1, 10, tzinfo=dt.UTC)


def day(number):
    return START + dt.timedelta(days=number)


def money(units, currency="EUR"):
    return {"currency_code": currency, "units": units}


def row(name="Deal", *, opened=0, closed=None, visits=(), **fields):
    history = [{"stage": stage, "enter_time": day(entered)} for stage, entered in visits]
    times = {"open_time": day(opened)} if opened is not None else {}
    if closed is not None:
        times["close_time"] = day(closed)
    return {"opportunity": {"display_name": name, **fields}, "visits": history, **times}


def load(caller, *rows):
    return list(caller("ImportOpportunities", requests=rows).opportunities)


def amounts(sums):
    return {money.currency_code: Decimal(money.units) + Decimal(money.nanos) / 10**9 for money in sums}


def groups(caller, *dimensions, **fields):
    names = [f"DIMENSION_{name}" for name in dimensions]
    return {tuple(group.keys): group for group in caller("AnalyzeOpportunities", group_by=names, **fields).groups}


@pytest.fixture
def pipeline(anna):
    stages = [
        {"id": "first", "display_name": "1", "probability": {"value": "0.1"}},
        {"id": "second", "display_name": "2", "probability": {"value": "0.333"}, "stalled_after_days": 30},
    ]
    return anna("CreatePipeline", pipeline={"display_name": "P", "stages": stages, "default": True})


class TestImport:
    def test_keeps_the_dates(self, anna, pipeline):
        visits = [("first", 0), ("second", 5), ("first", 6), ("lost", 20)]
        rows = [
            row("A", closed=20, visits=visits, stage="lost", amount=money(7)),
            row("B", closed=30, stage="won", amount=money(8)),
            row("C", stage="second"),
            row("D", opened=None),
            row("E", opened=None, closed=3, stage="won"),
        ]
        lost, won, running, new, short = (anna("GetOpportunity", name=name) for name in load(anna, *rows))
        assert (lost.state, lost.last_open_stage) == (3, "first")
        assert (lost.open_time.ToDatetime(dt.UTC), lost.close_time.ToDatetime(dt.UTC)) == (day(0), day(20))
        assert (won.state, won.last_open_stage, won.stage_enter_time.ToDatetime(dt.UTC)) == (2, "", day(30))
        assert (running.state, running.stage_enter_time.ToDatetime(dt.UTC)) == (1, day(0))
        assert new.open_time == new.stage_enter_time
        assert new.owner == anna.user
        assert (short.open_time, short.close_time.ToDatetime(dt.UTC)) == (short.close_time, day(3))
        told = anna("ListStageVisits", name=lost.name)
        assert [(v.from_stage, v.stage, v.enter_time.ToDatetime(dt.UTC)) for v in told.visits] == [
            ("", "first", day(0)),
            ("first", "second", day(5)),
            ("second", "first", day(6)),
            ("first", "lost", day(20)),
        ]
        assert [(t.stage, t.visits, t.duration.ToTimedelta().days) for t in told.totals] == [
            ("first", 2, 19),
            ("second", 1, 1),
            ("lost", 1, 0),
        ]
        assert len(anna("ListStageVisits", name=won.name).visits) == 1

    @pytest.mark.parametrize(
        ("bad", "path"),
        [
            (row(stage="nowhere"), "opportunity.stage"),
            (row(stage="won", opened=5, closed=4), "close_time"),
            (row(stage="first", visits=[("second", 1), ("first", 0)]), "visits[1].enter_time"),
            (row(stage="first", visits=[("nowhere", 0), ("first", 1)]), "visits[0].stage"),
            (row(stage="first", visits=[("second", 0)]), "visits[0].stage"),
            (row(opened=10_000), "open_time"),
            (row(amount=money(-1)), "opportunity.amount"),
            (row(" "), "opportunity.display_name"),
        ],
        ids=range(8),
    )
    def test_names_the_row_and_the_field_and_stores_nothing(self, anna, pipeline, bad, path):
        refusal = anna.refusal("ImportOpportunities", requests=[row(), bad])
        assert (refusal.code, [*refusal.violations]) == (StatusCode.INVALID_ARGUMENT, [f"requests[1].{path}"])
        assert not anna("ListOpportunities").opportunities

    def test_is_a_right_of_its_own(self, anna, pipeline):
        seller = anna.colleague("sales.opportunities.create:all", "sales.opportunities.read:all")
        assert seller.refusal("ImportOpportunities", requests=[row()]).code is StatusCode.PERMISSION_DENIED
        own = anna.colleague("sales.opportunities.import:own")
        load(own, row())
        foreign = row(owner=anna.user)
        assert own.refusal("ImportOpportunities", requests=[foreign]).code is StatusCode.PERMISSION_DENIED

    def test_happens_once_with_a_request_id(self, anna, pipeline):
        request = {"requests": [row(), row()], "request_id": str(uuid.uuid4())}
        first, second = (anna("ImportOpportunities", **request) for _ in range(2))
        assert first == second
        assert len(anna("ListOpportunities").opportunities) == 2

    def test_does_not_ask_for_what_the_pipeline_asks_of_new_ones(self, anna):
        anna(
            "CreatePipeline",
            pipeline={
                "display_name": "P",
                "default": True,
                "next_step_required": True,
                "stages": [{"id": "a", "display_name": "A", "entry_criteria": {"positive_amount": True}}],
            },
        )
        load(anna, row(), row(stage="lost"))


class TestBoard:
    def test_shows_totals_and_the_first_of_each_stage(self, anna, pipeline):
        deals = [
            row(f"A{number}", stage="first", amount=money(10 * number),
                close_date={"year": 2027, "month": 1, "day": 30 - number})
            for number in range(1, 5)
        ]  # fmt: skip
        deals += [
            row("late", stage="first"),
            row("dollars", stage="second", amount=money(100, "USD")),
            row("euros", stage="second", amount=money(1)),
            row("won", stage="won", closed=1, amount=money(5)),
        ]
        load(anna, *deals)
        anna("DeleteOpportunity", name=load(anna, row("gone", stage="first", amount=money(1000)))[0])
        first, second, won, lost = anna("ShowBoard", name=pipeline.name, page_size=3).columns
        assert [(c.stage, c.count, c.category) for c in (first, second, won, lost)] == [
            ("first", 5, 1),
            ("second", 2, 1),
            ("won", 1, 2),
            ("lost", 0, 3),
        ]
        assert amounts(first.amounts) == {"EUR": 100}
        assert amounts(first.weighted_amounts) == {"EUR": 10}
        assert amounts(second.amounts) == {"EUR": 1, "USD": 100}
        assert amounts(second.weighted_amounts) == {"EUR": Decimal("0.33"), "USD": Decimal("33.3")}
        assert amounts(won.weighted_amounts) == {"EUR": 5}
        assert [deal.display_name for deal in first.opportunities] == ["A4", "A3", "A2"]
        assert [deal.display_name for deal in anna("ShowBoard", name=pipeline.name).columns[0].opportunities] == [
            "A4", "A3", "A2", "A1", "late",
        ]  # fmt: skip
        (shown,) = won.opportunities
        assert (shown.owner, shown.amount.units, shown.etag) == (anna.user, 5, "v1")

    def test_has_nothing_of_others_for_who_sees_only_their_own(self, anna, pipeline):
        """Group totals leak where they go another way than lists."""
        team = uuid.uuid4()
        ben, eva = anna.colleague("*:own"), anna.colleague("*:team", teams=[team])
        load(anna, row(amount=money(1)), row(amount=money(2), team=f"teams/{team}"), row(amount=money(4)))
        load(ben, row(amount=money(8)))
        seen = [(anna, (4, 15)), (ben, (1, 8)), (eva, (1, 2)), (anna.colleague("*:own"), (0, None))]
        for caller, (count, euros) in seen:
            column = caller("ShowBoard", name=pipeline.name).columns[0]
            assert (column.count, len(column.opportunities)) == (count, count)
            assert amounts(column.amounts).get("EUR") == euros
            everything = groups(caller)
            assert sum(group.count for group in everything.values()) == count
            by_owner = groups(caller, "OWNER")
            assert sum(group.count for group in by_owner.values()) == count
            assert sum(amounts(group.open_amounts)["EUR"] for group in by_owner.values()) == (euros or 0)

    def test_of_a_pipeline_that_is_not_there(self, anna):
        refusal = anna.refusal("ShowBoard", name=f"pipelines/{uuid.uuid4()}")
        assert refusal.code is StatusCode.NOT_FOUND


class TestAnalysis:
    @pytest.fixture
    def deals(self, anna, pipeline):
        """Two teams, two currencies, three quarters; one owner who is somebody else."""
        other = f"users/{uuid.uuid4()}"
        return load(
            anna,
            row(stage="won", closed=10, amount=money(100), source="Fair"),
            row(stage="won", closed=100, amount=money(50, "USD"), source="Fair"),
            row(stage="lost", closed=40, visits=[("second", 0), ("lost", 40)], amount=money(7), owner=other),
            row(stage="first", amount=money(3), owner=other),
            row(stage="second"),
        )

    def test_of_everything_together(self, anna, deals):
        (group,) = anna("AnalyzeOpportunities").groups
        assert (group.count, group.open_count, group.won_count, group.lost_count) == (5, 2, 2, 1)
        assert group.win_rate == 2 / 3
        assert amounts(group.won_amounts) == {"EUR": 100, "USD": 50}
        assert (amounts(group.lost_amounts), amounts(group.open_amounts)) == ({"EUR": 7}, {"EUR": 3})
        assert (group.mean_cycle_days, group.mean_won_cycle_days) == (50, 55)

    def test_in_groups(self, anna, deals):
        stages = groups(anna, "STAGE")
        assert {key: group.count for key, group in stages.items()} == {
            ("first",): 1,
            ("lost",): 1,
            ("second",): 1,
            ("won",): 2,
        }
        assert not stages["first",].HasField("win_rate")
        assert {key[0]: group.won_count for key, group in groups(anna, "CLOSE_QUARTER").items()} == {
            "": 0,
            "2025-Q1": 1,
            "2025-Q2": 1,
        }
        assert {key: group.count for key, group in groups(anna, "STATE", "SOURCE").items()} == {
            ("STATE_OPEN", ""): 2,
            ("STATE_WON", "Fair"): 2,
            ("STATE_LOST", ""): 1,
        }
        assert groups(anna, "LAST_OPEN_STAGE", filter="state = STATE_LOST").keys() == {("second",)}
        owners = groups(anna, "OWNER", "CLOSE_MONTH", filter="state = STATE_WON")
        assert set(owners) == {(anna.user, "2025-01"), (anna.user, "2025-04")}

    def test_in_a_time_zone(self, anna, pipeline):
        late = {"close_time": dt.datetime(2025, 3, 31, 23, 30, tzinfo=dt.UTC), "open_time": START}
        load(anna, {"opportunity": {"display_name": "D", "stage": "won"}, **late})
        assert groups(anna, "CLOSE_QUARTER").keys() == {("2025-Q1",)}
        assert groups(anna, "CLOSE_QUARTER", time_zone="Europe/Berlin").keys() == {("2025-Q2",)}
        refusal = anna.refusal("AnalyzeOpportunities", time_zone="Mars/North")
        assert [*refusal.violations] == ["time_zone"]

    def test_by_product_counts_lines(self, anna, pipeline):
        one, two = (anna("CreateProduct", product={"sku": sku, "display_name": sku}).name for sku in "AB")
        lines = [
            {"product": one, "unit_price": {"currency_code": "EUR", "units": 2, "nanos": 500_000_000}},
            {"product": two, "unit_price": money(4), "quantity": {"value": "3"}},
        ]
        load(anna, row(stage="won", closed=1, lines=lines), row(stage="won", closed=1, lines=lines[:1]), row())
        found = groups(anna, "PRODUCT")
        assert {key[0]: amounts(group.won_amounts) for key, group in found.items()} == {
            one: {"EUR": 5},
            two: {"EUR": 12},
            "": {},
        }

    @pytest.mark.parametrize(
        ("fields", "path"),
        [
            ({"filter": "nothing = 1"}, "filter"),
            ({"filter": "stage ="}, "filter"),
            ({"group_by": [1, 2, 3, 4]}, "group_by"),
            ({"group_by": [1, 1]}, "group_by"),
            ({"group_by": [99]}, "group_by[0]"),
        ],
    )
    def test_names_the_field_that_is_wrong(self, anna, fields, path):
        refusal = anna.refusal("AnalyzeOpportunities", **fields)
        assert (refusal.code, [*refusal.violations]) == (StatusCode.INVALID_ARGUMENT, [path])

    def test_has_nothing_of_another_tenant(self, anna, deals, server):
        assert not server.caller()("AnalyzeOpportunities").groups


class TestStalled:
    def test_after_the_days_of_the_stage_as_long_as_few_have_left_it(self, anna, pipeline):
        now = dt.datetime.now(dt.UTC)
        rows = [
            {"opportunity": {"display_name": "D", "stage": stage}, "open_time": now - dt.timedelta(days=days)}
            for stage, days in (("second", 31), ("second", 29), ("first", 400))
        ]
        names = load(anna, *rows)
        assert [anna("GetOpportunity", name=name).is_stalled for name in names] == [True, False, False]
        by_name = {deal.name: deal.is_stalled for deal in anna("ListOpportunities").opportunities}
        assert by_name == dict(zip(names, [True, False, False], strict=True))
        masked = anna("GetOpportunity", name=names[0], read_mask={"paths": ["is_stalled"]})
        assert masked.is_stalled
        assert not masked.stage
        assert anna("ShowBoard", name=pipeline.name).columns[1].opportunities[0].is_stalled

    def test_after_nine_of_ten_of_those_that_left_it(self, anna, pipeline):
        """They stayed for 1 to 41 days: the 90th percentile is 37 days."""
        left = [row(visits=[("second", 0), ("first", days)], stage="first") for days in range(1, 42)]
        now = dt.datetime.now(dt.UTC)
        waiting = [
            {"opportunity": {"display_name": "D", "stage": "second"}, "open_time": now - dt.timedelta(days=days)}
            for days in (36, 38)
        ]
        names = load(anna, *left, *waiting)[-2:]
        assert [anna("GetOpportunity", name=name).is_stalled for name in names] == [False, True]
        anna("UpdatePipeline", pipeline={"name": pipeline.name, "stalled_percentile": 50})
        assert [anna("GetOpportunity", name=name).is_stalled for name in names] == [True, True]
        won = anna("MarkOpportunityWon", name=names[1])
        assert not won.is_stalled

    def test_is_told_once_in_each_stage_however_many_look(self, anna, pipeline, server):
        now = dt.datetime.now(dt.UTC)
        names = load(anna, *(
            {"opportunity": {"display_name": "D", "stage": "second"}, "open_time": now - dt.timedelta(days=days)}
            for days in (31, 29)
        ))  # fmt: skip

        def look(days: int) -> None:
            runtime, then = server.runtime, dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
            job = WATCH.periodic(runtime.database, service().use(runtime), lambda: then)
            with server.database.connect() as connection:
                connection.execute("UPDATE leases SET expire_time = 'epoch'")
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(lambda _: job.run_once(runtime.system), range(4)))

        def stalled():
            return [
                deal.name
                for deal in anna("ListOpportunities", filter="stalled_time > 2020-01-01T00:00:00Z").opportunities
            ]

        def told(name):
            with server.database.connect() as connection:
                found = connection.execute("SELECT event_type FROM change_pending WHERE resource_name = %s", [name])
                return sum(event.endswith(".stalled") for (event,) in found.fetchall())

        look(0)
        look(0)
        assert (stalled(), [told(name) for name in names]) == ([names[0]], [1, 0])
        look(2)
        assert ({*stalled()}, [told(name) for name in names]) == ({*names}, [1, 1])
        anna("MoveOpportunityStage", name=names[0], stage="first")
        assert stalled() == [names[1]]
        anna("MoveOpportunityStage", name=names[0], stage="second")
        look(40)
        assert [told(name) for name in names] == [2, 1]

    def test_is_not_told_of_what_is_deleted_until_it_is_back(self, anna, pipeline, server):
        opened = dt.datetime.now(dt.UTC) - dt.timedelta(days=31)
        [name] = load(anna, {"opportunity": {"display_name": "D", "stage": "second"}, "open_time": opened})
        anna("DeleteOpportunity", name=name)

        def look(days: int) -> None:
            runtime, then = server.runtime, dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
            with server.database.connect() as connection:
                connection.execute("UPDATE leases SET expire_time = 'epoch'")
            WATCH.periodic(runtime.database, service().use(runtime), lambda: then).run_once(runtime.system)

        look(0)
        assert not anna("UndeleteOpportunity", name=name).HasField("stalled_time")
        look(8)
        assert anna("GetOpportunity", name=name).HasField("stalled_time")


class TestWarnings:
    def test_come_with_the_record(self, anna, pipeline):
        anna("UpdatePipeline", pipeline={"name": pipeline.name, "economic_buyer_from": "second"})
        blocker = {"contact": f"contacts/{uuid.uuid4()}", "role": 5, "stance": -2, "influence": 4}
        past = {"year": 2025, "month": 1, "day": 1}
        deal = anna(
            "CreateOpportunity",
            opportunity={
                "display_name": "D",
                "stage": "second",
                "buying_centre": [blocker],
                "decision_steps": [{"display_name": "Board", "due_date": past}],
                "next_step_date": past,
                "close_date": past,
            },
        )
        assert [warning.code for warning in deal.warnings] == [1, 2, 3, 4, 5, 6]
        assert all(warning.message for warning in deal.warnings)
        won = anna("MarkOpportunityWon", name=deal.name)
        assert not won.warnings
