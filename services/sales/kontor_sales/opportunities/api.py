"""The gRPC service of opportunities."""

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from kontor.sales.v1 import opportunity_service_pb2
from kontor_kit.calls import Call
from kontor_kit.checks import at
from kontor_kit.db import Statement, Transaction
from kontor_kit.errors import FailedPrecondition, InvalidArgument, Violation
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import parse_name, uuid7
from kontor_kit.methods import ResourceServicer
from kontor_kit.principals import Principal, Scope
from kontor_kit.records import principal_of
from kontor_kit.shared import Shared
from kontor_kit.store import Locked, Reach, Store, is_live
from kontor_sales.close_reasons.table import CLOSE_REASON
from kontor_sales.exchange_rates.table import freeze
from kontor_sales.opportunities import reports, rules, stalling, visits
from kontor_sales.opportunities.table import OPPORTUNITY
from kontor_sales.opportunities.visits import Visit
from kontor_sales.pipelines import rules as pipelines
from kontor_sales.pipelines.table import PIPELINE
from kontor_sales.products.table import PRODUCT
from kontor_sales.quotes.table import DRIVING

_IMPORT: Final = "ImportOpportunities"
_OVERRIDE: Final = "OverrideOpportunityStage"
_REOPENS: Final = ("ReopenOpportunity", _OVERRIDE)
_DEFAULT: Final = "default"
_FROZEN: Final = ("amount", "lines")
_QUOTES: Final = "kontor.sales.v1.QuoteService"
_OPENED: Final = {pipelines.OPEN: "reopened", pipelines.WON: "won", pipelines.LOST: "lost"}


def _shared_pipeline() -> Statement:
    """A pipeline, which must not change before the transaction ends: what is checked against it goes into it."""
    table = PIPELINE.table
    wanted = sa.select(*PIPELINE.codec.columns()).where(
        table.c.tenant_id == TENANT, table.c.id == sa.bindparam("id", type_=sa.Uuid)
    )
    return Statement(wanted.with_for_update(read=True))


class Opportunities(ResourceServicer):
    """Serves opportunities; `default_pipeline` returns the name of the one where those go that do not say where."""

    SERVICE = opportunity_service_pb2.DESCRIPTOR.services_by_name["OpportunityService"]
    RESOURCE = OPPORTUNITY

    def __init__(self, shared: Shared, default_pipeline: Callable[[Transaction, Call], str]) -> None:
        super().__init__(shared)
        self._default_pipeline = default_pipeline
        self._reasons = Store(CLOSE_REASON)
        self._products = Store(PRODUCT)
        self._pipelines = Store(PIPELINE)
        self._shared_pipeline = _shared_pipeline()
        # What one transaction looked up, so that the rows of a batch ask for it once.
        self._looked_up: WeakKeyDictionary[Transaction, dict[str, Any]] = WeakKeyDictionary()

    # What is stored.

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Bring the opportunity into form, move it where it is to be, and see that it may be there."""
        imported = call.method.name == _IMPORT
        pipeline, stage = self._place(tx, call, before, after)
        violations = rules.normalise(after, lambda: str(uuid7()))
        self._look_up_products(tx, call, before, after)
        if before is not None:
            _refuse_if_closed(call, before, after, stage)
            _refuse_if_driven(tx, call, before, after)
        moved = before is None or (before.pipeline, before.stage) != (after.pipeline, after.stage)
        if moved:
            rules.enter(after, stage, dt.datetime.now(dt.UTC), before)
            if call.method.name != _OVERRIDE:
                after.stage_exception = ""
        violations += self._check_outcome(tx, before, after, needed=not imported)
        back = before is not None and not is_live(before)  # Nobody can give it a next step before it is.
        if pipeline.next_step_required and after.state == pipelines.OPEN and not imported and not back:
            violations += rules.check_next_step(after)
        if violations:
            raise InvalidArgument(*violations)
        if moved:
            freeze(tx, after, self._known(tx))
        if moved and not imported and call.method.name != _OVERRIDE:
            _check_criteria(pipeline, before, after)

    def new(self, tx: Transaction, call: Call, record: Any, *args: Any, **options: Any) -> Any:
        """Store a new opportunity, with its first visit."""
        record = super().new(tx, call, record, *args, **options)
        self._begin(tx, call, record, from_stage=None)
        return record

    def put(self, tx: Transaction, call: Call, locked: Locked, after: Any, event: str) -> Any:
        """Store a changed opportunity; where it moved, the event says how, and a new visit begins."""
        before = locked.message
        if (before.pipeline, before.stage) == (after.pipeline, after.stage):
            return super().put(tx, call, locked, after, event)
        happened = _OPENED[after.state] if after.state != before.state else "moved"
        record = super().put(tx, call, locked, after, happened)
        visits.leave(tx, locked.id, after.stage_enter_time.ToDatetime(dt.UTC))
        self._begin(tx, call, record, from_stage=before.stage)
        return record

    def decorate(self, tx: Transaction, records: Sequence[Any]) -> None:
        """Tell which opportunities are stalled, and what somebody should look at."""
        open_ones = [record for record in records if record.state == pipelines.OPEN and record.pipeline]
        if not open_ones:
            return
        now = dt.datetime.now(dt.UTC)
        known = stalling.usual(tx, sorted({(record.pipeline, record.stage) for record in open_ones}))
        for record in open_ones:
            pipeline, threshold = known[record.pipeline, record.stage]
            record.is_stalled = rules.is_stalled(record, threshold, now)
            for code, message in rules.warnings(record, pipeline, now.date()):
                record.warnings.add(code=code, message=message)

    # Moves.

    def move_opportunity_stage(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Move an opportunity where the criteria allow it."""
        return self._change(request, call, tx, lambda after: self._go(after, request.stage))

    def override_opportunity_stage(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Move an opportunity, and keep why."""

        def go(after: Any) -> None:
            self._go(after, request.stage)
            after.stage_exception = request.exception_reason

        return self._change(request, call, tx, go)

    def mark_opportunity_won(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Close an opportunity as won."""

        def win(after: Any) -> None:
            self._close(tx, after, request, pipelines.WON)

        return self._change(request, call, tx, win)

    def mark_opportunity_lost(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Close an opportunity as lost, perhaps to somebody."""

        def lose(after: Any) -> None:
            self._close(tx, after, request, pipelines.LOST)
            if request.HasField("price_gap"):
                after.price_gap.CopyFrom(request.price_gap)
            if request.winner:
                rules.lose_to(after, request.winner)

        return self._change(request, call, tx, lose)

    def reopen_opportunity(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Open an opportunity again."""

        def reopen(after: Any) -> None:
            if after.state == pipelines.OPEN:
                raise FailedPrecondition(f"{after.name} is open", reason="NOT_CLOSED")
            rules.reopen(after, self._pipeline(tx, after.pipeline), request.stage)

        return self._change(request, call, tx, reopen)

    def list_stage_visits(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Return the stages that an opportunity was in."""
        self.require_readable(tx, call, request.name, "name")
        found = visits.read(tx, parse_name(request.name, OPPORTUNITY.pattern, "name"))
        response: Any = call.method.output()
        of = list({visit.pipeline for visit in found})
        known = self._pipelines.get(tx, Reach(_service(tx), Scope.ALL), of)
        visits.tell(response, found, known, dt.datetime.now(dt.UTC))
        return response

    # Many at once.

    def batch_create(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Create several; the default pipeline, where it has to be made, does not go with a row that is refused."""
        if not all(row.opportunity.pipeline for row in request.requests):
            self._default(tx, call)
        return super().batch_create(request, call, tx)

    def import_opportunities(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Create opportunities with their history."""
        response: Any = call.method.output()
        actor, now = principal_of(call).subject, dt.datetime.now(dt.UTC)
        for index, row in enumerate(request.requests):
            with at(f"requests[{index}]"):
                with at("opportunity"):
                    pipeline, _ = self._place(tx, call, None, row.opportunity)
                if violations := rules.settle(row, pipeline, now):
                    raise InvalidArgument(*violations)
                with at("opportunity"):
                    record = super().new(tx, call, row.opportunity)
            id = parse_name(record.name, OPPORTUNITY.pattern, "name")
            visits.write(tx, id, visits.past(record, row.visits, actor))
            if record.state == pipelines.OPEN:
                visits.watch(tx, id, now)
            response.opportunities.append(record.name)
        return response

    def show_board(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Return a pipeline with its opportunities."""
        reach = self.reach(call)
        id = parse_name(request.name, PIPELINE.pattern, "name")
        pipeline = self._pipelines.get_one(tx, Reach(reach.principal, Scope.ALL), id)
        if pipeline is None or not is_live(pipeline):
            raise self.not_found(request.name)
        response: Any = call.method.output()
        cards = reports.board(tx, reach, pipeline, request.page_size, response)
        self.decorate(tx, cards)
        reports.deal(response, cards)
        return response

    def analyze_opportunities(self, request: Any, call: Call, tx: Transaction) -> Any:
        """Count and sum up opportunities in groups."""
        definitions = self.definitions(tx) if request.filter else {}
        response: Any = call.method.output()
        reports.analyze(tx, self.reach(call), request, definitions, response)
        return response

    # Parts.

    def _change(self, request: Any, call: Call, tx: Transaction, change: Callable[[Any], None]) -> Any:
        locked = self.lock(tx, call, request.name)
        self.check_etag(call, locked, request.etag)
        after = type(locked.message)()
        after.CopyFrom(locked.message)
        change(after)
        return self.shown(tx, call, self.save(tx, call, locked, after, "updated"))

    @staticmethod
    def _go(after: Any, stage: str) -> None:
        after.stage = stage

    def _close(self, tx: Transaction, after: Any, request: Any, category: int) -> None:
        if after.state != pipelines.OPEN:
            raise FailedPrecondition(f"{after.name} was closed before; reopen it first", reason="CLOSED")
        pipeline = self._pipeline(tx, after.pipeline)
        stage = pipelines.find(pipeline, request.stage) if request.stage else pipelines.first(pipeline, category)
        if stage is None or stage.category != category:
            raise InvalidArgument(("stage", "must be a stage of the pipeline for what ends so"))
        after.stage = stage.id
        if request.close_reasons:
            del after.close_reasons[:]
            after.close_reasons.extend(request.close_reasons)

    def _place(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> tuple[Any, Any]:
        """Return the pipeline and the stage of an opportunity, and write down those that it does not name."""
        if not after.pipeline:
            after.pipeline = before.pipeline if before is not None else self._default(tx, call)
        pipeline = self._pipeline(tx, after.pipeline)
        if pipeline is None or not is_live(pipeline):
            if before is not None and before.pipeline == after.pipeline:
                raise FailedPrecondition(f"{after.pipeline} is deleted; undelete it first", reason="PIPELINE_DELETED")
            raise InvalidArgument(("pipeline", f"there is no {after.pipeline}"))
        stage = pipelines.find(pipeline, after.stage) if after.stage else pipelines.first(pipeline, pipelines.OPEN)
        if stage is None:
            raise InvalidArgument(("stage", "is no stage of the pipeline"))
        after.stage = stage.id
        return pipeline, stage

    def _default(self, tx: Transaction, call: Call) -> str:
        known = self._known(tx)
        if _DEFAULT not in known:
            known[_DEFAULT] = self._default_pipeline(tx, call)
        name: str = known[_DEFAULT]
        return name

    def _pipeline(self, tx: Transaction, name: str) -> Any:
        """Return a pipeline, which stays as it is until the transaction ends; None where there is none."""
        known = self._known(tx)
        if name not in known:
            id = parse_name(name, PIPELINE.pattern, "pipeline")
            rows = tx.run(self._shared_pipeline, {"tenant": tx.tenant_id, "id": id})
            known[name] = PIPELINE.codec.loader()(rows[0]) if rows else None
        return known[name]

    def _known(self, tx: Transaction) -> dict[str, Any]:
        return self._looked_up.setdefault(tx, {})

    def _look_up_products(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """See that the products of new lines are there."""
        had = {line.product for line in before.lines} if before is not None else set()
        wanted = {line.product: f"lines[{place}].product" for place, line in enumerate(after.lines)}
        for name, path in wanted.items():
            if name and name not in had | self._known(tx).keys():
                self._known(tx)[name] = self.referred(tx, call, self._products, name, path)

    def _check_outcome(self, tx: Transaction, before: Any | None, after: Any, *, needed: bool) -> list[Violation]:
        """Check why an opportunity was won or lost, where that, or what it explains, is new."""
        violations = rules.check_winner(after)
        if before is not None and (before.state, list(before.close_reasons)) == (
            after.state,
            list(after.close_reasons),
        ):
            return violations
        names = {
            held.close_reason: parse_name(
                held.close_reason, CLOSE_REASON.pattern, f"close_reasons[{place}].close_reason"
            )
            for place, held in enumerate(after.close_reasons)
        }
        found = {}
        if names:
            found = self._reasons.get(tx, Reach(_service(tx), Scope.ALL), list(names.values()))
        kept = {held.close_reason for held in before.close_reasons} if before is not None else set()
        known = {
            name: rules.Reason(found[id].outcome, found[id].note_required)
            for name, id in names.items()
            if id in found and (is_live(found[id]) or name in kept)
        }
        return violations + rules.check_reasons(after, known, needed=needed)

    def _begin(self, tx: Transaction, call: Call, record: Any, *, from_stage: str | None) -> None:
        """Write down that an opportunity came into its stage."""
        visit = Visit(
            parse_name(record.pipeline, PIPELINE.pattern, "pipeline"),
            record.stage,
            from_stage,
            record.stage_enter_time.ToDatetime(dt.UTC),
            None,
            principal_of(call).subject,
            record.stage_exception or None,
        )
        id = parse_name(record.name, OPPORTUNITY.pattern, "name")
        visits.write(tx, id, [visit])
        visits.watch(tx, id, visit.enter_time if record.state == pipelines.OPEN else None)


def _service(tx: Transaction) -> Principal:
    """Return the service itself: pipelines and reasons are no secret within the tenant."""
    assert tx.tenant_id is not None, "a record belongs to a tenant"
    return Principal.of_service("sales", tx.tenant_id)


def _refuse_if_closed(call: Call, before: Any, after: Any, stage: Any) -> None:
    """What was won or lost stays as it was until it is opened again."""
    if before.state == pipelines.OPEN:
        return
    if stage.id != before.stage or after.pipeline != before.pipeline:
        if call.method.name not in _REOPENS:
            raise FailedPrecondition(f"{before.name} was closed; reopen it first", reason="CLOSED")
        return
    for field in _FROZEN:
        if getattr(before, field) != getattr(after, field):
            raise FailedPrecondition(f"{before.name} was closed; its {field} stay as they are", reason="CLOSED")


def _refuse_if_driven(tx: Transaction, call: Call, before: Any, after: Any) -> None:
    """What a quote says an opportunity is worth is changed in the quote."""
    if call.method.service == _QUOTES or all(getattr(before, field) == getattr(after, field) for field in _FROZEN):
        return
    opportunity = parse_name(before.name, OPPORTUNITY.pattern, "name")
    if found := tx.run(DRIVING, {"tenant": tx.tenant_id, "opportunity": opportunity}):
        quote = f"quotes/{found[0][0]}"
        raise FailedPrecondition(
            f"{quote} drives the amount; change the quote", reason="DRIVEN_BY_QUOTE", metadata={"quote": quote}
        )


def _check_criteria(pipeline: Any, before: Any | None, after: Any) -> None:
    """Raise FailedPrecondition where the stage that is left, or the one that is entered, asks for more."""
    lacks = []
    if before is not None and before.pipeline == after.pipeline:
        left = pipelines.find(pipeline, before.stage)
        if left is not None and pipelines.is_forward(pipeline, before.stage, after.stage):
            lacks += [f"to leave {left.id}: {text}" for text in pipelines.unmet(left.exit_criteria, after)]
    entered = pipelines.find(pipeline, after.stage)
    assert entered is not None, "the stage was looked up"
    lacks += [f"to enter {entered.id}: {text}" for text in pipelines.unmet(entered.entry_criteria, after)]
    if lacks:
        raise FailedPrecondition("; ".join(lacks), reason="CRITERIA_NOT_MET", metadata={"stage": after.stage})
