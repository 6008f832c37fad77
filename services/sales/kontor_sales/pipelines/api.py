"""The gRPC service of pipelines."""

import uuid
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from kontor.sales.v1 import pipeline_pb2, pipeline_service_pb2
from kontor_kit.calls import Call
from kontor_kit.db import Statement, Transaction
from kontor_kit.errors import FailedPrecondition, InvalidArgument
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import format_name, parse_name
from kontor_kit.marks import Mark
from kontor_kit.methods import ResourceServicer
from kontor_kit.store import Locked
from kontor_kit.tables import KEY_TEXT
from kontor_sales.opportunities.table import opportunities
from kontor_sales.pipelines import rules
from kontor_sales.pipelines.table import PIPELINE, pipeline_stages

_PIPELINE = sa.bindparam("pipeline", type_=sa.Uuid)
_STAGES = sa.bindparam("stages", type_=ARRAY(KEY_TEXT))

_DEFAULT = Mark(PIPELINE, "default")
_ITS = (opportunities.c.tenant_id == TENANT, opportunities.c.pipeline == _PIPELINE)


def _first(*conditions: Any) -> Statement:
    """Look for one opportunity; the order leads PostgreSQL to the index, where a search without any may take long."""
    wanted = sa.select(opportunities.c.stage).where(*_ITS, *conditions)
    return Statement(wanted.order_by(opportunities.c.stage).limit(1))


# Deleted ones too: they can come back.
_USED = _first(opportunities.c.stage == sa.any_(_STAGES))
_LIVE = _first(opportunities.c.delete_time.is_(None))
_REMOVE = Statement(
    pipeline_stages.delete().where(
        pipeline_stages.c.tenant_id == TENANT,
        pipeline_stages.c.pipeline == _PIPELINE,
        pipeline_stages.c.stage == sa.any_(_STAGES),
    )
)
_VALUES = ("position", "category", "probability")


def _keep() -> Statement:
    names = [column.name for column in pipeline_stages.c]
    row = insert(pipeline_stages).values(
        {name: sa.bindparam(name, type_=pipeline_stages.c[name].type) for name in names}
    )
    return Statement(
        row.on_conflict_do_update(
            index_elements=["tenant_id", "pipeline", "stage"], set_={name: row.excluded[name] for name in _VALUES}
        )
    )


_KEEP = _keep()


class Pipelines(ResourceServicer):
    """Serves pipelines."""

    SERVICE = pipeline_service_pb2.DESCRIPTOR.services_by_name["PipelineService"]
    RESOURCE = PIPELINE

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Complete the pipeline, keep the stages that are in use, and let one pipeline at most be the default."""
        if violations := rules.normalise(after):
            raise InvalidArgument(*violations)
        if before is not None:
            self._refuse_removal(tx, before, after)
        _DEFAULT.take(self, tx, call, before, after)

    def new(self, tx: Transaction, call: Call, record: Any, *args: Any, **options: Any) -> Any:
        """Store a new pipeline with its stages."""
        record = super().new(tx, call, record, *args, **options)
        self._keep_stages(tx, record)
        return record

    def put(self, tx: Transaction, call: Call, locked: Locked, after: Any, event: str) -> Any:
        """Store a changed pipeline with its stages."""
        record = super().put(tx, call, locked, after, event)
        if gone := _ids(locked.message) - _ids(after):
            tx.defer(_REMOVE, {"tenant": tx.tenant_id, "pipeline": locked.id, "stages": sorted(gone)})
        self._keep_stages(tx, record)
        return record

    def delete(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Delete a pipeline that no opportunity goes through any more."""
        locked = self.lock(tx, call, request.name, live=False)
        if tx.run(_LIVE, {"tenant": tx.tenant_id, "pipeline": locked.id}):
            raise FailedPrecondition("opportunities go through this pipeline", reason="PIPELINE_IN_USE")
        return super().delete(request, call, tx)

    def standard(self, tx: Transaction, call: Call) -> Any:
        """Return the default pipeline's name; the tenant gets one where it has none."""
        found = _DEFAULT.holders(tx)
        if not found:
            _DEFAULT.serialise(self, tx)
            found = _DEFAULT.holders(tx)
        if found:
            return format_name(PIPELINE.collection, found[0])
        # Whoever may create an opportunity need not have the right to create pipelines: the service does it.
        own = self.own_call(tx, call.trace)
        return self.new(tx, own, pipeline_pb2.Pipeline(display_name="Standard", default=True)).name

    def _refuse_removal(self, tx: Transaction, before: Any, after: Any) -> None:
        """The pipeline is locked, so that none can enter a stage meanwhile."""
        gone = _ids(before) - _ids(after)
        moved = {stage.id for stage in before.stages if _category(after, stage.id) not in (0, stage.category)}
        for stages, problem in ((gone, "cannot be removed"), (moved, "cannot change its category")):
            pipeline = parse_name(after.name, PIPELINE.pattern, "name")
            used = stages and tx.run(_USED, {"tenant": tx.tenant_id, "pipeline": pipeline, "stages": sorted(stages)})
            if used:
                raise FailedPrecondition(
                    f"the stage {used[0][0]} {problem}: there are opportunities in it",
                    reason="STAGE_IN_USE",
                    metadata={"stage": used[0][0]},
                )

    def _keep_stages(self, tx: Transaction, pipeline: Any) -> None:
        id: uuid.UUID = parse_name(pipeline.name, PIPELINE.pattern, "name")
        for position, stage in enumerate(pipeline.stages):
            values = {"position": position, "category": stage.category, "probability": Decimal(stage.probability.value)}
            tx.defer(_KEEP, {"tenant_id": tx.tenant_id, "pipeline": id, "stage": stage.id, **values})


def _ids(pipeline: Any) -> set[str]:
    return {stage.id for stage in pipeline.stages}


def _category(pipeline: Any, stage_id: str) -> int:
    stage = rules.find(pipeline, stage_id)
    return stage.category if stage else 0
