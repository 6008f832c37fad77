"""The command that the image starts becomes Envoy, and drains when it is told to."""

import signal
import subprocess
import sys
import time

import httpx
import pytest

from kontor_kit.testing.programs import free_ports

COMMAND = (sys.executable, "-m", "kontor_gateway")


@pytest.fixture
def running(tmp_path):
    """The gateway, its address, that of its administration, and that of its metrics."""
    listen, admin, metrics, upstream, identity = (f"127.0.0.1:{port}" for port in free_ports(5))
    options = [
        "--listen",
        listen,
        "--metrics",
        metrics,
        "--admin",
        admin,
        "--upstream",
        f"contacts={upstream}",
        "--identity-http",
        identity,
    ]
    options += ["--folder", str(tmp_path / "some" / "folder"), "--access-log", "", "--concurrency", "1"]
    process = subprocess.Popen([*COMMAND, "run", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 30
        while health(listen) != 200:
            assert process.poll() is None, "it has ended"
            assert time.monotonic() < until, "it does not serve"
            time.sleep(0.05)
        yield process, listen, admin, metrics
    finally:
        process.kill()
        process.wait()


def health(address):
    try:
        return httpx.get(f"http://{address}/healthz", timeout=5).status_code
    except httpx.TransportError:
        return None


def test_it_serves_until_it_is_asked_to_end(running):
    process, listen, *_ = running
    assert httpx.get(f"http://{listen}/openapi.json", timeout=5).json()["openapi"] == "3.1.0"
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0


def test_callers_are_sent_away_when_it_is_told_to_drain(running):
    _, listen, admin, _ = running
    with httpx.Client(base_url=f"http://{listen}", timeout=5) as caller:
        assert "connection" not in caller.get("/openapi.json").headers
        subprocess.run([*COMMAND, "drain", "--admin", admin, "--seconds", "0"], check=True)
        assert health(listen) == 503
        assert caller.get("/openapi.json").headers["connection"] == "close"


def test_who_asks_for_metrics_cannot_administer(running):
    _, _, admin, metrics = running
    with httpx.Client(base_url=f"http://{metrics}", timeout=5) as prometheus:
        assert "envoy_http_downstream_rq_total" in prometheus.get("/stats/prometheus").text
        assert prometheus.get("/ready").status_code == 200
        assert prometheus.post("/ready").status_code == 404
        for path in ("/config_dump", "/quitquitquit", "/stats/prometheus/../../config_dump"):
            assert prometheus.get(path).status_code == 404
            assert prometheus.post(path).status_code == 404
    assert httpx.get(f"http://{admin}/ready", timeout=5).status_code == 200


def test_draining_what_does_not_run_fails():
    (port,) = free_ports(1)
    done = subprocess.run(
        [*COMMAND, "drain", "--admin", f"127.0.0.1:{port}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Connection refused" in done.stderr
