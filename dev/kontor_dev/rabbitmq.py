"""The broker's process, for the transport `amqp`: an installed RabbitMQ that keeps its data in the data folder."""

from __future__ import annotations

import signal
from functools import partial

from kontor_dev import homes, probes
from kontor_dev.data import DataFolder
from kontor_dev.errors import Refused
from kontor_dev.platform import Plan
from kontor_dev.supervisor import Spec
from kontor_kit.testing.rabbitmq import Node, RabbitMissing, installed, url_of

STOP_SECONDS = 6.0


def require() -> None:
    """Raises Refused where no RabbitMQ is installed."""
    try:
        installed()
    except RabbitMissing as error:
        raise Refused(f"{error} Or name one that runs: --amqp-url amqp://USER:PASSWORD@HOST:5672/VHOST") from error


def url(data: DataFolder, port: int) -> str:
    """Returns where the broker of a data folder is reached, with its password."""
    return url_of(port, data.secret("rabbitmq"))


def spec(data: DataFolder, plan: Plan, stage: int) -> Spec:
    """Makes the broker's folder where there is none, and says how to run it."""
    home = homes.find(data, "rabbitmq")
    broker = Node(home.folder, plan.broker_port, plan.distribution_port, data.secret("rabbitmq"))
    broker.furnish(*((home.user.uid, home.user.gid) if home.user else ()))
    return Spec(
        name="rabbitmq",
        service="rabbitmq",
        role="broker",
        argv=broker.command(),
        address=f"127.0.0.1:{broker.port}",
        probe=partial(probes.accepts, broker.port),
        stage=stage,
        env=broker.environment(),
        user=home.user,
        orphan_signal=signal.SIGTERM,
        stop_seconds=STOP_SECONDS,
    )
