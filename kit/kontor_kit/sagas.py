"""Sagas: a process over several services as steps, each with what undoes it; all are done, or those done are undone.

    Saga("open_branch", [Step("order", order, cancel_order), Step("announce", announce)], request=OpenBranchRequest)

A saga is an operation, and its checkpoint is the saga's state. A step may run more than once: what it has others do by
`StepWork.call` bears the same request id each time, so that they do it once; what it writes here goes through
`StepWork.tx`, which commits together with the mark that the step is done. A step that is refused, or fails ATTEMPTS times
for an unknown reason, turns the saga around; one that is unavailable is tried until it is there.

What undoes a step is called for those that were done, last first, and for the one under way where it may have been done:
it must bear that it was not. A saga whose undoing, or whose way past the point of no return, fails is stuck.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.rpc import status_pb2

from kontor_kit.db import Transaction
from kontor_kit.jobs import LeaseLost
from kontor_kit.operations.work import (
    ATTEMPTS,
    Again,
    Cancelled,
    Failed,
    Kind,
    Stopped,
    Stuck,
    Verdict,
    Work,
    judge,
    status_of,
)


@dataclass(eq=False)
class StepWork:
    """What a step is given."""

    work: Work
    """The operation: tenant, who started it, the request, what the service hands over."""
    request_id: str
    """The same whenever this step is tried, and no other step's: `<saga>/<step>`."""
    results: dict[str, Any]
    """What the steps before returned, by their names."""
    _stack: ExitStack = field(repr=False)
    _tx: Transaction | None = field(default=None, repr=False)

    @property
    def tx(self) -> Transaction:
        """The transaction that marks the step as done; begun at first use, so ask for it after calls to others."""
        if self._tx is None:
            self._tx = self._stack.enter_context(self.work.write())
        return self._tx

    @property
    def failure(self) -> status_pb2.Status | None:
        """Why the saga turned around; None where it did not, or was cancelled."""
        error = _State(**self.work.checkpoint).error
        return status_pb2.Status.FromString(base64.b64decode(error)) if error else None

    def call(self, method: MethodDescriptor, request: Message) -> Any:
        """Call a method of another service on behalf of who started the saga, and return the answer.

        For one write in a step: a second one would bear the same request id. Raises as `Work.call` does.
        """
        return self.work.call(method, request, request_id=self.request_id)


Act = Callable[[StepWork], Any]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a saga."""

    name: str
    """In snake_case, stable: sagas under way know it."""
    do: Act
    """May return JSON for the steps after it."""
    undo: Act | None = None
    """None where nothing is left to undo."""
    no_return: bool = False
    """Once this step is done, the saga can only go on."""


@dataclass(frozen=True, slots=True)
class _State:
    """How far a saga is; `at` steps are done and not undone."""

    at: int = 0
    begun: bool = False
    """Whether the step after these was tried."""
    undoing: bool = False
    error: str = ""
    """Why it turned around: a status in base64; empty where it was cancelled."""
    results: dict[str, Any] = field(default_factory=dict)

    def but(self, **changes: Any) -> _State:
        return _State(**{**self.json(), **changes})

    def json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("at", "begun", "undoing", "error", "results")}


class Saga:
    """A saga; `result` makes the operation's result of what the steps returned."""

    def __init__(
        self,
        name: str,
        steps: Sequence[Step],
        *,
        request: type[Message],
        result: Callable[[dict[str, Any]], Message | None] = lambda results: None,
    ) -> None:
        if len({step.name for step in steps}) < len(steps):
            raise ValueError(f"two steps of {name} have one name")
        self._steps = tuple(steps)
        self._result = result
        self.kind = Kind(name, request, self._run)

    def begun(self, returned: Any = None) -> dict[str, Any]:
        """Return the checkpoint of a saga whose first step is done by the method that starts it, in its transaction.

        So it is undone whatever ends the saga, be it cancelled before anybody worked on it. `returned` is what the step
        returns.
        """
        results = {} if returned is None else {self._steps[0].name: returned}
        return _State(at=1, results=results).json()

    def _run(self, work: Work) -> Message | None:
        """Go on from the last checkpoint to the end, one way or the other."""
        while True:
            state = _State(**work.checkpoint)
            if work.stopping.is_set():
                raise Stopped
            if state.undoing and state.at:
                self._undo(work, state)
            elif state.undoing and state.error:
                raise Failed(status_pb2.Status.FromString(base64.b64decode(state.error)))
            elif state.undoing:
                raise Cancelled
            elif state.at < len(self._steps):
                self._do(work, state)
            else:
                return self._result(state.results)

    def _do(self, work: Work, state: _State) -> None:
        step = self._steps[state.at]
        tried = state.but(begun=True)
        with work.write() as tx:
            turns = work.cancel_requested and self._can_turn(state.at + state.begun)
            if turns:
                self._save(work, tx, state.but(undoing=True, at=state.at + state.begun))
            elif not state.begun:
                self._save(work, tx, tried)
        if turns:
            return
        try:
            with ExitStack() as stack:
                given = StepWork(work, f"{work.id}/{step.name}", state.results, stack)
                returned = step.do(given)
                results = state.results if returned is None else {**state.results, step.name: returned}
                self._save(work, given.tx, _State(at=state.at + 1, results=results))
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, the saga goes one way or the other
            self._fail(work, tried, error)

    def _fail(self, work: Work, state: _State, error: Exception) -> None:
        """Turn around where a step fails for good; else let it be tried again."""
        verdict = judge(error)
        at = state.at + (verdict is not Verdict.REFUSED)
        if not work.gives_up(error) or not self._can_turn(at):
            self._again(work, error, verdict)
        status = base64.b64encode(status_of(error, work.domain, work.trace).SerializeToString()).decode()
        with work.write() as tx:
            self._save(work, tx, state.but(undoing=True, at=at, error=status))

    def _undo(self, work: Work, state: _State) -> None:
        step = self._steps[state.at - 1]
        try:
            with ExitStack() as stack:
                given = StepWork(work, f"{work.id}/{step.name}/undo", state.results, stack)
                if step.undo is not None:
                    work.renew()
                    step.undo(given)
                self._save(work, given.tx, state.but(at=state.at - 1))
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001  # as above
            self._again(work, error, judge(error))

    @staticmethod
    def _again(work: Work, error: Exception, verdict: Verdict) -> None:
        """Raise what makes the runner try again; or, where there is no other way left, what keeps it for an operator."""
        counts = verdict is not Verdict.LATER
        if counts and work.faults + 1 >= ATTEMPTS:
            raise Stuck(status_of(error, work.domain, work.trace)) from error
        raise Again(error, counts=counts) from error

    def _can_turn(self, at: int) -> bool:
        return not any(step.no_return for step in self._steps[:at])

    def _save(self, work: Work, tx: Transaction, state: _State) -> None:
        ahead = self._steps[state.at].name if state.at < len(self._steps) else ""
        stage = f"undo {self._steps[state.at - 1].name}" if state.undoing and state.at else ahead
        work.save(tx, state.json(), stage=stage, done=state.at, total=len(self._steps))
