"""Two tenants and who calls in them: with every right, with all but one, with rights over the own records only."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql

from kontor_identity.keys.ring import KeyRing
from kontor_kit.db import Database
from kontor_kit.ids import uuid7
from tests.e2e import contract
from tests.e2e.calls import Client
from tests.e2e.contract import OPERATION, TENANT, Names, method, request

# What has to be done to a record before the method can be used, by the first word of the method.
STATES = {
    "Undelete": "Delete",
    "Reactivate": "Deactivate",
    "Resume": "Suspend",
    "ReopenOpportunity": "MarkOpportunityWon",
}
_START = (
    "INSERT INTO operations (tenant_id, id, kind, state, subject, request, stage, done_units, total_units,"
    " cancel_requested, epoch, retries, faults, due_time, create_time, update_time)"
    " VALUES (%s, %s, 'example', 1, %s, '', '', 0, 0, false, 0, 0, 0, now(), now(), now())"
)


class Tenant:
    """A tenant with its administrator, and one record of each kind."""

    def __init__(self, client: Client, slug: str = "") -> None:
        """Find the tenant of this short name, or make one."""
        self.client = client
        self.operator: str = client.platform.token(tenant="platform")
        if not slug:
            create = method("CreateTenant")
            slug = client.do(create, request(create, {}), self.operator).slug
        self.admin: str = client.platform.token(tenant=slug)
        who_am_i = method("WhoAmI")
        self.id: str = client.do(who_am_i, request(who_am_i, {}), self.admin).tenant.partition("/")[2]
        self.names: dict[str, str] = {}

    def master(self, kind: str) -> str:
        """Return the token of who may do everything to records of this kind: tenants are for the operators."""
        return self.operator if kind == TENANT else self.admin

    def furnish(self) -> None:
        """Create a record of each kind; those first that others need."""
        left = contract.resource_types()
        while left:
            ready = [kind for kind in left if needs(kind) <= self.names.keys()]
            assert ready, f"nothing creates {left}"
            for kind in ready:
                self.names[kind] = self.create(kind)
            left -= {*ready}
        for service in contract.services():
            kind = f"{service}.kontor/{OPERATION}"
            self.names[kind] = self.create(kind)

    def create(self, kind: str, **fields: Any) -> str:
        """Create a record, and return its name."""
        if kind.endswith(f"/{OPERATION}"):
            return self._start(kind.partition(".")[0])
        spec = method(f"Create{kind.partition('/')[2]}")
        wanted = request(spec, self.names)
        record = contract.record_in(wanted)
        record.MergeFrom(type(record)(**fields))
        return self.client.do(spec, wanted, self.master(kind)).name

    def _start(self, service: str) -> str:
        """Leave an operation of somebody's in the database, of a kind that nobody works on; return its name."""
        made = (self.id, uuid7(), f"users/{uuid7()}")
        with psycopg.connect(self.client.platform.database_url(service)) as connection:
            connection.execute(_START, made)
        return f"services/{service}/operations/{made[1]}"

    def in_state_for(self, spec: Any) -> Names:
        """Return the names of records that a method can be used on: a new one where it needs one in another state."""
        kind, names = contract.target(spec), dict(self.names)
        for word, before in STATES.items():
            if spec.name.startswith(word):
                names[kind] = self.create(kind)
                prepare = method(spec.name.replace(word, before, 1))
                self.client.do(prepare, request(prepare, names), self.master(kind))
        return names

    def program(self, grants: Mapping[str, str]) -> str:
        """Return a token, got by OAuth, of a new service account with a role of these permissions and scopes."""
        grant_list = [{"permission": name, "scope": f"SCOPE_{scope.upper()}"} for name, scope in grants.items()]
        account = self.create(
            "identity.kontor/ServiceAccount", roles=[self.create("identity.kontor/Role", grants=grant_list)]
        )
        create = method("CreateSecret")
        secret = self.client.do(create, request(create, {"identity.kontor/ServiceAccount": account}), self.admin).value
        credentials = {"client_id": account.partition("/")[2], "client_secret": secret}
        answer = self.client.http.post("/oauth2/token", data={"grant_type": "client_credentials", **credentials})
        assert answer.status_code == 200, answer.text
        return answer.json()["access_token"]


def fingerprint(tenant: Tenant) -> dict[tuple[str, str], str]:
    """Return a digest of what each table of each service holds of a tenant."""
    found = {}
    for service in contract.services():
        with psycopg.connect(tenant.client.platform.database_url(service)) as connection:
            for table in tables(connection):
                query = "SELECT md5(string_agg(t::text, ' ' ORDER BY t::text)) FROM {} t WHERE tenant_id = %s"
                (row,) = connection.execute(sql.SQL(query).format(sql.Identifier(table)), [tenant.id])
                found[service, table] = row[0]
    return found


def tables(connection: psycopg.Connection, *, of_tenants: bool = True) -> list[str]:
    """Return the tables that have a tenant in each row, or those that have none; partitions count with their whole."""
    rows = connection.execute(
        "SELECT c.relname, EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id')"
        " FROM pg_class c WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace ORDER BY 1"
    )
    return [name for name, has_tenant in rows if has_tenant is of_tenants]


def needs(kind: str) -> set[str]:
    """Return the kinds of the records that one of this kind refers to and cannot be without."""
    pending, found = [method(f"Create{kind.partition('/')[2]}").descriptor.input_type], set()
    while pending:
        for field in pending.pop().fields:
            if "REQUIRED" in contract.behaviours(field):
                found.add(contract.reference(field))
                pending += [field.message_type] if field.message_type is not None else []
    return found - {""}


class Identity:
    """Signs whatever it is asked to with the key that identity signs with."""

    def __init__(self, client: Client) -> None:
        folder, url = client.platform.folder, client.platform.database_url("identity", "app")
        self._database = Database(url, pool_size=1, name="test-keys")
        self._database.open()
        key = folder.secret("kontor_identity_key_encryption_key")
        self._ring = KeyRing(self._database, key, clock=lambda: dt.datetime.now(dt.UTC))

    def close(self) -> None:
        """Let the database go."""
        self._database.close()

    def sign(self, said: Mapping[str, Any]) -> str:
        """Return a token that says this."""
        return self._ring.sign(dict(said), "at+jwt")
