"""The log in an operator's hands: verify the chains, export, redact a record, and say that the database was restored.

As the system role, over all tenants or one of them.
"""

from __future__ import annotations

import argparse
import json
import sys
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from kontor_kit.changes.digests import BEGINNING, chain, content_digest
from kontor_kit.changes.sequencer import FACTS, facts
from kontor_kit.db import Database, Statement
from kontor_kit.service import Command, Service
from kontor_kit.tables import KEY_TEXT

BATCH: Final = 1000
_LOWEST: Final = -(2**63)
"""What a restored tenant has of old lies below zero."""
_COLUMNS: Final = (*FACTS, "before", "after", "salt", "content_digest", "digest")


class Verdict(NamedTuple):
    """What was found of one tenant's chain."""

    tenant_id: uuid.UUID
    changes: int
    redacted: int
    broken_at: int | None
    """The position of the first change that is not what was written, or that is missing; None where all is well."""


class Upkeep:
    """Works on the log of one service."""

    def __init__(self, metadata: sa.MetaData, database: Database) -> None:
        self._database = database
        log, heads, seals = (metadata.tables[f"change_log{name}"] for name in ("", "_heads", "_seals"))
        tenant = sa.bindparam("tenant", type_=sa.Uuid)
        after = sa.bindparam("after", type_=sa.BigInteger)
        self._heads = Statement(
            sa.select(heads.c.tenant_id, heads.c.position, heads.c.digest).order_by(heads.c.tenant_id)
        )
        self._seal = Statement(
            sa.select(seals.c.position, seals.c.digest)
            .where(seals.c.tenant_id == tenant)
            .order_by(seals.c.position.desc())
            .limit(1)
        )
        self._rows = Statement(
            sa.select(*(log.c[name] for name in _COLUMNS))
            .where(log.c.tenant_id == tenant, log.c.position > after)
            .order_by(log.c.position)
            .limit(BATCH)
        )
        self._redact = Statement(
            log.update()
            .where(log.c.tenant_id == tenant, log.c.resource_name == sa.bindparam("name", type_=KEY_TEXT))
            .values(before=None, after=None, salt=None)
            .returning(log.c.position)
        )
        state = metadata.tables["change_log_state"]
        self._restored = Statement(
            state.update().values(incarnation=state.c.incarnation + 1).returning(state.c.incarnation)
        )

    def rows(self, tenant_id: uuid.UUID, after: int = _LOWEST) -> Iterator[dict[str, Any]]:
        """Yield the tenant's changes in order."""
        while True:
            with self._database.read(None) as tx:
                rows = tx.run(self._rows, {"tenant": tenant_id, "after": after})
            for row in rows:
                yield dict(zip(_COLUMNS, row, strict=True))
            if len(rows) < BATCH:
                return
            after = rows[-1][0]

    def verify(self, tenant_id: uuid.UUID | None = None) -> Iterator[Verdict]:
        """Yield for each tenant, or for one, whether its chain is what was written."""
        with self._database.read(None) as tx:
            heads = tx.run(self._heads)
        for tenant, position, digest in heads:
            if tenant_id in (None, tenant):
                yield self._verify(tenant, position, bytes(digest))

    def _verify(self, tenant: uuid.UUID, last: int, head: bytes) -> Verdict:
        with self._database.read(None) as tx:
            seals = tx.run(self._seal, {"tenant": tenant})
        position, previous = (seals[0][0], bytes(seals[0][1])) if seals else (0, BEGINNING)
        changes = redacted = 0
        for row in self.rows(tenant, position):
            position = row["position"]
            content = bytes(row["content_digest"])
            whole = row["salt"] is not None
            if whole and content != content_digest(row["salt"], row["before"], row["after"]):
                return Verdict(tenant, changes, redacted, position)
            if bytes(row["digest"]) != chain(previous, facts(row), content):
                return Verdict(tenant, changes, redacted, position)
            previous = bytes(row["digest"])
            changes += 1
            redacted += not whole
            if position == last:
                break
        # Changes that came while this ran stand behind the head that was read.
        return Verdict(tenant, changes, redacted, None if (position, previous) == (last, head) else position + 1)

    def redact(self, tenant_id: uuid.UUID, name: str) -> int:
        """Take the values of a record out of the log; return how many changes it had. The chain still verifies."""
        with self._database.write(None) as tx:
            return len(tx.run(self._redact, {"tenant": tenant_id, "name": name}))

    def restored(self) -> int:
        """Give the log another incarnation, so that every reader begins with a snapshot; return it."""
        with self._database.write(None) as tx:
            [(incarnation,)] = tx.run(self._restored)
        return int(incarnation)


def commands(service: Service) -> Mapping[str, Command]:
    """Return the subcommands that work on the service's log."""

    def command(help: str, run: Any, arguments: Any = None) -> Command:
        def work(settings: Any, given: argparse.Namespace) -> int:
            database = Database(settings.system_database_url, pool_size=2, name=f"kontor-{service.name}-upkeep")
            database.open()
            try:
                return int(run(Upkeep(service.metadata, database), given))
            finally:
                database.close()

        extra = {"arguments": arguments} if arguments else {}
        return Command(help=help, run=work, need=["system_database_url"], **extra)

    return {
        "verify-changes": command("check that the change log is what was written", _verify, _tenant_argument),
        "export-changes": command("print a tenant's change log as JSON lines", _export, _required_tenant),
        "redact-changes": command("take a record's values out of the change log", _redact, _record_arguments),
        "restored": command("say that the database was restored: readers begin with a snapshot", _restored),
    }


def _tenant_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tenant", type=uuid.UUID, help="one tenant only (a UUID)")


def _required_tenant(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tenant", type=uuid.UUID, required=True, help="the tenant (a UUID)")


def _record_arguments(parser: argparse.ArgumentParser) -> None:
    _required_tenant(parser)
    parser.add_argument("--name", required=True, help="the record, for example contacts/01a2...")


def _verify(upkeep: Upkeep, given: argparse.Namespace) -> int:
    broken = 0
    for verdict in upkeep.verify(given.tenant):
        state = "whole" if verdict.broken_at is None else f"BROKEN at position {verdict.broken_at}"
        print(f"{verdict.tenant_id}  {verdict.changes:>10} changes  {verdict.redacted:>8} redacted  {state}")  # noqa: T201
        broken += verdict.broken_at is not None
    return 1 if broken else 0


def _export(upkeep: Upkeep, given: argparse.Namespace) -> int:
    for row in upkeep.rows(given.tenant):
        shown = {name: value.hex() if isinstance(value, bytes) else value for name, value in row.items()}
        sys.stdout.write(json.dumps(shown, default=str) + "\n")
    return 0


def _redact(upkeep: Upkeep, given: argparse.Namespace) -> int:
    print(f"{upkeep.redact(given.tenant, given.name)} changes redacted")  # noqa: T201
    return 0


def _restored(upkeep: Upkeep, _: argparse.Namespace) -> int:
    print(f"incarnation {upkeep.restored()}")  # noqa: T201
    return 0
