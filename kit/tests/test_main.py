"""The command line of a service, as processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kit.tests.echo import Echo, EchoStub
from kontor_kit.testing import ENVIRONMENT

SCRIPT = """
import sys
from kit.tests.echo import EchoServicer
from kontor_kit.main import run
from kontor_kit.service import Command, Service

def endless(stopping):
    stopping.wait()

def broken(stopping):
    raise RuntimeError("job is broken")

def load():
    return Service(
        name="test",
        package="kontor_test",
        servicers=lambda runtime: [EchoServicer()],
        jobs=lambda runtime, _: [("endless", endless)] + [("broken", broken)] * (runtime.settings.audience == "broken"),
        commands={
            "greet": Command(
                help="say hello",
                arguments=lambda parser: parser.add_argument("name"),
                run=lambda settings, arguments: print("hello", arguments.name) or 0,
            )
        },
    )

sys.exit(run("test", load, sys.argv[1:]))
"""
ROOT = Path(__file__).parents[2]
AWAY = "postgresql://nobody@127.0.0.1:1/nothing"


@pytest.fixture
def environ():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "KONTOR_LISTEN": f"127.0.0.1:{port}",
        "KONTOR_TEST_DATABASE_URL": AWAY,
        "KONTOR_TEST_SYSTEM_DATABASE_URL": AWAY,
        "KONTOR_PAGE_TOKEN_KEY": "k" * 32,
        "KONTOR_JWKS_URL": "http://127.0.0.1:1/jwks",
        **ENVIRONMENT,
    }


def start(environ, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    try:
        out, error = process.communicate(timeout=30)
    finally:
        process.kill()
    return process.returncode, out, error


class TestRoles:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    @pytest.mark.parametrize("role", ["serve", "work"])
    def test_runs_until_the_signal_and_exits_0(self, environ, role, number):
        process = start(environ, role)
        try:
            with grpc.insecure_channel(environ["KONTOR_LISTEN"]) as channel:
                grpc.channel_ready_future(channel).result(20)
                status = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5).status
                # The database is away, and health does not pretend otherwise.
                assert status == health_pb2.HealthCheckResponse.NOT_SERVING
                if role == "serve":
                    assert EchoStub(channel).Greet(Echo(text="x"), timeout=5).text == "x"
            process.send_signal(number)
        finally:
            code, _, error = finish(process)
        assert code == 0, error
        assert '"message":"stopped"' in error

    def test_work_ends_with_1_when_a_job_fails(self, environ):
        code, _, error = finish(start({**environ, "KONTOR_AUDIENCE": "broken"}, "work"))
        assert code == 1
        assert "job is broken" in error


class TestCommandLine:
    def test_configuration_problems_exit_2(self, environ):
        code, _, error = finish(start({**environ, "KONTOR_THREADS": "x", "KONTOR_PAGE_TOKEN_KEY": ""}, "serve"))
        assert code == 2
        assert "KONTOR_THREADS" in error
        assert "KONTOR_PAGE_TOKEN_KEY" in error
        assert "Traceback" not in error

    def test_migrate_needs_the_owner(self, environ):
        code, _, error = finish(start(environ, "migrate"))
        assert (code, "KONTOR_TEST_OWNER_DATABASE_URL" in error) == (2, True)

    def test_help_teaches(self, environ):
        code, out, _ = finish(start(environ, "--help"))
        assert code == 0
        assert all(
            word in out for word in ("serve", "work", "migrate", "greet", "exit codes", "KONTOR_TEST_DATABASE_URL")
        )

    def test_command_of_the_services_own(self, environ):
        assert finish(start(environ, "greet", "you"))[:2] == (0, "hello you\n")

    @pytest.mark.parametrize("arguments", [[], ["dance"]])
    def test_wrong_arguments_exit_2(self, environ, arguments):
        assert finish(start(environ, *arguments))[0] == 2

    def test_port_that_is_taken_exits_1(self, environ):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            code, _, error = finish(start({**environ, "KONTOR_LISTEN": f"127.0.0.1:{taken.getsockname()[1]}"}, "serve"))
        assert code == 1
        assert "cannot listen" in error
