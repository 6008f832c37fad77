"""Checks that no vulnerability is known of the locked dependencies.

Usage: python -m tools.audit      (KONTOR_AUDIT=required makes it an error when the service cannot be asked)

pip-audit asks the package index's own advisory service. A mirror often serves packages only and answers "not found"
for all of them, which pip-audit counts as success: so one package is asked first, and silence is called silence.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tools.uv import pip_configuration

SERVICE_IS_AWAY = """\
################################################################################
  NOT CHECKED: the package index here serves no advisories ({reason}).
  Run `make audit` where it does before a release.
################################################################################"""


def skipped(report: str) -> list[str]:
    """Return the packages that a JSON report of pip-audit says nothing about."""
    return [each["name"] for each in json.loads(report)["dependencies"] if "skip_reason" in each]


def _audit(requirements: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip_audit", "--vulnerability-service=pypi", "--disable-pip", "--require-hashes"]
    command += ["--progress-spinner=off", "--format=json", f"--requirement={requirements}"]
    certificates = pip_configuration().get("cert")
    environment = {"REQUESTS_CA_BUNDLE": certificates} | os.environ if certificates else os.environ
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment)


def main() -> None:
    """Exit with an error where a vulnerability is known."""
    probe = _audit(Path("locks/bootstrap.txt"))
    if not probe.stdout or skipped(probe.stdout):
        reason = "not found" if probe.stdout else (probe.stderr.strip().splitlines() or ["no answer"])[-1]
        print(SERVICE_IS_AWAY.format(reason=reason), file=sys.stderr)
        sys.exit(1 if os.environ.get("KONTOR_AUDIT") == "required" else 0)
    audit = _audit(Path("locks/dev.txt"))
    if audit.returncode != 0:
        sys.exit(audit.stdout + audit.stderr)


if __name__ == "__main__":
    main()
