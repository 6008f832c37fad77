"""What the steps of the story share: who calls, what is known by now, and the mails that were sent."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, Final

import httpx

from kontor_dev.data import DataFolder
from kontor_dev.ports import free_ports
from kontor_dev.story.calling import Caller, RefusedByService, wait_for
from kontor_dev.tokens import token

ADMIN: Final = "ines.keller@maschinenbau.example"
_FRESH_SECONDS: Final = 300.0


class Mails:
    """A mail server that keeps what it is given; `url` is what marketing sends to."""

    def __init__(self) -> None:
        # Costs time, and is needed here only.
        from aiosmtpd.controller import Controller

        self._kept: list[EmailMessage] = []
        self._lock = threading.Lock()
        (port,) = free_ports(1)
        self._controller = Controller(self, hostname="127.0.0.1", port=port)
        self._controller.start()
        self.url = f"smtp://127.0.0.1:{port}"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802  # the library's name
        """Keep a mail."""
        with self._lock:
            self._kept.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"

    def to(self, address: str) -> list[EmailMessage]:
        """Return the mails to an address; one that came twice, as it may when a process dies, once."""
        with self._lock:
            return list({mail["Message-ID"]: mail for mail in self._kept if address in str(mail["To"])}.values())

    def close(self) -> None:
        """Stop listening."""
        self._controller.stop()


@dataclass
class World:
    """A tenant of its own on a running platform."""

    url: str
    """Where the gateway answers."""
    domain: str
    """The customer's, which no other story has."""
    mails: Mails
    staff: Caller
    """Somebody of the company who may do everything."""
    public: Caller
    """Somebody without a token."""
    roles: dict[str, str]
    """The names of the tenant's roles by what they are called."""
    stack: ExitStack
    """Closes in the end what was opened."""
    known: dict[str, Any] = field(default_factory=dict)
    """What the steps tell each other."""

    @property
    def address(self) -> str:
        """Where the customer reads mail."""
        return f"eva.brunner@{self.domain}"

    def program(self, title: str, roles: list[str], teams: list[str] | None = None) -> tuple[str, str]:
        """Make a service account, and return its client id and secret."""
        account = self.staff("POST", "serviceAccounts", {"displayName": title, "roles": roles, "teams": teams or []})
        secret = self.staff("POST", f"{account['name']}/secrets", {})["value"]
        return account["name"].partition("/")[2], secret

    def caller(self, client_id: str, secret: str) -> Caller:
        """Return who calls with the tokens of a service account."""
        return self.stack.enter_context(Caller(self.url, _fetched(self.url, client_id, secret)))

    def finished(self, operation: Any) -> Any:
        """Wait for an operation, and return its response. Raises RefusedByService where it failed."""

        def done() -> Any:
            found = self.staff("GET", operation["name"])
            return found if found.get("done") else None

        ended = wait_for(done, f"the end of {operation['name']}")
        if "error" in ended:
            raise RefusedByService(200, ended["error"]["message"])
        return ended["response"]


def _fetched(url: str, client_id: str, secret: str) -> Callable[[], str]:
    """Return what gives the token of a service account, for as long as it is good."""
    held: dict[str, Any] = {"token": "", "until": 0.0}

    def current() -> str:
        if time.monotonic() > held["until"]:
            form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
            answer = httpx.post(f"{url}/oauth2/token", data=form, timeout=30)
            answer.raise_for_status()
            held.update(token=answer.json()["access_token"], until=time.monotonic() + _FRESH_SECONDS)
        return str(held["token"])

    return current


@contextmanager
def new_world(data: DataFolder, mails: Mails) -> Iterator[World]:
    """Make a tenant on the platform that runs with this data folder, and yield what its story is played in."""
    mark = uuid.uuid4().hex[:8]
    url, slug = data.running()["url"], f"story-{mark}"

    def caller(tenant: str, user: str | None = None) -> Caller:
        fixed = token(data, tenant=tenant, role="admin", user=user)
        return stack.enter_context(Caller(url, lambda: fixed))

    with ExitStack() as stack:
        public = stack.enter_context(Caller(url))
        caller("platform")("POST", "tenants", {"slug": slug, "displayName": "Maschinenbau"})
        founder = caller(slug)
        roles = {role["displayName"]: role["name"] for role in founder("GET", "roles")["roles"]}
        # What somebody starts goes on with the rights of the user, which the token of a developer does not give.
        founder("POST", "users", {"email": ADMIN, "displayName": "Ines Keller", "roles": [roles["Admin"]]})
        yield World(url, f"hofmann-{mark}.example", mails, caller(slug, ADMIN), public, roles, stack)
