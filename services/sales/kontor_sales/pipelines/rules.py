"""What a pipeline must be like, and what its stages ask of an opportunity."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple, Protocol

from kontor_kit.errors import Violation
from kontor_sales.lines import rules as lines

OPEN: Final = 1
WON: Final = 2
LOST: Final = 3
"""As Pipeline.Category, and Opportunity.State."""

PERCENTILE: Final = 90
PROBABILITY_PLACES: Final = 20
"""More than a part of a float has."""
ROLE_ECONOMIC_BUYER: Final = 3
"""As BuyingRole."""

CRITERIA_FIELDS: Final = frozenset((
    "description", "account", "amount", "lines", "close_date", "competitors", "buying_centre", "decision_steps",
    "next_step", "next_step_date", "source", "partner", "owner", "team", "tags", "close_reasons",
))  # fmt: skip
"""What criteria can ask for, besides custom fields."""


class Usual(NamedTuple):
    """A stage of the usual way."""

    id: str
    display_name: str
    category: int
    probability: str


USUAL: Final = (
    Usual("qualification", "Qualification", OPEN, "0.1"),
    Usual("analysis", "Needs analysis", OPEN, "0.3"),
    Usual("proposal", "Proposal", OPEN, "0.5"),
    Usual("negotiation", "Negotiation", OPEN, "0.75"),
    Usual("won", "Won", WON, "1"),
    Usual("lost", "Lost", LOST, "0"),
)
"""What a pipeline is like of which nothing is said."""


class Criteria(Protocol):
    """As the message Pipeline.Criteria."""

    positive_amount: bool

    @property
    def required_fields(self) -> Sequence[str]:
        """Fields that must be set."""

    @property
    def required_roles(self) -> Sequence[int]:
        """Roles that must be taken."""


class Stage(Protocol):
    """As the message Pipeline.Stage."""

    id: str
    display_name: str
    category: int
    probability: Any
    stalled_after_days: int

    @property
    def entry_criteria(self) -> Criteria:
        """What has to hold before an opportunity enters."""

    @property
    def exit_criteria(self) -> Criteria:
        """What has to hold before it leaves for a later stage."""

    def HasField(self, name: str) -> bool:  # noqa: N802 - protobuf's name
        """Whether a field is set."""


class Pipeline(Protocol):
    """As the message Pipeline."""

    stalled_percentile: int
    economic_buyer_from: str

    @property
    def stages(self) -> Any:
        """The stages in their order."""


def normalise(pipeline: Pipeline) -> list[Violation]:
    """Bring a pipeline into its normal form, in place, and return what is wrong with it."""
    _complete(pipeline)
    pipeline.stalled_percentile = pipeline.stalled_percentile or PERCENTILE
    violations: list[Violation] = []
    ids: set[str] = set()
    for place, stage in enumerate(pipeline.stages):
        at = f"stages[{place}]"
        stage.category = stage.category or OPEN
        if stage.id in ids:
            violations.append(Violation(f"{at}.id", "another stage has this id"))
        ids.add(stage.id)
        violations += _check_probability(stage, f"{at}.probability")
        for field in ("entry_criteria", "exit_criteria"):
            violations += _check_criteria(getattr(stage, field), f"{at}.{field}")
    if not any(stage.category == OPEN for stage in pipeline.stages):
        violations.append(Violation("stages", "must have an open stage, where opportunities begin"))
    if pipeline.economic_buyer_from and pipeline.economic_buyer_from not in ids:
        violations.append(Violation("economic_buyer_from", "is none of the stages"))
    return violations


def _complete(pipeline: Pipeline) -> None:
    """Add the stages that nothing is said of: all of the usual way, or those where it ends."""
    had = {stage.category for stage in pipeline.stages}
    ids = {stage.id for stage in pipeline.stages}
    for usual in USUAL:
        if not had or (usual.category != OPEN and usual.category not in had and usual.id not in ids):
            stage = pipeline.stages.add(id=usual.id, display_name=usual.display_name, category=usual.category)
            stage.probability.value = usual.probability


def _check_probability(stage: Stage, path: str) -> list[Violation]:
    fixed = {WON: Decimal(1), LOST: Decimal(0)}.get(stage.category)
    if not stage.HasField("probability"):
        stage.probability.value = str(fixed or 0)
    if violations := lines.check_number(stage.probability, path, places=PROBABILITY_PLACES, most=Decimal(1)):
        return violations
    if fixed is not None and lines.number(stage.probability) != fixed:
        return [Violation(path, f"must be {fixed} where the stage is for what was {'won' if fixed else 'lost'}")]
    return []


def _check_criteria(criteria: Criteria, path: str) -> list[Violation]:
    return [
        Violation(f"{path}.required_fields[{place}]", "is not a field that criteria can ask for")
        for place, field in enumerate(criteria.required_fields)
        if field not in CRITERIA_FIELDS and not field.startswith("custom_fields.")
    ]


def find(pipeline: Pipeline, stage_id: str) -> Stage | None:
    """Return the stage of this id."""
    return next((stage for stage in pipeline.stages if stage.id == stage_id), None)


def first(pipeline: Pipeline, category: int) -> Stage | None:
    """Return the first stage of a category."""
    return next((stage for stage in pipeline.stages if stage.category == category), None)


def position(pipeline: Pipeline, stage_id: str) -> int:
    """Return where a stage stands; -1 where there is none of this id."""
    return next((place for place, stage in enumerate(pipeline.stages) if stage.id == stage_id), -1)


def is_forward(pipeline: Pipeline, before: str, after: str) -> bool:
    """Tell whether a move is one from an open stage to a later one, or to being won; to being lost is not."""
    source, target = find(pipeline, before), find(pipeline, after)
    if source is None or target is None or source.category != OPEN or target.category == LOST:
        return False
    return target.category == WON or position(pipeline, after) > position(pipeline, before)


def unmet(criteria: Criteria, opportunity: Any) -> list[str]:
    """Return what an opportunity lacks for criteria to be met, each as a sentence about it."""
    lacks = [f"{field} is not set" for field in criteria.required_fields if not _is_set(opportunity, field)]
    taken = {member.role for member in opportunity.buying_centre}
    for role in criteria.required_roles:
        if role not in taken:
            lacks.append(f"nobody in the buying centre is its {_ROLES[role]}")
    amount = opportunity.amount
    if criteria.positive_amount and amount.units <= 0 and amount.nanos <= 0:
        lacks.append("amount is not above zero")
    return lacks


_ROLES = {1: "champion", 2: "decision maker", 3: "economic buyer", 4: "end user", 5: "influencer", 6: "technical buyer"}


def _is_set(opportunity: Any, field: str) -> bool:
    head, _, key = field.partition(".")
    if head == "custom_fields":
        fields = opportunity.custom_fields
        return key in fields and fields[key] not in (None, "")
    if opportunity.DESCRIPTOR.fields_by_name[head].has_presence:
        return bool(opportunity.HasField(head))
    return bool(getattr(opportunity, head))
