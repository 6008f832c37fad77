"""What the tests of the charts share: the charts themselves, where there is a Helm."""

from __future__ import annotations

import os

import pytest

from tests.charts import live
from tests.charts.rendering import Charts
from tools import crds, helm


@pytest.fixture(scope="session")
def charts(tmp_path_factory):
    try:
        helm.installed()
    except helm.HelmMissing as missing:
        if os.environ.get("CI", "").lower() not in ("", "0", "false"):
            pytest.fail(str(missing), pytrace=False)
        pytest.skip(str(missing))
    return Charts(tmp_path_factory.mktemp("charts"))


def pytest_terminal_summary(terminalreporter):
    """Say loudly what was not looked at."""
    skipped = "".join(str(report.longrepr) for report in terminalreporter.stats.get("skipped", ()))
    if missing := [sentence for sentence in (helm.MISSING, crds.MISSING, live.MISSING) if sentence in skipped]:
        terminalreporter.section("CHARTS NOT WHOLLY TESTED", sep="!", red=True)
        terminalreporter.line("\n".join(missing))
