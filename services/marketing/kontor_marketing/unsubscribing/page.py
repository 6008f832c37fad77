"""The page behind the link in a mail: forms only; no script, and nothing from anywhere else."""

from __future__ import annotations

from html import escape
from typing import Final
from urllib.parse import quote

_PATH: Final = "/v1/campaignRecipients:"


def ask(topic: str, token: str, *, left: bool) -> bytes:
    """Return the page with which somebody leaves a topic, or everything; `left` where the topic was left already."""
    if left:
        first = f"<p>You do not get any more mail about <strong>{escape(topic)}</strong>.</p>"
    else:
        first = f"<p>Do you want no more mail about <strong>{escape(topic)}</strong>?</p>" + _form(
            "unsubscribe", token, "Unsubscribe"
        )
    rest = "<p>You can also end all mail that is not about a case of your own.</p>"
    return _page(first + rest + _form("unsubscribeFromAll", token, "Unsubscribe from everything"))


def left_all() -> bytes:
    """Return the page for somebody who left everything."""
    return _page("<p>You do not get any more mail that is not about a case of your own.</p>")


def unknown() -> bytes:
    """Return the page for a link that is none of ours, or not whole."""
    return _page("<p>There is nothing behind this link. Is it complete? Mail programs break long ones sometimes.</p>")


def _form(verb: str, token: str, label: str) -> str:
    return f'<form method="post" action="{_PATH}{verb}?token={quote(token)}"><button>{label}</button></form>'


def _page(body: str) -> bytes:
    head = '<!doctype html><html><head><meta charset="utf-8"><title>Unsubscribe</title>'
    return f'{head}<meta name="robots" content="noindex"></head><body>{body}</body></html>'.encode()
