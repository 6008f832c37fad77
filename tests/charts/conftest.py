"""What the tests of the charts share: the charts themselves, where there is a Helm."""

from __future__ import annotations

import pytest

from kontor_kit.testing.missing import go_without
from tests.charts.rendering import Charts
from tools import helm


@pytest.fixture(scope="session")
def charts(tmp_path_factory):
    try:
        helm.installed()
    except helm.HelmMissing as missing:
        go_without(missing)
    return Charts(tmp_path_factory.mktemp("charts"))
