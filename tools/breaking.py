"""Checks that the protos break no client of the newest release, or of the parent commit while there is no release.

Usage: python -m tools.breaking      (after protos/build.py)

The older tree builds its own descriptor set from its own protos; buf compares the two.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

DESCRIPTORS = Path("protos/gen/kontor/descriptors.binpb")


def baseline(*folders: str) -> str | None:
    """Return the commit to compare with: the newest release tag, else the parent of what lies in the work tree.

    `folders` are those that are compared, the protos where none are given.
    """
    if tag := newest_release():
        return tag
    # A changed work tree is the commit to come: its parent is HEAD.
    changed = _git("status", "--porcelain", "--", *(folders or ["protos"]))
    return _git("rev-parse", "--verify", "--quiet", "HEAD" if changed else "HEAD^")


def newest_release() -> str | None:
    """Return the tag of the newest release before what lies in the work tree; None while there is none."""
    return _git("describe", "--tags", "--abbrev=0", "--match=v[0-9]*")


def build_older(commit: str, folder: Path) -> Path | None:
    """Build the descriptor set of `commit` below `folder`; None where the commit has no protos."""
    if not _git("ls-tree", "--name-only", commit, "protos/build.py"):
        return None
    extract(commit, folder, "protos")
    older = folder / DESCRIPTORS
    subprocess.run([sys.executable, folder / "protos/build.py"], check=True)
    return older


def extract(commit: str, folder: Path, *paths: str) -> None:
    """Write what `commit` has at `paths` below `folder`."""
    archive = subprocess.run(["git", "archive", commit, *paths], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")


def _git(*arguments: str) -> str | None:
    done = subprocess.run(["git", *arguments], check=False, capture_output=True, text=True)
    return done.stdout.strip() or None if done.returncode == 0 else None


def main() -> None:
    """Exit with buf's verdict; say so where there is nothing to compare with."""
    commit = baseline()
    with tempfile.TemporaryDirectory() as folder:
        older = build_older(commit, Path(folder)) if commit else None
        if older is None:
            print("NOT CHECKED: no release tag and no parent commit with protos to compare with", file=sys.stderr)
            return
        buf = Path(sys.prefix) / "bin" / "buf"
        command = [str(buf), "breaking", str(DESCRIPTORS), "--against", str(older), "--config", "buf.yaml"]
        if subprocess.run(command, check=False).returncode != 0:
            sys.exit(f"the protos break clients of {commit}")


if __name__ == "__main__":
    main()
