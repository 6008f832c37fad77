"""The server of a process: start, health, reflection, metrics, and a calm end."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from kit.tests.echo import SERVICE, Echo, EchoServicer, EchoStub, bearer
from kontor_kit.calls import CallPath
from kontor_kit.errors import NotFound
from kontor_kit.metrics import Metrics, MetricsServer
from kontor_kit.server import Server
from kontor_kit.testing import Signer, serving, settings
from kontor_kit.testing.programs import free_ports

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture(scope="module")
def signer():
    return Signer()


@pytest.fixture
def channel_to():
    channels = []

    def connect(server):
        channels.append(grpc.insecure_channel(f"127.0.0.1:{server.port}"))
        return channels[-1]

    yield connect
    for channel in channels:
        channel.close()


class TestStart:
    def test_refused_when_a_method_has_no_handler(self, signer):
        class Incomplete(EchoServicer):
            def handler(self, method):
                return None if method in {"Greet", "GetEcho"} else super().handler(method)

        with pytest.raises(ValueError, match=r"/GetEcho, /kontor\.test\.v1\.EchoService/Greet$"):
            Server(settings(), CallPath("test.kontor", signer.verifier()), [Incomplete()])

    def test_refused_when_the_port_is_taken(self, signer):
        path = CallPath("test.kontor", signer.verifier())
        with serving([EchoServicer()], signer.verifier()) as first:
            second = Server(settings(listen=f"127.0.0.1:{first.port}"), path, [EchoServicer()])
            with pytest.raises(OSError, match="cannot listen"):
                second.start()


class TestMetadata:
    def test_a_token_may_be_long(self, signer, channel_to):
        """It says each permission by name, and there are hundreds."""
        token = bearer(signer.token())
        with serving([EchoServicer()], signer.verifier()) as server:
            stub = EchoStub(channel_to(server))
            # Above the soft limit that gRPC has by itself calls are refused at random.
            for _ in range(30):
                stub.GetEcho(Echo(), metadata=[*token, ("x-long", "x" * 200_000)])


class TestHealth:
    def test_follows_the_checks(self, signer, channel_to):
        state = {"up": True}

        def check():
            if not state["up"]:
                raise OSError("database is away")

        with serving([EchoServicer()], signer.verifier(), checks={"database": check}) as server:
            stub = health_pb2_grpc.HealthStub(channel_to(server))
            names = ("", SERVICE.full_name)

            def statuses():
                return {stub.Check(health_pb2.HealthCheckRequest(service=name)).status for name in names}

            assert statuses() == {SERVING}
            watch = stub.Watch(health_pb2.HealthCheckRequest())
            assert next(watch).status == SERVING
            state["up"] = False
            server.health.check()
            assert statuses() == {NOT_SERVING}
            state["up"] = True
            server.health.check()
            assert statuses() == {SERVING}
            watch.cancel()

    def test_check_that_says_false_fails(self, signer, channel_to):
        with serving([], signer.verifier(), checks={"database": lambda: False}) as server:
            stub = health_pb2_grpc.HealthStub(channel_to(server))
            assert stub.Check(health_pb2.HealthCheckRequest()).status == NOT_SERVING

    def test_is_told_over_http_too(self, signer):
        state = {"up": True}
        (port,) = free_ports(1)
        path = CallPath("test.kontor", signer.verifier())
        server = Server(
            settings(metrics_listen=f"127.0.0.1:{port}"), path, [], checks={"database": lambda: state["up"]}
        )
        server.start()
        try:
            for state["up"], status in ((True, 200), (False, 503)):
                server.health.check()
                assert (asked(port, "/livez"), asked(port, "/healthz")) == (200, status)
            assert asked(port, "/metrics") == 200
        finally:
            server.stop()

    def test_unknown_service(self, signer, channel_to):
        with serving([], signer.verifier()) as server, pytest.raises(grpc.RpcError) as caught:
            health_pb2_grpc.HealthStub(channel_to(server)).Check(health_pb2.HealthCheckRequest(service="x"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


class TestReflection:
    def test_lists_services_and_their_files(self, signer, channel_to):
        with serving([EchoServicer()], signer.verifier()) as server:
            stub = reflection_pb2_grpc.ServerReflectionStub(channel_to(server))
            requests = [
                reflection_pb2.ServerReflectionRequest(list_services=""),
                reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE.full_name),
            ]
            listed, described = stub.ServerReflectionInfo(iter(requests))
        names = {service.name for service in listed.list_services_response.service}
        assert {SERVICE.full_name, "grpc.health.v1.Health"} <= names
        files = [
            descriptor_pb2.FileDescriptorProto.FromString(file).name
            for file in described.file_descriptor_response.file_descriptor_proto
        ]
        assert {"kontor/test/v1/echo.proto", "kontor/api/v1/annotations.proto"} <= set(files)

    def test_call_without_generated_code(self, signer):
        with serving([EchoServicer()], signer.verifier()) as server:
            url = f"http://127.0.0.1:{server.port}/kontor.test.v1.EchoService/GetEcho"
            header = f"authorization: Bearer {signer.token()}"
            command = [
                str(Path(sys.executable).with_name("buf")),
                "curl",
                "--protocol=grpc",
                "--http2-prior-knowledge",
                "-H",
                header,
                "-d",
                '{"text": "x"}',
            ]
            done = subprocess.run([*command, url], capture_output=True, text=True, check=False, timeout=30)
        assert (done.returncode, "".join(done.stdout.split())) == (0, '{"text":"x"}'), done.stderr


class TestDrain:
    def test_running_call_completes_and_watchers_are_let_go(self, signer, channel_to):
        entered, release = threading.Event(), threading.Event()

        def slow(request, call):
            entered.set()
            release.wait(10)
            return request

        closed = []
        path = CallPath("test.kontor", signer.verifier())
        server = Server(
            settings(drain=5.0), path, [EchoServicer(GetEcho=slow)], closers=[lambda: closed.append("pool")]
        )
        server.start()
        server.health.check()
        channel = channel_to(server)
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == SERVING
        future = EchoStub(channel).GetEcho.future(Echo(text="x"), metadata=bearer(signer.token()), timeout=10)
        assert entered.wait(5)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        assert [status.status for status in watch] == [NOT_SERVING]
        assert not closed
        release.set()
        assert future.result(5).text == "x"
        began = time.monotonic()
        stopping.join(5)
        assert time.monotonic() - began < 2
        assert closed == ["pool"]
        with pytest.raises(grpc.RpcError):
            EchoStub(channel).Greet(Echo(), timeout=1)

    def test_call_that_takes_longer_is_cut(self, signer, channel_to):
        release, entered = threading.Event(), threading.Event()

        def slow(request, call):
            entered.set()
            release.wait(10)
            return request

        server = Server(settings(drain=0.1), CallPath("x", signer.verifier()), [EchoServicer(Greet=slow)])
        server.start()
        future = EchoStub(channel_to(server)).Greet.future(Echo(), timeout=10)
        assert entered.wait(5)
        server.stop()
        with pytest.raises(grpc.RpcError):
            future.result(5)
        release.set()


class TestMetrics:
    def test_calls_are_counted_by_method_and_code(self, signer, channel_to):
        def missing(request, call):
            raise NotFound("no")

        path = CallPath("test.kontor", signer.verifier(), metrics=Metrics())
        servicer = EchoServicer(UpdateEcho=missing)
        with serving([servicer], signer.verifier(), path=path, threads=3) as server:
            stub = EchoStub(channel_to(server))
            stub.GetEcho(Echo(), metadata=bearer(signer.token()))
            stub.GetEcho(Echo(), metadata=bearer(signer.token()))
            with pytest.raises(grpc.RpcError):
                stub.UpdateEcho(Echo(), metadata=bearer(signer.token()))
            stream = stub.WatchEchoes(Echo(), metadata=bearer(signer.token()))
            assert len(list(stream)) == 2
            assert wait_for(lambda: value(path, "kontor_rpc_streams") == 0)

            def count(method, code, what="rpc"):
                labels = {"rpc_service": SERVICE.full_name, "method": method, "code": code}
                return value(path, f"kontor_{what}_seconds_count", **labels)

            assert (count("GetEcho", "OK"), count("UpdateEcho", "NOT_FOUND")) == (2, 1)
            assert count("WatchEchoes", "OK", "rpc_stream") == 1
            assert value(path, "kontor_threads") == 3
            assert value(path, "kontor_rpc_waiting") == 0

    def test_stream_that_the_caller_leaves_is_counted(self, signer, channel_to):
        def endless(request, call):
            while call.is_active():
                yield request

        path = CallPath("test.kontor", signer.verifier())
        with serving([EchoServicer(WatchEchoes=endless)], signer.verifier(), path=path) as server:
            stream = EchoStub(channel_to(server)).WatchEchoes(Echo(), metadata=bearer(signer.token()))
            next(stream)
            assert (value(path, "kontor_rpc_streams"), value(path, "kontor_rpc_in_flight")) == (1, 0)
            stream.cancel()
            assert wait_for(lambda: value(path, "kontor_rpc_streams") == 0)

    def test_served_over_http(self):
        server = MetricsServer("127.0.0.1:0", Metrics().registry)
        server.start()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=5) as response:
                text = response.read().decode()
        finally:
            server.stop()
        assert "kontor_build_info{" in text
        assert "process_cpu_seconds_total" in text or "python_info" in text

    def test_two_in_one_process_do_not_meet(self):
        assert Metrics().registry is not Metrics().registry


def asked(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
            return response.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def value(path, name, **labels):
    return path.metrics.registry.get_sample_value(name, labels)


def wait_for(condition):
    until = time.monotonic() + 5
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    return condition()
