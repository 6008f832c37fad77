"""The inbox: each event has its effect once, in order for each record, whatever fails in between."""

import dataclasses
import datetime as dt
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import psycopg
import pytest
from prometheus_client import CollectorRegistry
from psycopg import sql

from kit.tests import consumer
from kit.tests.consumer import KIND, metadata, plain_handlers, take_effect
from kontor_kit import main
from kontor_kit.changes.waking import Waker
from kontor_kit.config import ConfigurationError
from kontor_kit.db import Database
from kontor_kit.errors import Unavailable
from kontor_kit.ids import uuid7
from kontor_kit.inbox import running
from kontor_kit.inbox.events import Event, Handlers
from kontor_kit.inbox.handling import ATTEMPTS, Worker
from kontor_kit.inbox.receiving import Inbox
from kontor_kit.metrics import Metrics
from kontor_kit.service import Runtime
from kontor_kit.testing import TENANT
from kontor_kit.testing.plans import Plan

NAME = "kit.tests.consumer.plain_handlers.<locals>.effect"


class Consumer:
    """A service with an inbox, and its database."""

    def __init__(self, database):
        self.database = database
        self.system = Database(database.url("system"), name="test-system")
        self.app = Database(database.url("app"), name="test-app")
        for opened in (self.system, self.app):
            opened.open()

    def close(self):
        self.system.close()
        self.app.close()

    def receive(self, *events, handlers=None, **position):
        Inbox(metadata, self.system, handlers or plain_handlers()).receive(events, **position)

    def worker(self, handlers=None, **more):
        return Worker(
            metadata,
            handlers or plain_handlers(),
            system=self.system,
            database=self.app,
            **{"first_pause": 0.0, **more},
        )

    def run(self, statement, *parameters):
        with self.database.connect() as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else None

    def effects(self):
        return self.run("SELECT resource_name, version FROM effects ORDER BY sequence")

    def states(self):
        return dict(self.run("SELECT state, count(*) FROM inbox GROUP BY state"))


@pytest.fixture(scope="module")
def consumer_database(databases):
    return databases.new(consumer.service())


@pytest.fixture
def inbox(consumer_database):
    made = Consumer(consumer_database)
    made.run("TRUNCATE inbox, inbox_sources, effects")
    yield made
    made.close()


def event(resource="things/a", version=1, kind="updated", tenant=TENANT, data=b"data"):
    return Event(uuid7(), tenant, f"{KIND}.{kind}", resource, version, dt.datetime.now(dt.UTC), data)


def drain(worker, rounds=200):
    for _ in range(rounds):
        if not worker.work_once():
            return
    raise AssertionError("there was always something to do")


def handling_with(handle):
    handlers = Handlers()
    handlers.on(f"{KIND}.*")(handle)
    return handlers


class TestDeclaration:
    def test_kinds_stand_for_all_of_their_types(self):
        handlers = plain_handlers([f"{KIND}.*", "kontor.other.v1.part.lost"])
        assert handlers.services() == ["elsewhere", "other"]
        assert handlers.types_of("other") == ["kontor.other.v1.part.lost"]
        assert handlers.wanting(f"{KIND}.anything")
        assert not handlers.wanting("kontor.other.v1.part.found")
        assert not handlers.wanting("kontor.elsewhere.v1.thing_part.updated")

    def test_the_same_handler_twice_is_refused(self):
        handlers = Handlers()
        declare = handlers.on(f"{KIND}.*")
        declare(take_effect)
        with pytest.raises(ValueError, match="declared twice"):
            declare(take_effect)


class TestReceiving:
    def test_repeats_fall_away_and_what_nobody_wants_is_not_kept(self, inbox):
        first = event()
        other = Event(uuid7(), TENANT, "kontor.other.v1.part.lost", "parts/a", 1, first.time, b"")
        inbox.receive(first, other, source="elsewhere", position="p1")
        inbox.receive(first, source="elsewhere", position="p2")
        drain(inbox.worker())
        inbox.receive(first)
        drain(inbox.worker())
        assert inbox.effects() == [("things/a", 1)]
        assert Inbox(metadata, inbox.system, plain_handlers()).sources.state("elsewhere").position == "p2"

    def test_events_and_position_are_kept_together_or_not_at_all(self, inbox):
        bad = Event(uuid7(), TENANT, f"{KIND}.updated", "things/\0", 1, dt.datetime.now(dt.UTC), b"")
        with pytest.raises(psycopg.Error):
            inbox.receive(event(), bad, source="elsewhere", position="p1")
        assert inbox.states() == {}
        assert Inbox(metadata, inbox.system, plain_handlers()).sources.state("elsewhere").position == ""


class TestHandling:
    def test_a_handler_gets_the_event_as_it_came(self, inbox):
        seen = []
        sent = event(data=b"\0\xff", version=7)
        handlers = handling_with(lambda got, work: seen.append((got, work.service, work.tx.tenant_id)))
        inbox.receive(sent, handlers=handlers)
        drain(inbox.worker(handlers, service="the service"))
        assert seen == [(sent, "the service", TENANT)]

    def test_what_was_redacted_is_for_handlers_that_take_it_only(self, inbox):
        handlers, seen = Handlers(), []

        @handlers.on(f"{KIND}.*")
        def follow(got, work):
            seen.append("follow")

        @handlers.on(f"{KIND}.*", redacted=True)
        def forget(got, work):
            seen.append("forget")

        inbox.receive(event(data=b""), handlers=handlers)
        drain(inbox.worker(handlers))
        assert seen == ["forget"]
        assert inbox.states() == {1: 2}

    def test_effect_and_mark_are_one_transaction(self, inbox):
        tries = []

        def fail_after_the_effect(got, work):
            take_effect(got, work.tx)
            tries.append(got.id)
            if len(tries) < 3:
                raise ValueError("after the effect")

        handlers = handling_with(fail_after_the_effect)
        inbox.receive(event(), handlers=handlers)
        drain(inbox.worker(handlers))
        assert (len(tries), inbox.effects(), inbox.states()) == (3, [("things/a", 1)], {1: 1})

    def test_a_handler_works_inside_of_the_tenant_only(self, inbox):
        def reach_out(got, work):
            take_effect(Event(got.id, uuid7(), got.type, got.resource_name, 1, got.time, b""), work.tx)

        handlers = handling_with(reach_out)
        inbox.receive(event(), handlers=handlers)
        inbox.worker(handlers).work_once()
        ((error,),) = inbox.run("SELECT error FROM inbox")
        assert "row-level security" in error

    def test_the_lowest_version_of_a_record_comes_first_and_others_do_not_wait(self, inbox):
        inbox.receive(event("things/a", 3), event("things/a", 1), event("things/b", 9), event("things/a", 2))
        drain(inbox.worker())
        found = inbox.effects()
        assert [version for name, version in found if name == "things/a"] == [1, 2, 3]
        assert ("things/b", 9) in found[:2]

    def test_again_calls_the_handler_once_more_in_a_transaction_of_its_own(self, inbox):
        def thrice(got, work):
            take_effect(got, work.tx)
            return len(inbox.effects()) < 2  # what is committed

        handlers = handling_with(thrice)
        inbox.receive(event(), handlers=handlers)
        drain(inbox.worker(handlers))
        assert (len(inbox.effects()), inbox.states()) == (3, {1: 1})

    def test_what_waits_for_another_handler_of_the_same_event_is_its_own_affair(self, inbox):
        handlers = plain_handlers()

        @handlers.on(f"{KIND}.*")
        def refuse(got, work):
            raise ValueError("never")

        inbox.receive(event("things/a", 1), event("things/a", 2), handlers=handlers)
        drain(inbox.worker(handlers))
        assert inbox.effects() == [("things/a", 1), ("things/a", 2)]
        assert inbox.states() == {1: 2, 2: 2}

    def test_measures_tell_what_is_dead_and_how_old_the_oldest_is(self, inbox):
        registry = CollectorRegistry()
        inbox.receive(event("things/a"), event("things/b"))
        inbox.run("UPDATE inbox SET state = 2 WHERE resource_name = 'things/a'")
        inbox.run("UPDATE inbox SET receive_time = now() - interval '1 hour', due_time = now() + interval '1 hour'")
        stopping = threading.Event()
        threading.Timer(0.3, stopping.set).start()
        inbox.worker(registry=registry).run(stopping)
        assert registry.get_sample_value("kontor_inbox_dead") == 1
        assert registry.get_sample_value("kontor_inbox_oldest_seconds") == pytest.approx(3600, abs=30)

    def test_silence_of_a_source_is_measured_and_ends_with_a_sign_of_life(self, inbox):
        sources = Inbox(metadata, inbox.system, plain_handlers()).sources
        assert sources.silence() == {}
        inbox.receive(source="elsewhere", position="1")
        inbox.run("UPDATE inbox_sources SET update_time = now() - interval '1 hour'")
        assert sources.silence() == {"elsewhere": pytest.approx(3600, abs=30)}
        inbox.receive(source="elsewhere", position="2")
        assert sources.silence()["elsewhere"] < 30

    def test_what_is_done_is_forgotten_after_a_while_and_what_is_dead_is_not(self, inbox):
        inbox.receive(*(event(f"things/{number}") for number in range(3)))
        drain(inbox.worker())
        inbox.run("UPDATE inbox SET done_time = now() - interval '31 days' WHERE resource_name <> 'things/0'")
        inbox.run("UPDATE inbox SET state = 2 WHERE resource_name = 'things/1'")
        stopping = threading.Event()
        threading.Timer(0.3, stopping.set).start()
        inbox.worker().run(stopping)
        assert inbox.states() == {1: 1, 2: 1}


class TestFailures:
    def test_who_always_fails_is_dead_after_so_many_attempts_and_blocks_nobody_else(self, inbox):
        calls = Counter()

        def refuse_a(got, work):
            calls[got.resource_name, got.version] += 1
            if (got.resource_name, got.version) == ("things/a", 1):
                raise ValueError("I do not like it")
            take_effect(got, work.tx)

        handlers = handling_with(refuse_a)
        inbox.receive(event("things/a", 1), event("things/a", 2), event("things/b", 1), handlers=handlers)
        drain(inbox.worker(handlers))
        assert calls == {("things/a", 1): ATTEMPTS, ("things/a", 2): 1, ("things/b", 1): 1}
        assert inbox.effects() == [("things/b", 1), ("things/a", 2)]
        assert inbox.run("SELECT attempts, error, data FROM inbox WHERE state = 2") == [
            (ATTEMPTS, "ValueError: I do not like it", b"data")
        ]

    def test_each_attempt_waits_longer(self, inbox):
        handlers = handling_with(lambda got, work: 1 / 0)
        inbox.receive(event(), handlers=handlers)
        worker = inbox.worker(handlers, first_pause=10.0)
        pauses = []
        for _ in range(3):
            worker.work_once()
            ((pause,),) = inbox.run("SELECT extract(epoch FROM due_time - now()) FROM inbox")
            pauses.append(float(pause))
            inbox.run("UPDATE inbox SET due_time = now()")
        # Each twice the one before, give or take a fifth, and what the test itself takes.
        assert all(0.75 <= pause / usual <= 1.25 for pause, usual in zip(pauses, (10, 20, 40), strict=True))

    def test_a_part_that_is_away_costs_no_attempt(self, inbox):
        calls = []

        def wait_for_somebody(got, work):
            calls.append(got)
            if len(calls) <= ATTEMPTS + 2:
                raise Unavailable("identity cannot be asked")
            take_effect(got, work.tx)

        handlers = handling_with(wait_for_somebody)
        inbox.receive(event(), handlers=handlers)
        drain(inbox.worker(handlers))
        assert inbox.run("SELECT state, attempts FROM inbox") == [(1, 0)]

    def test_a_statement_that_takes_too_long_is_a_failure_of_the_handler(self, inbox):
        def raise_cancelled(got, work):
            raise psycopg.errors.QueryCanceled("canceling statement due to statement timeout")

        handlers = handling_with(raise_cancelled)
        inbox.receive(event(), handlers=handlers)
        drain(inbox.worker(handlers))
        assert inbox.states() == {2: 1}

    def test_an_event_whose_handler_is_gone_ends_as_dead(self, inbox):
        inbox.receive(event())
        drain(inbox.worker(Handlers()))
        ((state, error),) = inbox.run("SELECT state, error FROM inbox")
        assert state == 2
        assert NAME in error


class TestBacklog:
    @pytest.mark.parametrize(("statement", "analysed"), [("due", True), ("lock", True), ("lock", False)])
    def test_what_waits_costs_nothing_to_who_takes_something_else(self, inbox, statement, analysed):
        inbox.receive(event())
        inbox.run(
            "INSERT INTO inbox (handler, event_id, tenant_id, event_type, resource_name, version, event_time, data,"
            " state, attempts, due_time) SELECT handler, gen_random_uuid(), tenant_id, event_type,"
            " 'things/' || number, 1, event_time, data, 0, 0, due_time FROM inbox, generate_series(1, 5000) AS number"
        )
        if analysed:
            inbox.run("ANALYZE inbox")
        ((one,),) = inbox.run("SELECT event_id FROM inbox WHERE resource_name = 'things/2500'")
        sent = getattr(inbox.worker()._sql, statement).with_values({"size": 50, "handler": NAME, "event": one})
        with inbox.database.connect("system") as connection:
            connection.execute(b"PREPARE asked AS " + sent.sql)
            given = sql.SQL(", ").join(map(sql.Literal, sent.values))
            explain = sql.SQL("EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE asked ({})").format(given)
            [[[plan]]] = connection.execute(explain).fetchall()
        found = Plan(statement, plan["Plan"])
        assert found.rows() <= 3 * 50, str(found)


class TestRaces:
    def test_each_effect_is_once_and_in_order_however_many_workers_there_are(self, inbox):
        events = [event(f"things/{number}", version) for number in range(15) for version in range(1, 6)]
        random.Random(3).shuffle(events)
        inbox.receive(*events)
        workers = [inbox.worker() for _ in range(4)]
        stopping = threading.Event()
        threads = [threading.Thread(target=worker.run, args=(stopping,)) for worker in workers]
        for thread in threads:
            thread.start()
        await_that(lambda: inbox.states() == {1: len(events)})
        stopping.set()
        for thread in threads:
            thread.join()
        require_each_once_in_order(inbox, events)

    def test_a_worker_that_is_killed_loses_nothing_and_repeats_nothing(self, inbox):
        events, interrupted = [], 0
        urls = {"SYSTEM_URL": inbox.database.url("system"), "APP_URL": inbox.database.url("app")}
        process = subprocess.Popen(
            [sys.executable, "-c", "from kit.tests import consumer; consumer.serve_workers()"],
            cwd=Path(consumer.__file__).parents[2],
            env={**os.environ, **urls},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with process:
            for kill in range(10):
                more = [event(f"things/{kill}/{number}", version) for number in range(20) for version in range(1, 11)]
                inbox.receive(*more)
                events += more
                process.stdin.write("start\n")
                process.stdin.flush()
                worker, before = int(process.stdout.readline()), len(inbox.effects())
                await_that(lambda seen=before: len(inbox.effects()) > seen)
                os.kill(worker, signal.SIGKILL)
                interrupted += len(inbox.effects()) < len(events)
            process.stdin.close()
        assert interrupted >= 5, "they were killed in the middle"
        drain(inbox.worker(), rounds=1000)
        assert inbox.states() == {1: len(events)}
        require_each_once_in_order(inbox, events)


class TestDatabaseAway:
    def test_for_a_while_loses_nothing_and_makes_nothing_dead(self, inbox, postgres_url):
        events = [event(f"things/{number}", version) for number in range(20) for version in range(1, 6)]

        def slowly(got, work):
            take_effect(got, work.tx)
            time.sleep(0.005)

        handlers = handling_with(slowly)
        inbox.receive(*events, handlers=handlers)
        stopping = threading.Event()
        thread = threading.Thread(target=inbox.worker(handlers).run, args=(stopping,))
        thread.start()
        with psycopg.connect(postgres_url, autocommit=True) as server:
            for _ in range(2):
                time.sleep(0.15)
                server.execute(f"ALTER DATABASE {inbox.database.name} ALLOW_CONNECTIONS false")
                server.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [inbox.database.name]
                )
                time.sleep(0.3)
                server.execute(f"ALTER DATABASE {inbox.database.name} ALLOW_CONNECTIONS true")
        await_that(lambda: inbox.states() == {1: len(events)})
        stopping.set()
        thread.join()
        require_each_once_in_order(inbox, events)
        assert inbox.run("SELECT max(attempts) FROM inbox") == [(0,)]


def await_that(condition, seconds=30):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.01)


def require_each_once_in_order(inbox, events):
    found = inbox.effects()
    assert Counter(found) == Counter((each.resource_name, each.version) for each in events)
    for name in {each.resource_name for each in events}:
        versions = [version for resource, version in found if resource == name]
        assert versions == sorted(versions)


class TestWork:
    """What `work` runs for a service with handlers."""

    @pytest.fixture
    def jobs(self, inbox):
        handlers = plain_handlers([f"{KIND}.*", "kontor.other.v1.part.lost"])

        def build(handlers=handlers, **settings):
            made = dataclasses.replace(consumer.service(), handlers=handlers, use=lambda runtime: runtime.database)
            given = {"client_id": "me", "client_secret": "secret", **settings}
            runtime = Runtime(
                settings=inbox.database.settings(**given),
                database=inbox.app,
                system=inbox.system,
                metrics=Metrics("test"),
                waker=Waker(inbox.database.url("app")),
            )
            return dict(running.jobs(made, runtime, made.use(runtime)))

        return build

    def test_follows_each_service_that_is_wanted_and_handles_what_comes(self, inbox, jobs):
        found = jobs(peers={"elsewhere": "127.0.0.1:1", "other": "127.0.0.1:1"}, issuer="http://127.0.0.1:1")
        assert list(found) == [
            "follow-elsewhere",
            "follow-other",
            "watch-sources",
            "handle-events-1",
            "handle-events-2",
        ]
        inbox.receive(event())
        stopping = threading.Event()
        # Nobody answers at these addresses: to wait for them must neither fail nor keep anybody from stopping.
        threads = [threading.Thread(target=job, args=(stopping,)) for job in found.values()]
        for thread in threads:
            thread.start()
        await_that(lambda: inbox.states() == {1: 1})
        assert all(thread.is_alive() for thread in threads)
        stopping.set()
        for thread in threads:
            thread.join(5)
        assert not any(thread.is_alive() for thread in threads)

    def test_says_which_addresses_are_missing(self, jobs):
        with pytest.raises(ConfigurationError, match="does not say where other answers"):
            jobs(peers={"elsewhere": "127.0.0.1:1"})

    def test_does_without_a_service_that_is_not_needed(self, jobs):
        handlers = plain_handlers([f"{KIND}.*"])
        handlers.on(f"{KIND}.*", "kontor.other.v1.part.lost", optional=True)(take_effect)
        assert handlers.services() == ["elsewhere", "other"]
        given = {"handlers": handlers, "issuer": "http://127.0.0.1:1"}
        alone = jobs(peers={"elsewhere": "127.0.0.1:1"}, **given)
        assert [name for name in alone if name.startswith("follow")] == ["follow-elsewhere"]
        both = jobs(peers={"elsewhere": "127.0.0.1:1", "other": "127.0.0.1:1"}, **given)
        assert [name for name in both if name.startswith("follow")] == ["follow-elsewhere", "follow-other"]


class TestUpkeep:
    @pytest.fixture
    def events(self, inbox, monkeypatch, capsys):
        """Run `events ARGUMENT...` as the service does; returns the exit code and what was printed."""
        monkeypatch.setenv("KONTOR_CONSUMER_SYSTEM_DATABASE_URL", inbox.database.url("system"))

        def run(*arguments):
            code = main.run("consumer", consumer.service, ["events", *map(str, arguments)])
            return code, capsys.readouterr().out

        return run

    @pytest.fixture
    def dead(self, inbox):
        found = event("things/a"), event("things/b")
        inbox.receive(*found, event("things/c"))
        inbox.run("UPDATE inbox SET due_time = now() + interval '1 hour'")
        inbox.run("UPDATE inbox SET state = 2, attempts = 8, error = 'no' WHERE resource_name <> 'things/c'")
        return found

    def test_what_is_dead_is_listed_and_shown(self, dead, events):
        code, said = events("list", "--dead", "--json")
        assert code == 0
        rows = [json.loads(line) for line in said.splitlines()]
        assert [(row["resource_name"], row["state"], row["error"]) for row in rows] == [
            ("things/a", "dead", "no"),
            ("things/b", "dead", "no"),
        ]
        assert len(events("list")[1].splitlines()) == 3
        (shown,) = events("show", dead[0].id)[1].splitlines()
        assert json.loads(shown)["handler"] == NAME
        assert events("show", uuid7())[0] == 1

    def test_a_dead_event_is_replayed(self, inbox, dead, events):
        assert events("replay", dead[0].id) == (0, "1 replayed\n")
        drain(inbox.worker())
        assert inbox.effects() == [("things/a", 1)]
        assert events("replay", dead[0].id)[0] == 1
        assert events("replay", "--all-dead") == (0, "1 replayed\n")
        drain(inbox.worker())
        assert inbox.effects() == [("things/a", 1), ("things/b", 1)]

    def test_an_event_is_discarded(self, inbox, dead, events):
        assert events("discard", dead[0].id) == (0, "1 discarded\n")
        assert events("discard", dead[0].id)[0] == 1
        assert events("replay", dead[0].id)[0] == 1
        assert inbox.states() == {0: 1, 2: 1, 3: 1}

    def test_records_are_told_anew(self, inbox, events):
        told, changed = event("things/a", kind="snapshot"), event("things/b", version=2)
        inbox.receive(told, changed, source="elsewhere", position="p1")
        drain(inbox.worker())
        sources = Inbox(metadata, inbox.system, plain_handlers()).sources
        assert not sources.state("elsewhere").missing
        assert events("refill", "nowhere")[0] == 1
        assert events("refill", "elsewhere")[0] == 0
        state = sources.state("elsewhere")
        assert (state.position, [name for name, _ in state.missing]) == ("p1", [NAME])
        inbox.receive(told, changed)
        drain(inbox.worker())
        assert sorted(inbox.effects()) == [("things/a", 1), ("things/a", 1), ("things/b", 2)]
