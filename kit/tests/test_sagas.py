"""Sagas: whatever happens on the way, they end all done or all undone, once."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from kit.tests import operating
from kontor_kit.errors import FailedPrecondition, Unavailable
from kontor_kit.operations.work import ATTEMPTS, CANCELLED, FAILED, RUNNING, STUCK, SUCCEEDED
from kontor_kit.sagas import Saga, Step
from kontor_kit.testing import TENANT

ROOT = Path(__file__).parents[2]
KILLS = 25

# Starts a worker over and over, and kills it at some moment while it works. Imports are done once, before it forks.
KILLER = """
import os, random, signal, sys, time
from threading import Event, Thread
from kit.tests import operating
from kontor_kit.db import Database
from kontor_kit.operations.work import Kind

def run(work):
    os.write(begun, b".")
    return operating.BRANCH.kind.run(work)

random.seed(int(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    beginning, begun = os.pipe()
    child = os.fork()
    if not child:
        pools = [Database(url, pool_size=4) for url in sys.argv[3:5]]
        for pool in pools:
            pool.open()
        runner = operating.runner(pools, Kind("open_branch", operating.MillRequest, run), lease_seconds=0.3)
        for _ in range(2):
            Thread(target=runner.run, args=(Event(),)).start()
        time.sleep(60)
    os.read(beginning, 1)
    time.sleep(random.uniform(0, 0.1))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def database(databases):
    return databases.new(operating.service())


@pytest.fixture(scope="module")
def pools(database):
    with operating.pools(database, size=8) as both:
        yield both


@pytest.fixture(scope="module")
def rows(database):
    with database.connect() as connection:
        yield lambda sql, *parameters: connection.execute(sql, parameters).fetchall()


@pytest.fixture
def finish(pools, rows):
    """Run a saga to its end with a new worker whenever one dies; return its state."""

    def run(saga, *, before=lambda name: None, request=None):
        id = operating.start(pools[1], saga.kind.name, request)
        before(id)
        runner = operating.runner(pools, saga.kind, lease_seconds=0.0, first_pause=0.0)
        for _ in range(500):
            try:
                if not runner.work_once():
                    break
            except Killed:
                continue
        [(state,)] = rows("SELECT state FROM operations WHERE id = %s", id)
        assert state != RUNNING
        return state

    return run


@dataclass
class World:
    """Another service: what was asked of it, and what came of that."""

    calls: list[str] = field(default_factory=list)
    effects: set[str] = field(default_factory=set)

    def act(self, name, outcomes=()):
        """Return what a step does: it fails as `outcomes` say, then does not."""
        ahead = iter(outcomes)

        def run(given):
            self.calls.append(name)
            match next(ahead, "ok"):
                case "away":
                    raise Unavailable("away")
                case "bug":
                    raise ZeroDivisionError
                case "crash":
                    raise Killed
                case "refuse":
                    raise FailedPrecondition("no")
                case "lost":
                    self.effects.add(given.request_id.partition("/")[2])
                    raise Unavailable("the answer was lost")
                case "crash after":
                    self.effects.add(given.request_id.partition("/")[2])
                    raise Killed
            self.effects.add(given.request_id.partition("/")[2])
            given.tx.defer(operating.EFFECT, {"tenant": TENANT, "key": given.request_id})
            return {"by": name}

        return run

    def steps(self, do, undo=(), **more):
        """Return as many steps as `do` has lists of outcomes."""
        pairs = zip(do, [*undo, *([()] * (len(do) - len(undo)))], strict=True)
        return [
            Step(f"s{n}", self.act(f"do {n}", done), self.act(f"undo {n}", undone), **more.get(f"s{n}", {}))
            for n, (done, undone) in enumerate(pairs)
        ]


def saga_of(steps):
    return Saga("trial", steps, request=operating.MillRequest)


class TestOutcomes:
    def test_all_steps_are_done_in_order(self, finish):
        world = World()
        assert finish(saga_of(world.steps([(), (), ()]))) == SUCCEEDED
        assert world.calls == ["do 0", "do 1", "do 2"]

    def test_a_refusal_undoes_what_was_done_the_last_first(self, finish):
        world = World()
        assert finish(saga_of(world.steps([(), (), ("refuse",), ()]))) == FAILED
        assert world.calls == ["do 0", "do 1", "do 2", "undo 1", "undo 0"]

    def test_a_step_that_may_have_been_done_is_undone_too(self, finish):
        world = World()
        assert finish(saga_of(world.steps([(), ["bug"] * ATTEMPTS, ()]))) == FAILED
        assert world.calls == ["do 0", *["do 1"] * ATTEMPTS, "undo 1", "undo 0"]

    def test_unavailable_is_waited_for(self, finish):
        world = World()
        assert finish(saga_of(world.steps([["away"] * (ATTEMPTS + 2), ()]))) == SUCCEEDED

    def test_one_that_cannot_be_undone_is_stuck(self, finish, rows):
        world = World()
        assert finish(saga_of(world.steps([(), ("refuse",)], [["bug"] * ATTEMPTS]))) == STUCK
        assert rows("SELECT stage, end_time FROM operations WHERE state = %s", STUCK) == [("undo s0", None)]

    def test_past_the_point_of_no_return_it_only_goes_on(self, finish):
        world = World()
        steps = world.steps([(), (), ("refuse", "refuse")], s1={"no_return": True})
        assert finish(saga_of(steps)) == SUCCEEDED
        assert world.calls == ["do 0", "do 1", "do 2", "do 2", "do 2"]

    def test_past_the_point_of_no_return_it_gets_stuck(self, finish):
        world = World()
        assert finish(saga_of(world.steps([(), ["refuse"] * ATTEMPTS], s0={"no_return": True}))) == STUCK

    def test_steps_know_what_those_before_returned(self, finish):
        seen = []
        steps = [*World().steps([()]), Step("look", lambda given: seen.append((given.results, given.request_id)))]
        assert finish(saga_of(steps)) == SUCCEEDED
        [(results, request_id)] = seen
        assert results == {"s0": {"by": "do 0"}}
        assert request_id.endswith("/look")

    def test_what_undoes_a_step_knows_why(self, finish):
        seen = []
        steps = [
            Step("look", lambda given: seen.append(given.failure), lambda given: seen.append(given.failure.message))
        ]
        assert finish(saga_of([*steps, *World().steps([["refuse"]])])) == FAILED
        assert seen == [None, "no"]

    def test_two_steps_of_one_name_are_refused(self):
        with pytest.raises(ValueError, match="one name"):
            saga_of([*World().steps([()]), *World().steps([()])])


class TestCancel:
    @staticmethod
    def cancel(rows, id):
        rows("UPDATE operations SET cancel_requested = true WHERE id = %s RETURNING 1", id)

    def test_before_the_first_step_does_nothing(self, finish, rows):
        world = World()
        assert finish(saga_of(world.steps([()])), before=lambda saga: self.cancel(rows, saga)) == CANCELLED
        assert world.calls == []

    def test_undoes_what_the_method_did_that_started_it(self, finish, rows):
        world = World()
        saga = saga_of(world.steps([(), ()]))

        def cancelled_at_once(id):
            begun = "UPDATE operations SET cancel_requested = true, checkpoint = %s WHERE id = %s RETURNING 1"
            rows(begun, Jsonb(saga.begun()), id)

        assert finish(saga, before=cancelled_at_once) == CANCELLED
        assert world.calls == ["undo 0"]

    def test_undoes_what_was_done(self, finish, rows):
        world = World()
        steps = world.steps([(), (), ()])
        steps[1] = Step("s1", lambda given: self.cancel(rows, given.work.id), world.act("undo 1"))
        assert finish(saga_of(steps)) == CANCELLED
        assert world.calls == ["do 0", "undo 1", "undo 0"]

    def test_is_no_failure(self, finish, rows):
        seen = []
        step = Step("look", lambda given: self.cancel(rows, given.work.id), lambda given: seen.append(given.failure))
        assert finish(saga_of([step, *World().steps([()])])) == CANCELLED
        assert seen == [None]

    def test_is_too_late_past_the_point_of_no_return(self, finish, rows):
        world = World()
        steps = world.steps([(), ()])
        steps[0] = Step("s0", lambda given: self.cancel(rows, given.work.id), no_return=True)
        assert finish(saga_of(steps)) == SUCCEEDED


FAILURES = st.lists(st.sampled_from(["away", "bug", "crash", "lost", "crash after"]), max_size=ATTEMPTS + 1)
UNDOING = st.lists(st.sampled_from(["away", "bug", "crash", "lost", "crash after"]), max_size=ATTEMPTS - 1)


class TestEveryWay:
    @hypothesis.settings(
        max_examples=40, deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
    )
    @hypothesis.given(data=st.data())
    def test_ends_all_done_or_all_undone(self, finish, rows, data):
        world, count = World(), data.draw(st.integers(1, 4), label="steps")
        do = [
            [*data.draw(FAILURES, label="failures"), *data.draw(st.sampled_from([(), (), ("refuse",)]))]
            for _ in range(count)
        ]
        undo = [data.draw(UNDOING, label="failures of undo") for _ in range(count)]
        ids = []
        state = finish(saga_of(world.steps(do, undo)), before=ids.append)
        done = {n for n in range(count) if f"s{n}" in world.effects}
        undone = {n for n in range(count) if f"s{n}/undo" in world.effects}
        if state == SUCCEEDED:
            assert (done, undone) == (set(range(count)), set())
        else:
            assert state == FAILED
            # A refusal after a lost answer cannot be: who keeps request ids answers as before.
            refused = {n for n in range(count) if "refuse" in do[n]}
            assert done - undone <= refused
        [(most,)] = rows(
            "SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM effects WHERE key LIKE %s GROUP BY key) x",
            f"{ids[0]}/%",
        )
        assert most <= 1


class TestKilled:
    @pytest.mark.timeout(120)
    def test_ends_completed_or_compensated_once(self, database, pools, rows):
        sagas = {
            operating.start(pools[1], "open_branch", operating.MillRequest(sacks=sacks)): sacks for sacks in range(90)
        }
        subprocess.run(
            [sys.executable, "-c", KILLER, "7", str(KILLS), database.url("system"), database.url("app")],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            check=True,
            timeout=100,
        )
        [(hit, left)] = rows(
            # Whoever was taken again, or is held by nobody who lives, was hit.
            "SELECT sum(greatest(epoch - 1, 0)) + count(holder), count(*) FILTER (WHERE state = 1)"
            " FROM operations WHERE kind = 'open_branch'"
        )
        assert left > 0, "the last kills hit nobody"
        assert hit >= 20
        self.work_off(pools, rows)
        self.check(rows, sagas)

    @staticmethod
    def work_off(pools, rows):
        def work():
            runner = operating.runner(pools, operating.BRANCH.kind)
            while rows("SELECT FROM operations WHERE kind = 'open_branch' AND state = 1 LIMIT 1"):
                runner.work_once()

        with ThreadPoolExecutor(4) as executor:
            for worker in [executor.submit(work) for _ in range(4)]:
                worker.result()

    @staticmethod
    def check(rows, sagas):
        effects = dict(
            rows("SELECT key, count(*) FROM effects WHERE key LIKE '%%/build%%' OR key LIKE '%%/hire%%' GROUP BY key")
        )
        remote = {key for (key,) in rows("SELECT key FROM remote")}
        for id, state in rows("SELECT id, state FROM operations WHERE kind = 'open_branch'"):
            done = {f"{id}/{step}" for step in ("build", "order", "hire")}
            if sagas[id] % 2:
                assert state == FAILED
                expected = done | {f"{key}/undo" for key in done}
            else:
                assert state == SUCCEEDED
                expected = done | {f"{id}/announce"}
            found = {key for key in {*effects, *remote} if key.startswith(str(id))}
            assert found == expected
        assert set(effects.values()) == {1}
