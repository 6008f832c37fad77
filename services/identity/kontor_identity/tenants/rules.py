"""What can happen to a tenant, and who may make it happen."""

from __future__ import annotations

import enum
import uuid
from collections.abc import Callable
from typing import Final

from kontor_kit.errors import FailedPrecondition, PermissionDenied
from kontor_kit.principals import PLATFORM_TENANT

PLATFORM_SLUG: Final = "platform"
"""The short name of the operators' tenant, who manage all others. Made by `bootstrap`."""


class State(enum.IntEnum):
    """Whether the tenant's people and programs are let in. The numbers are those of the contract."""

    ACTIVE = 1
    SUSPENDED = 2
    FORGOTTEN = 3


def require_operator(caller: uuid.UUID) -> None:
    """Raise PermissionDenied unless `caller` is the tenant of the operators."""
    if caller != PLATFORM_TENANT:
        raise PermissionDenied("only operators of the platform may do this", reason="OPERATORS_ONLY")


def require_ordinary(tenant: uuid.UUID) -> None:
    """Raise FailedPrecondition where `tenant` is the operators' own: shut out, they could not undo it."""
    if tenant == PLATFORM_TENANT:
        raise FailedPrecondition("the tenant of the operators cannot be shut out", reason="PLATFORM_TENANT")


def require_kept(state: State) -> None:
    """Raise FailedPrecondition where the data of a deleted tenant is gone, or is going."""
    if state is State.FORGOTTEN:
        raise FailedPrecondition("the data of the tenant is being deleted", reason="ALREADY_FORGOTTEN")


Transition = Callable[[State], State]


def suspend(state: State) -> State:
    """Return the state after a suspension; raises FailedPrecondition where there is one already."""
    if state is State.SUSPENDED:
        raise FailedPrecondition("the tenant is suspended already", reason="ALREADY_SUSPENDED")
    return State.SUSPENDED


def resume(state: State) -> State:
    """Return the state after the end of a suspension; raises FailedPrecondition where there is none."""
    if state is State.ACTIVE:
        raise FailedPrecondition("the tenant is not suspended", reason="NOT_SUSPENDED")
    return State.ACTIVE
