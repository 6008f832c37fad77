"""What `work` runs for a service that has handlers: a follower for each service that it wants to hear of, and workers."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from functools import partial
from typing import Any, Final

from prometheus_client import Gauge

from kontor_kit.clients import Peers
from kontor_kit.config import ConfigurationError
from kontor_kit.credentials import ClientToken
from kontor_kit.inbox.following import Follower
from kontor_kit.inbox.handling import Worker
from kontor_kit.inbox.receiving import Inbox
from kontor_kit.inbox.sources import Sources
from kontor_kit.service import Job, Runtime, Service
from kontor_kit.watching import looking

logger = logging.getLogger(__name__)

NEEDED: Final = ("page_token_key", "client_id", "client_secret")
"""The settings that `work` needs more where there are handlers."""
_WORKERS: Final = 2


def jobs(service: Service, runtime: Runtime, given: Any) -> Iterator[tuple[str, Job]]:
    """Yield the jobs; `runtime` is that of work, `given` what handlers find. Raises ConfigurationError."""
    handlers, settings = service.handlers, runtime.settings
    if handlers is None or runtime.system is None:
        return
    missing = [source for source in handlers.needed_services() if source not in settings.peers]
    if missing:
        raise ConfigurationError([f"KONTOR_PEERS: does not say where {source} answers" for source in missing])
    sources = [source for source in handlers.services() if source in settings.peers]
    if left := sorted(set(handlers.services()) - set(sources)):
        logger.warning("KONTOR_PEERS does not name services that could be followed", extra={"services": left})
    token_url = settings.token_url or f"{settings.issuer.rstrip('/')}/oauth2/token"
    token = ClientToken(token_url, settings.client_id, settings.client_secret, ca=settings.tls_ca_file)
    peers = Peers.of(settings, token=token)
    inbox = Inbox(service.metadata, runtime.system, handlers)
    for source in sources:
        follower = Follower(source, inbox, handlers, peers.connect)
        # What the broker brings is all but what came before the queue was there; the stream has it.
        yield f"follow-{source}", follower.fill if settings.transport == "amqp" else follower.run
    silent = Gauge(
        "kontor_source_silent_seconds", "For how long nothing came.", ("source",), registry=runtime.metrics.registry
    )
    yield "watch-sources", looking(partial(_tell_silence, inbox.sources, sources, silent))
    worker = Worker(
        service.metadata,
        handlers,
        system=runtime.system,
        database=runtime.database,
        service=given,
        registry=runtime.metrics.registry,
    )
    for number in range(_WORKERS):
        yield f"handle-events-{number + 1}", worker.run


def _tell_silence(sources: Sources, followed: Collection[str], silent: Gauge) -> None:
    for source, seconds in sources.silence().items():
        if source in followed:
            silent.labels(source).set(seconds)
