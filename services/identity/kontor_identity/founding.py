"""What a tenant starts with: the standard roles, and its first user."""

from collections.abc import Collection
from typing import Any, Protocol

from kontor.identity.v1 import user_pb2
from kontor_identity.roles.rules import ADMIN, standard_roles
from kontor_identity.standard_roles import add
from kontor_kit.calls import Call
from kontor_kit.checks import at
from kontor_kit.db import Transaction
from kontor_kit.principals import Scope
from kontor_kit.records import Records


class Passwords(Protocol):
    """Stores passwords of users."""

    def give_password(self, tx: Transaction, user: Any, password: str, field: str) -> None:
        """Queue a user's password. Raises InvalidArgument for `field` where it is too weak."""


class Founding:
    """Furnishes a new tenant, in the transaction that creates it. `known` are the permissions that there are."""

    def __init__(self, roles: Records, users: Records, passwords: Passwords, known: Collection[str]) -> None:
        self._roles = roles
        self._users = users
        self._passwords = passwords
        self._known = known

    def settle(self, tx: Transaction, call: Call, administrator: Any | None) -> None:
        """Create the standard roles, and the administrator where there is to be one."""
        names = {role.display_name: add(tx, call, self._roles, role) for role in standard_roles(self._known)}
        if administrator is not None:
            with at("administrator"):
                self.add_user(
                    tx,
                    call,
                    user_pb2.User(
                        email=administrator.email,
                        display_name=administrator.display_name or administrator.email,
                        roles=[names[ADMIN]],
                    ),
                    administrator.password,
                )

    def add_user(self, tx: Transaction, call: Call, user: Any, password: str = "") -> Any:
        """Create a user, and return it; with a password where one is given."""
        made = self._users.new(tx, call, user, scope=Scope.ALL)
        if password:
            self._passwords.give_password(tx, made, password, "password")
        return made
