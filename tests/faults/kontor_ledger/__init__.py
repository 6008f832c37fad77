"""A service that follows others and writes down each effect that an event had on it, so that effects can be counted."""

KINDS = ("kontor.contacts.v1.account", "kontor.contacts.v1.contact", "kontor.identity.v1.team")
TYPES = tuple(f"{kind}.{verb}" for kind in KINDS for verb in ("created", "updated"))
"""What it listens to."""
SLOW = "Slow"
"""The work on an account that is called so takes SLOW_SECONDS, and says in the log when it begins."""
SLOW_SECONDS = 1.5
