"""One trial: a platform with a load on it, faults, and the question whether anything was lost, repeated or invented."""

from __future__ import annotations

import os
import random
import re
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from kontor_dev import tools
from kontor_dev.errors import StartFailed
from kontor_dev.platform import environment, named
from kontor_kit.ids import uuid7
from tests.e2e.instance import Instance
from tests.e2e.rest import new_tenant
from tests.faults import verdicts
from tests.faults.killer import END, Fault, Killer, Watch
from tests.faults.kontor_ledger import SLOW
from tests.faults.load import KINDS, Load
from tests.faults.stored import PRODUCERS, Stored
from tests.faults.subscribers import GrpcSubscriber, RestSubscriber, Subscriber

HERE = Path(__file__).parent
COME_BACK_SECONDS = 90.0
"""So long it takes at most after the last fault until everything serves."""
DRAIN_SECONDS = 180.0
LAG_SECONDS = 30.0
POLL_SECONDS = 0.3
REPEATED = 50
SLOW_ONES = 3
RELAY_LAG = "kontor_relay_lag_seconds"
LAGS = (
    "kontor_change_log_lag_seconds",
    RELAY_LAG,
    "kontor_inbox_oldest_seconds",
    "kontor_inbox_dead",
)


@dataclass(frozen=True)
class Plan:
    """What a trial does."""

    transport: str
    faults: int
    seed: int
    pauses: tuple[float, float] = (0.5, 4.0)
    """Seconds between faults, at least and at most."""
    pace: float = 0.05
    """Seconds that each writer waits between writes, on average."""
    seconds: float = 600.0
    """So long the faults go on at most."""
    away: float = 60.0
    """Seconds that the broker is away, where there is one."""
    keep: bool = False
    """Whether the folder stays, with its logs."""


@dataclass
class Result:
    """What came of it."""

    plan: Plan
    faults: list[Fault] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


class Trial:
    """A trial on a folder that is empty."""

    def __init__(self, folder: Path, plan: Plan, say: Callable[[str], None]) -> None:
        self._plan, self._say = plan, say
        self._instance = Instance(
            folder / "data", "--no-demo", "--transport", plan.transport, command=(str(HERE / "up.py"),)
        )
        self.result = Result(plan)

    def run(self) -> Result:
        """Do all of it."""
        with ExitStack() as stack:
            stack.callback(self._instance.clear_away)
            self._start(stack)
            self._begin(stack)
            self._say("the platform runs, the load begins")
            began = time.monotonic()
            self._load.start()
            self._torment(began)
            self._load.stop(COME_BACK_SECONDS)
            self._come_back()
            self._say("everything serves")
            self._end_at_work()
            self._drain()
            self._say("everything has arrived")
            self.result.figures["seconds"] = time.monotonic() - began
            self._judge()
            for subscriber in self._subscribers:
                subscriber.stop()
            # Nobody but the killer ends a process of ours: not even a database that is away does. PostgreSQL itself gives
            # up where sessions of the one that was killed have not ended yet, and is started once more.
            found = re.findall(r"^(?!postgres ).* ended with code [^0].*$", self._instance.said, re.MULTILINE)
            self.result.problems += found
            if code := self._instance.end():
                self.result.problems.append(f"the platform ended with code {code}")
        return self.result

    def _start(self, stack: ExitStack) -> None:
        path = os.pathsep.join([str(HERE), *(entry for entry in sys.path if entry)])
        self.platform = self._instance.start(env=dict(os.environ) | {"PYTHONPATH": path})
        self._watch = Watch(self.platform.folder)
        self.result.faults = self._watch.faults
        self._watch.look()
        self._watch.start()
        stack.callback(self._watch.stop)
        self.stored = Stored(self.platform)
        wait_for(lambda: self.stored.followed() == set(PRODUCERS), DRAIN_SECONDS, "the ledger follows")

    def _begin(self, stack: ExitStack) -> None:
        tenants = ["demo", new_tenant(self.platform)]
        for tenant in tenants:
            self.platform.token(tenant=tenant)  # Makes the user whom it is for.
        wait_for(lambda: not any(self.stored.backlog().values()), DRAIN_SECONDS, "the logs are complete")
        self.stored = Stored(self.platform)
        self._ids = {tenant: self.stored.tenant(tenant) for tenant in tenants}
        self._load = Load(self.platform, tenants, pause=self._plan.pace, seed=self._plan.seed)
        stack.callback(self._load.close)
        # Each service is followed in both ways.
        kinds = (GrpcSubscriber, RestSubscriber)
        self._subscribers: list[Subscriber] = [
            kinds[(row + column) % 2](self.platform, service, tenant)
            for row, service in enumerate(PRODUCERS)
            for column, tenant in enumerate(tenants)
        ]
        for subscriber in self._subscribers:
            subscriber.start()

    def _torment(self, began: float) -> None:
        killer = Killer(self._watch, self._plan.seed, self._tell)
        for number in range(self._plan.faults):
            if time.monotonic() - began > self._plan.seconds:
                self.result.figures["faults left out, as the time was over"] = self._plan.faults - number
                break
            killer.strike(self._plan.pauses)
        time.sleep(self._plan.pauses[1])
        if "rabbitmq" in self._watch.rows:
            self._keep_broker_away(killer)

    def _keep_broker_away(self, killer: Killer) -> None:
        """Let the broker be away while the writes go on, and end a receiver when it gets what has piled up."""
        wait_for(self._watch.is_well, COME_BACK_SECONDS, "everything serves")
        before = len(self._load.journal.acknowledged)
        self._say(f"rabbitmq is kept away for {self._plan.away:.0f} s")
        away = killer.keep_away("rabbitmq", self._plan.away)
        self.result.figures["writes while rabbitmq was away"] = len(self._load.journal.acknowledged) - before
        lags = [line for name in self._watch.rows for line in self._measures(name) if line.startswith(RELAY_LAG)]
        self.result.figures["relay's lag at the end of that, s"] = max(
            float(line.split()[-1]) for line in lags or ["0"]
        )
        wait_for(lambda: away.seconds is not None, COME_BACK_SECONDS, "rabbitmq serves")
        killer.hit("ledger-receive-1", END, self._watch.rows["ledger-receive-1"]["pid"])

    def _tell(self, fault: Fault) -> None:
        self._say(f"{fault.how} {fault.victim:<18} {len(self._load.journal.acknowledged):>6} writes acknowledged")

    def _come_back(self) -> None:
        began = time.monotonic()
        wait_for(self._watch.is_well, COME_BACK_SECONDS, "everything serves")
        self.result.figures["seconds until all served again"] = time.monotonic() - began

    def _end_at_work(self) -> None:
        """End the ledger's worker while it works: what it has begun it finishes, and does not begin again."""
        log = self.platform.data / "logs" / "ledger-work-1.log"

        def begun() -> int:
            return log.read_text(errors="replace").count("slow work begins")

        self._drain()
        (before, said) = (begun(), len(self._instance.said))
        for number in range(SLOW_ONES):
            self._load.writers[0].write(KINDS[0], f"{SLOW} {number} {uuid7()}")
        wait_for(lambda: begun() > before, DRAIN_SECONDS, "slow work begins")
        os.kill(self._watch.rows["ledger-work-1"]["pid"], signal.SIGTERM)
        wait_for(lambda: "ledger-work-1 ended" in self._instance.said[said:], DRAIN_SECONDS, "the ledger's worker ends")
        self._drain()
        if "ledger-work-1 ended with code 0" not in self._instance.said[said:]:
            self.result.problems.append(f"SIGTERM at work: {self._instance.said[said:]}")
        if begun() != before + SLOW_ONES:
            self.result.problems.append(f"work on {SLOW_ONES} events was begun {begun() - before} times")

    def _drain(self) -> None:
        """Wait until everything has arrived."""
        began = time.monotonic()
        while (missing := self._missing()) and time.monotonic() - began < DRAIN_SECONDS:
            time.sleep(POLL_SECONDS)
        if missing:
            self.result.problems.append(f"after {DRAIN_SECONDS:.0f} s there were missing: {', '.join(missing)}")
        self.result.figures.setdefault("seconds until all had arrived", time.monotonic() - began)

    def _missing(self) -> list[str]:
        """Return what has not arrived, by the numbers only: whether they are the right ones is judged later."""
        stored = self.stored
        due = {
            one.name: stored.count(one.service, self._ids[one.tenant]) - len(one.events) for one in self._subscribers
        }
        due |= stored.backlog()
        due["effects"] = sum(map(stored.count, PRODUCERS)) - stored.effect_count()
        return [f"{count} of {name}" for name, count in due.items() if count > 0]

    def _judge(self) -> None:
        stored, journal = self.stored, self._load.journal
        logs = {service: stored.log(service) for service in PRODUCERS}
        new = {name: [entry for entry in log if entry.position > stored.marks[name]] for name, log in logs.items()}
        ours = [entry for log in new.values() for entry in log]
        found = [*journal.surprises, *verdicts.of_writes(journal.writes, ours), *stored.dead()]
        for name, log in new.items():
            found += verdicts.of_log(log, stored.marks[name] + 1)
        for kind in KINDS:
            entries = [entry for entry in logs[kind.service] if entry.name.startswith(f"{kind.collection}/")]
            found += verdicts.of_records(stored.versions(kind.service, kind.collection), entries)
        found += verdicts.of_effects(stored.effects(), ours)
        for one in self._subscribers:
            wanted = [entry for entry in logs[one.service] if entry.tenant == self._ids[one.tenant]]
            found += [*one.surprises, *verdicts.of_stream(one.name, one.events, wanted)]
        found += [*self._repeat(), *self._verify(), *self._lags()]
        self.result.problems += found
        self.result.figures |= {
            "writes acknowledged": len(journal.acknowledged),
            "writes sent again until acknowledged": sum(write.sent > 1 for write in journal.acknowledged),
            "writes left in doubt": sum(write.is_left for write in journal.writes),
            "of these done": sum(write.is_left for write in journal.writes) - len(journal.writes) + len(ours),
            "changes in the logs": len(ours),
            "effects in the ledger": stored.effect_count(),
            "changes told to subscribers": sum(len(one.events) for one in self._subscribers),
            "connections of subscribers": sum(one.connections for one in self._subscribers),
        }

    def _repeat(self) -> list[str]:
        """Send some writes again, whose answers must be what they were."""
        acknowledged = self._load.journal.acknowledged
        chosen = random.Random(self._plan.seed).sample(acknowledged, min(REPEATED, len(acknowledged)))
        answers = [(write, write.writer.repeat(write)) for write in chosen]
        return [f"{write} was answered by {answer} later" for write, answer in answers if answer != write.answer]

    def _verify(self) -> list[str]:
        """Let the services verify their logs."""
        state, problems = self.platform.folder.state(), []
        for name in PRODUCERS:
            env = environment(
                self.platform.folder, named(name), database_port=state["database_port"], settings=state["trust"]
            )
            try:
                tools.run(self.platform.folder, named(name), "verify-changes", env=env)
            except StartFailed as error:
                problems.append(str(error))
        return problems

    def _lags(self) -> list[str]:
        """Wait until the metrics say that nothing waits; return those that do not."""

        def lagging() -> list[str]:
            return [f"{name}: {line}" for name in self._watch.rows for line in self._measures(name)]

        until = time.monotonic() + LAG_SECONDS
        while (found := lagging()) and time.monotonic() < until:
            time.sleep(POLL_SECONDS)
        return found

    def _measures(self, name: str) -> list[str]:
        """Return the measures of waiting of a process that are not nought."""
        row = self._watch.rows[name]
        if row["role"] in ("database", "gateway", "broker"):
            return []
        address = psutil.Process(row["pid"]).environ()["KONTOR_METRICS_LISTEN"]
        lines = httpx.get(f"http://{address}/metrics").text.splitlines()
        return [line for line in lines if line.startswith(LAGS) and float(line.rpartition(" ")[2]) != 0]


def wait_for(question: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until the answer is yes."""
    until = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < until, f"waited {seconds:.0f} s in vain until {what}"
        time.sleep(POLL_SECONDS)
