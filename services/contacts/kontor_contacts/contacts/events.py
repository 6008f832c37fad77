"""What happens to contacts when something happens elsewhere."""

from kontor_contacts import handing_over
from kontor_contacts.contacts.table import contacts
from kontor_kit.inbox.events import Event, Handlers
from kontor_kit.inbox.handling import Work

_OWNED = handing_over.owned(contacts)


def declare(handlers: Handlers) -> None:
    """Declare the handlers of contacts."""
    handlers.on(*handing_over.EVENTS)(hand_over)


def hand_over(event: Event, work: Work) -> bool:
    """Give the contacts of a user who was shut out to the team."""
    return handing_over.hand_over(event, work, work.service["contacts"], _OWNED)
