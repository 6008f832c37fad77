"""Logs: their form, and what is never in them."""

from __future__ import annotations

import io
import json
import logging

import pytest

from kontor_kit import logs
from kontor_kit.tracing import current_trace, start_span

JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"


@pytest.fixture
def written():
    """Configure logging for one test; the fixture's value reads what was written."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = io.StringIO()

    def configure(form="json", level="info"):
        logs.configure("contacts", level, form, stream)
        return stream

    yield configure
    root.handlers[:], _ = before
    root.setLevel(before[1])


class TestForm:
    def test_json_line(self, written):
        stream = written()
        token = current_trace.set(start_span())
        logging.getLogger("kontor.x").info("did %s", "this", extra={"count": 3, "ratio": 0.5, "names": ("a", "b")})
        line = json.loads(stream.getvalue())
        assert line.pop("ts").endswith("Z")
        assert line.pop("trace_id") == current_trace.get().trace_id
        current_trace.reset(token)
        assert line == {
            "level": "info",
            "logger": "kontor.x",
            "message": "did this",
            "service": "contacts",
            "count": 3,
            "ratio": 0.5,
            "names": ["a", "b"],
        }

    @pytest.mark.parametrize("form", ["json", "text"])
    def test_one_line_whatever_the_message_holds(self, written, form):
        stream = written(form)
        logging.getLogger().warning("first\nsecond", extra={"value": "third\nfourth", "odd": object()})
        assert stream.getvalue().count("\n") == 1

    def test_text_line(self, written):
        stream = written("text")
        logging.getLogger("kontor.x").info("did it", extra={"count": 3})
        assert stream.getvalue().endswith("Z info kontor.x did it service=contacts count=3\n")

    @pytest.mark.parametrize("form", ["json", "text"])
    def test_traceback_is_written(self, written, form):
        stream = written(form)
        try:
            raise RuntimeError("broken")
        except RuntimeError:
            logging.getLogger().exception("failed")
        assert "RuntimeError: broken" in stream.getvalue()

    def test_level_is_kept(self, written):
        stream = written(level="warning")
        logging.getLogger().info("quiet")
        assert not stream.getvalue()


class TestRedaction:
    @pytest.mark.parametrize("form", ["json", "text"])
    @pytest.mark.parametrize(
        "extra",
        [
            {"authorization": "hunter2"},
            {"password": "hunter2"},
            {"client_secret": "hunter2"},
            {"access_token": "hunter2"},
            {"request": {"headers": [{"Authorization": "hunter2"}]}},
            {"value": "Bearer hunter2"},
            {"url": "postgresql://app:hunter2@db/contacts"},
            {"form": "grant_type=x&client_secret=hunter2&scope=y"},
            {"body": '{"password": "hunter2"}'},
        ],
        ids=str,
    )
    def test_extras(self, written, form, extra):
        stream = written(form)
        logging.getLogger().error("failed", extra=extra)
        assert "hunter2" not in stream.getvalue()
        assert logs.REDACTED in stream.getvalue()

    @pytest.mark.parametrize(
        "text", [f"token {JWT} refused", f"authorization: bearer {JWT}", "dsn postgres://u:pw9@h/d"]
    )
    def test_message_and_traceback(self, written, text):
        stream = written()
        try:
            raise ValueError(text)
        except ValueError:
            logging.getLogger().exception(text)
        assert "c2lnbmF0dXJl" not in stream.getvalue()
        assert "pw9" not in stream.getvalue()

    def test_innocent_text_stays(self):
        text = "the password is too short; see https://example.org/a@b:c and the author of secrets"
        assert logs.redact(text) == text
