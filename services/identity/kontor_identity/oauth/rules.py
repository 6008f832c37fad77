"""The rules of OAuth 2.0 as they stand here: clients, redirections, what codes and tokens look like, how long they live."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import os
import uuid
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final, NamedTuple
from urllib.parse import urlsplit

ACCESS_TOKEN: Final = dt.timedelta(minutes=10)
"""How long an access token lives, and so how long a suspension or a deactivation takes to be felt."""
CODE: Final = dt.timedelta(minutes=1)
REFRESH_TOKEN: Final = dt.timedelta(days=7)
"""How long a refresh token waits to be used."""
SESSION: Final = dt.timedelta(days=30)
"""How long somebody stays signed in at most."""

TOKEN_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105  # a word of the standard
"""The grant (RFC 8693) by which a service of the platform acts on behalf of somebody after the request is over."""
SUBJECT_TYPE: Final = "urn:kontor:token-type:subject"
"""The type of its subject token, `tenants/{tenant}/users/{user}`: a name that proves nothing; the client is trusted."""
ACCESS_TOKEN_TYPE: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105  # a word of the standard
EXCHANGE: Final = "identity.tokens.exchange"
"""The permission for it. It counts where a role of the operators' tenant names it, and is not part of any `*`."""

_TENANT_BYTES: Final = 16
_RANDOM_BYTES: Final = 32


class Client(NamedTuple):
    """A program that people sign in with. It is public: it has no secret, and proves itself by PKCE (RFC 7636)."""

    client_id: str
    display_name: str
    redirect_uris: tuple[str, ...]
    """Where the answer may be sent; for a loopback address any port will do (RFC 8252, 7.3)."""


FIRST_PARTY: Final = {
    client.client_id: client
    for client in (
        Client("kontor-console", "Kontor", ("http://127.0.0.1/callback", "http://[::1]/callback")),
        Client("kontor-cli", "Kontor command line", ("http://127.0.0.1/callback", "http://[::1]/callback")),
    )
}
"""The clients that belong to the platform and need nobody's consent."""


def allows_redirect(registered: Iterable[str], uri: str) -> bool:
    """Tell whether `uri` is one of the registered ones; with a loopback address the port is the client's choice.

    RFC 8252, 7.3 and 8.3: the address must be written as a number, because `localhost` can be made to lead elsewhere.
    """
    return any(uri == each or (_is_loopback(each) and _without_port(uri) == each) for each in registered)


def _is_loopback(uri: str) -> bool:
    parts = urlsplit(uri)
    try:
        return parts.scheme == "http" and ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False


def _without_port(uri: str) -> str:
    try:
        parts = urlsplit(uri)
        if parts.port is None or not uri.isascii() or not uri.isprintable():
            return uri
    except ValueError:
        return ""
    return parts._replace(netloc=parts.netloc.removesuffix(f":{parts.port}")).geturl()


def origin(uri: str) -> str:
    """Return scheme, host and port of a URI, as a content security policy names them."""
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc}"


def new_opaque(tenant_id: uuid.UUID, random: bytes | None = None) -> str:
    """Return a new code or refresh token: 256 random bits, behind the tenant in whose tables they are looked up."""
    data = tenant_id.bytes + (random or os.urandom(_RANDOM_BYTES))
    return base64.urlsafe_b64encode(data).decode()


def tenant_of_opaque(opaque: str) -> uuid.UUID | None:
    """Return the tenant in a code or refresh token; None where it is none of ours. It proves nothing."""
    try:
        data = base64.b64decode(opaque, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return uuid.UUID(bytes=data[:_TENANT_BYTES]) if len(data) == _TENANT_BYTES + _RANDOM_BYTES else None


def digest(opaque: str) -> bytes:
    """Return what is stored of a code or refresh token. It holds 256 random bits, so a plain hash cannot be guessed."""
    return hashlib.sha256(opaque.encode()).digest()


def parse_subject(text: str) -> tuple[uuid.UUID, str, uuid.UUID] | None:
    """Return tenant, collection and id of `tenants/{tenant}/users/{user}`; None where it is nothing of the kind."""
    match text.split("/"):
        case ["tenants", tenant, ("users" | "serviceAccounts") as collection, identifier]:
            try:
                return uuid.UUID(tenant), collection, uuid.UUID(identifier)
            except ValueError:
                return None
    return None


WINDOW: Final = dt.timedelta(minutes=15)
"""How long failures are counted together, from the first one on; so many in it are put up with:"""
PAIR_LIMIT: Final = 10
"""For one account, from one address."""
ACCOUNT_LIMIT: Final = 100
"""For one account, from everywhere: high, so that nobody can lock somebody else out with little effort."""
ADDRESS_LIMIT: Final = 200
"""From one address, for all accounts: high, because an office is one address."""


def sign_in_limits(account: str, address: str) -> dict[str, int]:
    """Return the limits that an attempt to sign in counts against, by what they are counted for."""
    return {
        f"pair\n{account}\n{address}": PAIR_LIMIT,
        f"account\n{account}": ACCOUNT_LIMIT,
        f"address\n{address}": ADDRESS_LIMIT,
    }


def client_limits(client_id: str, address: str) -> dict[str, int]:
    """Return the limits that a try of a service account's secret counts against."""
    return {f"client\n{client_id}\n{address}": PAIR_LIMIT}
