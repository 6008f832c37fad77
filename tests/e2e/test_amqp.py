"""Contacts follows identity over RabbitMQ: who is shut out hands over to the team, whatever breaks off."""

import os
import signal
import tempfile
from pathlib import Path

import psutil
import pytest

from tests.e2e.instance import Instance, eventually, rows
from tests.e2e.leaving import Leaver
from tests.e2e.rest import Rest


@pytest.fixture(scope="module")
def over_rabbitmq(rabbitmq_installed):
    """An instance that uses a RabbitMQ of its own."""
    with tempfile.TemporaryDirectory(prefix="kontor-amqp-") as folder:
        Path(folder).chmod(0o755)
        options = ("--no-demo", "--services", "contacts", "--transport", "amqp")
        instance = Instance(Path(folder) / "data", *options)
        instance.start()
        yield instance
        instance.clear_away()


def alive(processes):
    return [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


class TestOverRabbitMQ:
    """In this order, on one instance."""

    def test_what_follows_receives_from_the_broker(self, over_rabbitmq):
        there = rows(over_rabbitmq.platform)
        assert there["rabbitmq"]["role"] == "broker"
        assert there["contacts-receive-1"]["role"] == "receive"
        assert {row["health"] for row in there.values()} == {"SERVING"}
        assert over_rabbitmq.platform.command("url", "rabbitmq").startswith("amqp://")
        names = {process.name() for process in over_rabbitmq.members()}
        assert "beam.smp" in names
        assert "epmd" not in names
        with Rest(over_rabbitmq.platform) as rest:
            leaver = Leaver(rest)
            leaver.leave()
            eventually(leaver.has_handed_over)

    def test_a_killed_broker_is_missed_by_nobody_for_long(self, over_rabbitmq):
        with Rest(over_rabbitmq.platform) as rest:
            leaver = Leaver(rest)
            pid = rows(over_rabbitmq.platform)["rabbitmq"]["pid"]
            os.kill(pid, signal.SIGKILL)
            leaver.leave()
            eventually(leaver.has_handed_over)
        there = eventually(lambda: self.all_serve(over_rabbitmq))
        assert there["rabbitmq"]["pid"] != pid

    def test_after_a_killed_supervisor_all_is_as_before_and_a_stop_leaves_nothing(self, over_rabbitmq):
        with Rest(over_rabbitmq.platform) as rest:
            leaver = Leaver(rest)
            leaver.leave()
            left = over_rabbitmq.members()
            over_rabbitmq.end(signal.SIGKILL)
        over_rabbitmq.start()
        assert alive(left) == []
        with Rest(over_rabbitmq.platform) as rest:
            leaver.rest = rest
            eventually(leaver.has_handed_over)
        members = over_rabbitmq.members()
        assert over_rabbitmq.end() == 0
        assert alive(members) == []

    @staticmethod
    def all_serve(instance):
        there = rows(instance.platform)
        return {row["health"] for row in there.values()} == {"SERVING"} and there
