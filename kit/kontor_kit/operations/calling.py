"""Calls to other services after the request is over: in the name of this service, on behalf of who asked for the work.

The token is identity's (RFC 8693): it has the subject's tenant and the rights that the subject has by now, and says who
acts. So the other service checks what it always checks, and its log names both.
"""

from __future__ import annotations

import threading
import uuid
from typing import Any, Final, Self

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from kontor_kit.clients import Peers
from kontor_kit.config import Settings
from kontor_kit.credentials import ClientToken

_TOKENS: Final = 1000


class Calls:
    """Calls methods of `peers`. `credentials` are token URL, client id and secret of this service. Safe for threads."""

    def __init__(self, peers: Peers, *credentials: str, **options: Any) -> None:
        self._peers = peers
        self._credentials = credentials
        self._options = options
        self._lock = threading.Lock()
        self._tokens: dict[str, ClientToken] = {}

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """Return what a service calls others with; None where it has no credentials."""
        if not settings.client_id:
            return None
        token_url = settings.token_url or f"{settings.issuer.rstrip('/')}/oauth2/token"
        return cls(Peers.of(settings), token_url, settings.client_id, settings.client_secret, ca=settings.tls_ca_file)

    def __call__(
        self, method: MethodDescriptor, request: Message, *, tenant_id: uuid.UUID, subject: str, request_id: str
    ) -> Any:
        """Call `method` and return its answer; what bears the same `request_id` is done once.

        Raises grpc.RpcError; PermissionDenied where `subject` is not let in any more; Unavailable without a token.
        """
        token = self._token(f"tenants/{tenant_id}/{subject}")()
        metadata = (("authorization", f"Bearer {token}"), ("idempotency-key", request_id))
        return self._peers.call(method, request, metadata=metadata)

    def _token(self, subject: str) -> ClientToken:
        with self._lock:
            if subject not in self._tokens:
                if len(self._tokens) >= _TOKENS:
                    self._tokens.clear()
                grant = {
                    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
                    "subject_token": subject,
                    "subject_token_type": "urn:kontor:token-type:subject",
                }
                self._tokens[subject] = ClientToken(*self._credentials, grant=grant, **self._options)
            return self._tokens[subject]
