"""The fault suite in its short form: each process of the platform dies once under a load, and nothing is lost or repeated.

`make faults` runs the long form.
"""

import random
import shutil
import tempfile
import time
from pathlib import Path

import pytest

from tests.faults.trial import Plan, Trial

# Each process once, one hung, one ended.
FAULTS = {"stream": 9, "amqp": 12}


def empty_folder():
    """Return a folder that every user can enter, which tmp_path is not; it stays where the test fails."""
    path = Path(tempfile.mkdtemp(prefix="kontor-faults-"))
    path.chmod(0o755)
    print(path)
    return path


@pytest.mark.timeout(600)
@pytest.mark.parametrize("transport", FAULTS)
def test_nothing_is_lost_repeated_or_invented_when_processes_die(transport):
    plan = Plan(
        transport, FAULTS[transport], random.SystemRandom().randrange(10**6), pauses=(0.2, 1.0), pace=0.1, away=4.0
    )
    print(plan)
    folder, began = empty_folder(), time.monotonic()
    result = Trial(folder, plan, lambda text: print(f"{time.monotonic() - began:6.1f} s  {text}")).run()
    assert result.problems == []
    assert len(result.faults) >= FAULTS[transport]
    assert result.figures["writes acknowledged"] > 0
    shutil.rmtree(folder)
