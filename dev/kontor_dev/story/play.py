"""Plays the story on a platform that is started for it, and prints it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from kontor_dev.data import DataFolder
from kontor_dev.errors import Refused
from kontor_dev.story.steps import STEPS
from kontor_dev.story.world import Mails, new_world

_START_SECONDS: Final = 180
_STOP_SECONDS: Final = 60


def play(transport: str) -> int:
    """Print the story step by step; returns the exit code. Raises Refused where the platform does not start."""
    mails = Mails()
    # PostgreSQL runs as another user, who must be able to enter the folder.
    with tempfile.TemporaryDirectory(prefix="kontor-story-") as path:
        home = Path(path)
        home.chmod(0o755)
        _say("The platform starts ...")
        with _running(home / "data", transport, mails.url), new_world(DataFolder(home / "data"), mails) as world:
            world.known["history"] = str(home / "history.json")
            for number, step in enumerate(STEPS, 1):
                _say(f"\n{number}. {step.title}.")
                for line in step.play(world):
                    _say(f"   {line}")
        _say("\nThe end: this is what the timeline of the account shows, too.")
    mails.close()
    return 0


@contextmanager
def _running(data: Path, transport: str, smtp_url: str) -> Iterator[None]:
    """Run the platform for as long as the block lasts."""
    said = data.with_name("said.txt")
    words = ("dev", "up", "--no-demo", "--port", "0", "--transport", transport, "--data", str(data))
    with said.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "kontor_dev", *words],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "KONTOR_MARKETING_SMTP_URL": smtp_url},
        )
    try:
        until = time.monotonic() + _START_SECONDS
        while "\nready: " not in f"\n{said.read_text()}":
            if process.poll() is not None or time.monotonic() > until:
                raise Refused(f"The platform did not start:\n{said.read_text()}")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(_STOP_SECONDS)


def _say(text: str) -> None:
    print(text, flush=True)
