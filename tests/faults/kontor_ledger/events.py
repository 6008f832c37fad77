"""What the ledger listens to, and what it does: a row in `effects`, now and then only after a while or a failure."""

import hashlib
import logging
import random
import time

import sqlalchemy as sa

from kontor.contacts.v1 import account_pb2
from kontor_kit.db import Statement
from kontor_kit.inbox.events import Handlers
from kontor_ledger import KINDS, SLOW, SLOW_SECONDS, TYPES
from kontor_ledger.tables import effects

LONGEST_SECONDS = 0.02
FAILING = 0.02
"""The part of attempts that fail when all is done but the mark."""

logger = logging.getLogger(__name__)

_NAMES = ("tenant_id", "event_id", "resource_name", "version", "digest")
_ADD = Statement(effects.insert().values({name: sa.bindparam(name, type_=effects.c[name].type) for name in _NAMES}))


def handlers():
    declared = Handlers()
    declared.on(*TYPES)(write_down)
    return declared


def write_down(event, work):
    """Write down that the event had its effect."""
    digest = hashlib.sha256(event.data).hexdigest()
    values = (event.tenant_id, event.id, event.resource_name, event.version, digest)
    work.tx.run(_ADD, dict(zip(_NAMES, values, strict=True)))
    if event.type.startswith(KINDS[0]) and event.record(account_pb2.Account()).display_name.startswith(SLOW):
        logger.info("slow work begins")
        time.sleep(SLOW_SECONDS)
        return
    time.sleep(random.uniform(0, LONGEST_SECONDS))
    if random.random() < FAILING:
        raise RuntimeError("failed, so that it is tried again")
