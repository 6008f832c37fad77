"""The plans of what a service really asks its database, as the app role, under row security, inside of functions too.

The module auto_explain of PostgreSQL sends each plan back as a notice, with the rows and buffers that it took.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from kontor_kit.testing.databases import ServiceDatabase
from kontor_kit.testing.running import Running

_SETTINGS = {
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_buffers": "on",
    "auto_explain.log_nested_statements": "on",
    "auto_explain.log_format": "json",
    "auto_explain.log_level": "notice",
}


class Plan(NamedTuple):
    """How one statement was executed."""

    query: str
    root: dict[str, Any]

    def nodes(self) -> Iterator[dict[str, Any]]:
        """Yield all nodes of the plan."""
        ahead = [self.root]
        while ahead:
            node = ahead.pop()
            yield node
            ahead += node.get("Plans", [])

    def whole(self) -> set[str]:
        """Return the tables that were read from one end to the other."""
        return {node["Relation Name"] for node in self.nodes() if node["Node Type"] == "Seq Scan"}

    def rows(self) -> int:
        """Return how many rows (or index entries) were looked at, those that were thrown away included."""
        scans = (node for node in self.nodes() if "Scan" in node["Node Type"])
        return sum(
            round(
                node.get("Actual Loops", 0)  # 0 in what is only explained
                * sum(
                    node.get(name, 0)
                    for name in ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
                )
            )
            for node in scans
        )

    def __str__(self) -> str:
        return f"{self.rows()} rows for {self.query}\n{json.dumps(self.root, indent=1)}"


class NotExplained(Exception):
    """The server cannot tell plans."""


def explain(database: ServiceDatabase) -> None:
    """Make the database tell the plans of what the app role asks from now on; before anybody connects.

    Raises NotExplained where the server has no auto_explain.
    """
    with database.connect() as connection:
        try:
            connection.execute("LOAD 'auto_explain'")
        except psycopg.errors.UndefinedFile:
            raise NotExplained("the server has no auto_explain") from None
        for name, value in _SETTINGS.items():
            connection.execute(
                sql.SQL("ALTER ROLE {} IN DATABASE {} SET {} = {}").format(
                    sql.Identifier(database.role("app")),
                    sql.Identifier(database.name),
                    sql.Identifier(*name.split(".")),
                    sql.Literal(value),
                )
            )


def plans(running: Running, ask: Callable[[], object]) -> list[Plan]:
    """Return the plans of what `ask` makes the service do, which has one connection to a database that explains."""
    found: list[Plan] = []

    def note(notice: psycopg.errors.Diagnostic) -> None:
        _, mark, plan = (notice.message_primary or "").partition("plan:\n")
        if mark:
            document = json.loads(plan)
            found.append(Plan(document["Query Text"], document["Plan"]))

    connection = running.runtime.database.borrow()
    connection.add_notice_handler(note)
    running.runtime.database.give_back(connection)
    ask()
    connection.remove_notice_handler(note)
    return found
