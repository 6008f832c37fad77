"""A mail server that keeps what it is given, and refuses what it is told to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any, NamedTuple

from aiosmtpd.controller import Controller

from kontor_kit.testing.programs import free_ports


class Mail(NamedTuple):
    """A mail as it arrived."""

    recipient: str
    message: EmailMessage
    data: bytes


class Sink:
    """Keeps mails, by the thread of a server; what it answers to an address can be said beforehand."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []
        self.answers: dict[str, str] = {}
        """What is answered to a recipient or a sender, for example `550 no such user`."""

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802  # as aiosmtpd calls it
        """Take a sender."""
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return self.answers.get(address, "250 OK")

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802  # as aiosmtpd calls it
        """Take a recipient."""
        answer = self.answers.get(address, "250 OK")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802  # as aiosmtpd calls it
        """Take a mail."""
        message = message_from_bytes(envelope.content, policy=SMTP)
        assert isinstance(message, EmailMessage)
        self.mails += [Mail(recipient, message, envelope.content) for recipient in envelope.rcpt_tos]
        return "250 OK"

    def to(self, address: str) -> list[Mail]:
        """Return the mails that an address got."""
        return [mail for mail in self.mails if mail.recipient == address]


@contextmanager
def mail_server(sink: Sink | None = None, **options: Any) -> Iterator[tuple[str, Any]]:
    """Yield the URL of a mail server, and what it keeps; `options` are aiosmtpd's."""
    sink = sink or Sink()
    [port] = free_ports(1)
    controller = Controller(sink, hostname="127.0.0.1", port=port, **options)
    controller.start()
    try:
        yield f"smtp://127.0.0.1:{port}", sink
    finally:
        controller.stop()
