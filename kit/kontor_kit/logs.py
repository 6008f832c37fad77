"""Logs: one line per record, as JSON or as text, with the trace it belongs to and without secrets."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import orjson

from kontor_kit.tracing import current_trace

REDACTED: Final = "[redacted]"
_SECRET_NAME: Final = re.compile(
    r"authorization|password|passwd|secret|token|cookie|credential|api_?key", re.IGNORECASE
)
_SECRET_VALUE: Final = re.compile(
    r"(?P<bearer>\b(?:bearer|basic)\s+)[\w.~+/=-]+"
    r"|\beyJ[\w-]{5,}\.[\w-]+\.[\w-]*"
    r"|(?P<url>\b[a-z][a-z0-9+]*://[^\s:/@]*:)[^\s@/]+(?=@)"
    r"|(?P<pair>\b(?:password|passwd|secret|client_secret|access_token|refresh_token)[\"']?\s*[=:]\s*[\"']?)[^\s\"',;&]+",
    re.IGNORECASE,
)


def configure(service: str, level: str = "info", form: str = "json", stream: TextIO | None = None) -> None:
    """Send all logs of this process to `stream` (standard error), from `level` on; `form` is `json` or `text`."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(service) if form == "json" else TextFormatter(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def redact(text: str) -> str:
    """Return `text` without bearer tokens, JWTs and passwords."""
    return _SECRET_VALUE.sub(lambda found: next(filter(None, found.groups()), "") + REDACTED, text)


class JsonFormatter(logging.Formatter):
    """Writes a record as one JSON object: ts, level, logger, message, service, trace_id, the extras and error."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service
        self._standard = {*logging.makeLogRecord({}).__dict__, "message", "asctime"}

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return orjson.dumps(self.fields(record), default=str, option=orjson.OPT_NON_STR_KEYS).decode()

    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        """Return what there is to write, in the order in which it is written."""
        fields: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
            "service": self._service,
        }
        trace = current_trace.get()
        if trace is not None:
            fields["trace_id"] = trace.trace_id
        fields.update(self._extras(record))
        if record.exc_info:
            fields["error"] = redact(self.formatException(record.exc_info))
        return fields

    def _extras(self, record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
        for name, value in record.__dict__.items():
            if name not in self._standard:
                yield name, _clean(name, value)


class TextFormatter(JsonFormatter):
    """Writes a record as a line for people: time, level, logger, message, then `name=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, followed by the traceback where there is one."""
        fields = self.fields(record)
        error = fields.pop("error", None)
        head = " ".join(str(fields.pop(name)) for name in ("ts", "level", "logger", "message"))
        line = " ".join([head, *(f"{name}={value}" for name, value in fields.items())])
        line = line.replace("\n", "\\n")
        return f"{line}\n{error}" if error else line


def _clean(name: str, value: Any) -> Any:
    if _SECRET_NAME.search(name):
        return REDACTED
    if isinstance(value, Mapping):
        return {str(key): _clean(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean("", item) for item in value]
    return value if isinstance(value, int | float | bool | None) else redact(str(value))
