"""What clients of OAuth 2.0 do, as tests say it."""

import base64
import hashlib
import re
from urllib.parse import parse_qs, urlsplit

VERIFIER = "a-verifier-that-is-long-enough-to-be-one-0123456789"
REDIRECT = "http://127.0.0.1:49152/callback"
PASSWORD = "correct horse battery staple"


def challenge(verifier=VERIFIER):
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def question(**changes):
    """What the authorization endpoint is asked with."""
    usual = {
        "response_type": "code",
        "client_id": "kontor-cli",
        "redirect_uri": REDIRECT,
        "state": "a state",
        "code_challenge": challenge(),
        "code_challenge_method": "S256",
    }
    return {name: value for name, value in (usual | changes).items() if value is not None}


def hidden_fields(page):
    return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page))


def sign_in(browser, *, tenant="demo", email="admin@demo.example", password=PASSWORD, form=(), **changes):
    """Ask, fill in the form, send it, and return the response."""
    page = browser.get("/oauth2/authorize", query_string=question(**changes))
    assert page.status_code == 200, page.text
    fields = hidden_fields(page.text) | {"tenant": tenant, "email": email, "password": password} | dict(form)
    return browser.post("/oauth2/authorize", data=fields)


def answer_of(response):
    """What stands in a redirection."""
    assert response.status_code == 303, response.text
    return {name: values[0] for name, values in parse_qs(urlsplit(response.location).query).items()}


def redeem(browser, code, /, **changes):
    usual = {
        "grant_type": "authorization_code",
        "code": code,
        "client_id": "kontor-cli",
        "redirect_uri": REDIRECT,
        "code_verifier": VERIFIER,
    }
    return browser.post("/oauth2/token", data={k: v for k, v in (usual | changes).items() if v is not None})


def refresh(browser, token, client_id="kontor-cli"):
    data = {"grant_type": "refresh_token", "refresh_token": token, "client_id": client_id}
    return browser.post("/oauth2/token", data=data)


def tokens(browser):
    """Sign in and return what comes of it."""
    response = redeem(browser, answer_of(sign_in(browser))["code"])
    assert response.status_code == 200, response.text
    return response.json
