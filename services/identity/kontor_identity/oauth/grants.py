"""The OAuth 2.0 protocol, by authlib: the grants that are offered, with what they read and write.

One `AuthorizationServer` serves one request, inside one transaction of the tenant that the request belongs to. An OAuth
error is an answer like any other, so the transaction is committed with it: a code that was tried is used up, and a
token that was used twice has ended its session.
"""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

from authlib.oauth2.rfc6749 import (
    AuthorizationCodeMixin,
    ClientMixin,
    InvalidGrantError,
    InvalidRequestError,
    OAuth2Payload,
    OAuth2Request,
    TokenMixin,
)
from authlib.oauth2.rfc6749 import AuthorizationServer as ProtocolServer
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant, ClientCredentialsGrant, RefreshTokenGrant
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc9207 import IssuerParameter
from werkzeug import Request, Response

from kontor_identity.crossing import inside
from kontor_identity.hashing import Hasher
from kontor_identity.oauth import rules
from kontor_identity.oauth.store import Code, HeldSecret, OAuthStore, Session
from kontor_identity.oauth.subjects import Subject, find_subject
from kontor_identity.oauth.tokens import AccessTokens
from kontor_identity.secrets.rules import is_valid, prefix_of
from kontor_kit.principals import PLATFORM_TENANT

METHODS: Final = ["client_secret_basic", "client_secret_post", "none"]
"""How clients prove who they are: service accounts by their secret, public clients by PKCE alone."""


class _Payload(OAuth2Payload):  # type: ignore[misc]
    def __init__(self, values: Any) -> None:
        self._values = values

    @property
    def data(self) -> Mapping[str, str]:
        return self._values.to_dict()  # type: ignore[no-any-return]

    @property
    def datalist(self) -> defaultdict[str, list[str]]:
        return defaultdict(list, self._values.to_dict(flat=False))


class ProtocolRequest(OAuth2Request):  # type: ignore[misc]
    """A request as authlib wants to see it. The form of a POST counts, else the query."""

    def __init__(self, request: Request) -> None:
        # TLS ends at the gateway, so the scheme seen here says nothing; the path is enough for the protocol.
        super().__init__(request.method, f"https://identity{request.path}", headers=request.headers)
        self._form = request.form
        self.payload = _Payload(request.form if request.method == "POST" else request.args)

    @property
    def form(self) -> Any:
        """The fields of the form that was posted."""
        return self._form


class _PublicClient(ClientMixin):  # type: ignore[misc]
    """A client that people sign in with."""

    def __init__(self, client: rules.Client) -> None:
        self.client = client
        self.client_id = client.client_id

    def get_client_id(self) -> str:
        return self.client_id

    def get_default_redirect_uri(self) -> str | None:
        return None

    def get_allowed_scope(self, scope: str) -> str:
        # What somebody may do follows from the roles; OAuth scopes narrow nothing.
        return ""

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return rules.allows_redirect(self.client.redirect_uris, redirect_uri)

    def check_client_secret(self, client_secret: str) -> bool:
        return False

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == "none"

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in ("authorization_code", "refresh_token")


class _SecretClient(ClientMixin):  # type: ignore[misc]
    """A service account, as a client."""

    def __init__(
        self, subject: Subject, client_id: str, secrets: list[HeldSecret], store: OAuthStore, hasher: Hasher
    ) -> None:
        self.subject = subject
        self.client_id = client_id
        self._secrets = secrets
        self._store = store
        self._hasher = hasher

    def get_client_id(self) -> str:
        return self.client_id

    def get_allowed_scope(self, scope: str) -> str:
        return ""

    def check_client_secret(self, client_secret: str) -> bool:
        for secret in self._secrets:
            could_be = secret.prefix == prefix_of(client_secret) and is_valid(secret.expire_time, self._store.now)
            if could_be and self._hasher.matches(client_secret, secret.digest):
                self._store.note_use(secret)
                return True
        return False

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method in ("client_secret_basic", "client_secret_post")

    def check_response_type(self, response_type: str) -> bool:
        return False

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return False

    def check_grant_type(self, grant_type: str) -> bool:
        if grant_type == rules.TOKEN_EXCHANGE:
            return self.subject.tenant_id == PLATFORM_TENANT and rules.EXCHANGE in self.subject.permissions
        return grant_type == "client_credentials"


class _Credential(AuthorizationCodeMixin, TokenMixin):  # type: ignore[misc]
    """A code or refresh token that was redeemed and is good."""

    def __init__(self, session: Session, code: Code | None = None) -> None:
        self.session = session
        self.code_challenge = code.code_challenge if code else ""
        self.code_challenge_method = "S256"
        self._redirect_uri = code.redirect_uri if code else ""

    def get_redirect_uri(self) -> str:
        return self._redirect_uri

    def get_scope(self) -> str:
        return ""

    def check_client(self, client: Any) -> bool:
        return bool(self.session.client_id == client.get_client_id())


class _CodeGrant(AuthorizationCodeGrant):  # type: ignore[misc]
    TOKEN_ENDPOINT_AUTH_METHODS = ("none",)

    def generate_authorization_code(self) -> str:
        return rules.new_opaque(self.server.store.tenant_id)

    def save_authorization_code(self, code: str, request: Any) -> None:
        store: OAuthStore = self.server.store
        session = store.open_session(request.user, request.client.get_client_id())
        store.add_code(session, code, request.payload.redirect_uri, request.payload.data["code_challenge"])

    def query_authorization_code(self, code: str, client: Any) -> _Credential | None:
        store: OAuthStore = self.server.store
        found = store.redeem_code(code)
        if found is None:
            return None
        if not found.is_first_use or found.session.client_id != client.get_client_id():
            # Somebody else has the code too (RFC 6749, 4.1.2): whatever came of it ends.
            store.revoke(found.session)
            return None
        return None if found.is_expired or not found.session.is_open else _Credential(found.session, found)

    def delete_authorization_code(self, authorization_code: Any) -> None:
        """Do nothing: it is used up since it was looked up, and kept so that a second use is noticed."""

    def authenticate_user(self, authorization_code: _Credential) -> Subject | None:
        return self.server.open_subject(authorization_code.session)  # type: ignore[no-any-return]


class _RefreshGrant(RefreshTokenGrant):  # type: ignore[misc]
    TOKEN_ENDPOINT_AUTH_METHODS = ("none",)
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token: str) -> _Credential | None:
        store: OAuthStore = self.server.store
        found = store.redeem_refresh_token(refresh_token)
        if found is None:
            return None
        if not found.is_first_use:
            # Either of the two who used it may be a thief (RFC 9700, 4.14.2): both have to sign in again.
            store.revoke(found.session)
            return None
        return None if found.is_expired or not found.session.is_open else _Credential(found.session)

    def authenticate_user(self, refresh_token: _Credential) -> Subject:
        subject: Subject | None = self.server.open_subject(refresh_token.session)
        if subject is None:
            raise InvalidGrantError("The user is no longer let in.")
        return subject

    def revoke_old_credential(self, refresh_token: Any) -> None:
        """Do nothing: it is used up since it was looked up."""


class _ClientGrant(ClientCredentialsGrant):  # type: ignore[misc]
    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")


class _ExchangeGrant(ClientCredentialsGrant):  # type: ignore[misc]
    """A service of the platform acts on behalf of somebody (RFC 8693), who may have a token at present."""

    GRANT_TYPE = rules.TOKEN_EXCHANGE
    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")

    def validate_token_request(self) -> None:
        super().validate_token_request()
        data = self.request.payload.data
        if data.get("subject_token_type") != rules.SUBJECT_TYPE:
            raise InvalidRequestError(f"The 'subject_token_type' must be '{rules.SUBJECT_TYPE}'")
        named = rules.parse_subject(data.get("subject_token", ""))
        if named is None:
            raise InvalidRequestError("The 'subject_token' must have the form 'tenants/{tenant}/users/{user}'")
        self.request.user = self.server.find_subject_of(*named)
        if self.request.user is None:
            raise InvalidGrantError("The subject is not let in.")

    def generate_token(self, **given: Any) -> dict[str, Any]:
        token: dict[str, Any] = super().generate_token(user=self.request.user, **given)
        return token | {"issued_token_type": rules.ACCESS_TOKEN_TYPE}


class _Revocation(RevocationEndpoint):  # type: ignore[misc]
    CLIENT_AUTH_METHODS = ("none",)

    def query_token(self, token_string: str, token_type_hint: str | None) -> _Credential | None:
        # Access tokens are not kept: they end by themselves within minutes.
        session = self.server.store.find_session_of(token_string)
        return _Credential(session) if session else None

    def revoke_token(self, token: _Credential, request: Any) -> None:
        self.server.store.revoke(token.session)


class _ProofKey(CodeChallenge):  # type: ignore[misc]
    """PKCE with S256, always."""

    SUPPORTED_CODE_CHALLENGE_METHOD = ("S256",)

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
        data = grant.request.payload.data
        if not data.get("code_challenge"):
            raise InvalidRequestError("Missing 'code_challenge'")
        if data.get("code_challenge_method") != "S256":
            raise InvalidRequestError("The 'code_challenge_method' must be 'S256'")
        super().validate_code_challenge(grant, redirect_uri)


class _Issuer(IssuerParameter):  # type: ignore[misc]
    def __init__(self, issuer: str) -> None:
        self._issuer = issuer

    def get_issuer(self) -> str:
        return self._issuer


class AuthorizationServer(ProtocolServer):  # type: ignore[misc]
    """Answers one request."""

    def __init__(self, store: OAuthStore, tokens: AccessTokens, hasher: Hasher, issuer: str) -> None:
        super().__init__()
        self.store = store
        self._tokens = tokens
        self._hasher = hasher
        self._session: Session | None = None
        self.register_grant(_CodeGrant, [_ProofKey(required=True)])
        self.register_grant(_RefreshGrant)
        self.register_grant(_ClientGrant)
        self.register_grant(_ExchangeGrant)
        self.register_endpoint(_Revocation)
        self.register_token_generator("default", self._new_tokens)
        _Issuer(issuer)(self)

    def query_client(self, client_id: str) -> ClientMixin | None:
        """Return the client with this id; None where there is none, or it is not let in."""
        if client_id in rules.FIRST_PARTY:
            return _PublicClient(rules.FIRST_PARTY[client_id])
        try:
            identifier = uuid.UUID(client_id)
        except ValueError:
            return None
        if str(identifier) != client_id:
            return None  # Failures are counted by how it is written, and tokens name it.
        subject = find_subject(self.store.tx, "serviceAccounts", identifier)
        if subject is None:
            return None
        return _SecretClient(subject, client_id, self.store.list_secrets(identifier), self.store, self._hasher)

    def open_subject(self, session: Session) -> Subject | None:
        """Return who signed in, and remember the session for what is given out next."""
        self._session = session
        return find_subject(self.store.tx, "users", session.user_id)

    def find_subject_of(self, tenant_id: uuid.UUID, collection: str, identifier: uuid.UUID) -> Subject | None:
        """Return who somebody of any tenant is; None where no token may be had for it."""
        with inside(self.store.tx, tenant_id):
            return find_subject(self.store.tx, collection, identifier)

    def save_token(self, token: Any, request: Any) -> None:
        """Keep the refresh token; an access token is not kept."""
        if self._session is not None and "refresh_token" in token:
            self.store.add_refresh_token(self._session, token["refresh_token"])

    def _new_tokens(
        self, *, client: Any, grant_type: str, user: Subject | None, include_refresh_token: bool, **_: Any
    ) -> dict[str, Any]:
        subject: Subject = user or client.subject
        actor = client.subject.name if grant_type == rules.TOKEN_EXCHANGE else ""
        token: dict[str, Any] = {
            "access_token": self._tokens.issue(subject, client.get_client_id(), actor=actor),
            "token_type": "Bearer",
            "expires_in": int(rules.ACCESS_TOKEN.total_seconds()),
        }
        if include_refresh_token:
            token["refresh_token"] = rules.new_opaque(self.store.tenant_id)
        return token

    def create_oauth2_request(self, request: Any) -> OAuth2Request:
        """Wrap a request, unless it is wrapped already."""
        return request if isinstance(request, ProtocolRequest) else ProtocolRequest(request)

    def handle_response(self, status: int, body: Any, headers: Any) -> Response:
        """Return the answer; documents as JSON."""
        response = Response(status=status, headers=dict(headers))
        if isinstance(body, dict):
            response.set_data(json.dumps(body))
            response.mimetype = "application/json"
        else:
            response.set_data(body)
        response.headers["Cache-Control"] = "no-store"
        return response

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Tell nobody."""
