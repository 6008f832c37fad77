"""The command `kontor`, but services and gateway run from their images."""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from kontor_dev import cli, envoy, up
from kontor_dev.platform import SERVICES
from tools.images import tag


def in_container(name):
    return sys.executable, str(Path(__file__).with_name("container.py")), tag(name)


def gateway(data, plan, port, issuer):
    """Says what `kontor_dev.envoy` says of the gateway, with the image in the place of the program."""
    words = [f"--listen=127.0.0.1:{port}", f"--admin=127.0.0.1:{plan.admin_port}", f"--issuer={issuer}"]
    words += [
        f"--upstream={process.service.name}={process.address}" for process in plan.processes if is_serving(process)
    ]
    words += [f"--identity-http=127.0.0.1:{process.http_port}" for process in plan.serving("identity")]
    limits = enumerate(("tenant", "client", "address"), start=envoy.UNLIMITED)
    words += [f"--limit-{whose}={limit}" for limit, whose in limits]
    argv = (*in_container("gateway"), "run", "--concurrency=1", *words)
    return replace(envoy.spec(data, plan, port, issuer), argv=argv)


def is_serving(process):
    return process.role == "serve"


if __name__ == "__main__":
    services = tuple(replace(service, program=in_container(service.name)) for service in SERVICES)
    up.up = partial(up.up, services=services, gateway=gateway)
    sys.exit(cli.main())
