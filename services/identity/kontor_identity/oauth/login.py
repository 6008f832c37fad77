"""The login page: plain HTML from the server, works without JavaScript."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Any, Final

import jinja2
from werkzeug import Request, Response

from kontor_identity.oauth.rules import origin

_PARAMETERS: Final = ("response_type", "client_id", "redirect_uri", "state", "code_challenge", "code_challenge_method")
"""What a client asks with; goes through the form and is checked again with the answer."""
_COOKIE: Final = "kontor-login"
_TOKEN: Final = "form_token"  # noqa: S105  # the name of a field


class LoginPage:
    """Renders the page, and knows its own forms again.

    Every form carries a token that belongs to a cookie of the same browser, so that no other site can make a browser
    send one (which would sign its user in as somebody else).
    """

    def __init__(self, key: bytes, *, secure: bool) -> None:
        self._key = key
        self._secure = secure
        # The prefix lets a browser take the cookie from this very host only, over TLS.
        self._cookie = f"__Host-{_COOKIE}" if secure else _COOKIE
        self._pages = jinja2.Environment(
            loader=jinja2.PackageLoader("kontor_identity.oauth", "pages"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
        )

    def form(
        self, request: Request, client: str, redirect_uri: str, *, message: str = "", status: int = 200
    ) -> Response:
        """Return the form, filled in as far as the request says."""
        values = request.values
        browser = request.cookies.get(self._cookie, "") or secrets.token_urlsafe(32)
        response = self._render(
            "login.html",
            status,
            # A browser holds the redirection that follows a form against this policy too.
            form_action=f"'self' {origin(redirect_uri)}",
            client=client,
            message=message,
            hidden={name: values[name] for name in _PARAMETERS if name in values} | {_TOKEN: self._token(browser)},
            tenant=values.get("tenant", ""),
            email=values.get("email", values.get("login_hint", "")),
        )
        response.set_cookie(self._cookie, browser, path="/", secure=self._secure, httponly=True, samesite="Strict")
        return response

    def is_own(self, request: Request) -> bool:
        """Tell whether the form that was sent is one that this browser was given."""
        browser = request.cookies.get(self._cookie, "")
        return bool(browser) and hmac.compare_digest(self._token(browser), request.form.get(_TOKEN, ""))

    def error(self, message: str, status: int = 400) -> Response:
        """Return a page that says what is wrong, for requests that must not be sent on to any client."""
        return self._render("error.html", status, form_action="'none'", message=message)

    def _token(self, browser: str) -> str:
        return hmac.new(self._key, browser.encode(), hashlib.sha256).hexdigest()

    def _render(self, page: str, status: int, *, form_action: str, **values: Any) -> Response:
        nonce = secrets.token_urlsafe(16)
        body = self._pages.get_template(page).render(nonce=nonce, **values)
        policy = (
            f"default-src 'none'; style-src 'nonce-{nonce}'; form-action {form_action};"
            " frame-ancestors 'none'; base-uri 'none'"
        )
        return Response(body, status, headers={"Content-Security-Policy": policy, **_HEADERS}, mimetype="text/html")


_HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
