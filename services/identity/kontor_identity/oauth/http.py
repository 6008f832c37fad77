"""OAuth 2.0 and what is well known about it, over plain HTTP (WSGI)."""

from __future__ import annotations

import base64
import datetime as dt
import json
import logging
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg
from authlib.oauth2 import OAuth2Error
from psycopg_pool import PoolTimeout
from werkzeug import Request, Response
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.routing import Map, Rule

from kontor_identity.hashing import Hasher, derive_key
from kontor_identity.oauth import rules
from kontor_identity.oauth.attempts import Attempts
from kontor_identity.oauth.grants import METHODS, AuthorizationServer, ProtocolRequest
from kontor_identity.oauth.login import LoginPage
from kontor_identity.oauth.store import OAuthStore, find_sign_in, find_tenant, find_tenant_of_client
from kontor_identity.oauth.subjects import find_subject
from kontor_identity.oauth.tokens import AccessTokens, Keys
from kontor_identity.users.rules import MAX_PASSWORD, normal_email
from kontor_kit.db import Database
from kontor_kit.errors import InvalidArgument, Unavailable

logger = logging.getLogger(__name__)

_MAX_BODY: Final = 65_536
_NOBODY: Final = uuid.UUID(int=0)
"""The tenant of requests that belong to none: it has no rows."""
_JWKS_AGE: Final = 300
_WRONG: Final = "Workspace, e-mail address and password do not fit together, or you are not let in at present."

StartResponse = Callable[..., Any]


@dataclass(frozen=True, kw_only=True)
class OAuthApplication:
    """The WSGI application."""

    database: Database
    """As the app role."""
    keys: Keys
    issuer: str
    audience: str
    secret: str
    """What keys for other purposes are derived from: the forms, and the counting of attempts."""
    passwords: Hasher
    secrets: Hasher
    clock: Callable[[], dt.datetime]
    proxies: int = 0
    """How many proxies in front add the address of who called them to `X-Forwarded-For`."""

    @cached_property
    def _routes(self) -> Map:
        return Map(
            [
                Rule("/oauth2/authorize", methods=["GET"], endpoint=self._ask),
                Rule("/oauth2/authorize", methods=["POST"], endpoint=self._sign_in),
                Rule("/oauth2/token", methods=["POST"], endpoint=self._token),
                Rule("/oauth2/revoke", methods=["POST"], endpoint=self._revoke),
                Rule("/.well-known/oauth-authorization-server", methods=["GET"], endpoint=self._metadata),
                Rule("/.well-known/jwks.json", methods=["GET"], endpoint=self._jwks),
            ]
        )

    @property
    def paths(self) -> set[str]:
        """The paths that it answers."""
        return {rule.rule for rule in self._routes.iter_rules()}

    @cached_property
    def _tokens(self) -> AccessTokens:
        return AccessTokens(self.keys, issuer=self.issuer, audience=self.audience, clock=self.clock)

    @cached_property
    def _page(self) -> LoginPage:
        return LoginPage(derive_key(self.secret, "login form"), secure=urlsplit(self.issuer).scheme == "https")

    @cached_property
    def _attempts(self) -> Attempts:
        return Attempts(self.database, derive_key(self.secret, "attempts"), self.clock)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request (PEP 3333)."""
        request = Request(environ)
        request.max_content_length = request.max_form_memory_size = _MAX_BODY
        return self._answer(request)(environ, start_response)

    def _answer(self, request: Request) -> Response:
        try:
            endpoint, _ = self._routes.bind_to_environ(request.environ).match()
            if problem := _unreadable(request):
                return _error(400, "invalid_request", problem)
            response: Response = endpoint(request)
        except RequestEntityTooLarge:
            return _error(413, "invalid_request", "the request is too large")
        except HTTPException as error:
            response = _error(error.code or 500, "invalid_request", error.name.lower())
            response.headers.extend((name, value) for name, value in error.get_headers() if name == "Allow")
            return response
        except (psycopg.OperationalError, PoolTimeout, Unavailable) as error:
            logger.warning("unavailable", extra={"path": request.path, "reason": str(error)})
            return _error(503, "temporarily_unavailable", "try again later")
        except Exception:
            logger.exception("unforeseen error", extra={"path": request.path})
            return _error(500, "server_error", "an unforeseen error occurred")
        return response

    # The endpoint for people.

    def _ask(self, request: Request) -> Response:
        """Check what the client asks for, and show the login page."""
        with self.database.read(_NOBODY) as tx:
            server = self._server(OAuthStore(tx, _NOBODY, self.clock()))
            try:
                grant = server.get_consent_grant(request)
            except OAuth2Error as error:
                return self._refuse(server, request, error)
        return self._page.form(request, grant.client.client.display_name, grant.redirect_uri)

    def _sign_in(self, request: Request) -> Response:
        """Check the filled-in form, and send the browser back to the client with a code."""
        tenant = self._tenant_of_form(request)
        with self.database.read(_NOBODY) as tx:
            server = self._server(OAuthStore(tx, _NOBODY, self.clock()))
            try:
                grant = server.get_consent_grant(request)
            except OAuth2Error as error:
                return self._refuse(server, request, error)
        client, redirect_uri = grant.client.client.display_name, grant.redirect_uri
        if not self._page.is_own(request):
            return self._page.form(
                request, client, redirect_uri, message="The page was too old. Try again.", status=403
            )
        email = _email(request)
        # However it is written: one account has one count.
        account = f"{request.form.get('tenant', '').strip().lower()}\n{email}"
        limits = rules.sign_in_limits(account, self._address(request))
        wait = self._attempts.begin(limits)
        if wait is not None:
            message = f"There were too many attempts. Try again in {ceil(wait.total_seconds() / 60)} minutes."
            return _wait(self._page.form(request, client, redirect_uri, message=message, status=429), wait)
        user_id = self._check_password(request, tenant, email)
        if user_id is None or tenant is None:
            return self._page.form(request, client, redirect_uri, message=_WRONG, status=401)
        self._attempts.forgive(limits)
        return self._send_back(request, tenant, user_id)

    def _tenant_of_form(self, request: Request) -> uuid.UUID | None:
        slug = request.form.get("tenant", "").strip().lower()
        return find_tenant(self.database, slug) if slug else None

    def _check_password(self, request: Request, tenant: uuid.UUID | None, email: str) -> uuid.UUID | None:
        """Return who signed in; None where the password is wrong, or there is no such user: both take the same time."""
        # A tenant that does not exist is looked into as well.
        found = find_sign_in(self.database, tenant or _NOBODY, email)
        password = request.form.get("password", "")[: MAX_PASSWORD + 1]
        if not self.passwords.matches(password, found.digest if found else None) or found is None:
            return None
        with self.database.read(tenant) as tx:
            return found.user_id if find_subject(tx, "users", found.user_id) else None

    def _send_back(self, request: Request, tenant: uuid.UUID, user_id: uuid.UUID) -> Response:
        with self.database.write(tenant) as tx:
            server = self._server(OAuthStore(tx, tenant, self.clock()))
            protocol_request = ProtocolRequest(request)
            grant = server.get_authorization_grant(protocol_request)
            response: Response = server.create_authorization_response(protocol_request, user_id, grant)
        # What follows is a GET whatever the browser makes of 302 (RFC 9700, 4.12).
        response.status_code = 303
        return response

    def _refuse(self, server: AuthorizationServer, request: Request, error: OAuth2Error) -> Response:
        """Tell the client what is wrong, or the person where it is not known to be the client that asks."""
        if not getattr(error, "redirect_uri", None):
            return self._page.error(error.get_error_description() or error.error)
        error.state = request.values.get("state")
        response: Response = server.handle_error_response(ProtocolRequest(request), error)
        server.execute_hook("after_create_authorization_response", response)
        response.status_code = 303
        return response

    # The endpoints for programs.

    def _token(self, request: Request) -> Response:
        tried = self._tried_secret(request)
        limits = rules.client_limits(tried, self._address(request)) if tried else {}
        wait = self._attempts.begin(limits) if limits else None
        if wait is not None:
            return _wait(_error(429, "slow_down", "there were too many attempts with this client_id"), wait)
        tenant = self._tenant_of(request)
        with self.database.write(tenant) as tx:
            server = self._server(OAuthStore(tx, tenant, self.clock()))
            response: Response = server.create_token_response(request)
        if limits and response.status_code == 200:
            self._attempts.forgive(limits)
        return response

    def _revoke(self, request: Request) -> Response:
        tenant = self._tenant_of(request)
        with self.database.write(tenant) as tx:
            server = self._server(OAuthStore(tx, tenant, self.clock()))
            response: Response = server.create_endpoint_response("revocation", request)
        return response

    def _metadata(self, request: Request) -> Response:
        """Describe the server (RFC 8414). It is no OpenID provider, and says nothing of the kind."""
        base = self.issuer.rstrip("/")
        return _document(
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{base}/oauth2/authorize",
                "token_endpoint": f"{base}/oauth2/token",
                "revocation_endpoint": f"{base}/oauth2/revoke",
                "jwks_uri": f"{base}/.well-known/jwks.json",
                "response_types_supported": ["code"],
                "response_modes_supported": ["query"],
                "grant_types_supported": [
                    *("authorization_code", "client_credentials", "refresh_token"),
                    rules.TOKEN_EXCHANGE,
                ],
                "token_endpoint_auth_methods_supported": METHODS,
                "revocation_endpoint_auth_methods_supported": ["none"],
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": True,
                "ui_locales_supported": ["en"],
            },
            max_age=_JWKS_AGE,
        )

    def _jwks(self, request: Request) -> Response:
        return _document(self.keys.published(), max_age=_JWKS_AGE)

    # What they share.

    def _server(self, store: OAuthStore) -> AuthorizationServer:
        return AuthorizationServer(store, self._tokens, self.secrets, self.issuer)

    def _tenant_of(self, request: Request) -> uuid.UUID:
        """Return the tenant that a request belongs to: it stands in codes and refresh tokens, or the client has one."""
        for name in ("code", "refresh_token", "token"):
            if name in request.form:
                return rules.tenant_of_opaque(request.form[name]) or _NOBODY
        try:
            client = uuid.UUID(_client_id(request))
        except ValueError:
            return _NOBODY
        return find_tenant_of_client(self.database, client) or _NOBODY

    def _tried_secret(self, request: Request) -> str:
        """Return the client whose secret a request tries; empty where it tries none."""
        authorization = request.authorization
        if "client_secret" in request.form or (authorization and authorization.type == "basic"):
            return _client_id(request)[:100] or "-"
        return ""

    def _address(self, request: Request) -> str:
        """Return the address of who called; behind proxies the one that the outermost trusted one saw."""
        route = request.access_route if self.proxies else [request.remote_addr or ""]
        return route[-min(self.proxies or 1, len(route))]


def _unreadable(request: Request) -> str:
    """Return what is wrong with a request that nobody can make anything of; empty where it can be read."""
    fields = (*request.args.items(multi=True), *request.form.items(multi=True))
    if any("\0" in text for field in fields for text in field):
        return "there must be no NUL character"
    scheme, _, pair = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            is_good = bool(base64.b64decode(pair.strip(), validate=True).decode())
        except ValueError:
            is_good = False
        if not is_good:
            return "the Authorization header must have a client_id and a client_secret in Base64"
    return ""


def _email(request: Request) -> str:
    """Return the e-mail address in the form, as users have it; empty where it is none."""
    try:
        return normal_email(request.form.get("email", "").strip(), "email")
    except InvalidArgument:
        return ""


def _client_id(request: Request) -> str:
    authorization = request.authorization
    if authorization is not None and authorization.type == "basic":
        return str(authorization.username or "")
    return request.form.get("client_id", "")


def _document(content: Any, *, max_age: int) -> Response:
    headers = {"Cache-Control": f"public, max-age={max_age}"}
    return Response(json.dumps(content), headers=headers, mimetype="application/json")


def _wait(response: Response, wait: dt.timedelta) -> Response:
    response.headers["Retry-After"] = str(ceil(wait.total_seconds()))
    return response


def _error(status: int, error: str, description: str) -> Response:
    """Return an error as OAuth 2.0 writes it (RFC 6749, 5.2)."""
    content = {"error": error, "error_description": description}
    return Response(json.dumps(content), status, headers={"Cache-Control": "no-store"}, mimetype="application/json")
