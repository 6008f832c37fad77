"""What ticketing reads from its environment beside what every service does."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from kontor_kit.config import WEB, Settings, is_loopback, setting, settings_class, text, url, whole

_ENVELOPE_BYTES = 64 * 1024
"""What a request is larger than the content that it brings."""


@settings_class
class TicketingSettings(Settings):
    """The settings of ticketing."""

    storage_url: str = setting(
        "KONTOR_TICKETING_STORAGE_URL",
        url("file", "s3"),
        "",
        "where the content of attachments is stored, the same for all replicas: file:///folder or s3://bucket/prefix;"
        " none are taken if empty",
    )
    storage_endpoint: str = setting(
        "KONTOR_TICKETING_STORAGE_ENDPOINT", WEB, "", "where the bucket is, where it is not at AWS: https://host:port"
    )
    storage_region: str = setting("KONTOR_TICKETING_STORAGE_REGION", text, "us-east-1", "the region of the bucket")
    storage_access_key: str = setting(
        "KONTOR_TICKETING_STORAGE_ACCESS_KEY",
        text,
        "",
        "the access key for the bucket; the machine's role if empty",
        secret=True,
    )
    storage_secret_key: str = setting(
        "KONTOR_TICKETING_STORAGE_SECRET_KEY", text, "", "the secret of the access key", secret=True
    )
    max_attachment_bytes: int = setting(
        "KONTOR_TICKETING_MAX_ATTACHMENT_BYTES",
        whole(1, 1 << 30),
        "4000000",
        "the largest attachment; KONTOR_MAX_REQUEST_BYTES and the gateway's limit must be larger",
    )

    def problems(self) -> Iterator[str]:
        """Say what is wrong with the settings taken together."""
        yield from super().problems()
        if self.max_attachment_bytes + _ENVELOPE_BYTES > self.max_request_bytes:
            least = self.max_attachment_bytes + _ENVELOPE_BYTES
            yield f"KONTOR_TICKETING_MAX_ATTACHMENT_BYTES: needs KONTOR_MAX_REQUEST_BYTES={least} at least"
        if bool(self.storage_access_key) != bool(self.storage_secret_key):
            yield "KONTOR_TICKETING_STORAGE_ACCESS_KEY and KONTOR_TICKETING_STORAGE_SECRET_KEY: set both or none"
        endpoint = urlsplit(self.storage_endpoint)
        if endpoint.scheme == "http" and not (self.plaintext or is_loopback(f"{endpoint.hostname}:{endpoint.port}")):
            yield "KONTOR_TICKETING_STORAGE_ENDPOINT: needs https, or KONTOR_PLAINTEXT=true"
