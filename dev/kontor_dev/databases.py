"""Databases and roles: one database per service, three roles each, none of them a superuser."""

from __future__ import annotations

import psycopg
from psycopg import sql

from kontor_dev.data import DataFolder
from kontor_dev.postgres import SUPERUSER
from kontor_dev.supervisor import NOT_SERVING, SERVING

ROLES = ("owner", "app", "system")
HEALTH_SECONDS = 2
# Those that the migrations rely on; some of them only a superuser may create.
EXTENSIONS = ("pg_trgm", "unaccent", "btree_gin")


def provide(data: DataFolder, port: int, services: list[str]) -> None:
    """Makes the databases, roles and extensions that are missing."""
    password = data.secret(SUPERUSER)
    server = f"postgresql://{SUPERUSER}:{password}@127.0.0.1:{port}/"
    with psycopg.connect(server + "postgres", autocommit=True) as connection:
        there = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
        for service in services:
            if service not in there:
                _make_roles(connection, data, service)
                _run(connection, "CREATE DATABASE {0} OWNER {1}", service, f"{service}_owner")
    for service in services:
        with psycopg.connect(server + service, autocommit=True) as connection:
            _furnish(connection, service)


def _make_roles(connection: psycopg.Connection, data: DataFolder, service: str) -> None:
    known = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles")}
    for role in (f"{service}_{role}" for role in ROLES):
        verb = "ALTER" if role in known else "CREATE"
        statement = sql.SQL(verb + " ROLE {} LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE PASSWORD {}")
        connection.execute(statement.format(sql.Identifier(role), sql.Literal(data.secret(role))))


def _furnish(connection: psycopg.Connection, service: str) -> None:
    for extension in EXTENSIONS:
        _run(connection, "CREATE EXTENSION IF NOT EXISTS {0}", extension)
    _run(connection, "REVOKE ALL ON DATABASE {0} FROM PUBLIC", service)
    for role in ROLES:
        _run(connection, "GRANT CONNECT ON DATABASE {0} TO {1}", service, f"{service}_{role}")


def _run(connection: psycopg.Connection, statement: str, *names: str) -> None:
    connection.execute(sql.SQL(statement).format(*(sql.Identifier(name) for name in names)))


def health(data: DataFolder, port: int) -> str:
    """Tells whether the server takes connections, by making one."""
    password = data.secret(SUPERUSER)
    try:
        psycopg.connect(
            f"postgresql://{SUPERUSER}:{password}@127.0.0.1:{port}/postgres", connect_timeout=HEALTH_SECONDS
        ).close()
    except psycopg.OperationalError:
        return NOT_SERVING
    return SERVING
