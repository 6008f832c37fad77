"""Measures how long a change takes from its commit in contacts until sales has handled it, and how many do a second.

Fields of the tenant's own are defined: as many rows as wanted are written into contacts' `change_pending`, each in a
transaction of its own as a call would, and sales has one handler for them, which keeps a copy of each definition.
Everything in between is what runs in production: sequencer, change stream or relay and RabbitMQ, inbox, workers.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any, Final

import psycopg
from instance import Instance
from report import EventRow, percentile

from kontor.contacts.v1 import custom_field_definition_pb2

RATES: Final = (200, 500)
SECONDS: Final = 8.0
WARM_UP_SECONDS: Final = 1.5
OUTSTANDING: Final = 2_000
"""So many events wait at most while the highest rate is looked for."""
WRITTEN: Final = 250
"""So many are written in one transaction then: it is not the writing that is measured."""
_PATIENCE_SECONDS: Final = 60.0
_WRITERS: Final = 2

_WRITE: Final = """
INSERT INTO change_pending (tenant_id, resource_name, version, event_type, after, subject)
SELECT %s, 'customFieldDefinitions/' || id, 1, 'kontor.contacts.v1.custom_field_definition.created', %s, 'users/' || id
FROM unnest(%s::uuid[]) AS given (id)
"""
_LATENCIES: Final = """
SELECT extract(epoch FROM max(done_time) - min(event_time))::float8 FROM inbox
WHERE event_time >= %s AND event_type = 'kontor.contacts.v1.custom_field_definition.created'
GROUP BY event_id HAVING count(*) FILTER (WHERE state = 1) = count(*) ORDER BY 1
"""
_HANDLED: Final = "SELECT count(*) FROM inbox WHERE state = 1"


class Events:
    """Writes changes on one side, and looks at them on the other."""

    def __init__(self, running: Instance, transport: str) -> None:
        self._transport = transport
        self._tenant = running.tenant
        self._from = running.database_url("owner")
        definition = custom_field_definition_pb2.CustomFieldDefinition
        self._after = definition(
            resource_type="products", key="colour", display_name="Colour", type=definition.TYPE_STRING
        ).SerializeToString()
        self._inbox = psycopg.connect(running.database_url("owner", "sales"), autocommit=True)

    def rows(self) -> Iterator[EventRow]:
        """Measure one row after the other."""
        self._write_steadily(50, WARM_UP_SECONDS)
        self._await(self._handled())
        for rate in RATES:
            yield self._steady(rate)
        yield self._highest()
        self._inbox.close()

    def _steady(self, rate: int) -> EventRow:
        before, (begun,) = self._handled(), self._inbox.execute("SELECT clock_timestamp()").fetchone() or (None,)
        started = time.monotonic()
        written = self._write_steadily(rate, SECONDS)
        missing = self._await(before + written)
        elapsed = time.monotonic() - started
        return self._row(rate, written / max(elapsed, SECONDS), begun, missing)

    def _highest(self) -> EventRow:
        """Keep some events waiting, but never too many."""
        (begun,) = self._inbox.execute("SELECT clock_timestamp()").fetchone() or (None,)
        first, written, until = self._handled(), 0, time.monotonic() + SECONDS
        with psycopg.connect(self._from, autocommit=True) as connection:
            while time.monotonic() < until:
                if written - self._handled() - first < OUTSTANDING:
                    self._write(connection, WRITTEN)
                    written += WRITTEN
                else:
                    time.sleep(0.2)
        rate = (self._handled() - first) / SECONDS
        missing = self._await(first + written)
        return self._row(0, rate, begun, missing)

    def _row(self, offered: int, rate: float, begun: Any, missing: int) -> EventRow:
        found = [seconds for (seconds,) in self._inbox.execute(_LATENCIES, [begun])]
        p50, p99 = (percentile(found, share) for share in (0.50, 0.99))
        return EventRow(self._transport, offered, rate, p50, p99, missing)

    def _write_steadily(self, rate: int, seconds: float) -> int:
        """Write one after the other, each when it is due; return how many."""
        count = int(rate * seconds)
        begun = time.monotonic()

        def write(first: int) -> None:
            with psycopg.connect(self._from, autocommit=True) as connection:
                for number in range(first, count, _WRITERS):
                    time.sleep(max(begun + number / rate - time.monotonic(), 0.0))
                    self._write(connection, 1)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(_WRITERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return count

    def _write(self, connection: psycopg.Connection[Any], count: int) -> None:
        ids = [uuid.uuid4() for _ in range(count)]
        connection.execute(_WRITE, [self._tenant, self._after, ids])

    def _handled(self) -> int:
        return int((self._inbox.execute(_HANDLED).fetchone() or (0,))[0])

    def _await(self, handled: int) -> int:
        """Wait until so many are handled; return how many are missing."""
        until = time.monotonic() + _PATIENCE_SECONDS
        while (missing := handled - self._handled()) > 0 and time.monotonic() < until:
            time.sleep(0.2)
        return max(missing, 0)
