"""Configuration: read from the environment once at start, with all problems reported together.

A setting is one field of a frozen dataclass, declared by `setting`. A service with settings of its own derives a
dataclass from `Settings`. A secret can also be given as a file: `KONTOR_X_FILE` names the file that holds `KONTOR_X`.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, Self, TypeVar, dataclass_transform
from urllib.parse import urlsplit

T = TypeVar("T")


class ConfigurationError(Exception):
    """The configuration cannot be used; `problems` lists everything that is wrong with it."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("the configuration cannot be used:\n" + "\n".join(f"  - {problem}" for problem in problems))
        self.problems = problems


def setting(name: str, parse: Callable[[str], T], default: str, doc: str, *, secret: bool = False) -> Any:
    """Declare a setting: the variable's name (`{SERVICE}` stands for the service), its parser, default and meaning.

    The parser raises ValueError with words that say what is wrong. An empty variable counts as not set. `{service}` in
    the default stands for the service too.
    """
    metadata = {"name": name, "parse": parse, "default": default, "doc": doc, "secret": secret}
    return dataclasses.field(repr=not secret, metadata=metadata)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(setting,))
def settings_class(cls: type[T]) -> type[T]:
    """Make `cls` a class of settings: a frozen dataclass whose fields are declared by `setting`."""
    return dataclass(frozen=True, kw_only=True)(cls)


def variable(field: dataclasses.Field[Any], service: str) -> str:
    """Return the name of the environment variable of `field` for `service`."""
    return str(field.metadata["name"]).replace("{SERVICE}", service.upper().replace("-", "_"))


def _default(field: dataclasses.Field[Any], service: str) -> str:
    return str(field.metadata["default"]).replace("{service}", service.replace("-", "_"))


def _look_up(name: str, environ: Mapping[str, str], *, secret: bool) -> str:
    text = environ.get(name, "")
    path = environ.get(f"{name}_FILE", "") if secret else ""
    if not path:
        return text
    if text:
        raise ValueError(f"is set as well as {name}_FILE; set one of them")
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the file {path} cannot be read: {type(error).__name__}") from error


def text(value: str) -> str:
    """Take any text."""
    return value


def one_of(*values: str) -> Callable[[str], str]:
    """Take one of `values`."""

    def parse(value: str) -> str:
        if value not in values:
            raise ValueError(f"must be one of {', '.join(values)}, not {value!r}")
        return value

    return parse


def whole(minimum: int, maximum: int) -> Callable[[str], int]:
    """Take a whole number from `minimum` to `maximum`."""

    def parse(value: str) -> int:
        if not value.isdecimal() or not minimum <= int(value) <= maximum:
            raise ValueError(f"must be a whole number from {minimum} to {maximum}, not {value!r}")
        return int(value)

    return parse


def seconds(minimum: float, maximum: float) -> Callable[[str], float]:
    """Take a number of seconds from `minimum` to `maximum`."""

    def parse(value: str) -> float:
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not minimum <= number <= maximum:
            raise ValueError(f"must be a number of seconds from {minimum:g} to {maximum:g}, not {value!r}")
        return number

    return parse


def flag(value: str) -> bool:
    """Take `true` or `false`."""
    return one_of("true", "false")(value) == "true"


def address(value: str) -> str:
    """Take `host:port`; nothing is allowed, and means off."""
    host, colon, port = value.rpartition(":")
    if value and (not colon or not host or not port.isdecimal() or int(port) > 65535):
        raise ValueError(f"must have the form host:port, not {value!r}")
    return value


def url(*schemes: str) -> Callable[[str], str]:
    """Take a URL of one of `schemes`, or nothing. Its text is never repeated in a problem: it may hold a password."""

    def parse(value: str) -> str:
        try:
            valid = not value or (urlsplit(value).scheme in schemes and "//" in value)
        except ValueError:
            valid = False
        if not valid:
            raise ValueError(f"must be a URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        return value

    return parse


POSTGRES: Final = url("postgresql", "postgres")
WEB: Final = url("http", "https")
AMQP: Final = url("amqp", "amqps")


def peers(value: str) -> dict[str, str]:
    """Take `name=target`, several separated by semicolons, or nothing; a target is what gRPC takes, `host:port`."""
    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in value.split(";"))):
        name, _, target = part.partition("=")
        if not name or not target:
            raise ValueError(f"must have the form name=host:port, separated by semicolons, not {part!r}")
        found[name] = target
    return found


def key(value: str) -> str:
    """Take a secret of at least 32 characters, or nothing."""
    if 0 < len(value) < 32:
        raise ValueError("must have at least 32 characters")
    return value


def file(value: str) -> Path | None:
    """Take the path of a file that can be read, or nothing."""
    if not value:
        return None
    try:
        with Path(value).open("rb"):
            return Path(value)
    except OSError as error:
        raise ValueError(f"the file {value} cannot be read: {error.strerror}") from error


def is_loopback(address: str) -> bool:
    """Tell whether `address` (`host:port`) can be reached from this machine only."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or address.startswith("unix:")


def is_loopback_target(target: str) -> bool:
    """Tell whether what gRPC takes as a target, `ipv4:127.0.0.1:1,127.0.0.1:2`, stands for this machine only."""
    scheme, _, rest = target.partition(":")
    if scheme == "dns":
        return is_loopback(rest.rpartition("/")[2])
    addresses = rest if scheme in ("ipv4", "ipv6") else target
    return all(is_loopback(address) for address in addresses.split(","))


@settings_class
class Settings:
    """What every service reads from its environment. A service with more derives a class, decorated likewise."""

    service: str
    """The name of the service, for example `contacts`; it stands in the names of some variables."""
    listen: str = setting("KONTOR_LISTEN", address, "127.0.0.1:50051", "where gRPC is served")
    metrics_listen: str = setting("KONTOR_METRICS_LISTEN", address, "", "where /metrics is served; off if empty")
    database_url: str = setting("KONTOR_{SERVICE}_DATABASE_URL", POSTGRES, "", "the database, as app role", secret=True)
    owner_database_url: str = setting(
        "KONTOR_{SERVICE}_OWNER_DATABASE_URL", POSTGRES, "", "the database, as owner role; for migrate", secret=True
    )
    system_database_url: str = setting(
        "KONTOR_{SERVICE}_SYSTEM_DATABASE_URL",
        POSTGRES,
        "",
        "the database, as system role; for work and receive, and for serve so that others can follow",
        secret=True,
    )
    app_role: str = setting("KONTOR_{SERVICE}_APP_ROLE", text, "{service}_app", "the role that migrate lets serve")
    system_role: str = setting("KONTOR_{SERVICE}_SYSTEM_ROLE", text, "{service}_system", "the role that it lets work")
    database_pool_size: int = setting(
        "KONTOR_DATABASE_POOL_SIZE", whole(1, 1000), "16", "connections at most, as app role and again as system role"
    )
    issuer: str = setting("KONTOR_ISSUER", WEB, "http://127.0.0.1:8080", "the `iss` that a token must have")
    audience: str = setting("KONTOR_AUDIENCE", text, "kontor", "the `aud` that a token must have")
    jwks_url: str = setting("KONTOR_JWKS_URL", WEB, "", "where the keys that sign tokens are published")
    jwks_file: Path | None = setting("KONTOR_JWKS_FILE", file, "", "or a file that holds them")
    peers: dict[str, str] = setting("KONTOR_PEERS", peers, "", "where other services answer: name=host:port;...")
    reference_seconds: float = setting(
        "KONTOR_REFERENCE_SECONDS", seconds(0.01, 60), "0.2", "how long another service may take to know a record"
    )
    client_id: str = setting("KONTOR_CLIENT_ID", text, "", "who this service is to others; for work")
    client_secret: str = setting("KONTOR_CLIENT_SECRET", text, "", "its secret", secret=True)
    token_url: str = setting("KONTOR_TOKEN_URL", WEB, "", "where it gets tokens; /oauth2/token of the issuer if empty")
    transport: str = setting(
        "KONTOR_TRANSPORT", one_of("stream", "amqp"), "stream", "how services hear of each other: stream or amqp"
    )
    amqp_url: str = setting("KONTOR_AMQP_URL", AMQP, "", "the broker; for work and receive", secret=True)
    amqp_ca_file: Path | None = setting(
        "KONTOR_AMQP_CA_FILE",
        file,
        "",
        "the broker must show a certificate of one of these, PEM; the system's if empty",
    )
    amqp_certificate_file: Path | None = setting(
        "KONTOR_AMQP_CERTIFICATE_FILE", file, "", "certificate chain, shown to the broker, PEM"
    )
    amqp_key_file: Path | None = setting("KONTOR_AMQP_KEY_FILE", file, "", "private key of the certificate, PEM")
    page_token_key: str = setting(
        "KONTOR_PAGE_TOKEN_KEY", key, "", "seals page tokens; the same for all replicas", secret=True
    )
    tls_ca_file: Path | None = setting(
        "KONTOR_TLS_CA_FILE", file, "", "other services, which TLS is spoken with, must show a certificate of one, PEM"
    )
    tls_certificate_file: Path | None = setting(
        "KONTOR_TLS_CERTIFICATE_FILE", file, "", "certificate chain, shown to callers and to other services, PEM"
    )
    tls_key_file: Path | None = setting("KONTOR_TLS_KEY_FILE", file, "", "private key of the certificate, PEM")
    tls_client_ca_file: Path | None = setting(
        "KONTOR_TLS_CLIENT_CA_FILE", file, "", "clients must show a certificate of one of these, PEM"
    )
    tls_principals_file: Path | None = setting(
        "KONTOR_TLS_PRINCIPALS_FILE", file, "", "JSON: name in a client's certificate to principal"
    )
    plaintext: bool = setting("KONTOR_PLAINTEXT", flag, "false", "allow no TLS on other addresses than loopback")
    threads: int = setting("KONTOR_THREADS", whole(1, 1000), "16", "calls worked on at a time")
    default_deadline: float = setting(
        "KONTOR_DEFAULT_DEADLINE_SECONDS", seconds(0.1, 3600), "10", "for calls that bring none"
    )
    drain: float = setting("KONTOR_DRAIN_SECONDS", seconds(0, 3600), "10", "what running calls get at the end")
    drain_delay: float = setting(
        "KONTOR_DRAIN_DELAY_SECONDS", seconds(0, 60), "0.5", "from NOT_SERVING until new calls are refused"
    )
    max_request_bytes: int = setting(
        "KONTOR_MAX_REQUEST_BYTES", whole(1024, 1 << 30), "4194304", "the largest request taken"
    )
    otlp_endpoint: str = setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT", WEB, "", "where spans are sent by OTLP over gRPC; nothing is traced if empty"
    )
    log_level: str = setting(
        "KONTOR_LOG_LEVEL", one_of("debug", "info", "warning", "error"), "info", "debug writes a line for every call"
    )
    log_format: str = setting("KONTOR_LOG_FORMAT", one_of("json", "text"), "json", "json or text")

    @classmethod
    def load(cls, service: str, environ: Mapping[str, str] = os.environ, *, need: Collection[str] = ()) -> Self:
        """Read the settings of `service`.

        `need` names the fields that must be given; `a|b` needs one of the two. Raises ConfigurationError.
        """
        problems: list[str] = []
        values: dict[str, Any] = {}
        malformed: set[str] = set()
        fields = {field.name: field for field in dataclasses.fields(cls) if field.metadata}
        for name, field in fields.items():
            parse: Callable[[str], Any] = field.metadata["parse"]
            default = _default(field, service)
            try:
                given = _look_up(variable(field, service), environ, secret=field.metadata["secret"])
                values[name] = parse(given or default)
            except ValueError as error:
                problems.append(f"{variable(field, service)}: {error}")
                malformed.add(name)
                values[name] = parse(default)
        problems += [
            f"{' or '.join(variable(fields[name], service) for name in names)}: needed and not set"
            for names in (alternatives.split("|") for alternatives in need)
            if not any(values[name] or name in malformed for name in names)
        ]
        settings = cls(service=service, **values)
        problems += settings.problems()
        if problems:
            raise ConfigurationError(problems)
        return settings

    @classmethod
    def describe(cls, service: str) -> Iterator[tuple[str, str, str]]:
        """List the settings as (variable, default, meaning)."""
        for field in dataclasses.fields(cls):
            if field.metadata:
                yield variable(field, service), _default(field, service), field.metadata["doc"]

    def problems(self) -> Iterator[str]:
        """Say what is wrong with the settings taken together."""
        if (self.tls_certificate_file is None) != (self.tls_key_file is None):
            yield "KONTOR_TLS_CERTIFICATE_FILE and KONTOR_TLS_KEY_FILE: set both or none"
        if self.tls_client_ca_file and not self.tls_certificate_file:
            yield "KONTOR_TLS_CLIENT_CA_FILE: needs KONTOR_TLS_CERTIFICATE_FILE"
        if self.tls_principals_file and not self.tls_client_ca_file:
            yield "KONTOR_TLS_PRINCIPALS_FILE: needs KONTOR_TLS_CLIENT_CA_FILE"
        if (self.amqp_certificate_file is None) != (self.amqp_key_file is None):
            yield "KONTOR_AMQP_CERTIFICATE_FILE and KONTOR_AMQP_KEY_FILE: set both or none"
        if self.jwks_url and self.jwks_file:
            yield "KONTOR_JWKS_URL and KONTOR_JWKS_FILE: set one of them"
        if not self.plaintext:
            yield from self._in_plain_text()

    def _in_plain_text(self) -> Iterator[str]:
        """Say what would cross the network without TLS."""
        if not (self.tls_certificate_file or is_loopback(self.listen)):
            yield f"KONTOR_LISTEN: {self.listen} needs TLS (KONTOR_TLS_CERTIFICATE_FILE), or KONTOR_PLAINTEXT=true"
        for name, target in self.peers.items():
            if not (self.tls_ca_file or is_loopback_target(target)):
                yield f"KONTOR_PEERS: {name}={target} needs TLS (KONTOR_TLS_CA_FILE), or KONTOR_PLAINTEXT=true"
        broker = urlsplit(self.amqp_url)
        if broker.scheme == "amqp" and not is_loopback(f"{broker.hostname}:{broker.port}"):
            yield "KONTOR_AMQP_URL: needs amqps, or KONTOR_PLAINTEXT=true"
        for name, location in (("KONTOR_TOKEN_URL", self.token_url), ("KONTOR_JWKS_URL", self.jwks_url)):
            parts = urlsplit(location)
            if parts.scheme == "http" and not is_loopback(f"{parts.hostname}:{parts.port}"):
                yield f"{name}: {location} needs https, or KONTOR_PLAINTEXT=true"
