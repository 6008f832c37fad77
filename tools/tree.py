"""Checks what is true of the tree as a whole and no other tool can see.

Usage: python -m tools.tree
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from tools import declared

GENERATED = re.compile(r"(_pb2(_grpc)?\.pyi?|\.binpb|uv\.lock|\.egg-info/.*|\.pyc)$")
# They say nothing of what is inside, and collect whatever has no better place.
NAMELESS = {"utils", "helpers", "common", "base", "manager", "misc"}
COMMIT = re.compile(r"\.commit\(|[\"']\s*COMMIT\b")
OWN_THE_TRANSACTION = {"kit/kontor_kit/db.py", "kit/kontor_kit/migrations.py"}


def names(path: str) -> list[str]:
    """Say what is wrong with the path of a committed file."""
    if GENERATED.search(path):
        return [f"{path} is generated: remove it from git"]
    if path.endswith(".py") and NAMELESS & set(Path(path).with_suffix("").parts):
        return [f"{path}: the name does not say what is inside"]
    return []


def text(path: str, content: str, services: set[str]) -> list[str]:
    """Say what is wrong with a committed Python file, tests left out."""
    if not path.endswith(".py") or "tests" in Path(path).parts or path.startswith("tools/"):
        return []
    found = []
    if COMMIT.search(content) and path not in OWN_THE_TRANSACTION:
        found.append(f"{path} commits: only the kit's db.py and migrations.py do")
    nouns = [name for name in sorted(services) if re.search(rf"(from|import) kontor\.{name}\b", content)]
    if path.startswith("kit/") and nouns:
        found.append(f"{path} names {', '.join(nouns)}: the kit knows no service")
    return found


def registrations(root: Path, services: set[str]) -> list[str]:
    """Say which service is missing where services are listed by hand."""
    tools = tomllib.loads((root / "pyproject.toml").read_text())["tool"]
    contracts = {each["name"]: each for each in tools["importlinter"]["contracts"]}
    found = []
    for service in sorted(services):
        package = f"kontor_{service}"
        if f"kontor-{service}" not in tools["uv"]["sources"]:
            found.append(f"pyproject.toml: [tool.uv.sources] does not list kontor-{service}")
        if package not in tools["importlinter"]["root_packages"]:
            found.append(f"pyproject.toml: [tool.importlinter] root_packages does not list {package}")
        found += [
            f"pyproject.toml: the import contract '{name}' does not list {package}"
            for name, contract in contracts.items()
            if any("kontor_identity" in str(value) and package not in str(value) for value in contract.values())
        ]
    return found


def main() -> None:
    """Exit with all that is wrong."""
    root = Path(__file__).parent.parent
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=root, check=True, capture_output=True, text=True).stdout
    files = [path for path in listing.split("\0") if path and (root / path).is_file()]
    services = {path.parent.name for path in root.glob("services/*/pyproject.toml")}
    found = registrations(root, services) + declared.problems(root)
    for path in files:
        found += names(path)
        if path.endswith(".py"):
            found += text(path, (root / path).read_text(), services)
    if found:
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
