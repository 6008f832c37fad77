"""What is stored in the end: logs, records, inboxes, effects."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row

PRODUCERS = ("contacts", "identity")
CONSUMERS = ("contacts", "ledger")
_LOG = """SELECT position, tenant_id, event_id::text, resource_name, version, event_type, request_id, after
    FROM change_log ORDER BY position"""
_EFFECTS = "SELECT event_id::text, resource_name, version, digest FROM effects ORDER BY sequence"


@dataclass(frozen=True)
class Entry:
    """A row of a change log, which came after the load had begun."""

    service: str
    position: int
    tenant: uuid.UUID
    event: str
    name: str
    version: int
    type: str
    key: str
    digest: str
    """Of the record after the change, as the ledger makes it."""


class Stored:
    """The databases of a platform."""

    def __init__(self, platform: Any) -> None:
        self._platform = platform
        self.marks = {service: self._one(service, "SELECT position FROM change_log_state") for service in PRODUCERS}
        """Where the logs stood when this was made."""

    def rows(self, service: str, query: str, *values: Any) -> list[Any]:
        """Return rows, as the owner, whom row security does not hold."""
        url = self._platform.database_url(service)
        with psycopg.connect(url, row_factory=namedtuple_row, connect_timeout=5) as connection:
            return connection.execute(query, values).fetchall()

    def _one(self, service: str, query: str, *values: Any) -> Any:
        return self.rows(service, query, *values)[0][0]

    def log(self, service: str) -> list[Entry]:
        """Return a log as a whole."""
        return [
            Entry(
                service=service,
                position=row.position,
                tenant=row.tenant_id,
                event=row.event_id,
                name=row.resource_name,
                version=row.version,
                type=row.event_type,
                key=row.request_id or "",
                digest=hashlib.sha256(row.after).hexdigest(),
            )
            for row in self.rows(service, _LOG)
        ]

    def versions(self, service: str, collection: str) -> dict[str, int]:
        """Return the records of a collection, over all tenants, with their versions."""
        return {
            f"{collection}/{row.id}": row.version for row in self.rows(service, f"SELECT id, version FROM {collection}")
        }

    def effect_count(self) -> int:
        """Return how many effects there are."""
        return self._one("ledger", "SELECT count(*) FROM effects")

    def effects(self) -> list[Any]:
        """Return the effects in the order of their commits, as far as they are of one record."""
        return self.rows("ledger", _EFFECTS)

    def count(self, service: str, tenant: uuid.UUID | None = None) -> int:
        """Return how many changes came after the mark; or how many there are of a tenant."""
        if tenant is not None:
            return self._one(service, "SELECT count(*) FROM change_log WHERE tenant_id = %s", tenant)
        return self._one(service, "SELECT count(*) FROM change_log WHERE position > %s", self.marks[service])

    def tenant(self, slug: str) -> uuid.UUID:
        """Return the id of a tenant."""
        return self._one("identity", "SELECT id FROM tenants WHERE slug = %s", slug)

    def backlog(self) -> dict[str, int]:
        """Return how many changes are not in the logs, and how many events are not handled."""
        pending, waiting = "SELECT count(*) FROM change_pending", "SELECT count(*) FROM inbox WHERE state = 0"
        counts = {f"pending in {service}": self._one(service, pending) for service in PRODUCERS}
        return counts | {f"the inbox of {service}": self._one(service, waiting) for service in CONSUMERS}

    def dead(self) -> list[str]:
        """Return the errors of dead events."""
        query = "SELECT handler, event_type, error FROM inbox WHERE state = 2"
        return [f"{service}: {' '.join(map(str, row))}" for service in CONSUMERS for row in self.rows(service, query)]

    def followed(self) -> set[str]:
        """Return the services that the ledger follows by now, and of which it has all that there was."""
        query = "SELECT source FROM inbox_sources WHERE position <> '' AND filled = wanted"
        return {row.source for row in self.rows("ledger", query)}
