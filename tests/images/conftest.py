"""Says loudly what of the images was not checked."""

import os

import pytest

from tools.images import program

MISSING = "hadolint is not installed: python -m tools.images tools"


@pytest.fixture
def hadolint():
    """The program that lints Dockerfiles."""
    found = program("hadolint")
    if not found.exists():
        (pytest.fail if os.environ.get("CI", "").lower() not in ("", "0", "false") else pytest.skip)(MISSING)
    return found


def pytest_terminal_summary(terminalreporter):
    if any(MISSING in str(report.longrepr) for report in terminalreporter.stats.get("skipped", ())):
        terminalreporter.section("DOCKERFILES NOT LINTED", sep="!", red=True)
        terminalreporter.line(MISSING)
