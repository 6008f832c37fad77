"""Measures how many requests per second Kontor serves, against a bare server that does the same SQL.

Starts a platform of its own on free ports, fills it with contacts, and sends get, create, update of one field, list of
50 by name, filter by a custom field and search by a fragment: to the service directly over gRPC, through Envoy over
gRPC, through Envoy over REST, each from 1, 8 and 32 callers that send their next request when they have their answer.
In between, under the same load, the yardstick: a bare gRPC server on psycopg that sends the same statements in one
transaction as the same role under the same row security, without tokens, validation or kit; once with a round trip for
each statement (`bare`), once with pipelines (`bare, piped`).

Then `services`: answers that a service makes of many rows (the board of a pipeline and the roll-up of a forecast over
100,000 opportunities of 500 users), from 8 callers, against the bare SQL of the same answers.

Then `events`, for each transport: how long it takes from the commit of a change in contacts until sales has handled
it, at 200 and 500 a second, and how many a second there can be.

Columns of the table:
  req/s            answers a second
  p50 p95 p99      milliseconds until the answer, as the caller has it
  errors           requests that were not answered with success
  cpu ms           processor time of a request: in the service (or the yardstick), in Envoy, in PostgreSQL, and in the
                   load generator, which shares the machine
  MB               memory (proportional set size) of service, Envoy, PostgreSQL
  ratio            of req/s to those of `bare` with the same operation and callers
  cpu ratio        of the service's processor time to that of `bare`: what does not depend on who else uses the machine

Examples:
  make bench
  make bench ARGS="--quick"
  make bench ARGS="--only get,list --callers 8 --json bench.json"
  make bench ARGS="--only events --transports amqp"
  make bench ARGS="--data /tmp/filled"      keeps the platform's data for the next time
"""

from __future__ import annotations

import argparse
import json
import os
import platform as machine
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filling
import grpc
import psutil
import report
import verifying
from events import Events
from instance import Generator, Instance, generator, helper, instance
from operations import OPERATIONS, PAGE_SIZE
from report import EventRow, Row, ServiceRow

from kontor.contacts.v1 import contact_service_pb2 as pb
from kontor_kit.testing import rabbitmq
from services import Services

CALLERS = (1, 8, 32)
NAMES = 20_000
PAGES = 20
THREADS = 16
TRANSPORTS = ("stream", "amqp")
EVENTS = "events"
SERVICES = "services"
PATHS = ("bare", "bare, piped", "gRPC", "gRPC, Envoy", "REST, Envoy")


@dataclass(frozen=True)
class Target:
    """Where requests go to."""

    path: str
    kind: str
    """`grpc` or `rest`."""
    address: str
    processes: dict[str, psutil.Process]
    """What works on them, by part: service, envoy, postgres."""
    page_tokens: list[str]


class Bench:
    """Measures one row after the other."""

    def __init__(self, generator: Generator, options: argparse.Namespace, token: str, names: list[str]) -> None:
        self._generator = generator
        self._options = options
        self._token = token
        self._names = names

    def measure(self, target: Target, operation: str, callers: int) -> Row:
        """Measure one operation on one path."""
        job = {
            "kind": target.kind,
            "address": target.address,
            "token": self._token,
            "operation": operation,
            "concurrency": callers,
            "warm_up": self._options.seconds / 4,
            "seconds": self._options.seconds,
            "sample": {"names": self._names, "page_tokens": target.page_tokens},
        }
        self._generator.send(job)
        self._generator.receive("begins")
        before = {part: cpu_seconds(process) for part, process in target.processes.items()}
        self._generator.receive("ends")
        after = {part: cpu_seconds(process) for part, process in target.processes.items()}
        worked = {
            part: sum(seconds - before[part].get(pid, 0.0) for pid, seconds in pids.items())
            for part, pids in after.items()
        }
        result = self._generator.receive("result")
        worked["generator"] = result["worked"]
        memory = {part: memory_bytes(process) for part, process in target.processes.items()}
        title = OPERATIONS[operation].title if operation in OPERATIONS else operation
        return Row.of(title, target.path, callers, result, worked, memory)


def cpu_seconds(process: psutil.Process) -> dict[int, float]:
    """Return the processor time of a process and each of its children, which come and go, by process id; seconds."""
    found = {}
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            found[one.pid] = times.user + times.system
    return found


def memory_bytes(process: psutil.Process) -> int:
    """Return the memory of a process and its children; what several share is counted once, where the system tells."""
    total = 0
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            used = one.memory_full_info()
            total += getattr(used, "pss", used.rss)
    return total


def page_tokens(address: str, token: str) -> list[str]:
    """Walk the list by name, and return where its first pages begin."""
    tokens = [""]
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(
            "/kontor.contacts.v1.ContactService/ListContacts",
            pb.ListContactsRequest.SerializeToString,
            pb.ListContactsResponse.FromString,
        )
        while len(tokens) < PAGES:
            request = pb.ListContactsRequest(page_size=PAGE_SIZE, order_by="display_name", page_token=tokens[-1])
            response = call(request, metadata=(("authorization", f"Bearer {token}"),))
            if not response.next_page_token:
                break
            tokens.append(response.next_page_token)
    return tokens


def targets(running: Instance, stack: ExitStack) -> list[Target]:
    """Start the yardsticks, and return all targets in the order in which they are measured."""
    found = []
    postgres = running.process("postgres")
    service = running.process("contacts-serve-1")
    gateway = running.process("envoy")
    for path, flags in (("bare", ()), ("bare, piped", ("--pipeline",))):
        arguments = ("--tenant", str(running.tenant), "--threads", str(THREADS), *flags)
        process, address = stack.enter_context(helper("yardstick.py", *arguments, line=running.database_url("app")))
        parts = {"service": process, "postgres": postgres}
        found.append(Target(path, "grpc", address, parts, page_tokens(address, "")))
    parts = {"service": service, "postgres": postgres}
    tokens = page_tokens(running.contacts, running.token)
    found.append(Target("gRPC", "grpc", running.contacts, parts, tokens))
    parts = {"service": service, "envoy": gateway, "postgres": postgres}
    found.append(Target("gRPC, Envoy", "grpc", running.gateway, parts, tokens))
    found.append(Target("REST, Envoy", "rest", running.gateway, parts, tokens))
    return found


def limits(bench: Bench, yardstick: Target) -> Iterator[Row]:
    """Measure the generator on servers that answer at once."""
    echo = Target("echo, gRPC", "grpc", yardstick.address, {"service": yardstick.processes["service"]}, [""])
    yield bench.measure(echo, "echo", 8)
    with helper("echo.py") as (process, address):
        yield bench.measure(Target("echo, REST", "rest", address, {"service": process}, [""]), "echo", 8)


def measure_events(transports: Sequence[str]) -> Iterator[EventRow]:
    """Measure the way of events over each transport, on a platform of its own."""
    print(f"\n{report.event_head()}", flush=True)
    for transport in transports:
        if transport == "amqp":
            try:
                rabbitmq.installed()
            except rabbitmq.RabbitMissing as error:
                print(f"!!! NOT MEASURED OVER amqp: {error}", flush=True)
                continue
        with instance(None, transport) as running:
            for row in Events(running, transport).rows():
                print(report.event_line(row), flush=True)
                yield row


def measure_services(rows: int, seconds: float) -> Iterator[ServiceRow]:
    """Measure answers of many rows, on a platform of their own."""
    print(f"\n{report.service_head()}", flush=True)
    with instance(None) as running:
        for row in Services(running, rows, seconds).rows():
            print(report.service_line(row), flush=True)
            yield row


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run the bench, print the tables as they come, and return everything that was found."""
    found = {
        "machine": {
            "cores": os.cpu_count(),
            "python": machine.python_version(),
            "system": machine.platform(),
            "load": os.getloadavg(),
        },
    }
    if options.only:
        found |= run_requests(options)
    if options.services:
        found["services"] = [row.document() for row in measure_services(options.contacts, options.seconds)]
    if options.transports:
        found["events"] = [row.document() for row in measure_events(options.transports)]
    return found


def run_requests(options: argparse.Namespace) -> dict[str, Any]:
    """Measure requests."""
    # What the yardstick has the service gets too.
    os.environ["KONTOR_THREADS"] = os.environ["KONTOR_DATABASE_POOL_SIZE"] = str(THREADS)
    rows: list[Row] = []
    with ExitStack() as stack:
        running = stack.enter_context(instance(options.data))
        print(f"filling in {options.contacts:,} contacts ...", flush=True)
        begun = time.monotonic()
        names = filling.fill(running, options.contacts)
        print(f"{len(names):,} contacts after {time.monotonic() - begun:.0f} s", flush=True)
        names = random.Random(0).sample(names, min(NAMES, len(names)))
        bench = Bench(stack.enter_context(generator()), options, running.token, names)
        all_targets = targets(running, stack)
        verifying.verify(running, names, [target.address for target in all_targets if target.path.startswith("bare")])
        print("service and yardstick read and write the same, on a sample", flush=True)
        print(report.head(), flush=True)
        generator_rows = list(limits(bench, all_targets[0]))
        for row in generator_rows:
            print(report.line(row, None), flush=True)
        for operation in options.only:
            print(flush=True)
            for callers in options.callers:
                bare = None
                for target in (one for one in all_targets if one.path in options.paths):
                    row = bench.measure(target, operation, callers)
                    bare = row if target.path == "bare" else bare
                    rows.append(row)
                    print(report.line(row, bare), flush=True)
    print(report.ratios(rows))
    return {
        "contacts": options.contacts,
        "seconds": options.seconds,
        "threads": THREADS,
        "generator": [row.document() for row in generator_rows],
        "rows": [row.document() for row in rows],
        "ratios": report.ratio_documents(rows),
    }


def arguments() -> argparse.Namespace:
    """Read the command line."""
    head, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        prog="bench.py", description=f"{head}\n{rest}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=2.5, help="measured for each row (default: 2.5)")
    parser.add_argument(
        "--contacts",
        type=int,
        default=100_000,
        help="in the tenant, and opportunities for `services` (default: 100000)",
    )
    known = (*OPERATIONS, SERVICES, EVENTS)
    parser.add_argument("--only", default=",".join(known), help=f"operations (default: {','.join(known)})")
    parser.add_argument("--transports", default=",".join(TRANSPORTS), help="of events (default: stream,amqp)")
    parser.add_argument("--callers", default="1,8,32", help="how many at a time (default: 1,8,32)")
    parser.add_argument("--paths", default="all", help="`direct` leaves Envoy out (default: all)")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes: few contacts, short rows")
    parser.add_argument("--data", type=Path, metavar="DIR", help="a data folder to keep; thrown away by default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write everything that was found")
    options = parser.parse_args()
    if options.quick:
        options.contacts, options.seconds = min(options.contacts, 2_000), min(options.seconds, 0.4)
    wanted = options.only.split(",")
    unknown = set(wanted) - set(known)
    if unknown:
        parser.error(f"there is no operation {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    options.only = [name for name in wanted if name in OPERATIONS]
    options.services = SERVICES in wanted
    options.transports = [name for name in options.transports.split(",") if name and EVENTS in wanted]
    if set(options.transports) - set(TRANSPORTS):
        parser.error(f"the transports are {', '.join(TRANSPORTS)}")
    options.callers = [int(number) for number in options.callers.split(",")]
    options.paths = PATHS[:3] if options.paths == "direct" else PATHS
    return options


def main() -> None:
    """Run the bench as the command line says."""
    options = arguments()
    found = run(options)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
