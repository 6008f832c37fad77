"""Finds imports of packages that nothing declares: they are there on one machine and missing on the next."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any


def undeclared(code: Iterable[str], requirements: Iterable[str], providers: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the top-level packages that the modules import and no requirement provides.

    A package that `providers` does not list is provided by the distribution of its name.
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


def problems(root: Path) -> list[str]:
    """Say which pyproject.toml does not declare what its code imports; for tests that is the one at the root."""
    providers = {**packages_distributions(), "kontor": ["kontor-protos"], "buf": ["kontor-protos"]}
    found, everything = [], _strings(_load(root)["dependency-groups"])
    for folder in [root / "kit", root / "gateway", root / "dev", *root.glob("services/*")]:
        if not (folder / "pyproject.toml").exists():
            continue
        project = _load(folder)["project"]
        requirements = _strings([project["name"], project["dependencies"], project.get("optional-dependencies", {})])
        everything += requirements
        package = folder / project["name"].replace("-", "_")
        missing = undeclared((module.read_text() for module in package.rglob("*.py")), requirements, providers)
        found += [
            f"{folder.relative_to(root)}/pyproject.toml does not declare what provides {name}" for name in missing
        ]
    tests = [path for pattern in ("*/tests", "services/*/tests", "tests") for path in root.glob(f"{pattern}/**/*.py")]
    # Tests import each other, by file or by folder; some have a service of their own.
    own = {name for path in tests for name in (path.stem, path.parent.name)} | {
        folder.name for folder in root.iterdir()
    }
    missing = undeclared((path.read_text() for path in tests), everything, providers)
    return found + [f"pyproject.toml does not declare what provides {name}" for name in missing if name not in own]


def _load(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text())


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    values = value.values() if isinstance(value, dict) else value
    return [string for each in values for string in _strings(each)]
