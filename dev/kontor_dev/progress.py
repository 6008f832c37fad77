"""Shows how a start goes on: a live display on a terminal, plain flushed lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import Protocol


class Display(Protocol):
    """What a start says while it goes on."""

    def step(self, label: str) -> contextlib.AbstractContextManager[None]:
        """Shows a step for as long as the block runs; steps may overlap."""

    def line(self, text: str) -> None:
        """Says something beside the steps."""

    def ready(self, url: str, hints: dict[str, str]) -> None:
        """Says that everything serves, and what one may want next."""

    def close(self) -> None:
        """Leaves the terminal as it was."""


class PlainDisplay:
    """One line for each step that is done."""

    def __init__(self) -> None:
        self._guard = threading.Lock()

    @contextlib.contextmanager
    def step(self, label: str) -> Iterator[None]:
        """Prints the step with its seconds when it is done."""
        began = time.monotonic()
        yield
        self.line(f"{label:<40}{time.monotonic() - began:6.1f} s")

    def line(self, text: str) -> None:
        """Prints a line at once."""
        with self._guard:
            print(text, flush=True)

    def ready(self, url: str, hints: dict[str, str]) -> None:
        """Prints the line that tools wait for last."""
        for label, text in hints.items():
            self.line(f"{label:<10}{text}")
        self.line(f"ready: {url}")

    def close(self) -> None:
        """Has nothing to leave."""


class LiveDisplay:
    """A spinner and seconds for each step."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn

        self._console = Console(highlight=False)
        self._progress = Progress(
            SpinnerColumn(style="cyan", finished_text="[green]ok[/]"),
            TextColumn("{task.description}"),
            TextColumn("[dim]{task.elapsed:.1f} s[/]"),
            console=self._console,
        )
        self._progress.start()

    @contextlib.contextmanager
    def step(self, label: str) -> Iterator[None]:
        """Spins while the step runs; a step that fails stays unfinished."""
        if not self._progress.live.is_started:
            with self._console.status(label):
                yield
            return
        task = self._progress.add_task(label, total=1)
        yield
        self._progress.update(task, completed=1)

    def line(self, text: str) -> None:
        """Prints above the steps."""
        self._console.print(text, markup=False)

    def ready(self, url: str, hints: dict[str, str]) -> None:
        """Ends the live part and prints what one may want next."""
        self._progress.stop()
        for label, text in hints.items():
            self._console.print(f"[dim]{label:<10}[/]{text}", soft_wrap=True)
        self._console.print(f"[bold green]ready: {url}[/]", soft_wrap=True)

    def close(self) -> None:
        """Ends the live part where the start did not get to its end."""
        self._progress.stop()


def display() -> Display:
    """Returns the display that fits where standard output goes."""
    return LiveDisplay() if sys.stdout.isatty() else PlainDisplay()
