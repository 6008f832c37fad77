"""Makes sure that objects of other operators can be checked, for the tests of the charts: installs packages of npm.

Usage: python -m tools.crds      (installs them below .build; a second time they are only found)

tests/charts/crds says which, with their hashes and without addresses. Node comes from the machine, or from Debian's
packages where we are root.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools import debian

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "tests" / "charts" / "crds"
MISSING = "What checks objects of other operators is not installed (python -m tools.crds; it needs node and npm)."


class CrdsMissing(Exception):
    """There is nothing to check with."""


def folder() -> Path:
    """Return where the packages are or would be; those of another lock lie elsewhere."""
    digest = hashlib.sha256((SOURCE / "package-lock.json").read_bytes()).hexdigest()
    return ROOT / ".build" / "crds" / digest[:16]


def problems(objects: Sequence[Any]) -> list[str | None]:
    """Return for each object what is wrong with it, None where nothing is. Raises CrdsMissing."""
    if not folder().exists() or shutil.which("node") is None:
        raise CrdsMissing(MISSING)
    command = ["node", str(SOURCE / "validate.js"), str(folder() / "node_modules")]
    said = subprocess.run(command, input=json.dumps(objects), capture_output=True, text=True, check=True)
    found: list[str | None] = json.loads(said.stdout)
    return found


def install() -> None:
    """Install what the lock says. Raises CalledProcessError."""
    folder().parent.mkdir(parents=True, exist_ok=True)
    # Put in its place in one step: who looks meanwhile finds all of it or nothing.
    with tempfile.TemporaryDirectory(dir=folder().parent) as temporary:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SOURCE / name, temporary)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(command, cwd=temporary, check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)
        Path(temporary).rename(folder())
        Path(temporary).mkdir()  # For who removes it.


def main() -> int:
    """Find or install it; say what to do where neither is possible."""
    try:
        if shutil.which("npm") is None and debian.is_possible():
            debian.install("nodejs", "npm")
        if not folder().exists():
            install()
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"{MISSING} {error}", file=sys.stderr)
        return 1
    print(f"checks of other operators' objects: {folder()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
