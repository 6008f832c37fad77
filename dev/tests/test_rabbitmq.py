"""The broker of an instance: its user, its ports, and that it comes back with what it had."""

import os
import signal
import tempfile
from pathlib import Path

import kombu
import psutil
import pytest

from kontor_dev import rabbitmq
from kontor_dev.data import DataFolder
from kontor_dev.platform import plan
from kontor_dev.supervisor import SERVING, Supervisor


@pytest.fixture
def data(rabbitmq_installed):
    """In a folder that everybody can enter, which tmp_path is not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        found = DataFolder(Path(folder) / "data")
        found.create()
        yield found


def test_it_is_kept_running_with_what_it_has_and_leaves_nothing(data, eventually):
    supervisor, found = Supervisor(data, print), plan((), 1, "amqp")
    (broker,) = supervisor.start([rabbitmq.spec(data, found, 1)])
    try:
        supervisor.await_ready([broker])
        url = rabbitmq.url(data, found.broker_port)
        with kombu.Connection(url, transport_options={"confirm_publish": True}) as connection:
            connection.SimpleQueue("kept").put("what it has")
        first = psutil.Process(broker.pid)
        assert os.geteuid() != 0 or first.uids().real != 0
        first.send_signal(signal.SIGKILL)
        eventually(lambda: broker.pid not in {first.pid, None} and broker.health() == SERVING, 30)
        with kombu.Connection(url) as connection:
            assert connection.SimpleQueue("kept").get(timeout=5).payload == "what it has"
        server = psutil.Process(broker.pid)
        family = [server, *server.children(recursive=True)]
    finally:
        supervisor.stop()
    assert not [each for each in family if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
