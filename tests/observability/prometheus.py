"""Runs a Prometheus with the rules of the charts on targets that the test names."""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import yaml

from kontor_kit.testing.programs import Program, free_ports, ordinary_user
from tests.observability.rendering import render
from tools.prometheus import installed

NAMESPACE = "crm"


class Target(NamedTuple):
    chart: str
    role: str
    address: str


class Prometheus:
    """What it says of itself over HTTP."""

    def __init__(self, url: str) -> None:
        self._url = url

    def ask(self, what: str, **parameters: str) -> Any:
        """Return `data` of an answer of the API, see https://prometheus.io/docs/prometheus/latest/querying/api."""
        return httpx.get(f"{self._url}/api/v1/{what}", params=parameters, timeout=10).raise_for_status().json()["data"]

    def targets(self) -> Mapping[str, str]:
        """Return the health of each target, by its address: up, down or unknown."""
        return {target["labels"]["instance"]: target["health"] for target in self.ask("targets")["activeTargets"]}

    def rules(self) -> list[dict[str, Any]]:
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]

    def firing(self, name: str) -> list[dict[str, Any]]:
        """Return the alerts of a name that fire."""
        alerts = self.ask("alerts")["alerts"]
        return [each for each in alerts if each["labels"]["alertname"] == name and each["state"] == "firing"]


def answers(url: str) -> bool:
    """Tell whether a GET is answered with 200."""
    try:
        return httpx.get(url, timeout=1).status_code == 200
    except httpx.HTTPError:
        return False


@contextmanager
def running(targets: Sequence[Target]) -> Iterator[Prometheus]:
    """Run it, asking and judging every two seconds. Raises PrometheusMissing and HelmMissing."""
    program = str(installed())
    folder = Path(tempfile.mkdtemp(prefix="kontor-test-prometheus-"))
    (port,) = free_ports(1)
    try:
        charts = sorted({target.chart for target in targets})
        for chart in charts:
            rules, _ = render(chart, folder / "charts", NAMESPACE)
            (folder / f"{chart}.rules.yml").write_text(yaml.safe_dump(rules))
        (folder / "prometheus.yml").write_text(json.dumps(_configuration(charts, targets)))
        (folder / "data").mkdir()
        user = ordinary_user()
        for path in (folder, folder / "data"):
            path.chmod(0o755)
            if user is not None:
                shutil.chown(path, user, user)
        options = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
        options.append(f"--web.listen-address=127.0.0.1:{port}")
        started = Program([program, *options], folder, end_signal=signal.SIGTERM, user=user)
        try:
            url = f"http://127.0.0.1:{port}"
            until = time.monotonic() + 30
            while not answers(f"{url}/-/ready"):
                assert started.is_alive(), (folder / "log").read_text()
                assert time.monotonic() < until, (folder / "log").read_text()
                time.sleep(0.05)
            yield Prometheus(url)
        finally:
            started.end()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _configuration(charts: Sequence[str], targets: Sequence[Target]) -> dict[str, Any]:
    return {
        "global": {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "2s"},
        "rule_files": [f"{chart}.rules.yml" for chart in charts],
        "scrape_configs": [
            {
                "job_name": chart,
                "metrics_path": "/stats/prometheus" if chart == "gateway" else "/metrics",
                "static_configs": [
                    {"targets": [target.address], "labels": {"namespace": NAMESPACE, "role": target.role}}
                    for target in targets
                    if target.chart == chart
                ],
            }
            for chart in charts
        ],
    }
