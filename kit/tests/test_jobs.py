"""Periodic jobs: one process at a time, and no write of one that lost its lease."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from kit.tests import operating
from kontor_kit.jobs import LeaseLost, every, take
from kontor_kit.testing import TENANT


@pytest.fixture(scope="module")
def database(databases):
    return databases.new(operating.service())


@pytest.fixture
def pool(database):
    with operating.pools(database) as (system, _):
        yield system


@pytest.fixture
def effects(database):
    """Count the rows that were written with a key."""
    with database.connect() as connection:
        yield lambda key: connection.execute("SELECT count(*) FROM effects WHERE key = %s", [key]).fetchone()[0]


def note(tx, key):
    tx.defer(operating.EFFECT, {"tenant": TENANT, "key": key})


class TestLease:
    def test_nobody_else_has_it_while_it_lasts(self, pool):
        assert take(pool, "alone").epoch == 1
        assert take(pool, "alone") is None

    def test_the_next_one_counts_on(self, pool):
        assert [take(pool, "counts", 0.0).epoch for _ in range(3)] == [1, 2, 3]

    def test_writes_are_refused_when_it_has_passed_on(self, pool, effects):
        hung = take(pool, "passed", 0.0)
        with hung.write() as tx:
            note(tx, "before")
        after = take(pool, "passed")
        with pytest.raises(LeaseLost), hung.write() as tx:
            note(tx, "too late")
        with after.write() as tx:
            note(tx, "after")
        assert [effects("before"), effects("too late"), effects("after")] == [1, 0, 1]

    def test_it_does_not_pass_on_within_a_transaction(self, pool, effects):
        slow = take(pool, "held", 0.0)
        with slow.write() as tx:
            note(tx, "held")
            assert take(pool, "held") is None
        assert effects("held") == 1

    def test_a_write_prolongs_it(self, pool):
        turn = take(pool, "prolonged", 0.2)
        for _ in range(4):
            time.sleep(0.1)
            turn.renew()
        assert take(pool, "prolonged") is None

    def test_it_is_left_to_others_at_the_end(self, pool):
        take(pool, "left").end(0.0)
        assert take(pool, "left").epoch == 2


class TestPeriodic:
    def test_runs_once_in_its_period_over_all_processes(self, pool):
        runs = []

        @every(0.3)
        def count_up(turn):
            runs.append(time.monotonic())
            turn.renew()

        stopping = threading.Event()
        name, run = count_up.job(pool)
        threads = [threading.Thread(target=run, args=(stopping,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(1.0)
        stopping.set()
        for thread in threads:
            thread.join()
        assert name == "count-up"
        assert 2 <= len(runs) <= 4
        assert all(b - a > 0.25 for a, b in itertools.pairwise(runs))

    def test_a_failure_keeps_it_from_nothing(self, pool, caplog):
        outcomes = iter([ValueError("broken"), None])

        @every(0.0)
        def fail_first(turn):
            if error := next(outcomes):
                raise error

        assert fail_first.run_once(pool)
        assert fail_first.run_once(pool)
        assert "a job failed" in caplog.text

    def test_a_run_that_lost_its_lease_ends_quietly(self, pool, caplog, effects):
        @every(60.0, lease_seconds=0.0)
        def hang(turn):
            assert take(pool, "hang") is not None
            with turn.write() as tx:
                note(tx, "hung")

        assert not hang.run_once(pool)
        assert "lost its lease" in caplog.text
        assert effects("hung") == 0
