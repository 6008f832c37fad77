"""A service that follows others, for the tests of the inbox: what its handlers do is a row in `effects`."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import sqlalchemy as sa

from kontor_kit.db import Database, Statement
from kontor_kit.inbox.events import Event, Handlers
from kontor_kit.inbox.handling import Worker
from kontor_kit.inbox.schema import inbox_tables
from kontor_kit.service import Service
from kontor_kit.tables import kit_tables

KIND = "kontor.elsewhere.v1.thing"

metadata = sa.MetaData()
kit_tables(metadata)
inbox_tables(metadata)
effects = sa.Table(
    "effects",
    metadata,
    sa.Column("tenant_id", sa.Uuid),
    sa.Column("sequence", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("event_id", sa.Uuid),
    sa.Column("resource_name", sa.Text),
    sa.Column("version", sa.BigInteger),
)
_NAMES = ("tenant_id", "event_id", "resource_name", "version")
_ADD = Statement(effects.insert().values({name: sa.bindparam(name, type_=effects.c[name].type) for name in _NAMES}))


def service():
    return Service(
        name="consumer",
        package="consumer",
        servicers=lambda runtime: [],
        metadata=metadata,
        migrations=Path(__file__).parent / "inbox_migrations",
    )


def take_effect(event: Event, tx):
    """Write down that the event had its effect."""
    values = (event.tenant_id, event.id, event.resource_name, event.version)
    tx.run(_ADD, dict(zip(_NAMES, values, strict=True)))


def plain_handlers(types=(f"{KIND}.*",)):
    """Return handlers that do nothing but take effect."""
    handlers = Handlers()

    @handlers.on(*types)
    def effect(event, work):
        take_effect(event, work.tx)

    return handlers


def serve_workers():
    """Start a worker in a process of its own for each line that comes in, and print its process id.

    A fork of a process that has imported everything is there at once.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for _ in sys.stdin:
        process = os.fork()
        if process == 0:
            system, app = (Database(os.environ[name], pool_size=2) for name in ("SYSTEM_URL", "APP_URL"))
            system.open()
            app.open()
            Worker(metadata, plain_handlers(), system=system, database=app).run(threading.Event())
        sys.stdout.write(f"{process}\n")
        sys.stdout.flush()
