"""What nobody does is seen by every process that works, whoever should have done it."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa
from prometheus_client import CollectorRegistry

from kit.tests import operating
from kontor_kit import watching
from kontor_kit.db import SchemaCheck, Statement
from kontor_kit.due import LATE_SECONDS, Due
from kontor_kit.jobs import every, take
from kontor_kit.metrics import Metrics
from kontor_kit.watching import looking, watch_jobs

PING = Statement(sa.text("SELECT 1"))
WAKE = Due("wake", "operations", ["state = 1 AND due_time <= :now"], lambda *_: None, marks=False)


@pytest.fixture(scope="module")
def database(databases):
    return databases.new(operating.service())


@pytest.fixture
def pools(database):
    with operating.pools(database) as made:
        yield made


@pytest.fixture
def pool(pools):
    return pools[0]


@pytest.fixture
def sql(database):
    with database.connect() as connection:
        yield connection.execute


@pytest.fixture
def told(pool, monkeypatch):
    """Look once, and return what is told: `told("kontor_due_late", task="wake")`."""
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0.01)

    def value(name, **labels):
        registry, stopping = CollectorRegistry(), threading.Event()
        _, job = watch_jobs(registry, pool, ["swept", "rested", "unheard"], [WAKE])
        threading.Timer(0.3, stopping.set).start()
        job(stopping)
        return registry.get_sample_value(name, labels)

    return value


class TestJobs:
    def test_turn_that_nobody_takes_is_overdue(self, pool, sql, told):
        take(pool, "rested", 60)
        take(pool, "swept", 0)
        sql("UPDATE leases SET expire_time = now() - interval '1 hour' WHERE name = 'swept'")
        assert told("kontor_job_overdue_seconds", task="swept") == pytest.approx(3600, abs=30)
        assert told("kontor_job_overdue_seconds", task="rested") == 0
        assert told("kontor_job_overdue_seconds", task="unheard") is None

    def test_turns_are_counted_by_what_became_of_them(self, pool, told):
        @every(0.0)
        def fails(turn):
            raise ValueError("never")

        fails.job(pool)
        assert told("kontor_job_turns_total", task="fails", outcome="failed") == 0
        fails.run_once(pool)
        assert told("kontor_job_turns_total", task="fails", outcome="failed") == 1
        assert told("kontor_job_turns_total", task="fails", outcome="done") == 0


class TestDue:
    def test_record_that_is_due_for_long_is_late(self, pools, sql, told):
        operating.start(pools[1], "mill")
        assert told("kontor_due_late", task="wake") == 0
        sql(f"UPDATE operations SET due_time = now() - interval '{LATE_SECONDS + 1} seconds'")
        assert told("kontor_due_late", task="wake") == 1


class TestLooking:
    def test_goes_on_when_the_database_is_away(self, monkeypatch):
        monkeypatch.setattr(watching, "LOOK_SECONDS", 0.01)
        stopping, seen = threading.Event(), []

        def look():
            seen.append(1)
            if len(seen) == 3:
                stopping.set()
            raise watching.PoolTimeout("away")

        looking(look)(stopping)
        assert len(seen) == 3


class TestPool:
    def test_tells_what_is_in_use_and_who_waits(self, pool):
        metrics = Metrics()
        metrics.watch_pool("system", pool.state)

        def value(name):
            return metrics.registry.get_sample_value(name, {"pool": "system"})

        with pool.read(None) as tx:
            tx.run(PING)
            used = value("kontor_pool_used")
        assert (used - value("kontor_pool_used"), value("kontor_pool_size"), value("kontor_pool_waiting")) == (1, 4, 0)


class TestSchema:
    def test_is_whole_after_the_migrations(self, pool):
        assert SchemaCheck(pool, operating.metadata)()

    def test_tells_what_is_missing_before_them(self, pool, sql):
        check = SchemaCheck(pool, operating.metadata)
        sql("ALTER TABLE operations RENAME COLUMN stage TO phase")
        try:
            with pytest.raises(LookupError, match=r"1 columns .* operations\.stage"):
                check()
        finally:
            sql("ALTER TABLE operations RENAME COLUMN phase TO stage")
        assert check()
