"""What the tests of the charts share: the charts themselves, where there is a Helm."""

from __future__ import annotations

import os

import pytest

from tests.charts.rendering import Charts
from tools.helm import HelmMissing, installed


@pytest.fixture(scope="session")
def charts(tmp_path_factory):
    try:
        installed()
    except HelmMissing as missing:
        if os.environ.get("CI", "").lower() not in ("", "0", "false"):
            pytest.fail(str(missing), pytrace=False)
        pytest.skip(str(missing))
    return Charts(tmp_path_factory.mktemp("charts"))


def pytest_terminal_summary(terminalreporter):
    """Say loudly that the charts were not rendered."""
    if any("Helm is not installed" in str(report.longrepr) for report in terminalreporter.stats.get("skipped", ())):
        terminalreporter.section("CHARTS NOT RENDERED", sep="!", red=True)
        terminalreporter.line("python -m tools.helm")
