"""What an operator can choose: limits, TLS, origins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Limit:
    """At most `requests` in `seconds`; a token bucket that is filled anew each time."""

    requests: int
    seconds: int = 1


@dataclass(frozen=True)
class RateLimits:
    """Limits of one gateway process; ValueError where two allow equally many, because headers tell them apart by it."""

    tenant: Limit = Limit(1000)
    """For all callers of a tenant together."""
    client: Limit = Limit(200)
    """For one subject: a user, or a service account."""
    address: Limit = Limit(50)
    """For one address where no token is needed: signing in, getting tokens, public methods."""

    def __post_init__(self) -> None:
        if len({self.tenant.requests, self.client.requests, self.address.requests}) < 3:
            raise ValueError("the rate limits of tenant, client and address must differ in their number of requests")


@dataclass(frozen=True)
class Tls:
    """Files in PEM, read again when they change."""

    certificate: Path
    key: Path
    client_ca: Path | None = None
    """Callers must show a certificate signed by one of these."""


@dataclass(frozen=True)
class UpstreamTls:
    """How the gateway speaks TLS to the services; files in PEM, read again when they change."""

    ca: Path
    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True)
class Options:
    """Everything else that has a default that works."""

    upstream_tls: UpstreamTls | None = None
    secrets: Path = Path("secrets")
    """The folder where Envoy finds the files of `tls.secrets`; needed with TLS only."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may call, `https://crm.example.com`; none by default."""
    max_request_bytes: int = 4 * 1024 * 1024
    timeout_seconds: int = 60
    """How long a call may take at most, streams excepted; services have a shorter default of their own."""
    stream_idle_seconds: int = 300
    """How long a stream may be silent; must be above the heartbeat of change streams."""
    trusted_hops: int = 0
    """How many proxies in front of the gateway are trusted to tell the caller's address."""
    access_log: str = "/dev/stdout"
    """The file of the access log, "" for none."""
    spans: str = ""
    """Where spans are sent by OTLP over gRPC, `http://host:4317` or https; nowhere if empty."""
    spans_ca: Path = Path("/etc/ssl/certs/ca-certificates.crt")
    """What takes the spans over https must show a certificate of one of these; PEM."""
    metrics: tuple[str, int] | None = None
    """Where `/stats/prometheus` and `/ready` are served to others, and nothing else of Envoy's administration."""
