"""Says how the processes of an instance are, for people and for programs."""

from __future__ import annotations

import json
from typing import Any

from kontor_dev.control import ask
from kontor_dev.data import DataFolder
from kontor_dev.supervisor import SERVING

COLUMNS = ("name", "service", "role", "pid", "address", "health")


def rows(data: DataFolder) -> list[dict[str, Any]]:
    """Returns one row per process, as the supervisor sees it now."""
    (answer,) = ask(data.running()["control"], {"do": "status"})
    return list(answer["rows"])


def print_json(found: list[dict[str, Any]]) -> None:
    """Prints the rows as one array."""
    print(json.dumps(found, indent=2))


def print_table(found: list[dict[str, Any]]) -> None:
    """Prints the rows aligned, what does not serve in red."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in COLUMNS:
        table.add_column(column, justify="right" if column == "pid" else "left", no_wrap=True)
    for row in found:
        style = "green" if row["health"] == SERVING else "red"
        cells = ["-" if row[column] is None else str(row[column]) for column in COLUMNS[:-1]]
        table.add_row(*cells, f"[{style}]{row['health']}[/]")
    Console(highlight=False).print(table)
