"""Opportunities: what is theirs alone; what they share with all resources is tested in the kit."""

from __future__ import annotations

import threading
import uuid

import pytest
from grpc import StatusCode

CLOSED = "CLOSED"


def create(caller, **fields):
    return caller("CreateOpportunity", opportunity={"display_name": "Deal", **fields})


def update(caller, deal, *paths, **fields):
    return caller(
        "UpdateOpportunity",
        opportunity={"name": deal.name, **fields},
        update_mask={"paths": [*paths] or [*fields]},
    )


def refused(caller, deal, **fields):
    return caller.refusal("UpdateOpportunity", opportunity={"name": deal.name, **fields})


def pipeline_of(caller, *stages, **fields):
    stages = [{"display_name": stage["id"].title(), **stage} for stage in stages]
    return caller("CreatePipeline", pipeline={"display_name": "P", "stages": stages, **fields})


def money(units, currency="EUR"):
    return {"currency_code": currency, "units": units}


def contact():
    return f"contacts/{uuid.uuid4()}"


def reason(caller, name="Price", outcome=1, **fields):
    return caller("CreateCloseReason", close_reason={"display_name": name, "outcome": outcome, **fields}).name


def lose(caller, deal, **fields):
    reasons = [{"close_reason": reason(caller, f"R {uuid.uuid4()}"), "weight": 70}]
    return caller("MarkOpportunityLost", name=deal.name, **{"close_reasons": reasons, **fields})


def events(caller, deal):
    with caller.running.database.connect() as connection:
        rows = connection.execute(
            "SELECT event_type, version FROM change_pending WHERE resource_name = %s"
            " UNION ALL SELECT event_type, version FROM change_log WHERE resource_name = %s ORDER BY version",
            [deal.name, deal.name],
        ).fetchall()
    return [name.rpartition(".")[2] for name, _ in rows]


class TestStored:
    def test_comes_back_in_every_field_and_in_its_normal_form(self, anna):
        product = anna("CreateProduct", product={"sku": "A", "display_name": "A"})
        boss, user = contact(), contact()
        sent = {
            "display_name": "Deal",
            "description": "D",
            "account": f"accounts/{uuid.uuid4()}",
            "lines": [{"product": product.name, "quantity": {"value": "3"}, "unit_price": money(5)}],
            "amount": money(1),
            "close_date": {"year": 2027, "month": 3, "day": 1},
            "competitors": [{"display_name": "Acme", "strengths": "cheap", "price": money(9)}],
            "buying_centre": [
                {"contact": boss, "role": 3, "stance": 1, "influence": 5},
                {"contact": user, "role": 4, "stance": -2, "influence": 1, "reports_to": boss},
            ],
            "decision_steps": [
                {"display_name": "Board", "due_date": {"year": 2027, "month": 1, "day": 2}, "contact": boss}
            ],
            "next_step": "Call",
            "next_step_date": {"year": 2027, "month": 1, "day": 1},
            "source": "Fair",
            "partner": f"accounts/{uuid.uuid4()}",
            "tags": ["a"],
            "external_ids": [{"system": "erp", "key": "1"}],
        }
        deal = anna("CreateOpportunity", opportunity=sent)
        assert anna("GetOpportunity", name=deal.name) == deal
        assert (deal.stage, deal.state, deal.last_open_stage) == ("qualification", 1, "qualification")
        assert (deal.amount.units, deal.lines[0].net_amount.units) == (15, 15)
        assert deal.forecast_category == 2
        assert deal.open_time == deal.stage_enter_time
        assert not deal.HasField("close_time")
        for name in ("description", "account", "source", "partner", "next_step", "tags"):
            assert getattr(deal, name) == sent[name]
        (listed,) = anna(
            "ListOpportunities", filter=f'lines.product:"{product.name}" AND competitors.display_name:acme'
        ).opportunities
        assert listed == deal
        (found,) = anna("SearchOpportunities", query="deal").results
        assert found.opportunity == deal

    @pytest.mark.parametrize(
        ("fields", "path"),
        [
            ({"display_name": " "}, "display_name"),
            ({"stage": "nowhere"}, "stage"),
            ({"pipeline": f"pipelines/{uuid.UUID(int=7)}"}, "pipeline"),
            ({"amount": money(-1)}, "amount"),
            ({"amount": money(1, "XQQ")}, "amount.currency_code"),
            ({"amount": money(2**63 - 1)}, "amount"),
            ({"lines": [{"product": f"products/{uuid.UUID(int=7)}", "unit_price": money(1)}]}, "lines[0].product"),
            ({"buying_centre": [{"contact": f"contacts/{uuid.UUID(int=7)}", "role": 1, "stance": 3}]},
             "buying_centre[0].stance"),
            ({"competitors": [{"display_name": "A"}, {"display_name": "a"}]}, "competitors[1].display_name"),
            ({"competitors": [{"display_name": "A", "winner": True}]}, "competitors[0].winner"),
            ({"decision_steps": [{"display_name": "B", "due_date": {"year": 2027}}]}, "decision_steps[0].due_date"),
            ({"decision_steps": [{"display_name": "B", "contact": f"contacts/{uuid.UUID(int=7)}"}]},
             "decision_steps[0].contact"),
            ({"close_reasons": [{"close_reason": f"closeReasons/{uuid.UUID(int=7)}"}]}, "close_reasons[0].close_reason"),
        ],
    )  # fmt: skip
    def test_names_the_field_that_is_wrong(self, anna, fields, path):
        refusal = anna.refusal("CreateOpportunity", opportunity={"display_name": "Deal", **fields})
        assert (refusal.code, [*refusal.violations]) == (StatusCode.INVALID_ARGUMENT, [f"opportunity.{path}"])
        assert len(anna("ListOpportunities").opportunities) == 0

    def test_what_is_not_there_elsewhere_is_not_referred_to(self, anna, peer):
        nobody = contact()
        peer.absent.add(nobody)
        deal = create(anna)
        refusal = refused(anna, deal, buying_centre=[{"contact": nobody, "role": 1}])
        assert [*refusal.violations] == ["opportunity.buying_centre[0].contact"]

    def test_amount_is_that_of_the_lines_as_long_as_there_are_any(self, anna):
        deal = create(anna, amount=money(7))
        assert deal.amount.units == 7
        deal = update(anna, deal, lines=[{"description": "Work", "unit_price": money(100)}])
        assert update(anna, deal, amount=money(8)).amount.units == 100
        assert update(anna, deal, "lines").amount.units == 100
        assert update(anna, deal, amount=money(8)).amount.units == 8


class TestMoves:
    def test_are_kept_as_visits(self, anna):
        deal = create(anna)
        anna("MoveOpportunityStage", name=deal.name, stage="proposal")
        update(anna, deal, stage="analysis")
        deal = anna("MoveOpportunityStage", name=deal.name, stage="proposal")
        told = anna("ListStageVisits", name=deal.name)
        assert [(visit.from_stage, visit.stage) for visit in told.visits] == [
            ("", "qualification"),
            ("qualification", "proposal"),
            ("proposal", "analysis"),
            ("analysis", "proposal"),
        ]
        for earlier, later in zip(told.visits, told.visits[1:], strict=False):
            assert earlier.leave_time == later.enter_time
            assert earlier.duration.ToTimedelta() == later.enter_time.ToDatetime() - earlier.enter_time.ToDatetime()
        assert not told.visits[-1].HasField("leave_time")
        assert {visit.actor for visit in told.visits} == {anna.user}
        assert [(total.stage, total.visits) for total in told.totals] == [
            ("qualification", 1),
            ("proposal", 2),
            ("analysis", 1),
        ]
        sums = sum(visit.duration.ToTimedelta().total_seconds() for visit in told.visits if visit.stage == "proposal")
        assert told.totals[1].duration.ToTimedelta().total_seconds() == pytest.approx(sums)
        assert deal.stage_enter_time == told.visits[-1].enter_time
        assert events(anna, deal) == ["created", "moved", "moved", "moved"]

    def test_to_where_it_is_changes_nothing(self, anna):
        deal = create(anna)
        assert anna("MoveOpportunityStage", name=deal.name, stage=deal.stage) == deal
        assert len(anna("ListStageVisits", name=deal.name).visits) == 1

    def test_to_another_pipeline(self, anna):
        deal, other = create(anna), pipeline_of(anna, {"id": "first"})
        assert [*refused(anna, deal, pipeline=other.name).violations] == ["opportunity.stage"]
        moved = update(anna, deal, pipeline=other.name, stage="first")
        assert (moved.pipeline, moved.stage) == (other.name, "first")
        assert [visit.pipeline for visit in anna("ListStageVisits", name=deal.name).visits] == [
            deal.pipeline,
            other.name,
        ]

    def test_of_a_stale_record_are_refused(self, anna):
        deal = create(anna)
        anna("MoveOpportunityStage", name=deal.name, stage="analysis", etag=deal.etag)
        refusal = anna.refusal("MoveOpportunityStage", name=deal.name, stage="proposal", etag=deal.etag)
        assert (refusal.code, refusal.reason) == (StatusCode.ABORTED, "STALE_ETAG")

    def test_by_two_at_once_one_is_refused(self, anna):
        deal, ends = create(anna), []

        def move(stage):
            try:
                anna("MoveOpportunityStage", name=deal.name, stage=stage, etag=deal.etag)
                ends.append(stage)
            except Exception as error:  # noqa: BLE001
                ends.append(error.code())

        threads = [threading.Thread(target=move, args=[stage]) for stage in ("analysis", "proposal")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ends.count(StatusCode.ABORTED) == 1
        assert len(anna("ListStageVisits", name=deal.name).visits) == 2

    def test_happen_once_with_a_request_id(self, anna):
        deal, key = create(anna), str(uuid.uuid4())
        first, second = (
            anna("MoveOpportunityStage", name=deal.name, stage="proposal", request_id=key) for _ in range(2)
        )
        assert first == second
        assert len(anna("ListStageVisits", name=deal.name).visits) == 2

    def test_are_tried_without_being_stored(self, anna):
        deal = create(anna)
        tried = anna("MoveOpportunityStage", name=deal.name, stage="proposal", validate_only=True)
        assert tried.stage == "proposal"
        assert anna("GetOpportunity", name=deal.name) == deal


class TestCriteria:
    @pytest.fixture
    def pipeline(self, anna):
        return pipeline_of(
            anna,
            {"id": "first", "exit_criteria": {"required_fields": ["account", "custom_fields.budget"]}},
            {"id": "second", "entry_criteria": {"positive_amount": True, "required_roles": [3]}},
            {"id": "third"},
        )

    def test_hold_where_they_are_left_and_entered(self, anna, pipeline):
        deal = create(anna, pipeline=pipeline.name)
        refusal = anna.refusal("MoveOpportunityStage", name=deal.name, stage="second")
        assert (refusal.code, refusal.reason) == (StatusCode.FAILED_PRECONDITION, "CRITERIA_NOT_MET")
        for part in ("account", "custom_fields.budget", "economic buyer", "amount"):
            assert part in refusal.message
        assert refused(anna, deal, stage="second").reason == "CRITERIA_NOT_MET"
        assert anna.refusal("MarkOpportunityWon", name=deal.name).reason == "CRITERIA_NOT_MET"
        lose(anna, deal)

    def test_are_looked_at_with_what_comes_in_the_same_call(self, anna, pipeline):
        deal = create(anna, pipeline=pipeline.name, stage="third")
        met = {"amount": money(1), "buying_centre": [{"contact": contact(), "role": 3}]}
        assert update(anna, deal, stage="second", **met).stage == "second"

    def test_hold_for_what_begins_late(self, anna, pipeline):
        refusal = anna.refusal(
            "CreateOpportunity", opportunity={"display_name": "D", "pipeline": pipeline.name, "stage": "second"}
        )
        assert refusal.reason == "CRITERIA_NOT_MET"

    def test_are_set_aside_by_who_may_for_a_reason_that_is_kept(self, anna, pipeline):
        deal = create(anna, pipeline=pipeline.name)
        seller = anna.colleague("sales.opportunities.update:all", "sales.opportunities.read:all")
        override = {"name": deal.name, "stage": "second", "exception_reason": "The board said so"}
        assert seller.refusal("OverrideOpportunityStage", **override).code is StatusCode.PERMISSION_DENIED
        refusal = anna.refusal("OverrideOpportunityStage", name=deal.name, stage="second")
        assert [*refusal.violations] == ["exception_reason"]
        moved = anna("OverrideOpportunityStage", **override)
        assert (moved.stage, moved.stage_exception) == ("second", "The board said so")
        assert [visit.exception_reason for visit in anna("ListStageVisits", name=deal.name).visits] == [
            "",
            "The board said so",
        ]
        moved = anna("MoveOpportunityStage", name=deal.name, stage="third")
        assert moved.stage_exception == ""
        assert update(anna, moved, description="x").stage_exception == ""

    def test_do_not_hold_on_the_way_back(self, anna, pipeline):
        deal = create(anna, pipeline=pipeline.name, stage="third")
        assert anna("MoveOpportunityStage", name=deal.name, stage="first").stage == "first"

    def test_the_next_step_is_mandatory_where_the_pipeline_says_so(self, anna):
        pipeline = pipeline_of(anna, {"id": "first"}, next_step_required=True)
        refusal = anna.refusal("CreateOpportunity", opportunity={"display_name": "D", "pipeline": pipeline.name})
        assert {*refusal.violations} == {"opportunity.next_step", "opportunity.next_step_date"}
        step = {"next_step": "Call", "next_step_date": {"year": 2027, "month": 1, "day": 1}}
        deal = create(anna, pipeline=pipeline.name, **step)
        assert [*refused(anna, deal, next_step=" ").violations] == ["opportunity.next_step"]
        assert anna("MarkOpportunityWon", name=deal.name).state == 2

    def test_the_next_step_is_not_asked_of_what_comes_back(self, anna):
        pipeline = pipeline_of(anna, {"id": "first"})
        deal = create(anna, pipeline=pipeline.name)
        anna("DeleteOpportunity", name=deal.name)
        anna("UpdatePipeline", pipeline={"name": pipeline.name, "next_step_required": True})
        assert anna("UndeleteOpportunity", name=deal.name).stage == "first"
        assert {*refused(anna, deal, source="Fair").violations} == {
            "opportunity.next_step",
            "opportunity.next_step_date",
        }


class TestClosing:
    def test_as_won(self, anna):
        deal = create(anna, amount=money(10))
        why = reason(anna, "Quality", 2)
        won = anna("MarkOpportunityWon", name=deal.name, close_reasons=[{"close_reason": why}])
        assert (won.stage, won.state, won.last_open_stage) == ("won", 2, "qualification")
        assert won.close_time == won.stage_enter_time
        assert [(held.close_reason, held.weight) for held in won.close_reasons] == [(why, 1)]
        assert events(anna, deal) == ["created", "won"]
        visits = anna("ListStageVisits", name=deal.name).visits
        assert [visit.HasField("duration") for visit in visits] == [True, False]

    def test_as_lost_needs_a_reason_of_its_kind(self, anna):
        deal = create(anna)
        assert [*anna.refusal("MarkOpportunityLost", name=deal.name).violations] == ["close_reasons"]
        assert [*refused(anna, deal, stage="lost").violations] == ["opportunity.close_reasons"]
        wrong = [{"close_reason": reason(anna, "Quality", 2)}]
        refusal = anna.refusal("MarkOpportunityLost", name=deal.name, close_reasons=wrong)
        assert [*refusal.violations] == ["close_reasons[0].close_reason"]
        other = [{"close_reason": reason(anna, "Other", 1, note_required=True)}]
        refusal = anna.refusal("MarkOpportunityLost", name=deal.name, close_reasons=other)
        assert [*refusal.violations] == ["close_reasons[0].note"]
        other[0]["note"] = "They moved away"
        lost = anna("MarkOpportunityLost", name=deal.name, close_reasons=other)
        assert (lost.state, lost.last_open_stage) == (3, "qualification")
        assert events(anna, deal) == ["created", "lost"]

    def test_as_lost_to_a_competitor_tells_the_price_gap(self, anna):
        rivals = [{"display_name": "Acme", "price": money(80)}, {"display_name": "Umbrella"}]
        deal = create(anna, amount=money(100), competitors=rivals)
        lost = lose(anna, deal, winner="acme")
        assert [(rival.display_name, rival.winner) for rival in lost.competitors] == [
            ("Acme", True),
            ("Umbrella", False),
        ]
        assert (lost.price_gap.units, lost.price_gap.currency_code) == (20, "EUR")
        other = lose(anna, create(anna, amount=money(100)), winner="Nobody knew", price_gap=money(-5))
        assert (other.competitors[0].display_name, other.price_gap.units) == ("Nobody knew", -5)

    def test_freezes_what_counts(self, anna):
        deal = create(anna, amount=money(10))
        anna("MarkOpportunityWon", name=deal.name)
        assert refused(anna, deal, amount=money(11)).reason == CLOSED
        assert refused(anna, deal, lines=[{"description": "x", "unit_price": money(1)}]).reason == CLOSED
        assert refused(anna, deal, stage="proposal").reason == CLOSED
        assert anna.refusal("MoveOpportunityStage", name=deal.name, stage="proposal").reason == CLOSED
        assert anna.refusal("MarkOpportunityWon", name=deal.name).reason == CLOSED
        before = anna("GetOpportunity", name=deal.name)
        after = update(anna, deal, description="Well done")
        assert after.close_time == before.close_time

    def test_is_undone_by_who_may(self, anna):
        deal = create(anna, amount=money(10))
        anna("MoveOpportunityStage", name=deal.name, stage="proposal")
        lose(anna, deal, winner="Acme")
        seller = anna.colleague("sales.opportunities.update:all", "sales.opportunities.read:all")
        assert seller.refusal("ReopenOpportunity", name=deal.name).code is StatusCode.PERMISSION_DENIED
        for closed in ("won", "nowhere"):
            assert [*anna.refusal("ReopenOpportunity", name=deal.name, stage=closed).violations] == ["stage"]
        reopened = anna("ReopenOpportunity", name=deal.name)
        assert (reopened.stage, reopened.state) == ("proposal", 1)
        assert not reopened.HasField("close_time")
        assert not reopened.close_reasons
        assert not reopened.competitors[0].winner
        assert events(anna, deal) == ["created", "moved", "lost", "reopened"]
        assert anna.refusal("ReopenOpportunity", name=deal.name).reason == "NOT_CLOSED"
        assert update(anna, deal, amount=money(11)).amount.units == 11

    @pytest.mark.parametrize(("stage", "state"), [("analysis", 1), ("won", 2)])
    def test_is_undone_by_who_sets_criteria_aside(self, anna, stage, state):
        lost = lose(anna, create(anna), winner="Acme")
        undone = anna("OverrideOpportunityStage", name=lost.name, stage=stage, exception_reason="They came back")
        assert (undone.state, [*undone.close_reasons], undone.competitors[0].winner) == (state, [], False)

    def test_is_undone_where_the_last_stage_is_none_to_be_open_in_by_now(self, anna):
        pipeline = pipeline_of(anna, {"id": "first"}, {"id": "second"})
        lost = lose(anna, create(anna, pipeline=pipeline.name, stage="second"))
        pipeline.stages[1].category = 2
        pipeline.stages[1].ClearField("probability")
        anna("UpdatePipeline", pipeline={"name": pipeline.name, "stages": pipeline.stages})
        assert anna("ReopenOpportunity", name=lost.name).stage == "first"


class TestScope:
    def test_own_reaches_own(self, anna):
        ben = anna.colleague("sales.opportunities.*:own", "sales.closeReasons.*:all")
        others, own = create(anna), create(ben)
        for method, fields in {
            "GetOpportunity": {},
            "MoveOpportunityStage": {"stage": "proposal"},
            "OverrideOpportunityStage": {"stage": "proposal", "exception_reason": "x"},
            "MarkOpportunityWon": {},
            "ReopenOpportunity": {},
            "ListStageVisits": {},
        }.items():
            assert ben.refusal(method, name=others.name, **fields).code is StatusCode.NOT_FOUND, method
        assert [deal.name for deal in ben("ListOpportunities").opportunities] == [own.name]

    def test_another_tenant_sees_nothing(self, anna, server):
        deal, stranger = create(anna), server.caller()
        assert stranger.refusal("GetOpportunity", name=deal.name).code is StatusCode.NOT_FOUND
        assert stranger.refusal("ShowBoard", name=deal.pipeline).code is StatusCode.NOT_FOUND
        refusal = stranger.refusal("CreateOpportunity", opportunity={"display_name": "D", "pipeline": deal.pipeline})
        assert [*refusal.violations] == ["opportunity.pipeline"]
        theirs = create(stranger)
        assert [*refused(stranger, theirs, close_reasons=[{"close_reason": reason(anna)}]).violations] == [
            "opportunity.close_reasons[0].close_reason"
        ]
