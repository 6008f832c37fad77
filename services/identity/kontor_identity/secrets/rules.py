"""What the secrets of service accounts look like, and how long they are valid."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Iterable
from typing import Final

from kontor_kit.errors import FailedPrecondition, InvalidArgument

MARK: Final = "kontor_secret_"
"""What every secret begins with, so that scanners of source code and logs find a leaked one."""
_PREFIX_LENGTH: Final = len(MARK) + 8
MIN_LENGTH: Final = 32
MAX_SECRETS: Final = 10
"""How many secrets of a service account can be valid side by side."""
DEFAULT_OVERLAP: Final = dt.timedelta(days=1)


def new_secret() -> str:
    """Return a new secret with 256 random bits."""
    return MARK + secrets.token_urlsafe(32)


def prefix_of(secret: str) -> str:
    """Return the beginning of a secret, which people may see."""
    return secret[:_PREFIX_LENGTH]


def check_given(secret: str) -> None:
    """Raise InvalidArgument where a secret that was made elsewhere does not look like ours, or is too short."""
    if not secret.startswith(MARK) or len(secret) < len(MARK) + MIN_LENGTH:
        raise InvalidArgument(("secret", f"must begin with {MARK}, with {MIN_LENGTH} random characters behind"))


def is_valid(expire_time: dt.datetime | None, now: dt.datetime) -> bool:
    """Tell whether a secret that ends at `expire_time` is valid at `now`."""
    return expire_time is None or now < expire_time


def check_expiry(expire_time: dt.datetime | None, now: dt.datetime) -> None:
    """Raise InvalidArgument where a new secret would have ended before it began."""
    if not is_valid(expire_time, now):
        raise InvalidArgument(("secret.expire_time", "must lie in the future"))


def check_room(expire_times: Iterable[dt.datetime | None], now: dt.datetime) -> None:
    """Raise FailedPrecondition where a service account has as many valid secrets as it can have."""
    if sum(is_valid(each, now) for each in expire_times) >= MAX_SECRETS:
        raise FailedPrecondition(
            f"the service account has {MAX_SECRETS} valid secrets; delete one first", reason="TOO_MANY_SECRETS"
        )


def ending(expire_time: dt.datetime | None, now: dt.datetime, overlap: dt.timedelta) -> dt.datetime:
    """Return when a secret ends whose place another one took: after the overlap, unless it ends before."""
    end = now + overlap
    return end if expire_time is None else min(expire_time, end)
