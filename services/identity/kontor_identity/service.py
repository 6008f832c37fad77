"""The composition root: everything that the service consists of."""

import argparse
import datetime as dt
import json
import os
import sys
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from kontor.identity.v1 import change_service_pb2, operation_service_pb2
from kontor_identity.commands import BOOTSTRAP, Commands, own_call
from kontor_identity.founding import Founding
from kontor_identity.hashing import password_hasher, secret_hasher
from kontor_identity.housekeeping import clear, repeating
from kontor_identity.keys.ring import KeyRing
from kontor_identity.oauth.http import OAuthApplication
from kontor_identity.oauth.measuring import Measured
from kontor_identity.oauth.server import HttpServer
from kontor_identity.oauth.store import find_tenant
from kontor_identity.oauth.subjects import Subject, find_teams
from kontor_identity.oauth.tokens import AccessTokens
from kontor_identity.permissions import known_permissions
from kontor_identity.registration import Registration
from kontor_identity.roles.api import Roles
from kontor_identity.secrets.api import Secrets
from kontor_identity.service_accounts.api import ServiceAccounts
from kontor_identity.sessions.api import Sessions
from kontor_identity.settings import IdentitySettings
from kontor_identity.standard_roles import StandardRoles
from kontor_identity.tables import metadata
from kontor_identity.teams.api import Teams
from kontor_identity.tenants.api import Tenants
from kontor_identity.tenants.deletion import DELETE_TENANT, Deletion
from kontor_identity.users.api import Users
from kontor_kit.calls import Servicer
from kontor_kit.changes.reader import ChangeLog
from kontor_kit.changes.servicer import ChangeServicer
from kontor_kit.clients import Peers
from kontor_kit.config import ConfigurationError
from kontor_kit.db import Database
from kontor_kit.forgetting import Forgetting
from kontor_kit.operations.servicer import OperationServicer
from kontor_kit.pages import PageTokens
from kontor_kit.principals import PLATFORM_TENANT, Scope
from kontor_kit.service import Command, Job, Runtime, Service
from kontor_kit.shared import Shared

_CHANGES = change_service_pb2.DESCRIPTOR.services_by_name["ChangeService"]
_OPERATIONS = operation_service_pb2.DESCRIPTOR.services_by_name["OperationService"]
_DEV = "KONTOR_DEV"
_OWN = Subject(BOOTSTRAP, PLATFORM_TENANT, (), {"*": Scope.ALL})
"""Who identity is to other services; it signs its tokens itself."""
_HOUR = 3600.0


def service() -> Service:
    """Return the service identity."""
    return Service(
        name="identity",
        package="kontor_identity",
        servicers=_servicers,
        metadata=metadata,
        migrations=Path(__file__).parent / "migrations",
        settings=IdentitySettings,
        parts=_parts,
        jobs=_jobs,
        operations=[DELETE_TENANT.kind],
        use=_deletion,
        keys=lambda runtime: _ring(runtime.settings, runtime.database),
        commands={
            "bootstrap": Command(
                help="make the first signing key, the operators' tenant and a first tenant with its administrator",
                run=_bootstrap,
                arguments=_bootstrap_arguments,
                need=["database_url", "system_database_url", "key_encryption_key"],
            ),
            "token": Command(
                help=f"print an access token; for developers, works with {_DEV}=1 only",
                run=_token,
                arguments=_token_arguments,
                need=["database_url", "key_encryption_key"],
            ),
            "register-service": Command(
                help="give a service of the platform an account, with which it follows the others",
                run=_register,
                arguments=_register_arguments,
                need=["database_url"],
            ),
            "rotate-keys": Command(
                help="make the next signing key now, although it is not due yet",
                run=_rotate_keys,
                need=["system_database_url", "key_encryption_key"],
            ),
        },
    )


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _servicers(runtime: Runtime) -> list[Servicer]:
    shared = _shared(runtime.database, runtime.page_tokens())
    users = Users(shared, password_hasher())
    known = known_permissions()
    roles = Roles(shared, known)
    resources = [
        Tenants(shared, Founding(roles, users, users, known).settle),
        users,
        Teams(shared),
        roles,
        ServiceAccounts(shared),
    ]
    log = ChangeLog(metadata, "identity.kontor", resources)
    return [
        *resources,
        Secrets(shared, secret_hasher(), _now),
        Sessions(shared),
        ChangeServicer(_CHANGES, shared, log, runtime.waker, runtime.system),
        OperationServicer(_OPERATIONS, shared),
    ]


def _shared(database: Database, page_tokens: PageTokens) -> Shared:
    return Shared.of("identity.kontor", metadata, database=database, page_tokens=page_tokens)


def _ring(settings: IdentitySettings, database: Database) -> KeyRing:
    if not settings.key_encryption_key:
        raise ConfigurationError(["KONTOR_IDENTITY_KEY_ENCRYPTION_KEY: needed and not set"])
    return KeyRing(database, settings.key_encryption_key, clock=_now)


def _parts(runtime: Runtime) -> Iterator[HttpServer]:
    settings: IdentitySettings = runtime.settings
    application = OAuthApplication(
        database=runtime.database,
        keys=_ring(settings, runtime.database),
        issuer=settings.issuer,
        audience=settings.audience,
        secret=settings.key_encryption_key,
        passwords=password_hasher(),
        secrets=secret_hasher(),
        clock=_now,
        proxies=settings.proxies,
    )
    yield HttpServer(
        settings.http_listen,
        Measured(application, application.paths, runtime.metrics),
        threads=settings.http_threads,
        drain=settings.drain,
        certificate=settings.tls_certificate_file,
        key=settings.tls_key_file,
    )


def _jobs(runtime: Runtime, _given: Deletion) -> Iterator[tuple[str, Job]]:
    settings: IdentitySettings = runtime.settings
    system = runtime.system
    assert system is not None, "jobs are work's"
    ring = _ring(settings, system)
    yield "keys", repeating(partial(ring.rotate, dt.timedelta(days=settings.key_days)), 60.0)
    yield "roles", repeating(lambda: _refresh_roles(settings), _HOUR)
    yield "housekeeping", repeating(lambda: clear(system, _now()), _HOUR)


def _deletion(runtime: Runtime) -> Deletion:
    settings: IdentitySettings = runtime.settings
    ring = _ring(settings, runtime.database)
    tokens = AccessTokens(ring, issuer=settings.issuer, audience=settings.audience, clock=_now)
    shared = _shared(runtime.database, runtime.page_tokens())
    stored = Tenants(shared, lambda tx, call, administrator: None)
    assert runtime.system is not None, "operations are work's"
    return Deletion(
        restore=lambda tx, tenant_id: stored.restore(tx, own_call(tenant_id), tenant_id),
        grace=dt.timedelta(minutes=settings.tenant_grace_minutes),
        services=sorted(settings.peers.keys() - {"identity"}),
        peers=Peers.of(settings, token=lambda: tokens.issue(_OWN, "kontor-identity")),
        forgetting=Forgetting(metadata, runtime.system),
    )


def _refresh_roles(settings: IdentitySettings) -> None:
    """Let the permissions of services that are new reach the tenants and services that are there."""
    with _Opened(settings.database_url) as database:
        shared, known = _shared(database, PageTokens(uuid.uuid4().hex)), known_permissions()
        StandardRoles(database, Roles(shared, known), known, own_call).refresh()
        _registration(database).refresh()


class _Opened:
    """A database for the length of a command."""

    def __init__(self, url: str) -> None:
        self._database = Database(url, pool_size=2, name="kontor-identity-command")

    def __enter__(self) -> Database:
        self._database.open()
        return self._database

    def __exit__(self, *_: object) -> None:
        self._database.close()


def _commands(database: Database) -> Commands:
    # Commands list nothing, so that they seal no page tokens: any key will do.
    shared = _shared(database, PageTokens(uuid.uuid4().hex))
    users, known = Users(shared, password_hasher()), known_permissions()
    founding = Founding(Roles(shared, known), users, users, known)
    return Commands(
        database=database,
        tenants=Tenants(shared, founding.settle),
        founding=founding,
        find_tenant=partial(find_tenant, database),
    )


def _registration(database: Database) -> Registration:
    shared, known = _shared(database, PageTokens(uuid.uuid4().hex)), known_permissions()
    return Registration(
        database=database,
        roles=Roles(shared, known),
        accounts=ServiceAccounts(shared),
        secrets=Secrets(shared, secret_hasher(), _now),
        known=known,
    )


def _bootstrap_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tenant", required=True, metavar="SLUG", help="the short name of the first tenant")
    parser.add_argument("--display-name", required=True, help="what people call it")
    parser.add_argument("--admin", required=True, metavar="EMAIL", help="the e-mail address of its administrator")
    parser.add_argument("--admin-name", default="Admin", help="what people call the administrator")
    parser.add_argument(
        "--password-file", type=Path, help="holds the administrator's password; without it, there is none"
    )
    parser.add_argument(
        "--register",
        action="append",
        default=[],
        metavar="SERVICE=FILE",
        help="register a service too, as register-service does with the secret in the file",
    )
    parser.add_argument("--json", action="store_true", help="print what there is now as JSON")


def _bootstrap(settings: IdentitySettings, arguments: argparse.Namespace) -> int:
    password = arguments.password_file.read_text(encoding="utf-8").strip() if arguments.password_file else ""
    with _Opened(settings.system_database_url) as system:
        _ring(settings, system).rotate(dt.timedelta(days=settings.key_days))
    with _Opened(settings.database_url) as database:
        made = _commands(database).bootstrap(
            arguments.tenant,
            arguments.display_name,
            email=arguments.admin,
            admin_name=arguments.admin_name,
            password=password,
        )
        registration = _registration(database)
        for name, _, path in (entry.partition("=") for entry in arguments.register):
            client_id = registration.register(name, Path(path).read_text(encoding="utf-8").strip())
            made.setdefault("clients", {})[name] = client_id
    sys.stdout.write(json.dumps(made) + "\n" if arguments.json else f"tenant {made['tenant']} with {made['user']}\n")
    return 0


def _token_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tenant", required=True, metavar="SLUG", help="the short name of the tenant")
    parser.add_argument("--role", default="admin", help="the role whose permissions it has; admin may do everything")
    parser.add_argument("--user", default="", metavar="NAME", help="name or e-mail address; made where there is none")
    parser.add_argument("--lifetime", type=int, default=600, metavar="SECONDS", help="how long it is valid")


def _token(settings: IdentitySettings, arguments: argparse.Namespace) -> int:
    if os.environ.get(_DEV) != "1":
        raise ConfigurationError([f"{_DEV}: must be 1, because this gives anybody any permission"])
    with _Opened(settings.database_url) as database:
        role, name = arguments.role, arguments.user or arguments.role.capitalize()
        tenant_id, user_id, permissions = _commands(database).subject(arguments.tenant, role, name)
        with database.read(tenant_id) as tx:
            subject = Subject(f"users/{user_id}", tenant_id, find_teams(tx, user_id), permissions)
        tokens = AccessTokens(_ring(settings, database), issuer=settings.issuer, audience=settings.audience, clock=_now)
        token = tokens.issue(subject, "kontor-dev", dt.timedelta(seconds=arguments.lifetime))
    sys.stdout.write(token + "\n")
    return 0


def _register_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", required=True, metavar="SERVICE", help="the short name of the service")
    parser.add_argument("--secret-file", type=Path, required=True, help="holds the secret that it will show")
    parser.add_argument("--json", action="store_true", help="print the client id as JSON")


def _register(settings: IdentitySettings, arguments: argparse.Namespace) -> int:
    secret = arguments.secret_file.read_text(encoding="utf-8").strip()
    with _Opened(settings.database_url) as database:
        client_id = _registration(database).register(arguments.name, secret)
    sys.stdout.write((json.dumps({"client_id": client_id}) if arguments.json else client_id) + "\n")
    return 0


def _rotate_keys(settings: IdentitySettings, _: argparse.Namespace) -> int:
    with _Opened(settings.system_database_url) as system:
        plan = _ring(settings, system).rotate(dt.timedelta(days=settings.key_days), force=True)
    made = f"a new key signs from {plan.activate_time:%Y-%m-%d %H:%M} UTC" if plan.create else "a new key waits already"
    sys.stdout.write(f"{made}; {len(plan.drop)} spent keys were dropped\n")
    return 0
