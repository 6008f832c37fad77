"""What tests need and this machine lacks: such a test is skipped, loudly; where CI is set, it fails."""

from __future__ import annotations

import os
from typing import Any, NoReturn

import pytest

_NOT_TESTED = "NOT TESTED: "


def go_without(problem: object) -> NoReturn:
    """Skip the test, with `problem` in the summary of the run; fail it where CI is set."""
    if os.environ.get("CI", "").lower() not in ("", "0", "false"):
        pytest.fail(str(problem), pytrace=False)
    pytest.skip(f"{_NOT_TESTED}{problem}")


def summarize(terminalreporter: Any) -> None:
    """Say loudly what was not tested, each reason once; workers of pytest-xdist tell it by what they skipped."""
    skipped = [report.longrepr for report in terminalreporter.stats.get("skipped", ())]
    reasons = [said[-1].partition(_NOT_TESTED)[2] for said in skipped if isinstance(said, tuple)]
    if reasons := [*dict.fromkeys(filter(None, reasons))]:
        terminalreporter.section("NOT TESTED", sep="!", red=True)
        terminalreporter.line("\n".join(reasons))
