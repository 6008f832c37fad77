"""What a service is made of, and what it finds at run time."""

from __future__ import annotations

import argparse
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from kontor_kit.calls import CallPath, Servicer, Verifier
from kontor_kit.changes.waking import Waker
from kontor_kit.checks import Checks
from kontor_kit.config import Settings
from kontor_kit.db import Database
from kontor_kit.due import Due
from kontor_kit.forgetting import RECEIPTS, TenantDataServicer
from kontor_kit.inbox.events import Handlers
from kontor_kit.metrics import Metrics
from kontor_kit.operations.work import Kind
from kontor_kit.pages import PageTokens
from kontor_kit.server import Part
from kontor_kit.tls import CertificatePrincipals
from kontor_kit.tokens import FileKeys, KeySource, TokenVerifier, UrlKeys


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """What a running process hands to its service."""

    settings: Any
    """Of the class that the service names."""
    database: Database
    """As the app role."""
    system: Database | None = None
    """As the system role: for what goes over all tenants. In serve only where it is given."""
    metrics: Metrics
    waker: Waker
    """Wakes those who wait for changes."""

    def page_tokens(self) -> PageTokens:
        """Return what seals and opens page tokens."""
        return PageTokens(self.settings.page_token_key)


Job = Callable[[threading.Event], None]
"""Works until the event is set."""


def _nothing(*_given: object) -> tuple[()]:
    return ()


def _none(_given: object) -> None:
    return None


class Storage(Protocol):
    """Keeps content outside of the database; raises Unavailable where it cannot be used now."""

    def put(self, key: str, content: bytes) -> None:
        """Store content."""

    def get(self, key: str) -> bytes | None:
        """Return content; None where there is none."""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a service keeps of its tenants outside of its database."""

    table: Any
    """The SQLAlchemy Table whose rows the contents belong to, one to each."""
    key: Callable[[uuid.UUID, uuid.UUID], str]
    """Says under which key the content of a row lies, by tenant and id."""
    storage: Storage


@dataclass(frozen=True, kw_only=True)
class Command:
    """A subcommand of a service's own."""

    help: str
    run: Callable[[Any, argparse.Namespace], int]
    """Given the settings and the arguments, returns the exit code."""
    arguments: Callable[[argparse.ArgumentParser], object] = _nothing
    """Declares the arguments, where there are any."""
    need: Sequence[str] = ()
    """The settings that it needs, as in `Settings.load`."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """The composition root of a service: everything that it consists of, and nothing that has been started."""

    name: str
    """The short name, as in the names of variables and in the domain of errors: `contacts`."""
    package: str
    """The Python package: `kontor_contacts`."""
    servicers: Callable[[Runtime], Sequence[Servicer]]
    metadata: Any = None
    """The SQLAlchemy MetaData of its tables."""
    migrations: Path | None = None
    """The folder of its migrations."""
    settings: type[Settings] = Settings
    commands: Mapping[str, Command] = field(default_factory=dict)
    """Further subcommands, by name."""
    parts: Callable[[Runtime], Iterable[Part]] = _nothing
    """What runs beside the gRPC server in serve."""
    jobs: Callable[[Runtime, Any], Iterable[tuple[str, Job]]] = _nothing
    """What work runs, by name; a thread each. Given what `use` made."""
    handlers: Handlers | None = None
    """What work does when something happens in other services."""
    operations: Sequence[Kind] = ()
    """The long-running operations (AIP-151) that work does, sagas included."""
    due: Sequence[Due] = ()
    """What work does for records when their time has come."""
    use: Callable[[Runtime], Any] = _nothing
    """Makes, once for work, what handlers and operations find as `work.service`, and jobs and what is due are given."""
    contents: Callable[[Any], Contents | None] = _none
    """Given the settings, says what is kept of tenants outside of the database; None where nothing is, or can be."""
    keys: Callable[[Runtime], KeySource] | None = None
    """Where the keys that sign tokens come from, where that is not KONTOR_JWKS_URL or _FILE."""


def all_servicers(service: Service, runtime: Runtime) -> list[Servicer]:
    """Return what a service serves: its own, and what every service answers to identity."""
    served = list(service.servicers(runtime))
    if service.metadata is not None and RECEIPTS in service.metadata.tables and runtime.system is not None:
        served.append(TenantDataServicer(service.name, service.metadata, runtime.system))
    return served


def call_path(service: Service, runtime: Runtime) -> CallPath:
    """Return the path that the calls of `service` take."""
    settings: Settings = runtime.settings
    principals = settings.tls_principals_file
    return CallPath(
        f"{service.name}.kontor",
        verifier(service, runtime),
        checks=[Checks()],
        certificates=CertificatePrincipals(principals) if principals else None,
        default_deadline=settings.default_deadline,
        metrics=runtime.metrics,
    )


def verifier(service: Service, runtime: Runtime) -> Verifier:
    """Return what checks tokens."""
    settings: Settings = runtime.settings
    keys: KeySource
    if service.keys is not None:
        keys = service.keys(runtime)
    elif settings.jwks_file is not None:
        keys = FileKeys(settings.jwks_file)
    else:
        keys = UrlKeys(settings.jwks_url, ca=settings.tls_ca_file)
        if settings.jwks_url:
            keys.fetch_ahead()
    return TokenVerifier(settings.issuer, settings.audience, keys)
