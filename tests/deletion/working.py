"""The work of identity on deletions, in this process."""

import dataclasses
import datetime as dt
from contextlib import contextmanager

from kontor_identity.service import service
from kontor_kit.clients import Peers
from kontor_kit.db import Database
from kontor_kit.metrics import Metrics
from kontor_kit.service import Runtime

KEY = "the key that encrypts keys in the tests"


@contextmanager
def deletion(database, peers, token, *, grace=0):
    """Yield what the steps work with, and the database as the system role and as the app role.

    `token` is what `peers` take for identity's; `grace` is in minutes.
    """
    system, app = (Database(database.url(role), pool_size=4, name=f"test-{role}") for role in ("system", "app"))
    settings = database.settings(key_encryption_key=KEY, peers=peers, tenant_grace_minutes=grace)
    system.open()
    app.open()
    try:
        runtime = Runtime(settings=settings, database=app, system=system, metrics=Metrics("test"), waker=None)
        made = service().use(runtime)
        assert made.services == sorted(peers)
        assert made.grace == dt.timedelta(minutes=grace)
        yield dataclasses.replace(made, peers=Peers(peers, token=token)), system, app
    finally:
        system.close()
        app.close()
