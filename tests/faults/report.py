"""What the trials of a run have come to, as a table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.faults.killer import KILL
from tests.faults.trial import Result

SHOWN = 20


def show(console: Console, results: Sequence[Result]) -> None:
    """Print the faults by victim, the figures, and what did not hold."""
    for result in results:
        console.print(faults(result))
    console.print(figures(results))
    for result in results:
        for problem in result.problems[:SHOWN]:
            console.print(f"[red]{result.plan.transport}:[/] {problem}", markup=True)
        if len(result.problems) > SHOWN:
            console.print(f"[red]and {len(result.problems) - SHOWN} problems more[/]")
    kills = sum(fault.how == KILL for result in results for fault in result.faults)
    word = "[red]FAILED[/]" if any(result.problems for result in results) else "[green]held[/]"
    console.print(f"{kills} kills: {word}")


def faults(result: Result) -> Table:
    """Return what was done to whom, and how long it took until the process or its successor served."""
    table = Table(title=f"{result.plan.transport}, seed {result.plan.seed}", box=None, header_style="bold")
    for column in ("process", "killed", "hung", "ended", "back after s, median", "longest"):
        table.add_column(column, justify="left" if column == "process" else "right")
    for victim in sorted({fault.victim for fault in result.faults}):
        ours = [fault for fault in result.faults if fault.victim == victim]
        counts = [str(sum(fault.how == how for fault in ours)) for how in ("SIGKILL", "SIGSTOP", "SIGTERM")]
        seconds = [fault.seconds for fault in ours if fault.seconds is not None]
        table.add_row(victim, *counts, f"{statistics.median(seconds):.1f}", f"{max(seconds):.1f}")
    return table


def figures(results: Sequence[Result]) -> Table:
    """Return the figures, a column for each trial."""
    table = Table(box=None, header_style="bold")
    table.add_column("")
    for result in results:
        table.add_column(result.plan.transport, justify="right")
    for name in dict.fromkeys(name for result in results for name in result.figures):
        table.add_row(name, *(_text(result.figures.get(name)) for result in results))
    return table


def _text(value: Any) -> str:
    return "-" if value is None else f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"
