"""What a suppression must be like, and which of several counts."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any, Final, Protocol, TypeVar

from kontor_kit import normal_forms
from kontor_kit.errors import Violation

EMAIL: Final = 1
PHONE: Final = 2
POST: Final = 3
ALL: Final = 4
"""As Suppression.Channel."""
UNSUBSCRIBED: Final = 30
ERASED: Final = 50
"""As Suppression.Reason."""


class Reasoned(Protocol):
    """What has a reason, and began at some time."""

    @property
    def reason(self) -> int:
        """As Suppression.Reason: the higher, the stronger."""

    @property
    def start_time(self) -> dt.datetime:
        """From when on it holds."""


R = TypeVar("R", bound=Reasoned)


def strongest(found: Iterable[R]) -> R | None:
    """Return the one that counts: the strongest reason, of these the oldest; None of none."""
    return min(found, key=lambda each: (-each.reason, each.start_time), default=None)


def normalise(suppression: Any, now: dt.datetime) -> list[Violation]:
    """Bring a new suppression into its normal form, in place, and return what is wrong with it."""
    violations: list[Violation] = []
    if not suppression.party and not suppression.address:
        violations.append(Violation("party", "a party or an address is required"))
    if suppression.address:
        try:
            suppression.address = address_key(suppression.address, suppression.channel)
        except ValueError as error:
            violations.append(Violation("address", str(error)))
    if not suppression.HasField("start_time"):
        suppression.start_time.FromDatetime(now)
    if (
        suppression.HasField("end_time")
        and suppression.end_time.ToNanoseconds() <= suppression.start_time.ToNanoseconds()
    ):
        violations.append(Violation("end_time", "must be after start_time"))
    return violations


def address_key(address: str, channel: int) -> str:
    """Return an address as it is compared; raises ValueError where the channel has no such addresses."""
    if channel == POST:
        raise ValueError("letters are suppressed by party")
    if channel == PHONE or (channel == ALL and "@" not in address):
        return normal_forms.phone(address)
    return normal_forms.email(address).lower()
