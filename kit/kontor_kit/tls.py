"""TLS: certificates that are read again when their files change, and principals known by their certificate."""

from __future__ import annotations

import json
import logging
import ssl
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import grpc
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate

from kontor_kit.config import Settings
from kontor_kit.principals import Principal, parse_permissions

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Watched(Generic[T]):
    """A value made of files; made anew when they changed. Where that fails, the last good value stays in use."""

    def __init__(self, make: Callable[[], T], paths: Iterable[Path]) -> None:
        self._make = make
        self._paths = tuple(paths)
        self._lock = threading.Lock()
        self._seen = self._stamps()
        self.value = make()
        """The value as it was made last."""

    def refresh(self) -> bool:
        """Make the value anew if a file changed; return whether it was. Never raises."""
        with self._lock:
            try:
                stamps = self._stamps()
                if stamps == self._seen:
                    return False
                self.value, self._seen = self._make(), stamps
            except Exception as error:  # noqa: BLE001  # a half-written or missing file must not take the running server down
                logger.warning("changed files cannot be used", extra={"paths": self._paths, "reason": str(error)})
                return False
        logger.info("changed files are in use", extra={"paths": self._paths})
        return True

    def _stamps(self) -> list[tuple[int, int, int]]:
        return [(status.st_mtime_ns, status.st_ino, status.st_size) for status in (path.stat() for path in self._paths)]


def server_credentials(certificate: Path, key: Path, client_ca: Path | None = None) -> grpc.ServerCredentials:
    """Return credentials for a server that follow the files: each new connection gets what they hold then.

    With `client_ca` every client must show a certificate of one of these authorities. (gRPC cannot both reload and
    leave it to the client.) Raises ValueError or OSError where the files cannot be used at the start.
    """

    def make() -> grpc.ServerCertificateConfiguration:
        chain, private, roots = certificate.read_bytes(), key.read_bytes(), _read(client_ca)
        _check_pair(chain, private)
        return grpc.ssl_server_certificate_configuration([(private, chain)], roots)

    watched = Watched(make, [path for path in (certificate, key, client_ca) if path])
    return grpc.dynamic_ssl_server_credentials(
        watched.value,
        # None means no change, which the stubs of grpc do not know.
        lambda: watched.value if watched.refresh() else None,  # type: ignore[arg-type, return-value]
        require_client_authentication=client_ca is not None,
    )


def _check_pair(chain: bytes, private: bytes) -> None:
    """Refuse a key of another certificate, as seen between two writes of a rotation; gRPC would only fail handshakes."""
    if load_pem_x509_certificate(chain).public_key() != load_pem_private_key(private, None).public_key():
        raise ValueError("the private key is not that of the certificate")


@dataclass(frozen=True, kw_only=True)
class ClientTls:
    """How a client checks a server, and shows itself to it. All are paths of PEM files."""

    ca: Path | None = None
    """The authorities a server's certificate is checked against; those of the system where it is None."""
    certificate: Path | None = None
    key: Path | None = None
    server_name: str = ""
    """The name expected in the server's certificate where it is another than the address."""

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """Return how a service speaks with others; None for plain text."""
        if settings.tls_ca_file is None:
            return None
        return cls(ca=settings.tls_ca_file, certificate=settings.tls_certificate_file, key=settings.tls_key_file)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are there."""
        return tuple(path for path in (self.ca, self.certificate, self.key) if path)


def channel_credentials(tls: ClientTls) -> grpc.ChannelCredentials:
    """Return credentials for a channel."""
    return grpc.ssl_channel_credentials(_read(tls.ca), _read(tls.key), _read(tls.certificate))


def web_context(ca: Path | None) -> ssl.SSLContext:
    """Return how a client of HTTPS checks a server: by the authorities of the system, and those of `ca` (PEM)."""
    context = ssl.create_default_context()
    if ca is not None:
        context.load_verify_locations(ca)
    return context


def _read(path: Path | None) -> bytes | None:
    return path.read_bytes() if path else None


class CertificatePrincipals:
    """Who the holder of a client certificate is.

    `path` is a JSON object: a name in the certificate (subject alternative name, or common name) to
    `{"tenant": uuid, "subject": name, "perms": [...], "teams": [...]}`. The file is read again when it changed.
    """

    def __init__(self, path: Path) -> None:
        self._watched = Watched(lambda: read_principals(json.loads(path.read_bytes())), [path])

    def find(self, auth_context: Mapping[str, Iterable[bytes]]) -> Principal | None:
        """Return the principal for what gRPC knows about the peer; None where no name is listed."""
        self._watched.refresh()
        for kind in ("x509_subject_alternative_name", "x509_common_name"):
            for name in auth_context.get(kind, ()):
                principal = self._watched.value.get(name.decode("utf-8", "replace"))
                if principal is not None:
                    return principal
        return None


def read_principals(document: Mapping[str, Mapping[str, Any]]) -> dict[str, Principal]:
    """Read the JSON of `CertificatePrincipals`. Raises ValueError, KeyError or TypeError where it is malformed."""
    return {
        name: Principal(
            tenant_id=uuid.UUID(entry["tenant"]),
            subject=entry["subject"],
            permissions=parse_permissions(entry["perms"]),
            teams=frozenset(map(uuid.UUID, entry.get("teams", ()))),
            client_id=f"certificate:{name}",
        )
        for name, entry in document.items()
    }
