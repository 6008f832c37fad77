"""Names of fields as callers spell them: as in the protos (`display_name`), or as in JSON (`displayName`)."""

from __future__ import annotations

import re

_HUMP = re.compile(r"(?<=[a-z0-9])[A-Z]")


def proto_path(path: str) -> str:
    """Return a path of fields as the protos spell it: `emails.optedOut` -> `emails.opted_out`; else unchanged."""
    return _HUMP.sub(lambda letter: f"_{letter.group().lower()}", path)
