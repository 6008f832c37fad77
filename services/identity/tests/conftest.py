"""Identity with a database of its own for each module of tests, and a platform that was bootstrapped."""

import dataclasses
import datetime as dt
import uuid

import pytest
from werkzeug.test import Client

from kontor_identity.commands import Commands
from kontor_identity.founding import Founding
from kontor_identity.hashing import Hasher, secret_hasher
from kontor_identity.keys.ring import KeyRing
from kontor_identity.oauth.http import OAuthApplication
from kontor_identity.oauth.store import find_tenant
from kontor_identity.permissions import known_permissions
from kontor_identity.roles.api import Roles
from kontor_identity.service import service
from kontor_identity.tables import metadata
from kontor_identity.tenants.api import Tenants
from kontor_identity.users.api import Users
from kontor_kit.db import Database
from kontor_kit.pages import PageTokens
from kontor_kit.principals import PLATFORM_TENANT
from kontor_kit.shared import Shared
from kontor_kit.testing import AUDIENCE, ISSUER

KEY = "the key that encrypts keys in the tests"
PASSWORD = "correct horse battery staple"


class Clock:
    """A time that goes on when a test says so."""

    def __init__(self) -> None:
        self.now = dt.datetime.now(dt.UTC)

    def __call__(self) -> dt.datetime:
        return self.now

    def timestamp(self) -> float:
        return self.now.timestamp()

    def forward(self, **duration: float) -> None:
        self.now += dt.timedelta(**duration)


@pytest.fixture(scope="module")
def identity(serve):
    """The service, run on its real path; it takes the tokens that tests sign."""
    with_test_keys = dataclasses.replace(service(), keys=None)
    return serve(with_test_keys, http_listen="127.0.0.1:0", key_encryption_key=KEY)


@pytest.fixture(scope="module")
def operator(identity):
    return identity.caller(tenant=PLATFORM_TENANT)


@pytest.fixture
def admin(identity):
    """Somebody who may do everything in a tenant of which nothing is stored."""
    return identity.caller()


@pytest.fixture(scope="module")
def hasher() -> Hasher:
    # What is slow on purpose would be slow in every test.
    return secret_hasher()


class Platform:
    """A platform with the tenant `demo`, its application for OAuth, and a clock."""

    def __init__(self, database, hasher):
        self.database = database
        self.clock = Clock()
        self.app_database = Database(database.url("app"), name="test-app")
        self.system_database = Database(database.url("system"), name="test-system")
        for opened in (self.app_database, self.system_database):
            opened.open()
        shared = Shared.of("identity.kontor", metadata, database=self.app_database, page_tokens=PageTokens(KEY))
        users, known = Users(shared, hasher), known_permissions()
        founding = Founding(Roles(shared, known), users, users, known)
        self.commands = Commands(
            database=self.app_database,
            tenants=Tenants(shared, founding.settle),
            founding=founding,
            find_tenant=lambda slug: find_tenant(self.app_database, slug),
        )
        self.system_ring = KeyRing(self.system_database, KEY, clock=self.clock, max_age=0)
        self.system_ring.rotate(dt.timedelta(days=30))
        self.ring = KeyRing(self.app_database, KEY, clock=self.clock, max_age=0)
        made = self.commands.bootstrap("demo", "Demo", "Admin@demo.example", "Admin", PASSWORD)
        self.tenant_id, self.user = uuid.UUID(made["tenant_id"]), made["user"]
        self.application = OAuthApplication(
            database=self.app_database,
            keys=self.ring,
            issuer=ISSUER,
            audience=AUDIENCE,
            secret=KEY,
            passwords=hasher,
            secrets=hasher,
            clock=self.clock,
        )

    def browser(self) -> Client:
        return Client(self.application)

    def close(self):
        self.app_database.close()
        self.system_database.close()

    def run(self, statement, *parameters):
        """Run SQL as the superuser."""
        with self.database.connect() as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else None


@pytest.fixture(scope="module")
def platform_database(databases):
    return databases.new(service())


@pytest.fixture
def platform(platform_database, hasher):
    with platform_database.connect() as connection:
        connection.execute(f"TRUNCATE {', '.join(metadata.tables)}")
    platform = Platform(platform_database, hasher)
    yield platform
    platform.close()
