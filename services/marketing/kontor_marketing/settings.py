"""The settings that only marketing has."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from kontor_kit.config import WEB, Settings, is_loopback, setting, settings_class, url


@settings_class
class MarketingSettings(Settings):
    """What marketing reads from its environment."""

    smtp_url: str = setting(
        "KONTOR_MARKETING_SMTP_URL",
        url("smtp", "starttls", "smtps"),
        "",
        "the mail server: smtp://, starttls:// or smtps://user:password@host:port; nothing is sent if empty",
        secret=True,
    )
    public_url: str = setting(
        "KONTOR_PUBLIC_URL", WEB, "", "where people reach the gateway, for links in mails; the issuer if empty"
    )

    def problems(self) -> Iterator[str]:
        """Say what is wrong with the settings taken together."""
        yield from super().problems()
        if self.smtp_url:
            parts = urlsplit(self.smtp_url)
            local = is_loopback(f"{parts.hostname}:0")
            if parts.scheme == "smtp" and not local and not self.plaintext:
                yield "KONTOR_MARKETING_SMTP_URL: needs smtps or starttls, or KONTOR_PLAINTEXT=true"
            base = urlsplit(self.link_base)
            if base.scheme != "https" and not is_loopback(f"{base.hostname}:0"):
                # One-click links (RFC 8058) are https.
                yield "KONTOR_PUBLIC_URL: must begin with https:// where mails are sent"

    @property
    def link_base(self) -> str:
        """What links in mails begin with, without a slash at the end."""
        return (self.public_url or self.issuer).rstrip("/")
