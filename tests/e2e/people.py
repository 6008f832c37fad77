"""Two tenants and who calls in them: with every right, with all but one, with rights over the own records only."""

from __future__ import annotations

import datetime as dt
import itertools
import time
import uuid
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import psycopg
from psycopg import sql

from kontor_identity.keys.ring import KeyRing
from kontor_kit.db import Database
from kontor_kit.ids import uuid7
from kontor_kit.mapping import collection_of
from kontor_marketing.unsubscribing import rules as links
from tests.e2e import contract
from tests.e2e.calls import DIRECT, Client
from tests.e2e.contract import OPERATION, TENANT, method, request
from tests.e2e.samples import (
    ACCOUNT,
    AFTERWARDS,
    BEGUN,
    CALLER,
    COLLEAGUE,
    FOLLOWED,
    LINES,
    LINK,
    ONCE,
    OTHER,
    RECIPIENT,
    Names,
    nothing,
    state_for,
)

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
        me = client.do(who_am_i, request(who_am_i, {}), self.admin)
        self.id: str = me.tenant.partition("/")[2]
        self.furnished = False
        self.names: dict[str, str] = {CALLER: me.principal}

    def master(self, kind: str) -> str:
        """Return the token of who may do everything to records of this kind: tenants are for the operators."""
        return self.operator if kind == TENANT else self.admin

    @cached_property
    def colleague(self) -> str:
        """The token of another who may do everything."""
        return self.program({"*": "all"})

    def furnish(self) -> None:
        """Create a record of each kind; those first that others need."""
        left = contract.resource_types()
        while left:
            ready = [kind for kind in left if contract.needs(kind) <= self.names.keys()]
            assert ready, f"nothing creates {left}"
            for kind in ready:
                self.names[kind] = self.create(kind)
            left -= {*ready}
        for service in contract.services():
            kind = f"{service}.kontor/{OPERATION}"
            self.names[kind] = self.create(kind)
        for name in AFTERWARDS:
            self.client.do(method(name), request(method(name), self.names), self.admin)
        self.furnished = True

    def learn(self) -> None:
        """Have as many outcomes and customers as models need, and train the one of who wins."""
        load, train, show = method("ImportOpportunities"), method("TrainWinModel"), method("ShowWinModel")
        customers = itertools.cycle([self.create(ACCOUNT) for _ in range(30)])
        sold = {**LINES[0], "product": self.names["sales.kontor/Product"]}
        reasons = [{"closeReason": self.names["sales.kontor/CloseReason"]}]
        ends = ({"stage": "won", "lines": [sold]}, {"stage": "lost", "closeReasons": reasons})
        rows = [
            {"displayName": "Past", "account": customer, **end}
            for customer in itertools.islice(customers, 100)
            for end in ends
        ]
        wanted = load.input()
        contract.put(wanted, {"requests": [{"opportunity": row} for row in rows]})
        self.client.do(load, wanted, self.admin)
        self.client.do(train, request(train, {}), self.admin)
        until = time.monotonic() + 60
        while self.client.call(DIRECT, show, request(show, {}), self.admin).code != "OK":
            assert time.monotonic() < until, "nothing was learned"
            time.sleep(0.1)

    def create(self, kind: str, fields: Mapping[str, Any] | None = None, token: str = "") -> str:
        """Create a record with these fields, as in JSON, and return its name."""
        if kind.endswith(f"/{OPERATION}"):
            return self._start(kind.partition(".")[0])
        if kind in FOLLOWED:
            followed = self.create(FOLLOWED[kind], fields, token)
            return self._begun(kind, followed) if kind in BEGUN else self._following(kind, followed)
        spec = contract.maker(kind)
        wanted = request(spec, self.in_state_for(spec))
        if fields:
            contract.put(contract.record_in(wanted), fields)
        return contract.made_by(self.client.do(spec, wanted, token or self.master(kind)), kind)

    def _following(self, kind: str, followed: str) -> str:
        """Return the name of the record that follows another one, once it is there."""
        get = method(f"Get{kind.partition('/')[2]}")
        name = f"{collection_of(kind)}/{followed.partition('/')[2]}"
        until = time.monotonic() + 60
        while self.client.call(DIRECT, get, get.input(name=name), self.admin).code != "OK":
            assert time.monotonic() < until, f"{name} does not follow {followed}"
            time.sleep(0.1)
        return name

    def _begun(self, kind: str, followed: str) -> str:
        """Begin what lets a record follow another one, and return its name once it is there."""
        begin, wanted = method(BEGUN[kind][0]), collection_of(kind)
        self.client.do(begin, request(begin, {**self.names, FOLLOWED[kind]: followed}), self.admin)
        find = method(f"List{wanted[0].upper()}{wanted[1:]}")
        asked = find.input(filter=f'{followed.partition("/")[0][:-1]} = "{followed}"')
        until = time.monotonic() + 60
        while not (answer := self.client.do(find, asked, self.admin)).ByteSize():
            assert time.monotonic() < until, f"no {kind} follows {followed}"
            time.sleep(0.1)
        return contract.made_by(answer, kind)

    def _link(self, recipient: str) -> str:
        """Return the token of the link in a mail, as the campaign signs it."""
        with psycopg.connect(self.client.platform.database_url("marketing")) as connection:
            [(key,)] = connection.execute(
                "SELECT c.link_key FROM campaigns c JOIN campaign_recipients r ON r.campaign = c.id WHERE r.id = %s",
                [recipient.partition("/")[2]],
            ).fetchall()
        return links.make(uuid.UUID(self.id), uuid.UUID(recipient.partition("/")[2]), bytes(key))

    def _start(self, service: str) -> str:
        """Leave an operation of somebody's in the database, of a kind that nobody works on; return its name."""
        made = (self.id, uuid7(), f"users/{uuid7()}")
        with psycopg.connect(self.client.platform.database_url(service)) as connection:
            connection.execute(_START, made)
        return f"services/{service}/operations/{made[1]}"

    def _finished(self, answer: Any) -> Any:
        """Wait for the end of what a method began, if it did, which has to succeed; return its last answer."""
        if answer.DESCRIPTOR.full_name != "google.longrunning.Operation":
            return answer
        service = answer.name.split("/")[1]
        if service == "identity":
            return answer  # A tenant that is to be deleted waits for a day.
        asking = (spec for spec in contract.methods() if spec.name == "GetOperation")
        ask = next(spec for spec in asking if contract.service_of(spec) == service)
        until = time.monotonic() + 60
        while not answer.done:
            assert time.monotonic() < until, answer
            time.sleep(0.1)
            answer = self.client.do(ask, ask.input(name=answer.name), self.admin)
        assert answer.HasField("response"), answer
        return answer

    def in_state_for(self, spec: Any, *, new: bool = False) -> Names:
        """Return the names of records that a method can be used on: a new one where that is wanted, or needed."""
        state, names = state_for(spec.name), dict(self.names)
        kind = state.kind if state and state.kind else contract.target(spec)
        if self.furnished and spec.name in ONCE:
            names[ONCE[spec.name]] = self.create(ONCE[spec.name])
        if state is None:
            return names | {kind: self.create(kind)} if new and kind else names
        token = self.colleague if state.by == COLLEAGUE else self.master(kind)
        names[OTHER] = names.get(kind, "")
        names[kind] = self.create(kind, state.record(names), token)
        if kind == RECIPIENT:
            names[LINK] = self._link(names[kind])
        for step in state.steps:
            preparing = method(step)
            wanted = request(preparing, names)
            contract.put(wanted, state.requests.get(step, nothing)(names))
            answer = self._finished(self.client.do(preparing, wanted, token))
            names[LINK] = getattr(answer, "token", "") or getattr(answer, "key", "") or names.get(LINK, "")
        return names

    def program(self, grants: Mapping[str, str]) -> str:
        """Return a token, got by OAuth, of a new service account with a role of these permissions and scopes."""
        grant_list = [{"permission": name, "scope": f"SCOPE_{scope.upper()}"} for name, scope in grants.items()]
        role = self.create("identity.kontor/Role", {"grants": grant_list})
        account = self.create("identity.kontor/ServiceAccount", {"roles": [role]})
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


def settled(tenant: Tenant) -> dict[tuple[str, str], str]:
    """Return the fingerprint once what was begun before has gone its way: into the logs, and to the other services.

    What services do by the clock, such as the forecast of the day, is not done for an hour from now on.
    """
    for service in contract.services():
        with psycopg.connect(tenant.client.platform.database_url(service)) as connection:
            # Who has a turn just now loses it by the epoch.
            connection.execute("UPDATE leases SET epoch = epoch + 1, expire_time = now() + interval '1 hour'")
    before = fingerprint(tenant)
    while True:
        time.sleep(1)
        later = fingerprint(tenant)
        if later == before and not any(later[service, "change_pending"] for service in contract.services()):
            return later
        before = later


def tables(connection: psycopg.Connection, *, of_tenants: bool = True) -> list[str]:
    """Return the tables that have a tenant in each row, or those that have none; partitions count with their whole."""
    rows = connection.execute(
        "SELECT c.relname, EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id')"
        " FROM pg_class c WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace ORDER BY 1"
    )
    return [name for name, has_tenant in rows if has_tenant is of_tenants]


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
