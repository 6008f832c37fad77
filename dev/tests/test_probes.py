"""Probes answer in words, whatever the other side does."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from kontor_dev import probes
from kontor_dev.ports import free_ports
from kontor_dev.supervisor import NOT_SERVING, SERVING


@pytest.fixture
def http():
    """Returns what serves a status and a body, and tells the port."""
    servers = []

    def serve(status, body=b""):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                """Keeps quiet."""

        servers.append(HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, args=[0.01], daemon=True).start()
        return servers[-1].server_port

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


class TestReadiness:
    @pytest.mark.parametrize(("status", "word"), [(200, SERVING), (503, NOT_SERVING)])
    def test_http_answers_by_its_status(self, http, status, word):
        assert probes.http_ready(f"http://127.0.0.1:{http(status)}/ready") == word

    def test_who_does_not_listen_does_not_serve(self):
        (port,) = free_ports(1)
        assert probes.http_ready(f"http://127.0.0.1:{port}/ready") == NOT_SERVING
        assert probes.grpc_health(port) == NOT_SERVING
        assert probes.accepts(port) == NOT_SERVING

    def test_who_speaks_something_else_does_not_serve(self, http):
        assert probes.grpc_health(http(200)) == NOT_SERVING


class TestRotation:
    @pytest.mark.parametrize(
        ("health", "used"),
        [
            ({"eds_health_status": "HEALTHY"}, True),
            ({"failed_outlier_check": True}, False),
            ({"failed_active_health_check": True}, False),
        ],
    )
    def test_a_host_that_envoy_leaves_out_is_not_in_use(self, http, health, used):
        host = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 7}}, "health_status": health}
        other = {"address": {"pipe": {"path": "x"}}, "health_status": {"failed_outlier_check": True}}
        admin = http(200, json.dumps({"cluster_statuses": [{"host_statuses": [host, other]}, {}]}).encode())
        assert probes.is_in_rotation(admin, 7) is used

    def test_nobody_waits_for_an_envoy_that_is_not_there(self):
        assert probes.is_in_rotation(*free_ports(2))
