"""The gRPC service of accounts."""

import uuid
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from kontor.contacts.v1 import account_service_pb2
from kontor_contacts.accounts import rules
from kontor_contacts.accounts.table import ACCOUNT, accounts
from kontor_contacts.address_statuses.table import mark_addresses
from kontor_kit.calls import Call
from kontor_kit.db import Statement, Transaction
from kontor_kit.errors import InvalidArgument
from kontor_kit.filter_sql import TENANT
from kontor_kit.ids import parse_name
from kontor_kit.methods import ResourceServicer
from kontor_kit.terms import Term


class Accounts(ResourceServicer):
    """Serves accounts."""

    SERVICE = account_service_pb2.DESCRIPTOR.services_by_name["AccountService"]
    RESOURCE = ACCOUNT

    def prepare(self, tx: Transaction, call: Call, before: Any | None, after: Any) -> None:
        """Bring the account into form, and see that its parent is one it can stand below."""
        violations = rules.normalise(after)
        if violations:
            raise InvalidArgument(*violations)
        if after.parent and (before is None or after.parent != before.parent):
            self.referred(tx, call, self.store, after.parent, "parent")
            self._check_place(tx, after)

    def match_terms(self, record: Any) -> set[Term]:
        """Suspect accounts with the same name and place, website, e-mail address or phone number."""
        return {self.term(f"match.{key.field}", key.value) for key in rules.match_keys(record)}

    def decorate(self, tx: Transaction, records: Sequence[Any]) -> None:
        """Tell what is known of the addresses."""
        mark_addresses(tx, records)

    def _check_place(self, tx: Transaction, account: Any) -> None:
        # Two that move at the same time could close a circle which neither of them sees.
        self.shared.requests.serialise(tx, "accounts/parent")
        parent = parse_name(account.parent, ACCOUNT.pattern, "parent")
        id = parse_name(account.name, ACCOUNT.pattern, "name") if account.name else uuid.UUID(int=0)
        parameters = {"tenant": tx.tenant_id, "parent": parent, "account": id, "depth": rules.MAX_DEPTH}
        ancestors, below = tx.run_all([(_ANCESTORS, parameters), (_HEIGHT, parameters)])
        problem = rules.parent_problem(id, [row[0] for row in ancestors], below[0][0])
        if problem:
            raise InvalidArgument(("parent", problem))


def _ancestors() -> sa.Select[Any]:
    """The parent, its parent and so on to the top, as (id, steps)."""
    first = sa.select(accounts.c.id, accounts.c.parent, sa.literal_column("1", sa.Integer).label("steps")).where(
        accounts.c.tenant_id == TENANT, accounts.c.id == sa.bindparam("parent", type_=sa.Uuid)
    )
    chain = first.cte("chain", recursive=True)
    above = sa.select(accounts.c.id, accounts.c.parent, chain.c.steps + 1).where(
        accounts.c.tenant_id == TENANT,
        accounts.c.id == chain.c.parent,
        chain.c.steps <= sa.bindparam("depth", type_=sa.Integer),
    )
    chain = chain.union_all(above)
    return sa.select(chain.c.id).order_by(chain.c.steps)


def _height() -> sa.Select[Any]:
    """How many levels are below the account."""
    levels = (
        sa.select(accounts.c.id, sa.literal_column("0", sa.Integer).label("level"))
        .where(accounts.c.tenant_id == TENANT, accounts.c.id == sa.bindparam("account", type_=sa.Uuid))
        .cte("levels", recursive=True)
    )
    below = sa.select(accounts.c.id, levels.c.level + 1).where(
        accounts.c.tenant_id == TENANT,
        accounts.c.parent == levels.c.id,
        levels.c.level <= sa.bindparam("depth", type_=sa.Integer),
    )
    levels = levels.union_all(below)
    return sa.select(sa.func.coalesce(sa.func.max(levels.c.level), 0))


_ANCESTORS = Statement(_ancestors())
_HEIGHT = Statement(_height())
