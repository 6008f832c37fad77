"""What an attachment must be like, where its content lies, and how it is handed out."""

from __future__ import annotations

import re
import uuid
from typing import Final
from urllib.parse import quote

from kontor_kit.errors import Violation

PUBLIC, INTERNAL = range(1, 3)
"""As Attachment.Visibility."""
UNKNOWN_TYPE: Final = "application/octet-stream"
# What no browser runs, whatever is in it. Anything else is only bytes.
_HARMLESS: Final = frozenset((
    "application/json", "application/pdf", "application/zip", "audio/mpeg", "audio/ogg", "audio/wav", "image/bmp",
    "image/gif", "image/jpeg", "image/png", "image/webp", "message/rfc822", "text/calendar", "text/csv", "text/plain",
    "video/mp4", "video/webm",
))  # fmt: skip
_TYPE: Final = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}")
_UUID: Final = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_KEY: Final = re.compile(rf"({_UUID})/({_UUID})(\.part)?")


def check(size: int, content_type: str, filename: str, most: int) -> list[Violation]:
    """Return what is wrong with content of `size` bytes where `most` may be taken."""
    violations = []
    if not size:
        violations.append(Violation("content.data", "must not be empty"))
    if size > most:
        violations.append(Violation("content.data", f"must not be larger than {most:,} bytes, and has {size:,}"))
    if content_type and not _TYPE.fullmatch(plain_type(content_type)):
        violations.append(Violation("content.content_type", "must be a media type, for example image/png"))
    if not plain_filename(filename):
        violations.append(Violation("filename", "must be more than a folder"))
    return violations


def plain_type(content_type: str) -> str:
    """Return a media type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower() or UNKNOWN_TYPE


def plain_filename(filename: str) -> str:
    """Return the name of a file without folders, control characters and what turns the direction of writing."""
    last = re.split(r"[/\\]", filename)[-1]
    visible = "".join(character for character in last if character.isprintable())
    return visible.strip(" .")


def served_type(content_type: str) -> str:
    """Return the type that content is handed out as: its own only where a browser does no harm with it."""
    return content_type if content_type in _HARMLESS else UNKNOWN_TYPE


def disposition(filename: str) -> str:
    """Return the header that has a browser save content under a name (RFC 6266), never show it."""
    plain = re.sub(r"[^A-Za-z0-9 ._()-]", "_", filename)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"


def key(tenant_id: uuid.UUID, id: uuid.UUID) -> str:
    """Return where the content of an attachment lies; nobody can choose any part of it."""
    return f"{tenant_id}/{id}"


def parse_key(text: str) -> tuple[uuid.UUID, uuid.UUID] | None:
    """Return the tenant and the id of the attachment whose content, or a part of it, lies there; None for what is not ours."""
    match = _KEY.fullmatch(text)
    return (uuid.UUID(match[1]), uuid.UUID(match[2])) if match else None


def is_part(text: str) -> bool:
    """Tell whether a key is of content that was not stored to its end."""
    return text.endswith(".part")
