"""A client that speaks REST with the gateway as a program of a customer would."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any, Self

import httpx

from tests.e2e.support import Platform

SECONDS = 60


class Rest:
    """Calls as the administrator of a tenant, or with a token, and takes no status but the one that is expected."""

    def __init__(self, platform: Platform, tenant: str = "demo", token: str = "") -> None:
        headers = {"authorization": f"Bearer {token or platform.token(tenant=tenant)}"}
        self.http = httpx.Client(base_url=platform.url, headers=headers, timeout=SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def send(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None, **query: Any
    ) -> httpx.Response:
        """Return the answer, whatever it is."""
        return self.http.request(method, f"/v1/{path}", json=body, params=query, headers=headers)

    def __call__(self, method: str, path: str, body: Any = None, *, status: int = 200, **query: Any) -> Any:
        """Return the answer's JSON."""
        answer = self.send(method, path, body, **query)
        assert answer.status_code == status, answer.text
        return answer.json()

    def pages(self, collection: str, **query: Any) -> Iterator[list[Any]]:
        """Yield the pages of a list."""
        token = ""
        while True:
            page = self("GET", collection, **query, **({"pageToken": token} if token else {}))
            yield page.get(collection, [])
            if not (token := page.get("nextPageToken", "")):
                return

    def all(self, collection: str, **query: Any) -> list[Any]:
        """Return all records of a list."""
        return [record for page in self.pages(collection, pageSize=1000, **query) for record in page]

    def define(self, collection: str, key: str, kind: str) -> None:
        """Create a custom field that lists can be filtered by."""
        definition = {"resourceType": collection, "key": key, "displayName": key, "type": kind, "filterable": True}
        self("POST", "customFieldDefinitions", definition)


def new_tenant(platform: Platform) -> str:
    """Create an empty tenant and return its short name."""
    slug = f"t-{uuid.uuid4().hex[:12]}"
    with Rest(platform, tenant="platform") as operator:
        operator("POST", "tenants", {"slug": slug, "displayName": slug})
    return slug


def details(status: Any) -> dict[str, Any]:
    """Return the details of an error by the last part of their type."""
    return {entry["@type"].rpartition(".")[2]: entry for entry in status["details"]}
