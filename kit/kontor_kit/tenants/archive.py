"""The archive of a tenant: a folder with a file for each table of one service, and a manifest that says what they hold.

<table>.copy.gz     the tenant's rows, as COPY writes them
contents/<key>      what the service keeps outside of its database
manifest.json       written last: without it, the archive is not whole
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import gzip
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from kontor_kit.errors import FailedPrecondition

FORMAT: Final = 1
_MANIFEST: Final = "manifest.json"
_CHUNK: Final = 1 << 20


@dataclass(frozen=True)
class Part:
    """The rows of one table."""

    columns: list[str]
    rows: int
    sha256: str
    """Of the file."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What an archive holds."""

    service: str
    tenant_id: uuid.UUID
    revision: str
    """The version of the schema."""
    position: int
    """Of the last change of the log, of any tenant: the archive has everything up to it, and nothing behind it but
    what was committed and waited to be told."""
    export_time: dt.datetime
    log_since: dt.datetime | None
    """When the oldest change in it was put into the log; None where there is none."""
    tables: dict[str, Part]
    contents: dict[str, str]
    """The SHA-256 of what was kept outside of the database, by key."""
    format: int = FORMAT


class Writer:
    """Writes an archive into a folder that is empty, or not there yet."""

    def __init__(self, folder: Path) -> None:
        """Raises FailedPrecondition where something is in the folder."""
        # What is in it is as secret as the database is.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise FailedPrecondition(f"{folder} is not empty", reason="FOLDER_NOT_EMPTY")
        self._folder = folder

    @contextmanager
    def table(self, name: str) -> Iterator[IO[bytes]]:
        """Yield the file for the rows of a table."""
        with self._path(name).open("xb") as file, gzip.GzipFile("", "wb", 6, file, mtime=0) as zipped:
            yield zipped  # type: ignore[misc]  # which it is

    def table_digest(self, name: str) -> str:
        """Return the digest of a table's file, once it is written."""
        return _digest(self._path(name))

    def content(self, key: str, content: bytes) -> str:
        """Write what is kept under a key; return its digest."""
        path = self._folder / "contents" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return hashlib.sha256(content).hexdigest()

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest, in one step."""
        part = self._folder / f"{_MANIFEST}.part"
        with part.open("w") as file:
            json.dump(dataclasses.asdict(manifest), file, default=str, indent=1)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._folder / _MANIFEST)

    def _path(self, name: str) -> Path:
        return _table_path(self._folder, name)


class Reader:
    """Reads an archive. What is not as the manifest says raises FailedPrecondition with the reason ARCHIVE_BROKEN."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            found: dict[str, Any] = json.loads((folder / _MANIFEST).read_text())
            if found["format"] != FORMAT:
                raise FailedPrecondition(f"{folder} is of format {found['format']}", reason="ARCHIVE_FORMAT")
            since = found["log_since"]
            self.manifest = Manifest(**found | {
                "tenant_id": uuid.UUID(found["tenant_id"]),
                "export_time": dt.datetime.fromisoformat(found["export_time"]),
                "log_since": dt.datetime.fromisoformat(since) if since else None,
                "tables": {name: Part(**part) for name, part in found["tables"].items()},
            })  # fmt: skip
        except FileNotFoundError:
            raise _broken(f"{folder} has no {_MANIFEST}: it is no archive, or not a whole one") from None
        except (KeyError, TypeError, ValueError) as error:
            raise _broken(f"{folder / _MANIFEST} cannot be read: {error!r}") from error

    def check(self) -> None:
        """See that each file is what was written."""
        for name, part in self.manifest.tables.items():
            path = _table_path(self._folder, name)
            if not path.is_file() or _digest(path) != part.sha256:
                raise _broken(f"{path} is not what was exported")
        for key, digest in self.manifest.contents.items():
            if hashlib.sha256(self.content(key)).hexdigest() != digest:
                raise _broken(f"the content {key} is not what was exported")

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield the rows of a table, as COPY reads them."""
        with gzip.open(_table_path(self._folder, name)) as file:
            while chunk := file.read(_CHUNK):
                yield chunk

    def content(self, key: str) -> bytes:
        """Return what was kept under a key."""
        path = (self._folder / "contents" / key).resolve()
        if not path.is_relative_to(self._folder.resolve()) or not path.is_file():
            raise _broken(f"the content {key} is not there")
        return path.read_bytes()


def _table_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.copy.gz"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _broken(message: str) -> FailedPrecondition:
    return FailedPrecondition(message, reason="ARCHIVE_BROKEN")
