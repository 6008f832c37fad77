"""Where programs keep their files that do not run as root: in the data folder, or where their user can enter."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil

from kontor_dev.child import User, can_enter, ordinary_user
from kontor_dev.data import DataFolder

# Reachable for everybody and kept over a reboot.
SHARED_FOLDER = Path("/var/tmp")  # noqa: S108 (what we make there has a name of its own and belongs to us)
PREFIX = "kontor-dev-"


@dataclass(frozen=True)
class Home:
    """A program's folder, which may not be there yet, and the user that it is for."""

    folder: Path
    user: User | None
    """None for whoever we are."""
    moved: bool
    """Whether it lies outside of the data folder."""


def find(data: DataFolder, name: str) -> Home:
    """Finds the folder of a program that has a user of its name on many machines: that one is asked first."""
    recorded = data.state().get("outside")
    user = ordinary_user(name, Path(recorded or data.path) / name)
    outside = bool(recorded) and not (data.path / name).exists()
    if outside or not can_enter(user, data.path):
        return Home(outside_folder(data) / name, user, moved=True)
    return Home(data.path / name, user, moved=False)


def outside_folder(data: DataFolder) -> Path:
    """Returns the folder of an instance that every user can enter, made when it is first asked for."""
    recorded = data.state().get("outside")
    if recorded and Path(recorded).exists():
        return Path(recorded)
    outside = Path(tempfile.mkdtemp(prefix=PREFIX, dir=SHARED_FOLDER))
    outside.chmod(0o755)
    (outside / "data").write_text(str(data.path))
    data.remember(outside=str(outside))
    return outside


def sweep() -> None:
    """Removes such folders whose data folder was deleted: who deletes it wants all forgotten."""
    for outside in SHARED_FOLDER.glob(PREFIX + "*"):
        with contextlib.suppress(OSError):
            forgotten = not Path((outside / "data").read_text()).exists()
            if forgotten and outside.stat().st_uid == os.geteuid() and not _is_used(outside):
                shutil.rmtree(outside)


def _is_used(folder: Path) -> bool:
    """Tells whether a program runs there: both servers are told their folder as an argument."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(word.startswith(f"{folder}/") for word in process.cmdline()):
                return True
    return False
