"""Somebody who leaves, as identity tells it and contacts acts on it."""

from __future__ import annotations

import uuid

from tests.e2e.rest import Rest


class Leaver:
    """A user with a team and an account, who is to be shut out."""

    def __init__(self, rest: Rest) -> None:
        self.rest = rest
        role = rest("POST", "roles", {"displayName": f"Role {uuid.uuid4()}"})["name"]
        self.team = rest("POST", "teams", {"displayName": f"Team {uuid.uuid4()}"})["name"]
        user = {"email": f"{uuid.uuid4()}@demo.example", "displayName": "Leaver", "roles": [role], "teams": [self.team]}
        self.name = rest("POST", "users", user)["name"]
        account = {"displayName": f"Account {uuid.uuid4()}", "owner": self.name}
        self.account = rest("POST", "accounts", account, allowDuplicates=True)["name"]

    def leave(self) -> None:
        """Have the administrator shut the user out."""
        self.rest("POST", f"{self.name}:deactivate", {})

    def has_handed_over(self) -> bool:
        """Tell whether the account is the team's."""
        account = self.rest("GET", self.account)
        return "owner" not in account and account.get("team") == self.team
