"""Gets bearer tokens from identity, which needs its database for that but no server."""

from __future__ import annotations

from kontor_dev import tools
from kontor_dev.data import DataFolder
from kontor_dev.platform import TOKEN_SECONDS, environment, named


def token(data: DataFolder, *, tenant: str, role: str, user: str | None) -> str:
    """Returns a token of 12 hours for a user of a tenant who has a role there."""
    state = data.running()
    identity = named("identity")
    env = environment(data, identity, database_port=state["database_port"], settings=state["trust"])
    arguments = ["token", "--tenant", tenant, "--role", role, "--lifetime", str(TOKEN_SECONDS)]
    if user:
        arguments += ["--user", user]
    return tools.run(data, identity, *arguments, env=env).strip()
