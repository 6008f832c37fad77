"""Where content is stored: in a folder that all replicas share, or in a bucket that speaks the S3 protocol.

Content is written once, under a key that nothing else ever has, and is there as a whole or not at all.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from kontor_kit.errors import Unavailable
from kontor_ticketing.settings import TicketingSettings


class Storage(Protocol):
    """Keeps content. Every method raises Unavailable where the storage cannot be used now."""

    def put(self, key: str, content: bytes) -> None:
        """Store content, so that it outlives a loss of power."""

    def get(self, key: str) -> bytes | None:
        """Return content; None where there is none."""

    def delete(self, key: str) -> None:
        """Remove content, where there is any."""

    def older_than(self, moment: dt.datetime) -> Iterator[str]:
        """Yield the keys of what was written before a moment."""


def storage_of(settings: TicketingSettings) -> Storage | None:
    """Return the storage that the settings name; None where they name none."""
    where = urlsplit(settings.storage_url)
    if where.scheme == "file":
        return Folder(Path(unquote(where.path)))
    return Bucket(settings) if where.scheme == "s3" else None


class Folder:
    """A folder of the file system."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, key: str, content: bytes) -> None:
        """Write beside, and put it in place when it is on the disk."""
        path = self._root / key
        part = path.with_name(f"{path.name}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise _unavailable() from error

    def get(self, key: str) -> bytes | None:
        """Read the file."""
        try:
            return (self._root / key).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unavailable() from error

    def delete(self, key: str) -> None:
        """Remove the file."""
        try:
            (self._root / key).unlink(missing_ok=True)
        except OSError as error:
            raise _unavailable() from error

    def older_than(self, moment: dt.datetime) -> Iterator[str]:
        """Look at the time of each file."""
        try:
            for path in self._root.glob("*/*"):
                with suppress(FileNotFoundError):  # put in its place meanwhile
                    if path.stat().st_mtime < moment.timestamp():
                        yield f"{path.parent.name}/{path.name}"
        except OSError as error:
            raise _unavailable() from error


class Bucket:
    """A bucket, or all that is below a prefix in one."""

    def __init__(self, settings: TicketingSettings) -> None:
        # It loads slowly, and only who uses a bucket needs it.
        from obstore.exceptions import BaseError  # noqa: PLC0415
        from obstore.store import S3Store  # noqa: PLC0415

        self._error = BaseError
        where = urlsplit(settings.storage_url)
        options: dict[str, Any] = {"region": settings.storage_region}
        if settings.storage_endpoint:
            options["endpoint"] = settings.storage_endpoint
        if settings.storage_access_key:
            options["access_key_id"] = settings.storage_access_key
            options["secret_access_key"] = settings.storage_secret_key
        self._store = S3Store(
            where.netloc,
            prefix=where.path.strip("/") or None,
            # Somebody waits for the answer, ten seconds at most.
            client_options={"allow_http": True, "connect_timeout": "2s", "timeout": "6s"},
            retry_config={"max_retries": 2, "retry_timeout": dt.timedelta(seconds=7)},
            **options,
        )

    def put(self, key: str, content: bytes) -> None:
        """Write the object; the bucket shows it when it has all of it."""
        try:
            self._store.put(key, content)
        except (self._error, OSError) as error:
            raise _unavailable() from error

    def get(self, key: str) -> bytes | None:
        """Read the object."""
        try:
            return bytes(self._store.get(key).bytes())
        except FileNotFoundError:
            return None
        except (self._error, OSError) as error:
            raise _unavailable() from error

    def delete(self, key: str) -> None:
        """Remove the object."""
        try:
            self._store.delete(key)
        except FileNotFoundError:
            return
        except (self._error, OSError) as error:
            raise _unavailable() from error

    def older_than(self, moment: dt.datetime) -> Iterator[str]:
        """Look at the time of each object."""
        try:
            for page in self._store.list():
                yield from (found["path"] for found in page if found["last_modified"] < moment)
        except (self._error, OSError) as error:
            raise _unavailable() from error


def _unavailable() -> Unavailable:
    return Unavailable("the storage of attachments cannot be used now; repeat later")
