"""Pipelines: their stages, the default one, and what is in use."""

from __future__ import annotations

import threading

import pytest
from grpc import StatusCode

from kontor_sales.pipelines import rules


def stage(id, **fields):
    return {"id": id, "display_name": id.title(), **fields}


def create(caller, *stages, **fields):
    return caller("CreatePipeline", pipeline={"display_name": "Enterprise", "stages": stages, **fields})


def change(caller, pipeline, stages, **fields):
    return {"pipeline": {"name": pipeline.name, "stages": stages, **fields}, "update_mask": {"paths": ["stages"]}}


class TestStages:
    def test_are_the_usual_ones_where_nothing_is_said(self, anna):
        pipeline = create(anna)
        assert [found.id for found in pipeline.stages] == [usual.id for usual in rules.USUAL]
        assert [found.probability.value for found in pipeline.stages][-2:] == ["1", "0"]
        assert pipeline.stalled_percentile == 90
        assert anna("GetPipeline", name=pipeline.name) == pipeline

    def test_end_with_won_and_lost(self, anna):
        pipeline = create(anna, stage("first"), stage("second", probability={"value": "0.5"}))
        assert [(found.id, found.category) for found in pipeline.stages] == [
            ("first", 1),
            ("second", 1),
            ("won", 2),
            ("lost", 3),
        ]

    @pytest.mark.parametrize(
        ("fields", "path"),
        [
            ({"stages": [stage("a"), stage("a")]}, "stages[1].id"),
            ({"stages": [stage("A b")]}, "stages[0].id"),
            ({"stages": [stage("a", probability={"value": "1.5"})]}, "stages[0].probability"),
            ({"stages": [stage("a", probability={"value": "x"})]}, "stages[0].probability"),
            ({"stages": [stage("a", probability={"value": "1E-20000"})]}, "stages[0].probability"),
            ({"stages": [stage("a"), stage("w", category=2, probability={"value": "0.9"})]}, "stages[1].probability"),
            ({"stages": [stage("w", category=2)]}, "stages"),
            (
                {"stages": [stage("a", exit_criteria={"required_fields": ["etag"]})]},
                "stages[0].exit_criteria.required_fields[0]",
            ),
            ({"economic_buyer_from": "nowhere"}, "economic_buyer_from"),
        ],
    )
    def test_names_the_field_that_is_wrong(self, anna, fields, path):
        refusal = anna.refusal("CreatePipeline", pipeline={"display_name": "P", **fields})
        assert (refusal.code, [*refusal.violations]) == (StatusCode.INVALID_ARGUMENT, [f"pipeline.{path}"])

    def test_cannot_be_removed_while_there_is_something_in_them(self, anna):
        pipeline = create(anna, stage("first"), stage("second"))
        deal = anna("CreateOpportunity", opportunity={"display_name": "D", "pipeline": pipeline.name})
        refusal = anna.refusal("UpdatePipeline", **change(anna, pipeline, [stage("second")]))
        assert (refusal.code, refusal.reason) == (StatusCode.FAILED_PRECONDITION, "STAGE_IN_USE")
        refusal = anna.refusal(
            "UpdatePipeline", **change(anna, pipeline, [stage("first", category=2), stage("second")])
        )
        assert refusal.reason == "STAGE_IN_USE"
        anna("DeleteOpportunity", name=deal.name)
        assert anna.refusal("UpdatePipeline", **change(anna, pipeline, [stage("second")])).reason == "STAGE_IN_USE"
        anna("UndeleteOpportunity", name=deal.name)
        anna("MoveOpportunityStage", name=deal.name, stage="second")
        changed = anna("UpdatePipeline", **change(anna, pipeline, [stage("third"), stage("second")]))
        assert [found.id for found in changed.stages] == ["third", "second", "won", "lost"]

    def test_one_that_is_entered_and_removed_at_once_is_not_both(self, anna):
        """Whoever comes second waits, and is refused."""
        for _ in range(5):
            pipeline = create(anna, stage("first"), stage("second"))
            refused = []

            def enter(pipeline=pipeline, refused=refused):
                deal = {"display_name": "D", "pipeline": pipeline.name, "stage": "second"}
                try:
                    anna("CreateOpportunity", opportunity=deal)
                except Exception as error:  # noqa: BLE001
                    refused.append(error.code())

            thread = threading.Thread(target=enter)
            thread.start()
            try:
                anna("UpdatePipeline", **change(anna, pipeline, [stage("first")]))
            except Exception as error:  # noqa: BLE001
                refused.append(error.code())
            thread.join()
            assert len(refused) == 1
            assert refused[0] in (StatusCode.INVALID_ARGUMENT, StatusCode.FAILED_PRECONDITION)


class TestDefault:
    def test_is_made_where_it_is_needed(self, anna):
        deal = anna("CreateOpportunity", opportunity={"display_name": "D"})
        (pipeline,) = anna("ListPipelines", filter="default = true").pipelines
        assert (deal.pipeline, pipeline.display_name) == (pipeline.name, "Standard")
        assert anna("CreateOpportunity", opportunity={"display_name": "E"}).pipeline == pipeline.name

    def test_stays_where_the_row_is_refused_that_needed_it_first(self, anna):
        rows = [{"opportunity": {"display_name": name}} for name in (" ", "D")]
        made = anna("BatchCreateOpportunities", requests=rows, return_partial_success=True)
        assert [*made.failed_requests] == [0]
        (deal,) = made.opportunities
        assert anna("GetPipeline", name=deal.pipeline).default

    def test_by_who_may_not_create_pipelines(self, anna):
        seller = anna.colleague("sales.opportunities.*:own")
        assert seller("CreateOpportunity", opportunity={"display_name": "D"}).pipeline

    def test_is_one(self, anna):
        first, second = create(anna, default=True), create(anna, default=True)
        assert not anna("GetPipeline", name=first.name).default
        assert anna("CreateOpportunity", opportunity={"display_name": "D"}).pipeline == second.name

    def test_is_the_one_that_comes_back(self, anna):
        first = create(anna, default=True)
        anna("DeletePipeline", name=first.name)
        second = create(anna, default=True)
        assert anna("UndeletePipeline", name=first.name).default
        assert not anna("GetPipeline", name=second.name).default

    def test_two_who_need_it_at_once_get_the_same(self, anna):
        made = []
        threads = [
            threading.Thread(
                target=lambda: made.append(anna("CreateOpportunity", opportunity={"display_name": "D"}).pipeline)
            )
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(made), len(set(made))) == (4, 1)


def test_is_deleted_when_nothing_goes_through_it(anna):
    pipeline = create(anna)
    deal = anna("CreateOpportunity", opportunity={"display_name": "D", "pipeline": pipeline.name})
    refusal = anna.refusal("DeletePipeline", name=pipeline.name)
    assert (refusal.code, refusal.reason) == (StatusCode.FAILED_PRECONDITION, "PIPELINE_IN_USE")
    anna("DeleteOpportunity", name=deal.name)
    anna("DeletePipeline", name=pipeline.name)
    refusal = anna.refusal("CreateOpportunity", opportunity={"display_name": "D", "pipeline": pipeline.name})
    assert [*refusal.violations] == ["opportunity.pipeline"]
    # What comes back would go through what is not there.
    assert anna.refusal("UndeleteOpportunity", name=deal.name).code is StatusCode.FAILED_PRECONDITION


class TestCloseReasons:
    def test_are_called_once_an_outcome(self, anna):
        def add(name, outcome):
            return {"close_reason": {"display_name": name, "outcome": outcome}}

        anna("CreateCloseReason", **add("Price", 1))
        anna("CreateCloseReason", **add("Price", 2))
        assert anna.refusal("CreateCloseReason", **add("price", 1)).code is StatusCode.ALREADY_EXISTS

    def test_keep_their_outcome(self, anna):
        reason = anna("CreateCloseReason", close_reason={"display_name": "Price", "outcome": 1})
        refusal = anna.refusal("UpdateCloseReason", close_reason={"name": reason.name, "outcome": 2})
        assert [*refusal.violations] == ["close_reason.outcome"]
