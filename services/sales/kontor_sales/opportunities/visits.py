"""The stages that opportunities were in: written when they move, read for their history and for what is usual."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from kontor_kit.db import Statement, Transaction
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import parse_name, uuid7
from kontor_kit.tables import KEY_TEXT
from kontor_sales.opportunities.table import stage_visits, stall_checks
from kontor_sales.pipelines import rules
from kontor_sales.pipelines.table import PIPELINE, pipelines

RECENT: Final = 200
"""So many of those that left a stage last say what is usual there."""

_OPPORTUNITY = sa.bindparam("opportunity", type_=sa.Uuid)
_INSERT = Statement(
    stage_visits.insert().values(
        {column.name: sa.bindparam(column.name, type_=column.type) for column in stage_visits.c}
    )
)
_LEAVE = Statement(
    stage_visits.update()
    .where(
        stage_visits.c.tenant_id == TENANT,
        stage_visits.c.opportunity == _OPPORTUNITY,
        stage_visits.c.leave_time.is_(None),
    )
    .values(leave_time=sa.bindparam("moment", type_=sa.DateTime(timezone=True)))
)
_moment = sa.bindparam("moment", type_=sa.DateTime(timezone=True))
_WATCH = Statement(
    insert(stall_checks)
    .values(tenant_id=TENANT, id=_OPPORTUNITY, check_time=_moment)
    .on_conflict_do_update(index_elements=["tenant_id", "id"], set_={"check_time": _moment})
)
_LEAVE_ALONE = Statement(
    stall_checks.delete().where(stall_checks.c.tenant_id == TENANT, stall_checks.c.id == _OPPORTUNITY)
)
_OF_ONE = Statement(
    sa.select(
        stage_visits.c.pipeline,
        stage_visits.c.stage,
        stage_visits.c.from_stage,
        stage_visits.c.enter_time,
        stage_visits.c.leave_time,
        stage_visits.c.actor,
        stage_visits.c.exception_reason,
    )
    .where(stage_visits.c.tenant_id == TENANT, stage_visits.c.opportunity == _OPPORTUNITY)
    .order_by(stage_visits.c.id)
)


class Visit(NamedTuple):
    """One stay in a stage."""

    pipeline: uuid.UUID
    stage: str
    from_stage: str | None
    enter_time: dt.datetime
    leave_time: dt.datetime | None
    actor: str
    exception_reason: str | None


def _usual() -> sa.Select[Any]:
    """How many left each stage lately, and how many seconds the pipeline's percentile of them stayed."""
    given = (
        sa.func.unnest(
            sa.bindparam("pipelines", type_=ARRAY(sa.Uuid)),
            sa.bindparam("stages", type_=ARRAY(KEY_TEXT)),
        )
        .table_valued(sa.column("pipeline", sa.Uuid), sa.column("stage", KEY_TEXT))
        .render_derived(name="given")
    )
    lately = (
        sa.select(sa.func.extract("epoch", stage_visits.c.leave_time - stage_visits.c.enter_time).label("seconds"))
        .where(
            stage_visits.c.tenant_id == TENANT,
            stage_visits.c.pipeline == given.c.pipeline,
            stage_visits.c.stage == given.c.stage,
            stage_visits.c.leave_time.is_not(None),
        )
        .order_by(stage_visits.c.leave_time.desc())
        .limit(RECENT)
        .lateral("lately")
    )
    part = sa.cast(pipelines.c.stalled_percentile, sa.Float) / sa.literal_column("100.0", sa.Float)
    seconds = sa.cast(lately.c.seconds, sa.Float)
    return (
        sa.select(given.c.pipeline, given.c.stage, sa.func.count(), sa.func.percentile_cont(part).within_group(seconds))
        .select_from(given)
        .join(pipelines, sa.and_(pipelines.c.tenant_id == TENANT, pipelines.c.id == given.c.pipeline))
        .join(lately, sa.true())
        .group_by(given.c.pipeline, given.c.stage, pipelines.c.stalled_percentile)
    )


USUAL: Final = Statement(_usual())
"""(pipeline, stage, how many left it lately, percentile of their stays in seconds) for `pipelines` and `stages`."""


def write(tx: Transaction, opportunity: uuid.UUID, visits: Iterable[Visit]) -> None:
    """Queue visits of an opportunity, the first one first."""
    for visit in visits:
        # Ids grow with time, so that they are the order of the visits.
        values = {"tenant_id": tx.tenant_id, "id": uuid7(), "opportunity": opportunity}
        tx.defer(_INSERT, {**values, **visit._asdict()})


def watch(tx: Transaction, opportunity: uuid.UUID, moment: dt.datetime | None) -> None:
    """Queue when to look whether an opportunity is stalled; None for never."""
    values = {"tenant": tx.tenant_id, "opportunity": opportunity}
    tx.defer(*((_LEAVE_ALONE, values) if moment is None else (_WATCH, {**values, "moment": moment})))


def leave(tx: Transaction, opportunity: uuid.UUID, moment: dt.datetime) -> None:
    """Queue the end of the visit that goes on."""
    tx.defer(_LEAVE, {"tenant": tx.tenant_id, "opportunity": opportunity, "moment": moment})


def read(tx: Transaction, opportunity: uuid.UUID) -> list[Visit]:
    """Return the visits of an opportunity, the first one first."""
    return [Visit(*row) for row in tx.run(_OF_ONE, {"tenant": tx.tenant_id, "opportunity": opportunity})]


def past(record: Any, imported: Sequence[Any], actor: str) -> Iterator[Visit]:
    """Yield the visits of an imported opportunity: those that came with it, or the one to its present stage."""
    pipeline = parse_name(record.pipeline, PIPELINE.pattern, "pipeline")
    stays = [(visit.stage, visit.enter_time.ToDatetime(dt.UTC)) for visit in imported]
    stays = stays or [(record.stage, record.stage_enter_time.ToDatetime(dt.UTC))]
    ends = [*(time for _, time in stays[1:]), None]
    came = [None, *(stage for stage, _ in stays)]
    for (stage, entered), left, from_stage in zip(stays, ends, came, strict=False):
        yield Visit(pipeline, stage, from_stage, entered, left, actor, None)


def tell(response: Any, found: Iterable[Visit], known: Mapping[uuid.UUID, Any], now: dt.datetime) -> None:
    """Write visits and what they come to by stage into a ListStageVisitsResponse; `known` are the pipelines."""
    totals: dict[tuple[str, str], Any] = {}
    for visit in found:
        pipeline = f"{PIPELINE.collection}/{visit.pipeline}"
        told = response.visits.add(
            pipeline=pipeline,
            stage=visit.stage,
            from_stage=visit.from_stage or "",
            enter_time=visit.enter_time,
            leave_time=visit.leave_time,
            actor=visit.actor,
            exception_reason=visit.exception_reason or "",
        )
        place = pipeline, visit.stage
        if place not in totals:
            totals[place] = response.totals.add(pipeline=pipeline, stage=visit.stage)
        totals[place].visits += 1
        stage = rules.find(known[visit.pipeline], visit.stage)
        if stage is None or stage.category == rules.OPEN or visit.leave_time is not None:
            stayed = (visit.leave_time or now) - visit.enter_time
            told.duration = stayed
            totals[place].duration = totals[place].duration.ToTimedelta() + stayed
