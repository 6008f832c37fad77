"""Runs `kontor dev up` with the fake service and a gateway that only answers that it is ready."""

import sys
from functools import partial
from pathlib import Path

from kontor_dev import probes
from kontor_dev.data import DataFolder
from kontor_dev.errors import Refused
from kontor_dev.platform import Plan, Service
from kontor_dev.supervisor import Spec
from kontor_dev.up import Options, up


def gateway(data: DataFolder, plan: Plan, port: int, issuer: str) -> Spec:
    return Spec(
        name="envoy",
        service="envoy",
        role="gateway",
        argv=(sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(data.logs), str(port)),
        address=f"127.0.0.1:{port}",
        probe=partial(probes.http_ready, issuer),
        stage=3,
        stop_seconds=2,
    )


if __name__ == "__main__":
    folder, replicas, *broker = sys.argv[1:]
    options = Options(Path(folder), 0, int(replicas), demo=False)
    if broker:
        options = options._replace(transport="amqp", amqp_url=broker[0])
    try:
        sys.exit(up(options, (Service("alpha", follows=True),), gateway))
    except Refused as error:
        sys.exit(str(error))
