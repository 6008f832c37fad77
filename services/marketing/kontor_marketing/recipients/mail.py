"""Mails on the wire: how one is written, and how it is handed over by SMTP."""

from __future__ import annotations

import datetime as dt
import enum
import logging
import smtplib
import socket
import ssl
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

from kontor_marketing.recipients import rules

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS: Final = 30.0
"""So long a mail server may take for each of its answers."""
ANSWERS: Final = 5
"""So many answers there are from the hand-over's begin to its end: RSET, MAIL, RCPT, DATA, and the mail's end."""
_PORTS: Final = {"smtp": 25, "starttls": 587, "smtps": 465}


class Letter(NamedTuple):
    """What a mail consists of."""

    message_id: str
    sender_name: str
    sender_email: str
    reply_to_email: str
    recipient_name: str
    recipient_email: str
    subject: str
    text: str
    html: str
    unsubscribe_url: str


class Outcome(enum.Enum):
    """What a mail server made of a mail."""

    TAKEN = enum.auto()
    DEFERRED = enum.auto()
    """Not now; or nobody knows, because it did not answer."""
    REFUSED = enum.auto()
    """Never, for this recipient or this mail."""
    SENDER_REFUSED = enum.auto()
    """Never from this sender, whoever the recipient is."""


class Answer(NamedTuple):
    """How a hand-over ended."""

    outcome: Outcome
    text: str = ""
    """What the mail server said, for people."""


class NoServer(Exception):
    """The mail server cannot be reached, or does not let us in."""


def write(letter: Letter, now: dt.datetime) -> bytes:
    """Return a mail as it is sent."""
    mail = EmailMessage(policy=SMTP)
    mail["From"] = _address(letter.sender_name, letter.sender_email)
    mail["To"] = _address(letter.recipient_name, letter.recipient_email)
    if letter.reply_to_email:
        mail["Reply-To"] = _address("", letter.reply_to_email)
    mail["Subject"] = _line(letter.subject)
    mail["Date"] = format_datetime(now)
    mail.set_content(letter.text, cte="quoted-printable")
    if letter.html:
        mail.add_alternative(letter.html, subtype="html", cte="quoted-printable")
    # What has no place to be folded at is not left to the library, which would encode it; all of it is ASCII and ours.
    head = (
        f"Message-ID: <{letter.message_id}>\r\n"
        f"List-Unsubscribe: <{letter.unsubscribe_url}>\r\n"
        "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
    )
    return head.encode("ascii") + mail.as_bytes()


def _address(name: str, address: str) -> Address:
    user, _, domain = rules.ascii_address(address).rpartition("@")
    return Address(_line(name), user, domain)


def _line(text: str) -> str:
    """Return a text on one line: what is not printable would begin a header of its own."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


class Post:
    """A connection to a mail server, for one thread. `url` is smtp://, starttls:// or smtps://, with user and password."""

    def __init__(self, url: str, *, timeout: float = TIMEOUT_SECONDS) -> None:
        parts = urlsplit(url)
        self._scheme, self._host = parts.scheme, parts.hostname or ""
        self._port = parts.port or _PORTS[parts.scheme]
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")
        self._timeout = timeout
        self._server: smtplib.SMTP | None = None

    def open(self) -> None:
        """See that the mail server is there. Raises NoServer."""
        try:
            if self._server is not None and self._server.noop()[0] == 250:
                return
        except (OSError, smtplib.SMTPException):
            logger.debug("the mail server ended a connection")
        self.close()
        try:
            self._server = self._connect()
        except (OSError, smtplib.SMTPException) as error:
            raise NoServer(_said(error)) from error

    def close(self) -> None:
        """End the connection, where there is one."""
        server, self._server = self._server, None
        if server is not None:
            try:
                server.quit()
            except (OSError, smtplib.SMTPException):
                server.close()

    def hand_over(self, letter: Letter, now: dt.datetime) -> Answer:
        """Hand one mail over on the connection that was opened."""
        assert self._server is not None, "it is opened first"
        sender, recipient = (rules.ascii_address(each) for each in (letter.sender_email, letter.recipient_email))
        try:
            self._server.sendmail(sender, [recipient], write(letter, now))
        except smtplib.SMTPRecipientsRefused as error:
            code, text = next(iter(error.recipients.values()))
            return _judge(code, text, Outcome.REFUSED)
        except smtplib.SMTPSenderRefused as error:
            return _judge(error.smtp_code, error.smtp_error, Outcome.SENDER_REFUSED)
        except smtplib.SMTPResponseException as error:
            return _judge(error.smtp_code, error.smtp_error, Outcome.REFUSED)
        except (OSError, smtplib.SMTPException) as error:
            # It may have been taken.
            self.close()
            return Answer(Outcome.DEFERRED, _said(error))
        return Answer(Outcome.TAKEN)

    def _connect(self) -> smtplib.SMTP:
        context = ssl.create_default_context()
        if self._scheme == "smtps":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                self._host, self._port, local_hostname=_own_name(), timeout=self._timeout, context=context
            )
        else:
            server = smtplib.SMTP(self._host, self._port, local_hostname=_own_name(), timeout=self._timeout)
        try:
            if self._scheme == "starttls":
                server.starttls(context=context)
            if self._user:
                server.login(self._user, self._password)
            server.ehlo_or_helo_if_needed()
        except BaseException:
            server.close()
            raise
        return server


def _own_name() -> str:
    # What smtplib finds out itself may ask a name server, and take long.
    return socket.gethostname() or "localhost"


def _judge(code: int, text: Any, final: Outcome) -> Answer:
    said = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
    return Answer(final if 500 <= code <= 599 else Outcome.DEFERRED, f"{code} {said}"[:500])


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]
