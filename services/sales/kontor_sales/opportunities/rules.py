"""What an opportunity must be like, what a move to another stage changes, and what somebody should look at."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from kontor_kit import money
from kontor_kit.errors import InvalidArgument, Violation
from kontor_sales.lines import rules as lines
from kontor_sales.pipelines import rules as pipelines
from kontor_sales.pipelines.rules import LOST, OPEN, WON

FORECAST_PIPELINE: Final = 2
"""As Opportunity.ForecastCategory."""

LOOK_AGAIN: Final = dt.timedelta(days=7)
"""So long nothing is looked at for which nobody can tell after what time it is stalled."""
LOOK_SOONEST: Final = dt.timedelta(hours=1)
SAMPLE: Final = 20
"""So many must have left a stage for its own history to say how long is too long."""

_DAY: Final = 86_400
_INFLUENTIAL: Final = 3
"""From this influence on somebody who is against the deal can stop it."""

NO_ECONOMIC_BUYER: Final = 1
UNANSWERED_BLOCKER: Final = 2
NO_SUPPORTER: Final = 3
DECISION_STEP_OVERDUE: Final = 4
NEXT_STEP_OVERDUE: Final = 5
CLOSE_DATE_PASSED: Final = 6
"""As Opportunity.Warning.Code."""


class Reason(NamedTuple):
    """What is known of a reason for closing."""

    outcome: int
    """As CloseReason.Outcome."""
    note_required: bool


OUTCOMES: Final = {LOST: 1, WON: 2}
"""The state of an opportunity, and the outcome of the reasons that explain it."""


def normalise(opportunity: Any, new_id: Callable[[], str]) -> list[Violation]:
    """Bring an opportunity into its normal form, in place, and return what is wrong with it.

    Its amount becomes what its lines come to, where it has any. `new_id` makes the id of a line without one.
    """
    violations: list[Violation] = []
    if opportunity.display_name and not opportunity.display_name.strip():
        violations.append(Violation("display_name", "must not be blank"))
    opportunity.forecast_category = opportunity.forecast_category or FORECAST_PIPELINE
    violations += _price(opportunity, new_id)
    if opportunity.HasField("price_gap"):
        violations += money.check(opportunity.price_gap, "price_gap", negative=True)
    violations += _check_competitors(opportunity)
    violations += check_buying_centre(opportunity.buying_centre)
    violations += _check_decision_steps(opportunity)
    return violations


def _price(opportunity: Any, new_id: Callable[[], str]) -> list[Violation]:
    if opportunity.lines:
        violations = lines.normalise(opportunity.lines, new_id)
        if not violations:
            totals = lines.price(opportunity.lines)
            money.fill(opportunity.amount, totals.net, totals.currency)
        return violations
    if not opportunity.HasField("amount"):
        return []
    return money.check(opportunity.amount, "amount", most=lines.MOST_TOTAL)


def _check_competitors(opportunity: Any) -> Iterator[Violation]:
    seen: set[str] = set()
    winners = 0
    for place, competitor in enumerate(opportunity.competitors):
        at = f"competitors[{place}]"
        if competitor.display_name.casefold() in seen:
            yield Violation(f"{at}.display_name", "another competitor is called so")
        seen.add(competitor.display_name.casefold())
        if competitor.HasField("price"):
            yield from money.check(competitor.price, f"{at}.price")
        winners += competitor.winner
        if competitor.winner and winners > 1:
            yield Violation(f"{at}.winner", "one competitor at most wins")


def check_buying_centre(members: Sequence[Any]) -> Iterator[Violation]:
    """Yield what is wrong with the members of a buying centre: each once, and nobody reports to themselves by any way."""
    chiefs = {member.contact: member.reports_to for member in members}
    seen: set[str] = set()
    for place, member in enumerate(members):
        at = f"buying_centre[{place}]"
        if member.contact in seen:
            yield Violation(f"{at}.contact", "is in the buying centre already")
        seen.add(member.contact)
        if member.reports_to and member.reports_to not in chiefs:
            yield Violation(f"{at}.reports_to", "is not in the buying centre")
        elif _is_in_circle(member.contact, chiefs):
            yield Violation(f"{at}.reports_to", "closes a circle of who reports to whom")


def _is_in_circle(contact: str, chiefs: Mapping[str, str]) -> bool:
    above = chiefs[contact]
    for _ in chiefs:
        if above == contact:
            return True
        above = chiefs.get(above, "")
    return False


def _check_decision_steps(opportunity: Any) -> Iterator[Violation]:
    members = {member.contact for member in opportunity.buying_centre}
    for place, step in enumerate(opportunity.decision_steps):
        at = f"decision_steps[{place}]"
        if step.contact and step.contact not in members:
            yield Violation(f"{at}.contact", "is not in the buying centre")
        for field in ("due_date", "done_date"):
            if step.HasField(field) and day(getattr(step, field)) is None:
                yield Violation(f"{at}.{field}", "is not a day: year, month and day are needed")


def day(date: Any) -> dt.date | None:
    """Return a day as Python knows it; None where it is none."""
    try:
        return dt.date(date.year, date.month, date.day)
    except ValueError:
        return None


def enter(opportunity: Any, stage: pipelines.Stage, moment: dt.datetime, before: Any | None = None) -> None:
    """Put an opportunity, which was `before`, into a stage, in place: it enters at `moment`.

    A new one that says itself since when it has been there, and when it began and closed, keeps these times.
    """
    opportunity.stage = stage.id
    opportunity.state = stage.category
    if before is not None:
        for field in ("close_time", "stage_enter_time", "stalled_time"):
            opportunity.ClearField(field)
        if before.state not in (OPEN, stage.category):
            for field in ("close_reasons", "price_gap"):
                opportunity.ClearField(field)
            for competitor in opportunity.competitors:
                competitor.winner = False
    for field in ("open_time", "stage_enter_time"):
        if not opportunity.HasField(field):
            setattr(opportunity, field, moment)
    if stage.category == OPEN:
        opportunity.last_open_stage = stage.id
        opportunity.ClearField("close_time")
    elif not opportunity.HasField("close_time"):
        opportunity.close_time.CopyFrom(opportunity.stage_enter_time)


def settle(row: Any, pipeline: pipelines.Pipeline, now: dt.datetime) -> list[Violation]:
    """Write the times of an imported row into its opportunity, and return what is wrong with its history."""
    opportunity = row.opportunity
    stages = [(f"visits[{place}].stage", visit.stage) for place, visit in enumerate(row.visits)]
    violations = [
        Violation(path, "is no stage of the pipeline") for path, id in stages if pipelines.find(pipeline, id) is None
    ]
    if stages and stages[-1][1] != opportunity.stage:
        violations.append(Violation(stages[-1][0], "must be the stage of the opportunity"))
    named = [("open_time", row.open_time)] if row.HasField("open_time") else []
    named += [(f"visits[{place}].enter_time", visit.enter_time) for place, visit in enumerate(row.visits)]
    named += [("close_time", row.close_time)] if row.HasField("close_time") else []
    times = [(path, time.ToDatetime(dt.UTC)) for path, time in named]
    for (path, time), (_, earlier) in zip(times[1:], times, strict=False):
        if time < earlier:
            violations.append(Violation(path, "must not be before what was before it"))
    violations += [Violation(path, "must not lie in the future") for path, time in times if time > now]
    if violations:
        return violations
    begun = times[0][1] if times else now
    entered = row.visits[-1].enter_time.ToDatetime(dt.UTC) if row.visits else None
    opportunity.open_time = begun
    if _category(pipeline, opportunity.stage) == OPEN:
        opportunity.stage_enter_time = entered or begun
    else:
        closed = times[-1][1] if row.HasField("close_time") else entered or now
        opportunity.close_time = closed
        opportunity.stage_enter_time = entered or closed
    was_open = [id for _, id in stages if _category(pipeline, id) == OPEN]
    opportunity.last_open_stage = was_open[-1] if was_open else ""
    return []


def _category(pipeline: pipelines.Pipeline, stage_id: str) -> int:
    stage = pipelines.find(pipeline, stage_id)
    return stage.category if stage is not None else 0


def check_reasons(opportunity: Any, known: Mapping[str, Reason], *, needed: bool) -> list[Violation]:
    """Return what is wrong with the reasons why an opportunity was won or lost; their weights become 1 at least.

    `known` are the reasons there are; one at least is `needed` where it was lost.
    """
    violations: list[Violation] = []
    seen: set[str] = set()
    for place, held in enumerate(opportunity.close_reasons):
        at = f"close_reasons[{place}]"
        held.weight = held.weight or 1
        reason = known.get(held.close_reason)
        if reason is None:
            violations.append(Violation(f"{at}.close_reason", f"there is no {held.close_reason}"))
        elif opportunity.state != OPEN and reason.outcome != OUTCOMES[opportunity.state]:
            violations.append(Violation(f"{at}.close_reason", "explains another outcome"))
        elif reason.note_required and not held.note.strip():
            violations.append(Violation(f"{at}.note", "is required with this reason"))
        if held.close_reason in seen:
            violations.append(Violation(f"{at}.close_reason", "is named already"))
        seen.add(held.close_reason)
    if needed and opportunity.state == LOST and not opportunity.close_reasons:
        violations.append(Violation("close_reasons", "a lost opportunity needs at least one reason"))
    return violations


def check_winner(opportunity: Any) -> list[Violation]:
    """Return what is wrong with the winner; the gap to the winner's price is worked out where both prices are known."""
    for place, competitor in enumerate(opportunity.competitors):
        if competitor.winner and opportunity.state != LOST:
            return [Violation(f"competitors[{place}].winner", "nobody else wins what is not lost")]
        if competitor.winner and competitor.HasField("price") and not opportunity.HasField("price_gap"):
            offered, asked = opportunity.amount, competitor.price
            if opportunity.HasField("amount") and offered.currency_code == asked.currency_code:
                gap = money.amount(offered) - money.amount(asked)
                money.fill(opportunity.price_gap, gap, asked.currency_code)
    return []


def check_next_step(opportunity: Any) -> list[Violation]:
    """Return what an opportunity lacks that must have a next step with its date."""
    violations = []
    if not opportunity.next_step.strip():
        violations.append(Violation("next_step", "is required in this pipeline"))
    if not opportunity.HasField("next_step_date"):
        violations.append(Violation("next_step_date", "is required in this pipeline"))
    return violations


def stalled_after(history: tuple[int, float] | None, stage: pipelines.Stage | None) -> float | None:
    """Return after how many seconds in a stage an opportunity is stalled; None where nobody can tell.

    `history` is how many left the stage lately, and the time that the pipeline's percentile of them stayed, in seconds.
    """
    if history is not None and history[0] >= SAMPLE:
        return history[1]
    if stage is not None and stage.stalled_after_days:
        return float(stage.stalled_after_days * _DAY)
    return None


def next_look(opportunity: Any, threshold: float | None, now: dt.datetime) -> dt.datetime:
    """Return when to look again whether an open opportunity is stalled that is not by `now`."""
    if threshold is None:
        return now + LOOK_AGAIN
    entered: dt.datetime = opportunity.stage_enter_time.ToDatetime(dt.UTC)
    return max(entered + dt.timedelta(seconds=threshold), now + LOOK_SOONEST)


def is_stalled(opportunity: Any, threshold: float | None, now: dt.datetime) -> bool:
    """Tell whether an open opportunity has been in its stage for longer than the threshold."""
    if threshold is None or opportunity.state != OPEN:
        return False
    return bool((now - opportunity.stage_enter_time.ToDatetime(dt.UTC)).total_seconds() > threshold)


def warnings(opportunity: Any, pipeline: pipelines.Pipeline, today: dt.date) -> Iterator[tuple[int, str]]:
    """Yield what somebody should look at in an open opportunity: a code, and a sentence."""
    if opportunity.state != OPEN:
        return
    members = opportunity.buying_centre
    if pipeline.economic_buyer_from and not any(m.role == pipelines.ROLE_ECONOMIC_BUYER for m in members):
        begins = pipelines.position(pipeline, pipeline.economic_buyer_from)
        if pipelines.position(pipeline, opportunity.stage) >= begins >= 0:
            yield NO_ECONOMIC_BUYER, "nobody in the buying centre is known to release the money"
    support = max((member.influence for member in members if member.stance > 0), default=-1)
    blockers = [m for m in members if m.stance < 0 and m.influence >= _INFLUENTIAL and m.influence > support]
    if blockers:
        yield UNANSWERED_BLOCKER, f"{blockers[0].contact} is against it, and nobody with as much influence is for it"
    if members and support < 0:
        yield NO_SUPPORTER, "nobody in the buying centre is for it"
    for step in opportunity.decision_steps:
        due = day(step.due_date) if step.HasField("due_date") else None
        if due is not None and due < today and not step.HasField("done_date"):
            yield DECISION_STEP_OVERDUE, f"{step.display_name} was due on {due}"
    for field, code, text in (
        ("next_step_date", NEXT_STEP_OVERDUE, "the next step was due on"),
        ("close_date", CLOSE_DATE_PASSED, "it was to close on"),
    ):
        due = day(getattr(opportunity, field)) if opportunity.HasField(field) else None
        if due is not None and due < today:
            yield code, f"{text} {due}"


def lose_to(opportunity: Any, winner: str) -> None:
    """Mark the competitor called `winner`, whatever the case, as who has got the order; add one who is not there."""
    for competitor in opportunity.competitors:
        competitor.winner = competitor.display_name.casefold() == winner.casefold()
    if not any(competitor.winner for competitor in opportunity.competitors):
        opportunity.competitors.add(display_name=winner, winner=True)


def reopen(opportunity: Any, pipeline: Any, stage: str) -> None:
    """Put a closed opportunity into an open stage: the one that is named, its last one, or the first.

    Raises InvalidArgument for `stage` where it is not open.
    """
    last = pipelines.find(pipeline, stage or opportunity.last_open_stage)
    if not stage and (last is None or last.category != pipelines.OPEN):
        last = pipelines.first(pipeline, pipelines.OPEN)
    if last is None or last.category != pipelines.OPEN:
        raise InvalidArgument(("stage", "must be an open stage of the pipeline"))
    opportunity.stage = last.id
