"""Checks what is true of the tree as a whole and no other tool can see.

Usage: python -m tools.tree
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import packages_distributions
from pathlib import Path

GENERATED = re.compile(r"(_pb2(_grpc)?\.pyi?|\.binpb|uv\.lock|\.egg-info/.*|\.pyc)$")
# They say nothing of what is inside, and collect whatever has no better place.
NAMELESS = {"utils", "helpers", "common", "base", "manager", "misc"}
COMMIT = re.compile(r"\.commit\(|\bCOMMIT\b")
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


def undeclared(code: Iterable[str], requirements: Iterable[str], providers: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the top-level packages that the modules import and no requirement provides.

    A package that `providers` does not list is provided by the distribution of its name.

    What is not declared is there on a developer's machine, because everything is, and missing in the image.
    """
    declared = {re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0].lower().replace("_", "-") for line in requirements}
    found = set()
    for node in (node for module in code for node in ast.walk(ast.parse(module))):
        if isinstance(node, ast.Import):
            imported = {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imported = {node.module.partition(".")[0]}
        else:
            continue
        found |= {
            name
            for name in imported - sys.stdlib_module_names
            if not declared & {each.lower().replace("_", "-") for each in providers.get(name, (name,))}
        }
    return sorted(found)


def imports(root: Path) -> list[str]:
    """Say which distribution imports what it does not declare."""
    providers = {**packages_distributions(), "kontor": ["kontor-protos"], "buf": ["kontor-protos"]}
    found = []
    for path in [root / "kit", root / "gateway", root / "dev", *root.glob("services/*")]:
        if not (path / "pyproject.toml").exists():
            continue
        project = tomllib.loads((path / "pyproject.toml").read_text())["project"]
        package = path / project["name"].replace("-", "_")
        code = [module.read_text() for module in package.rglob("*.py")]
        extras = [line for extra in project.get("optional-dependencies", {}).values() for line in extra]
        missing = undeclared(code, [project["name"], *project["dependencies"], *extras], providers)
        found += [f"{path.relative_to(root)}/pyproject.toml does not declare what provides {name}" for name in missing]
    return found


def main() -> None:
    """Exit with all that is wrong."""
    root = Path(__file__).parent.parent
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=root, check=True, capture_output=True, text=True).stdout
    files = [path for path in listing.split("\0") if path and (root / path).is_file()]
    services = {path.parent.name for path in root.glob("services/*/pyproject.toml")}
    found = registrations(root, services) + imports(root)
    for path in files:
        found += names(path)
        if path.endswith(".py"):
            found += text(path, (root / path).read_text(), services)
    if found:
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
