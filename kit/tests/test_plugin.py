"""What the plugin does with a run of tests as a whole."""

import subprocess
import sys

TESTS = """
import time
import pytest

@pytest.fixture(scope="session")
def shared():
    yield
    time.sleep(1.5)

@pytest.mark.timeout(1)
def test_it(shared):
    pass
"""


def test_the_last_test_of_a_process_may_wait_for_other_processes(tmp_path):
    (tmp_path / "test_waiting.py").write_text(TESTS)
    plugins = ("-p", "kontor_kit.testing.plugin", "-p", "no:cacheprovider", "-p", "no:pytest_nameko")
    command = [sys.executable, "-m", "pytest", "-q", *plugins, f"--rootdir={tmp_path}", str(tmp_path)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout
