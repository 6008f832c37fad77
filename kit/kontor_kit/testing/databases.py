"""Databases of services on the test server: migrated once, then copied for whoever needs one."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import psycopg
import sqlalchemy as sa
from psycopg import sql

from kontor_kit import migrations
from kontor_kit.config import Settings
from kontor_kit.service import Service
from kontor_kit.testing import ENVIRONMENT
from kontor_kit.testing.postgres import OWN_VARIABLE

Role = Literal["owner", "app", "system", "superuser"]

_PASSWORD = "kontor"  # noqa: S105  # of roles that exist in tests only
_ROLES: tuple[Role, ...] = ("owner", "app", "system")


@dataclass(frozen=True)
class ServiceDatabase:
    """The database of a service."""

    service: Service
    name: str
    server_url: str

    def url(self, role: Role = "app") -> str:
        """Return the URL of the database as one of its roles."""
        url = sa.make_url(self.server_url).set(database=self.name)
        if role != "superuser":
            url = url.set(username=self.role(role), password=_PASSWORD)
        return url.render_as_string(hide_password=False)

    def role(self, role: Role) -> str:
        """Return the name of a role in PostgreSQL."""
        return f"kontor_test_{self.service.name.replace('-', '_')}_{role}"

    def connect(self, role: Role = "superuser") -> psycopg.Connection[tuple[Any, ...]]:
        """Connect, in autocommit mode; the superuser sees all tenants."""
        return psycopg.connect(self.url(role), autocommit=True)

    def settings(self, **changes: Any) -> Settings:
        """Return the service's settings: this database, ports of the loopback that are free, and `changes`."""
        environ = {
            "KONTOR_LISTEN": "127.0.0.1:0",
            **ENVIRONMENT,
            "KONTOR_DRAIN_SECONDS": "1",
            "KONTOR_PAGE_TOKEN_KEY": "the key of page tokens in the tests",
        }
        usual = {
            "database_url": self.url("app"),
            "owner_database_url": self.url("owner"),
            "system_database_url": self.url("system"),
            "app_role": self.role("app"),
            "system_role": self.role("system"),
        }
        settings = self.service.settings.load(self.service.name, environ)
        return type(settings)(**{**vars(settings), **usual, **changes})


class Databases:
    """Makes databases on one server, and removes them in the end."""

    def __init__(self, server_url: str) -> None:
        self._server_url = server_url
        self._run = uuid.uuid4().hex[:8]
        self._templates: dict[str, ServiceDatabase] = {}
        self._made: list[ServiceDatabase] = []

    def new(self, service: Service) -> ServiceDatabase:
        """Return a database of its own for the service, with all migrations and no rows (about 50 ms)."""
        template = self._templates.get(service.name)
        if template is None:
            template = self.empty(service)
            migrations.migrate(template.settings(), service)
            self._templates[service.name] = template
        return self._create(service, template.name)

    def empty(self, service: Service) -> ServiceDatabase:
        """Return a database without any table, for tests of migrations."""
        return self._create(service, "template1")

    def close(self) -> None:
        """Drop all of them, where the server outlives the session."""
        if os.environ.get(OWN_VARIABLE) == self._server_url:
            return
        with psycopg.connect(self._server_url, autocommit=True) as connection:
            for database in self._made:
                connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database.name)))

    def _create(self, service: Service, template: str) -> ServiceDatabase:
        name = f"kontor_test_{service.name.replace('-', '_')}_{self._run}_{len(self._made)}"
        database = ServiceDatabase(service, name, self._server_url)
        with psycopg.connect(self._server_url, autocommit=True) as connection:
            for role in _ROLES:
                # Roles belong to the server: other sessions may have made them, or make them right now.
                with suppress(psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
                    connection.execute(
                        sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
                            sql.Identifier(database.role(role)), sql.Literal(_PASSWORD)
                        )
                    )
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(database.role("owner")), sql.Identifier(template)
                )
            )
        self._made.append(database)
        return database
