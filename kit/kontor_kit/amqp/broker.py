"""The broker: how it is connected to, and the exchanges and queues that relays and receivers declare alike.

Imports no gRPC, and neither nameko nor eventlet: relays run unpatched, receivers patched.
"""

from __future__ import annotations

import ssl
from typing import Any, Final
from urllib.parse import urlsplit

from kombu import Connection, Exchange, Queue

from kontor_kit.config import Settings

CHANGES: Final = Exchange("kontor.changes", type="topic", durable=True)
"""Every change of every service, with its type as the routing key."""
DEAD: Final = Exchange("kontor.dead", type="direct", durable=True)
"""Messages that cannot be read, with the name of the queue they were in as the routing key."""
_DELIVERIES: Final = 1_000_000_000
"""A message that comes again and again is no bad one: the database may be away, however long."""


def connection(settings: Settings) -> Connection:
    """Return a connection that is not open yet; it does without heartbeats, for who waits never longer than `timeout`."""
    return Connection(settings.amqp_url, ssl=ssl_options(settings), connect_timeout=5, heartbeat=0)


def ssl_options(settings: Settings) -> dict[str, Any] | None:
    """Return what TLS takes; None where the URL says that there is none. The broker's certificate is always checked."""
    url = urlsplit(settings.amqp_url)
    if url.scheme != "amqps":
        return None
    files = {
        "ca_certs": settings.amqp_ca_file,
        "certfile": settings.amqp_certificate_file,
        "keyfile": settings.amqp_key_file,
    }
    given = {name: str(path) for name, path in files.items() if path is not None}
    return {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": url.hostname, **given}


def queue(service: str) -> Queue:
    """Return the queue of a consumer; one receiver at a time gets its messages, so that they stay in order."""
    name = f"kontor.{service}"
    arguments = {
        "x-queue-type": "quorum",
        "x-single-active-consumer": True,
        "x-delivery-limit": _DELIVERIES,
        "x-dead-letter-exchange": DEAD.name,
        "x-dead-letter-routing-key": name,
    }
    return Queue(name, durable=True, queue_arguments=arguments)


def dead_queue(service: str) -> Queue:
    """Return the queue in which the messages end that the consumer could not read."""
    name = f"kontor.{service}"
    return Queue(f"{name}.dead", DEAD, name, durable=True, queue_arguments={"x-queue-type": "quorum"})
