"""Checks that no migration takes a lock under which a large table cannot be written to, or takes away what N-1 needs.

Usage: python -m tools.migrations

Alembic writes down the SQL of each revision, squawk looks at it. What a revision may do all the same stands in it, with
the reason: `# squawk-ignore ban-drop-table: nobody reads it since 0.3`. What was released is never changed.
"""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kontor_kit import migrations
from tools.breaking import newest_release

POSTGRES = "15.0"
"""The oldest that is supported: what a newer one does without a lock, this one may not."""
NOT_ASKED = {
    "prefer-bigint-over-int": "numbers that stay small are stored small",
    "prefer-bigint-over-smallint": "enumerations are stored in two bytes",
    "prefer-text-field": "varchar(3) holds a currency",
    "require-lock-timeout": "kontor_kit.migrations sets it for all of them",
    "require-statement-timeout": "what may take long is told by the locks it holds meanwhile",
}
IGNORED = re.compile(r"^# squawk-ignore ([a-z-]+): \S", re.MULTILINE)

Findings = Mapping[str, Mapping[str, str]]
"""What was found in each revision: a sentence by rule."""


def write_statements(folder: Path, services: Path = Path("services")) -> dict[str, Path]:
    """Write the SQL of every revision into `folder`, as <service>-<revision>.sql; return the revisions by these names."""
    written = {}
    for package in sorted(services.glob("*/kontor_*")):
        name = package.parent.name
        service = importlib.import_module(f"{package.name}.service").service()
        settings = service.settings.load(name, {})
        before = "base"
        for path in sorted(service.migrations.glob("[0-9]*.py")):
            revision = path.name[:4]
            file = folder / f"{name}-{path.stem}.sql"
            file.write_text(migrations.statements(settings, service, f"{before}:{revision}"))
            written[file.name] = package / "migrations" / path.name
            before = revision
    return written


def lint(folder: Path) -> Findings:
    """Return what squawk finds in the SQL files of `folder`, by the names of the files."""
    program = Path(sys.prefix) / "bin" / "squawk"
    command = [str(program), "--reporter=json", f"--pg-version={POSTGRES}", f"--exclude={','.join(NOT_ASKED)}"]
    done = subprocess.run([*command, *sorted(map(str, folder.glob("*.sql")))], check=False, capture_output=True)
    # It ends with 1 where it finds something; without JSON it did not look.
    found: dict[str, dict[str, str]] = defaultdict(dict)
    each: dict[str, Any]
    for each in json.loads(done.stdout):
        found[Path(each["file"]).name][each["rule_name"]] = each["message"]
    return found


def verdict(revisions: Mapping[str, Path], findings: Findings) -> list[str]:
    """Say what is wrong: findings that no revision gives a reason for, and reasons that nothing was found for."""
    wrong = []
    for name, path in revisions.items():
        found = findings.get(name, {})
        ignored = set(IGNORED.findall(path.read_text()))
        wrong += [f"{path}: {rule}: {found[rule]}" for rule in sorted(found.keys() - ignored)]
        wrong += [f"{path}: ignores {rule}, which is not found in it" for rule in sorted(ignored - found.keys())]
    return wrong


def changed_since_release() -> list[str]:
    """Say which migrations are not what was released."""
    release = newest_release()
    if release is None:
        return []
    command = ["git", "diff", "--name-only", "--diff-filter=MDR", "--no-renames", release, "--"]
    done = subprocess.run([*command, "services/*/*/migrations/*.py"], check=True, capture_output=True, text=True)
    return [f"{path}: was released with {release}, and is changed" for path in done.stdout.split()]


def main() -> None:
    """Exit with an error where something is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        revisions = write_statements(Path(folder))
        wrong = verdict(revisions, lint(Path(folder))) + changed_since_release()
    if wrong:
        sys.exit("\n".join([*wrong, "https://squawkhq.com/docs/rules says how it is done without a lock"]))


if __name__ == "__main__":
    main()
