"""The gate: whether a mail may be sent to somebody, and by what that was decided."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

from kontor_kit import normal_forms

PENDING: Final = 1
HANDING_OVER: Final = 2
SENT: Final = 3
SKIPPED: Final = 4
FAILED: Final = 5
"""As CampaignRecipient.State."""

ALLOWED: Final = 1
ERASED: Final = 2
EXCLUDED: Final = 3
EXCLUDED_ADDRESS: Final = 4
NO_ADDRESS: Final = 5
INVALID_ADDRESS: Final = 6
ADDRESS_OPTED_OUT: Final = 7
SUPPRESSED: Final = 8
OPTED_OUT: Final = 9
NOT_OPTED_IN: Final = 10
OPEN_COMPLAINT: Final = 11
DUPLICATE_ADDRESS: Final = 12
MISSING_VARIABLE: Final = 13
TEMPLATE_FAILED: Final = 14
NOT_CONFIRMED: Final = 15
"""As CampaignRecipient.Decision."""

SAID_YES: Final = 2
SAID_NO: Final = 3
"""As Subscription.State."""

MOST_DEFERRALS: Final = 8
"""So often a mail server may ask for patience with one mail."""
_FIRST_PAUSE_SECONDS: Final = 60.0
_LONGEST_PAUSE_SECONDS: Final = 6 * 3600.0


class Facts(Protocol):
    """What is known of somebody, as of now."""

    @property
    def live(self) -> bool:
        """Whether the person is still known."""

    @property
    def emails(self) -> Sequence[Any]:
        """With address, key, invalid and opted_out; the one to use first ahead of the others."""

    @property
    def consent(self) -> Any:
        """With the state of a subscription to the topic, and whether it is confirmed as far as the topic wants that.

        None where there is none.
        """

    @property
    def open_complaints(self) -> int:
        """How many complaints are neither solved nor closed."""

    def suppression_of(self, address: str) -> Any:
        """Return what forbids to write to an address of theirs; None where nothing does."""


class Asked(NamedTuple):
    """What the campaign says about somebody."""

    excluded: bool = False
    """Whether a segment that is excluded has them."""
    excluded_address: bool = False
    """Whether one has somebody else with the same address."""
    include_open_complaints: bool = False


def address_of(facts: Facts) -> Any:
    """Return the address to write to: the first one that is not known to be invalid; None where there is none.

    It may be one that nothing may be sent to: whoever opted out with one address is not written to at another.
    """
    return next((email for email in facts.emails if not email.invalid), facts.emails[0] if facts.emails else None)


def gate(facts: Facts | None, asked: Asked) -> int:
    """Return the decision about somebody. What forbids for good stands ahead of what may pass."""
    if facts is None or not facts.live:
        return ERASED
    if asked.excluded:
        return EXCLUDED
    address = address_of(facts)
    if address is None:
        return NO_ADDRESS
    if asked.excluded_address:
        return EXCLUDED_ADDRESS
    if address.invalid or not is_sendable(address.address):
        return INVALID_ADDRESS
    if address.opted_out:
        return ADDRESS_OPTED_OUT
    if facts.suppression_of(address.address) is not None:
        return SUPPRESSED
    if refusal := _refuse(facts.consent):
        return refusal
    if facts.open_complaints and not asked.include_open_complaints:
        return OPEN_COMPLAINT
    return ALLOWED


def _refuse(consent: Any) -> int:
    """Return the decision where what somebody said to the topic is no yes that counts; 0 where it is."""
    if consent is None or consent.state not in (SAID_YES, SAID_NO):
        return NOT_OPTED_IN
    if consent.state == SAID_NO:
        return OPTED_OUT
    return 0 if consent.confirmed else NOT_CONFIRMED


def is_sendable(address: str) -> bool:
    """Whether an address can stand on the wire of every mail server."""
    user, _, domain = address.rpartition("@")
    try:
        return bool(user and normal_forms.ascii_domain(domain)) and user.isascii() and address.isprintable()
    except ValueError:
        return False


def message_id(campaign: uuid.UUID, recipient: uuid.UUID, sender: str) -> str:
    """Return the Message-ID, without brackets: the same one however often the mail is sent, and no other mail's."""
    return f"{campaign.hex}.{recipient.hex}@{ascii_domain(sender)}"


def ascii_domain(address: str) -> str:
    """Return the domain of an e-mail address as it stands on the wire."""
    return normal_forms.ascii_domain(address.rpartition("@")[2])


def ascii_address(address: str) -> str:
    """Return an e-mail address, of which nothing before the @ is beyond ASCII, as it stands on the wire."""
    return f"{address.rpartition('@')[0]}@{ascii_domain(address)}"


def pause_seconds(deferrals: int) -> float:
    """Return after how many seconds a mail is tried again that was put off so many times before."""
    return float(min(_FIRST_PAUSE_SECONDS * 2**deferrals, _LONGEST_PAUSE_SECONDS))
