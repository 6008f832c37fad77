"""Mail servers that want TLS and a password, and what is not told to those that are not who they say."""

from __future__ import annotations

import datetime as dt
import ssl
from contextlib import contextmanager

import pytest
from aiosmtpd.smtp import AuthResult

from kit.tests.certificates import Authority
from kontor_marketing.recipients.mail import Letter, NoServer, Outcome, Post
from services.marketing.tests.mails import mail_server

LETTER = Letter(
    "1@k.example", "K", "news@k.example", "", "A", "a@a.example", "S", "Text", "", "https://crm.example.com/u/1"
)
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def trusted(authority, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))


@pytest.fixture
def told():
    """The names and passwords that servers were told."""
    return []


@pytest.fixture
def served(authority, told):
    """Run a server: `with served("smtps", "127.0.0.1") as (url, sink)`; the URL ends with the port."""

    def authenticate(server, session, envelope, mechanism, given):
        told.append((given.login, given.password))
        return AuthResult(success=given.password == b"secret:1", handled=False)

    @contextmanager
    def run(scheme, host="127.0.0.1", password="secret%3A1"):
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*authority.issue("mail.example"))
        # To aiosmtpd only STARTTLS is TLS.
        options = {
            "smtps": {"ssl_context": context, "auth_require_tls": False},
            "starttls": {"tls_context": context, "auth_required": True, "require_starttls": True},
        }
        with mail_server(**options[scheme], authenticator=authenticate) as (url, sink):
            yield f"{scheme}://kontor:{password}@{host}:{url.rpartition(':')[2]}", sink

    return run


@pytest.mark.parametrize("scheme", ["smtps", "starttls"])
class TestTls:
    def test_mails_go_over_it_to_who_knows_us_by_a_password(self, served, trusted, told, scheme):
        with served(scheme) as (url, sink):
            post = Post(url)
            post.open()
            assert post.hand_over(LETTER, NOW).outcome is Outcome.TAKEN
            post.close()
        assert [mail.recipient for mail in sink.mails] == ["a@a.example"]
        assert told == [(b"kontor", b"secret:1")]

    def test_who_has_no_certificate_that_counts_is_told_nothing(self, served, told, scheme):
        with served(scheme) as (url, _), pytest.raises(NoServer, match="CERTIFICATE_VERIFY_FAILED"):
            Post(url).open()
        assert told == []

    def test_who_has_another_name_is_told_nothing(self, served, trusted, told, scheme):
        with served(scheme, host="localhost") as (url, _), pytest.raises(NoServer, match="CERTIFICATE_VERIFY_FAILED"):
            Post(url).open()
        assert told == []

    def test_wrong_password(self, served, trusted, scheme):
        with served(scheme, password="wrong") as (url, _), pytest.raises(NoServer, match="535"):
            Post(url).open()


def test_nothing_is_told_in_plain_to_who_was_to_speak_tls(told):
    with mail_server() as (url, sink), pytest.raises(NoServer, match="STARTTLS"):
        Post(url.replace("smtp://", "starttls://kontor:secret@")).open()
    assert sink.mails == []
