"""What identity reads from its environment beside what every service does."""

from collections.abc import Iterator

from kontor_kit.config import Settings, address, is_loopback, key, setting, settings_class, whole


@settings_class
class IdentitySettings(Settings):
    """The settings of identity."""

    http_listen: str = setting(
        "KONTOR_HTTP_LISTEN", address, "127.0.0.1:8081", "where OAuth 2.0 and /.well-known are served over HTTP"
    )
    http_threads: int = setting("KONTOR_HTTP_THREADS", whole(1, 1000), "8", "HTTP requests worked on at a time")
    key_encryption_key: str = setting(
        "KONTOR_IDENTITY_KEY_ENCRYPTION_KEY",
        key,
        "",
        "encrypts the signing keys; the same for all replicas, needed by all but migrate",
        secret=True,
    )
    key_days: int = setting("KONTOR_IDENTITY_KEY_DAYS", whole(1, 365), "30", "days after which a new key signs tokens")
    tenant_grace_minutes: int = setting(
        "KONTOR_IDENTITY_TENANT_GRACE_MINUTES",
        whole(0, 525_600),
        "1440",
        "how long a deleted tenant can be undeleted; below 15, tokens given out before may still be used meanwhile",
    )
    proxies: int = setting(
        "KONTOR_TRUSTED_PROXIES",
        whole(0, 10),
        "0",
        "proxies in front that add to X-Forwarded-For, the gateway included",
    )

    def problems(self) -> Iterator[str]:
        """Say what is wrong with the settings taken together."""
        yield from super().problems()
        if not (self.tls_certificate_file or self.plaintext or is_loopback(self.http_listen)):
            yield f"KONTOR_HTTP_LISTEN: {self.http_listen} needs TLS (KONTOR_TLS_CERTIFICATE_FILE), or KONTOR_PLAINTEXT=true"
