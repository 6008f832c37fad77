"""The HTTP server that runs beside the gRPC server."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import Any

from cheroot.ssl.builtin import BuiltinSSLAdapter
from cheroot.wsgi import Server

from kontor_kit.tls import Watched

logger = logging.getLogger(__name__)


class HttpServer:
    """Serves a WSGI application on `address` (`host:port`); with TLS where certificate and key are given."""

    def __init__(
        self,
        address: str,
        application: Callable[..., Any],
        *,
        threads: int = 8,
        drain: float = 10.0,
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> None:
        host, _, port = address.rpartition(":")
        self._server = _Server(
            (host.strip("[]"), int(port)),
            application,
            numthreads=threads,
            request_queue_size=128,
            shutdown_timeout=ceil(drain),
            server_name="kontor",
        )
        if certificate and key:
            self._server.ssl_adapter = _Tls(certificate, key)
        self._thread = threading.Thread(target=self._server.serve, name="http", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on, once started."""
        return int(self._server.bind_addr[1])

    def start(self) -> None:
        """Begin to serve. Raises OSError where the address cannot be used."""
        self._server.prepare()
        self._thread.start()
        logger.info("serving HTTP", extra={"address": f"{self._server.bind_addr[0]}:{self.port}"})

    def stop(self) -> None:
        """Take no more connections, let running requests end, and return."""
        self._server.stop()
        self._thread.join()


class _Server(Server):
    def error_log(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:
        """Log as everything else does."""
        logger.log(level, msg, exc_info=traceback)


class _Tls(BuiltinSSLAdapter):
    """Follows the files: each new connection gets the certificate they hold then."""

    def __init__(self, certificate: Path, key: Path) -> None:
        super().__init__(str(certificate), str(key))
        self._watched = Watched(lambda: self.context.load_cert_chain(certificate, key), [certificate, key])

    def wrap(self, sock: Any) -> Any:
        """Begin TLS on a connection."""
        self._watched.refresh()
        return super().wrap(sock)  # type: ignore[no-untyped-call]
