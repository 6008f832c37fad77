"""Measures how long a change takes from its commit in identity until contacts has handled it, and how many do a second.

Users of nobody's are deactivated: as many rows as wanted are written into identity's `change_pending`, each in a
transaction of its own as a call would, and contacts looks for what such a user owned, twice, in accounts and contacts.
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

from kontor.identity.v1 import user_pb2

RATES: Final = (200, 500)
SECONDS: Final = 8.0
WARM_UP_SECONDS: Final = 1.5
OUTSTANDING: Final = 2_000
"""So many events wait at most while the highest rate is looked for."""
WRITTEN: Final = 250
"""So many are written in one transaction then: it is not the writing that is measured."""
HANDLERS: Final = 2
"""Of contacts, for each event."""
_PATIENCE_SECONDS: Final = 60.0
_WRITERS: Final = 2

_WRITE: Final = """
INSERT INTO change_pending (tenant_id, resource_name, version, event_type, after, subject)
SELECT %s, 'users/' || id, 2, 'kontor.identity.v1.user.deactivated', %s, 'users/' || id
FROM unnest(%s::uuid[]) AS given (id)
"""
_LATENCIES: Final = """
SELECT extract(epoch FROM max(done_time) - min(event_time))::float8 FROM inbox
WHERE event_time >= %s AND event_type = 'kontor.identity.v1.user.deactivated'
GROUP BY event_id HAVING count(*) FILTER (WHERE state = 1) = count(*) ORDER BY 1
"""
_HANDLED: Final = "SELECT count(*) FROM inbox WHERE state = 1"


class Events:
    """Writes changes on one side, and looks at them on the other."""

    def __init__(self, running: Instance, transport: str) -> None:
        self._transport = transport
        self._tenant = running.tenant
        self._from = running.database_url("owner", "identity")
        self._after = user_pb2.User(
            state=user_pb2.User.STATE_DEACTIVATED, display_name="Who leaves"
        ).SerializeToString()
        self._inbox = psycopg.connect(running.database_url("owner"), autocommit=True)

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
        missing = self._await(before + written * HANDLERS)
        elapsed = time.monotonic() - started
        return self._row(rate, written / max(elapsed, SECONDS), begun, missing)

    def _highest(self) -> EventRow:
        """Keep some events waiting, but never too many."""
        (begun,) = self._inbox.execute("SELECT clock_timestamp()").fetchone() or (None,)
        first, written, until = self._handled(), 0, time.monotonic() + SECONDS
        with psycopg.connect(self._from, autocommit=True) as connection:
            while time.monotonic() < until:
                if written - (self._handled() - first) / HANDLERS < OUTSTANDING:
                    self._write(connection, WRITTEN)
                    written += WRITTEN
                else:
                    time.sleep(0.2)
        rate = (self._handled() - first) / HANDLERS / SECONDS
        missing = self._await(first + written * HANDLERS)
        return self._row(0, rate, begun, missing)

    def _row(self, offered: int, rate: float, begun: Any, missing: int) -> EventRow:
        found = [seconds for (seconds,) in self._inbox.execute(_LATENCIES, [begun])]
        p50, p99 = (percentile(found, share) for share in (0.50, 0.99))
        return EventRow(self._transport, offered, rate, p50, p99, -(-missing // HANDLERS))

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
