"""The alarm of opportunities that stay in a stage for longer than nearly all that left it lately."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

from kontor_kit.db import Transaction
from kontor_kit.due import Due
from kontor_kit.ids import parse_name
from kontor_kit.principals import Principal, Scope
from kontor_kit.store import Reach, Store
from kontor_kit.tracing import Trace
from kontor_sales.opportunities import rules, visits
from kontor_sales.pipelines import rules as pipelines
from kontor_sales.pipelines.table import PIPELINE

_PIPELINES: Final = Store(PIPELINE)
Place = tuple[str, str]
"""A pipeline and a stage of it."""


def usual(tx: Transaction, places: Sequence[Place]) -> Mapping[Place, tuple[Any, float | None]]:
    """Return the pipeline of each place, and after how many seconds there an opportunity is stalled."""
    assert tx.tenant_id is not None, "a pipeline belongs to a tenant"
    everything = Reach(Principal.of_service("sales", tx.tenant_id), Scope.ALL)
    ids = [parse_name(pipeline, PIPELINE.pattern, "pipeline") for pipeline, _ in places]
    found = _PIPELINES.get(tx, everything, list(dict.fromkeys(ids)))
    parameters = {"tenant": tx.tenant_id, "pipelines": ids, "stages": [stage for _, stage in places]}
    history = {(pipeline, stage): (count, part) for pipeline, stage, count, part in tx.run(visits.USUAL, parameters)}
    return {
        place: (found[id], rules.stalled_after(history.get((id, place[1])), pipelines.find(found[id], place[1])))
        for place, id in zip(places, ids, strict=True)
    }


def _watch(records: Any, tx: Transaction, trace: Trace, id: uuid.UUID, now: dt.datetime) -> None:
    """Look whether an opportunity is stalled, as the service itself; where it is, say so once in each stage."""
    opportunities = records["opportunities"]
    own = opportunities.own_call(tx, trace)
    locked = opportunities.store.lock(tx, opportunities.reach(own), opportunities.scope(own), [id]).get(id)
    again = None
    if locked and locked.message.HasField("delete_time"):
        again = now + rules.LOOK_AGAIN  # It may be undeleted.
    elif locked and locked.message.state == pipelines.OPEN and not locked.message.HasField("stalled_time"):
        place = (locked.message.pipeline, locked.message.stage)
        _, threshold = usual(tx, [place])[place]
        if rules.is_stalled(locked.message, threshold, now):
            after = type(locked.message)()
            after.CopyFrom(locked.message)
            after.stalled_time = now
            opportunities.put(tx, own, locked, after, "stalled")
        else:
            again = rules.next_look(locked.message, threshold, now)
    visits.watch(tx, id, again)


WATCH: Final = Due("watch-opportunities", "stall_checks", ["check_time <= :now"], _watch, seconds=600.0, marks=False)
