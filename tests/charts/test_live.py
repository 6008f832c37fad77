"""The processes that the charts describe work together: gateway, identity and contacts, in mTLS (see live.py)."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kontor_kit.testing.missing import go_without
from tests.charts.live import ALONE, MISSING, is_possible
from tests.charts.rendering import ROOT


@pytest.mark.timeout(400)
@pytest.mark.usefixtures("charts", "postgres_url")
def test_what_the_charts_tell_processes_is_enough_to_work_together(tmp_path):
    if not is_possible():
        go_without(MISSING)
    command = [*ALONE, sys.executable, "-m", "tests.charts.live", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "contacts follows identity" in done.stdout
