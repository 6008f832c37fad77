"""Locks the dependencies, or checks that the locks belong to the pyproject.toml files.

Usage: python -m tools.lock [--upgrade]      writes locks/*.txt
       python -m tools.lock --check          offline: fails where a lock is older than what it was made from

`locks/dev.txt` holds everything that a developer or CI needs, `locks/bootstrap.txt` what installs it, `locks/build.txt`
what builds our distributions and `locks/images.txt` what checks images; one lock for each distribution that becomes an
image holds its run-time dependencies, at the versions of the first.
The first line of a lock is a digest of the requirements that it was made from. No lock names an index.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

FOLDERS = ("kit", "protos", "services/*", "gateway", "dev")
DEV = Path("locks/dev.txt")
GROUPS = ("bootstrap", "build", "images")
PIN = re.compile(r"^[A-Za-z0-9._-]+(\[[^]]+\])?==\S+( ; .+)? \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$")


class Lock(NamedTuple):
    """One lock file and what it is made from."""

    path: Path
    projects: tuple[Path, ...]
    """The pyproject.toml files whose dependencies it holds, those of our own distributions that they need included."""
    group: str | None = None
    """A dependency group of the pyproject.toml at the root; with one, all extras of the projects go in as well."""

    def requirements(self, root: Path) -> list[str]:
        """Return all requirements that go in, sorted."""
        projects = [_project(root / path) for path in self.projects]
        found = {line for project in projects for line in project["dependencies"]}
        if self.group:
            extras = (extra for project in projects for extra in project.get("optional-dependencies", {}).values())
            found |= {line for extra in extras for line in extra}
            groups = tomllib.loads((root / "pyproject.toml").read_text())["dependency-groups"]
            found |= {line if isinstance(line, str) else str(line) for line in groups[self.group]}
        return sorted(found)

    def digest(self, root: Path) -> str:
        """Return the first line of the lock."""
        return "# made from " + hashlib.sha256(json.dumps(self.requirements(root)).encode()).hexdigest()


def locks(root: Path) -> list[Lock]:
    """Return all locks of the tree, in the order in which they are made."""
    projects = sorted(path.relative_to(root) for each in FOLDERS for path in root.glob(f"{each}/pyproject.toml"))
    named = {_project(root / path)["name"]: path for path in projects}
    images = [path for path in projects if path.parts[0] in {"services", "gateway"}]
    return [
        Lock(DEV, tuple(projects), "dev"),
        *(Lock(Path("locks", f"{group}.txt"), (), group) for group in GROUPS),
        *(Lock(Path("locks", f"{path.parent.name}.txt"), _with_own(path, named, root)) for path in images),
    ]


def _with_own(path: Path, named: dict[str, Path], root: Path) -> tuple[Path, ...]:
    found: list[Path] = []
    todo = [path]
    while todo:
        project = todo.pop()
        if project not in found:
            found.append(project)
            names = (
                re.split(r"[^A-Za-z0-9-]", line, maxsplit=1)[0] for line in _project(root / project)["dependencies"]
            )
            todo += [named[name] for name in names if name in named]
    return tuple(sorted(found))


def _project(path: Path) -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads(path.read_text())["project"]
    return project


def problems(lock: Lock, root: Path) -> list[str]:
    """Return what is wrong with a lock file, as sentences."""
    path = root / lock.path
    if not path.exists():
        return [f"{lock.path} is missing: run make lock"]
    first, *lines = path.read_text().splitlines()
    found = []
    if first != lock.digest(root):
        found.append(f"{lock.path} is older than the requirements it was made from: run make lock")
    # Whatever else could stand in a requirements file, such as the address of an index, has no place in a lock.
    found += [
        f"{lock.path}: not a version with its hash: {line}"
        for line in lines
        if not (PIN.match(line) or HASH.match(line))
    ]
    return found


def write(lock: Lock, root: Path, *options: str) -> None:
    """Resolve a lock anew; versions that it holds stay unless they no longer fit or are told to move."""
    own = [str(_project(path)["name"]) for each in FOLDERS for path in root.glob(f"{each}/pyproject.toml")]
    command = [sys.executable, "tools/uv.py", "pip", "compile", "--quiet", "--universal", "--python-version=3.11"]
    command += ["--generate-hashes", "--no-header", "--no-annotate", f"--output-file={lock.path}"]
    command += [f"--no-emit-package={name}" for name in own]
    command += [f"--group=pyproject.toml:{lock.group}"] if lock.group else []
    command += ["--all-extras"] if lock.group and lock.projects else []
    command += [f"--constraints={DEV}"] if lock.path != DEV else []
    # Only the default index: a second one that holds fewer files of a version would leave their hashes out.
    environment = os.environ | {"UV_INDEX": "", "UV_FIND_LINKS": ""}
    subprocess.run([*command, *options, *map(str, lock.projects)], check=True, cwd=root, env=environment)
    path = root / lock.path
    path.write_text(f"{lock.digest(root)}\n{path.read_text().removeprefix(lock.digest(root)).lstrip()}")


def main() -> None:
    """Write or check all locks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only say what is wrong")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that fit")
    arguments = parser.parse_args()
    root = Path(__file__).parent.parent
    if not arguments.check:
        for lock in locks(root):
            write(lock, root, *(["--upgrade"] if arguments.upgrade and lock.path == DEV else []))
    found = [problem for lock in locks(root) for problem in problems(lock, root)]
    if found:
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
