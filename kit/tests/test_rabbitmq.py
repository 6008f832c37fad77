"""A RabbitMQ of one's own keeps to itself, and keeps what it was given."""

import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import kombu
import psutil
import pytest
from amqp.exceptions import AccessRefused, NotFound

from kontor_kit.testing import rabbitmq


def connect(url):
    return kombu.Connection(url, transport_options={"confirm_publish": True}, heartbeat=0)


def put(url, text):
    with connect(url) as connection, connection.channel() as channel:
        channel.queue_declare("q", durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})
        kombu.Producer(channel).publish(text, routing_key="q", delivery_mode="persistent")


def take(url):
    with connect(url) as connection, connection.channel() as channel:
        message = channel.basic_get("q", no_ack=True)
        return message and message.body


def test_what_was_confirmed_is_there_after_a_stop_and_after_a_kill(rabbitmq_server, rabbitmq_url):
    for end in (rabbitmq_server.stop, rabbitmq_server.kill):
        put(rabbitmq_url, end.__name__)
        end()
        assert not rabbitmq_server.is_alive()
        rabbitmq_server.start()
        assert take(rabbitmq_url) == end.__name__


def test_virtual_hosts_know_nothing_of_each_other(rabbitmq_server, rabbitmq_url):
    put(rabbitmq_url, "mine")
    with rabbitmq_server.host() as other, pytest.raises(NotFound):
        take(other)


def test_only_who_has_the_password_is_let_in_and_nobody_as_guest(rabbitmq_server):
    place = rabbitmq_server.node.url.partition("@")[2]
    for wrong in (f"amqp://kontor:wrong@{place}", f"amqp://guest:guest@{place}"):
        with pytest.raises(AccessRefused):
            connect(wrong).connect()


def test_it_listens_on_the_loopback_only_as_an_ordinary_user_and_without_a_daemon(rabbitmq_server):
    server = psutil.Process(rabbitmq_server._program.pid)
    family = [server, *server.children(recursive=True)]
    listening = {each.laddr for each in server.net_connections() if each.status == psutil.CONN_LISTEN}
    node = rabbitmq_server.node
    # What it does by itself once a minute.
    node.evaluate("rabbit_nodes_common:ensure_epmd()", rabbitmq_server._user)
    assert listening == {("127.0.0.1", node.port), ("127.0.0.1", node.distribution_port)}
    assert all(process.uids().real != 0 for process in family)
    started = [each for each in psutil.process_iter(["name", "environ"]) if each.info["name"] == "epmd"]
    assert [each for each in started if (each.info["environ"] or {}).get("HOME") == str(node.folder)] == []
    assert all(node.password not in word for process in family for word in process.cmdline())
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in node.folder.iterdir() if path.is_file()}
    assert {modes[name] for name in ("advanced.config", ".erlang.cookie")} == {0o600}
    assert stat.S_IMODE(node.folder.stat().st_mode) == 0o700


def test_it_ends_with_the_process_that_started_it_however_that_ends():
    program = (
        "import time\nfrom kontor_kit.testing import rabbitmq\n"
        "with rabbitmq.running() as server: print(server.node.folder, server._program.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        folder, pid = process.stdout.readline().split()
        process.send_signal(signal.SIGKILL)
    until = time.monotonic() + 20
    while Path(folder).exists() or psutil.pid_exists(int(pid)):
        assert time.monotonic() < until, "it is still there"
        time.sleep(0.05)


def test_where_none_is_installed_it_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(rabbitmq, "_PACKAGED", tmp_path / "none")
    monkeypatch.setattr(rabbitmq, "_FOLDERS", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(rabbitmq.RabbitMissing, match="apt install rabbitmq-server"):
        rabbitmq.installed()


def test_what_is_said_beside_the_answer_is_no_part_of_it(rabbitmq_server, monkeypatch):
    """Libraries speak up in the forked process before the program runs: gRPC does."""
    loud = rabbitmq_server.node.folder / "erl_call"
    loud.write_text(f'#!/bin/sh\necho epoll_ctl failed >&2\nexec {rabbitmq._erl_call()} "$@"\n')
    loud.chmod(0o755)
    monkeypatch.setattr(rabbitmq, "_erl_call", lambda: str(loud))
    with rabbitmq_server.host():
        pass
