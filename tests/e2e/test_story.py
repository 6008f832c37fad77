"""The story goes through all services and ends well, over both transports, whoever is killed at whatever step.

The short form, for each run of the tests, kills one process a step, which are others from day to day; with
KONTOR_STORY_LONG in the environment every process is killed at every step (`make story-long`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import threading
import time
from pathlib import Path

import pytest

from kontor_dev.data import DataFolder
from kontor_dev.platform import SERVICES
from kontor_dev.story.steps import STEPS
from kontor_dev.story.world import Mails, new_world
from tests.e2e.instance import Instance, eventually, rows

LONG = bool(os.environ.get("KONTOR_STORY_LONG"))
VICTIMS = tuple(f"{service.name}-{role}-1" for service in SERVICES for role in service.roles)
KILL_SECONDS = 0.3
"""So long after a step began a process is killed."""

pytestmark = pytest.mark.timeout(4 * 3600 if LONG else 900)


@pytest.fixture(scope="module")
def mails():
    made = Mails()
    yield made
    made.close()


@pytest.fixture(scope="module", params=["stream", "amqp"])
def instance(request, mails):
    """A platform over each of the transports, whose mails end here."""
    if request.param == "amqp":
        request.getfixturevalue("rabbitmq_installed")
    # A folder that every user can enter, which tmp_path is not.
    with tempfile.TemporaryDirectory(prefix="kontor-story-") as path:
        Path(path).chmod(0o755)
        made = Instance(Path(path) / "data", "--no-demo", "--transport", request.param)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KONTOR_MARKETING_SMTP_URL", mails.url)
            made.start()
        yield made
        made.clear_away()


def plans():
    """Yield for each time that the story is played who is killed at each step."""
    day = time.gmtime().tm_yday
    for shift in range(len(VICTIMS)) if LONG else [day]:
        yield [VICTIMS[(shift + number) % len(VICTIMS)] for number in range(len(STEPS))]


@contextlib.contextmanager
def killed(platform, victim):
    """Kill a process a moment after the block began."""
    process = DataFolder(platform.data).processes()[victim][0]

    def kill():
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)

    timer = threading.Timer(KILL_SECONDS, kill)
    timer.start()
    try:
        yield
    finally:
        timer.join()
    # It was killed, and is there again.
    eventually(lambda: rows(platform)[victim]["pid"] not in (None, process))
    eventually(lambda: rows(platform)[victim]["health"] == "SERVING")


def test_it_is_the_same_story_whoever_is_killed(instance, mails, tmp_path):
    for number, plan in enumerate(plans()):
        with new_world(DataFolder(instance.data), mails) as world:
            world.known["history"] = str(tmp_path / f"history-{number}.json")
            for step, victim in zip(STEPS, plan, strict=True):
                since = time.monotonic()
                with killed(instance.platform, victim):
                    told = [*step.play(world)]
                assert told
                print(f"{victim:<18} {step.name:<22} {time.monotonic() - since:5.1f} s")  # the long form is looked at
