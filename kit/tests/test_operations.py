"""Long-running operations: started with a write, each worked on by one worker, resumed, cancelled, shown."""

from __future__ import annotations

import argparse
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import grpc
import pytest
import sqlalchemy as sa
from alembic import autogenerate
from alembic.migration import MigrationContext

from kit.tests import operating
from kontor_kit import migrations
from kontor_kit.errors import FailedPrecondition, Unavailable
from kontor_kit.metrics import Metrics
from kontor_kit.operations import upkeep
from kontor_kit.operations.runner import jobs, purge_operations
from kontor_kit.operations.work import ATTEMPTS, Kind, LeaseLost, Stuck, judge, status_of
from kontor_kit.testing import TENANT

CODE = grpc.StatusCode


@pytest.fixture(scope="module")
def server(serve):
    return serve(operating.service())


@pytest.fixture
def pools(server):
    with operating.pools(server.database, size=8) as both:
        yield both


@pytest.fixture
def anna(server):
    return server.caller()


@pytest.fixture
def rows(server):
    with server.database.connect() as connection:
        connection.execute("DELETE FROM operations")  # what other tests left is not for the runners of this one
        yield lambda sql, *parameters: connection.execute(sql, parameters).fetchall()


@contextmanager
def at_work(server, pools):
    """Run the jobs of the service; yield their names, and the metrics."""
    stopping, metrics = threading.Event(), Metrics("operating")
    runtime = replace(server.runtime, system=pools[0], database=pools[1], metrics=metrics)
    found = list(jobs(server.service, runtime, server.service.use(runtime)))
    threads = [threading.Thread(target=job, args=(stopping,)) for _, job in found]
    for thread in threads:
        thread.start()
    try:
        yield [name for name, _ in found], metrics
    finally:
        stopping.set()
        for thread in threads:
            thread.join(5)


def await_that(condition):
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def work_off(runner):
    """Work until nothing is due."""
    while runner.work_once():
        pass


class TestLife:
    def test_ends_with_a_result(self, rows, anna, pools):
        operation = anna("Mill", sacks=3)
        assert operation.name.startswith("services/operating/operations/")
        assert not operation.done
        work_off(operating.runner(pools, operating.MILL))
        operation = anna("GetOperation", name=operation.name)
        response = operating.MillResponse()
        assert operation.done
        assert operation.response.Unpack(response)
        assert response.ground == 3
        metadata = operating.shown(operation)
        assert (metadata.kind, metadata.state, metadata.subject) == ("mill", 2, anna.user)
        assert (metadata.stage, metadata.done_units, metadata.total_units) == ("grinding", 3, 3)
        assert metadata.end_time.seconds >= metadata.create_time.seconds > 0

    def test_each_is_run_once_by_many_workers(self, rows, pools):
        ids = [operating.start(pools[1], "mill", operating.MillRequest(sacks=2)) for _ in range(40)]
        with ThreadPoolExecutor(6) as executor:
            for done in [executor.submit(work_off, operating.runner(pools, operating.MILL)) for _ in range(6)]:
                done.result()
        keys = sorted(key for (key,) in rows("SELECT key FROM effects WHERE tenant_id = %s", TENANT))
        assert keys == sorted(f"{id}/{sack}" for id in ids for sack in range(2))
        assert rows("SELECT DISTINCT state, epoch FROM operations") == [(2, 1)]

    def test_a_kind_that_this_version_does_not_know_is_left(self, rows, pools):
        operating.start(pools[1], "of_tomorrow")
        assert not operating.runner(pools, operating.MILL).work_once()

    def test_shows_progress_while_it_runs(self, rows, anna, pools):
        seen, operation = [], anna("Mill", sacks=2)

        def look(work):
            result = operating.mill(work)
            seen.append(operating.shown(anna("GetOperation", name=operation.name)))
            return result

        work_off(operating.runner(pools, Kind("mill", operating.MillRequest, look)))
        assert [(m.state, m.done_units, m.total_units) for m in seen] == [(1, 2, 2)]

    def test_is_forgotten_a_month_after_its_end(self, rows, pools):
        ids = [operating.start(pools[1], "mill") for _ in range(3)]
        rows("UPDATE operations SET end_time = now() - interval '31 days', state = 2 WHERE id = %s RETURNING 1", ids[0])
        rows("UPDATE operations SET end_time = now() - interval '29 days', state = 2 WHERE id = %s RETURNING 1", ids[1])
        assert purge_operations.run_once(pools[0])
        assert {id for (id,) in rows("SELECT id FROM operations")} == set(ids[1:])

    def test_jobs_run_until_they_are_stopped(self, rows, anna, pools):
        operation = anna("Mill", sacks=1)
        with at_work(anna.running, pools) as (names, _):
            await_that(lambda: anna("GetOperation", name=operation.name).done)
        assert names == ["operations-1", "operations-2", "purge-operations", "count-operations"]

    def test_what_is_stuck_is_counted(self, rows, anna, pools):
        anna("Mill")
        rows("UPDATE operations SET state = 5 RETURNING 1")
        with at_work(anna.running, pools) as (_, metrics):
            await_that(lambda: metrics.registry.get_sample_value("kontor_operations_stuck") == 1)

    def test_a_service_without_any_has_no_jobs(self, server):
        assert list(jobs(replace(server.service, operations=()), server.runtime, None)) == []


class TestFailures:
    def test_unavailable_is_tried_until_it_is_there(self, rows, anna, pools):
        operation, outcomes = anna("Mill"), iter([Unavailable("away")] * (ATTEMPTS + 3) + [None])

        def run(work):
            if error := next(outcomes):
                raise error

        runner = operating.runner(pools, Kind("mill", operating.MillRequest, run))
        runner.work_once()
        metadata = operating.shown(anna("GetOperation", name=operation.name))
        assert (metadata.state, metadata.retries, metadata.last_failure.message) == (1, 1, "away")
        self.until_done(anna, operation, runner)
        assert operating.shown(anna("GetOperation", name=operation.name)).state == 2

    def test_a_refusal_ends_it_with_its_status(self, rows, anna, pools):
        def run(work):
            raise FailedPrecondition("the mill is shut", reason="SHUT")

        operation = anna("Mill")
        work_off(operating.runner(pools, Kind("mill", operating.MillRequest, run)))
        operation = anna("GetOperation", name=operation.name)
        assert (operation.done, operation.error.code, operation.error.message) == (True, 9, "the mill is shut")
        assert operating.shown(operation).state == 3

    def test_a_bug_is_tried_some_times_and_tells_nothing(self, rows, anna, pools):
        tries = []

        def run(work):
            tries.append(work.faults)
            raise ZeroDivisionError("secret")

        operation = anna("Mill")
        self.until_done(anna, operation, operating.runner(pools, Kind("mill", operating.MillRequest, run)))
        operation = anna("GetOperation", name=operation.name)
        assert tries == list(range(ATTEMPTS))
        assert operation.error.code == CODE.INTERNAL.value[0]
        assert "secret" not in str(operation)

    def test_the_refusal_of_another_service_is_passed_on(self, anna, server):
        with pytest.raises(grpc.RpcError) as refused:
            anna("GetOperation", name="nonsense")
        assert judge(refused.value).name == "REFUSED"
        assert status_of(refused.value, "other.kontor", None).message.startswith("name: must be of the form")

    @staticmethod
    def until_done(anna, operation, runner):
        until = time.monotonic() + 20
        while not anna("GetOperation", name=operation.name).done:
            assert time.monotonic() < until
            runner.work_once()


class TestLease:
    def test_another_worker_goes_on_from_the_checkpoint(self, rows, anna, pools):
        class Killed(BaseException):
            pass

        def killed(work):
            if work.checkpoint.get("sacks") == 2:
                raise Killed
            operating.mill(work)

        def half(work):
            work.request.sacks = 2
            operating.mill(work)
            raise Killed

        operation = anna("Mill", sacks=5)
        with pytest.raises(Killed):
            operating.runner(pools, Kind("mill", operating.MillRequest, half), lease_seconds=0.0).work_once()
        work_off(operating.runner(pools, operating.MILL))
        operation = anna("GetOperation", name=operation.name)
        assert operating.shown(operation).done_units == 5
        assert rows("SELECT count(*) FROM effects WHERE tenant_id = %s", anna.tenant) == [(5,)]

    def test_a_hung_worker_is_refused_when_its_lease_has_passed_on(self, rows, anna, pools):
        hangs, goes_on, caught = threading.Event(), threading.Event(), []

        def hang(work):
            hangs.set()
            assert goes_on.wait(10)
            try:
                with work.write() as tx:
                    tx.defer(operating.EFFECT, {"tenant": work.tenant_id, "key": "hung"})
            except LeaseLost as error:
                caught.append(error)
                raise

        operation = anna("Mill", sacks=1)
        hung = operating.runner(pools, Kind("mill", operating.MillRequest, hang), lease_seconds=0.1)
        thread = threading.Thread(target=hung.work_once)
        thread.start()
        assert hangs.wait(10)
        time.sleep(0.15)
        work_off(operating.runner(pools, operating.MILL))
        goes_on.set()
        thread.join(10)
        assert len(caught) == 1
        assert operating.shown(anna("GetOperation", name=operation.name)).state == 2
        assert rows("SELECT key FROM effects WHERE tenant_id = %s", anna.tenant) == [
            (f"{operation.name.rpartition('/')[2]}/0",)
        ]

    def test_a_stopped_worker_leaves_it_to_others_at_once(self, rows, anna, pools):
        stopping, operation = threading.Event(), anna("Mill", sacks=1)
        stopping.set()
        runner = operating.runner(pools, operating.MILL)
        assert runner.work_once(stopping)
        assert not anna("GetOperation", name=operation.name).done
        assert runner.work_once()
        assert anna("GetOperation", name=operation.name).done


class TestCancel:
    def test_ends_one_that_is_worked_on(self, rows, anna, pools):
        operation = anna("Mill", sacks=3)

        def run(work):
            anna("CancelOperation", name=operation.name)
            return operating.mill(work)

        work_off(operating.runner(pools, Kind("mill", operating.MillRequest, run)))
        operation = anna("GetOperation", name=operation.name)
        metadata = operating.shown(operation)
        assert (operation.done, operation.error.code) == (True, CODE.CANCELLED.value[0])
        assert (metadata.state, metadata.cancel_requested, metadata.done_units) == (4, True, 0)

    def test_ends_one_that_waits_for_its_next_try_at_once(self, rows, anna, pools):
        operation, errors = anna("Mill"), iter([Unavailable("away")])

        def run(work):
            for error in errors:
                raise error
            work.check()

        runner = operating.runner(pools, Kind("mill", operating.MillRequest, run), first_pause=300.0)
        work_off(runner)
        anna("CancelOperation", name=operation.name)
        work_off(runner)
        assert operating.shown(anna("GetOperation", name=operation.name)).state == 4

    def test_leaves_one_that_ended(self, rows, anna, pools):
        operation = anna("Mill", sacks=1)
        work_off(operating.runner(pools, operating.MILL))
        anna("CancelOperation", name=operation.name)
        metadata = operating.shown(anna("GetOperation", name=operation.name))
        assert (metadata.state, metadata.cancel_requested) == (2, False)


class TestWhoMaySee:
    def test_whoever_started_it_and_whoever_may_read_all(self, rows, server):
        anna = server.caller("operating.things.read:all")
        name = anna("Mill").name
        assert anna("GetOperation", name=name).name == name
        for permission, code in (("read:all", None), ("read:own", CODE.NOT_FOUND), ("cancel:all", CODE.NOT_FOUND)):
            bert = anna.colleague(f"operating.operations.{permission}")
            if code is None:
                assert bert("GetOperation", name=name).name == name
            else:
                assert bert.refusal("GetOperation", name=name).code is code
        assert anna.refusal("ListOperations", parent="services/operating").code is CODE.PERMISSION_DENIED
        assert anna.refusal("CancelOperation", name=name).code is CODE.PERMISSION_DENIED
        stranger = server.caller()
        assert stranger.refusal("GetOperation", name=name).code is CODE.NOT_FOUND
        assert stranger.refusal("CancelOperation", name=name).code is CODE.NOT_FOUND
        assert not stranger("ListOperations", parent="services/operating").operations

    def test_own_reaches_ones_own_only(self, rows, server, anna):
        bert = anna.colleague("operating.operations.*:own")
        hers, his = anna("Mill").name, bert("Mill").name
        assert [o.name for o in bert("ListOperations", parent="services/operating").operations] == [his]
        assert {o.name for o in anna("ListOperations", parent="services/operating").operations} == {hers, his}
        assert bert.refusal("CancelOperation", name=hers).code is CODE.NOT_FOUND
        bert("CancelOperation", name=his)

    def test_who_sees_all_and_may_cancel_the_own_is_told_so(self, rows, anna):
        bert = anna.colleague("operating.operations.read:all", "operating.operations.cancel:own")
        refused = bert.refusal("CancelOperation", name=anna("Mill").name)
        assert (refused.code, refused.reason) == (CODE.PERMISSION_DENIED, "OUT_OF_SCOPE")


class TestList:
    def test_has_pages_the_newest_first(self, rows, anna):
        names = [anna("Mill").name for _ in range(5)]
        found, token = [], ""
        for _ in range(3):
            page = anna("ListOperations", parent="services/operating", page_size=2, page_token=token)
            found += [operation.name for operation in page.operations]
            token = page.next_page_token
        assert (found, token) == (names[::-1], "")

    def test_is_filtered_by_state_and_kind(self, rows, anna, pools):
        def run(work):
            raise Stuck(status_of(Unavailable("nothing goes"), "d", work.trace))

        stuck = anna("Mill").name
        work_off(operating.runner(pools, Kind("mill", operating.MillRequest, run)))
        running = anna("Mill").name

        def names(filter):
            page = anna("ListOperations", parent="services/operating", filter=filter)
            return [operation.name for operation in page.operations]

        assert names("state = STUCK") == [stuck]
        assert names('state = RUNNING AND kind = "mill"') == [running]
        assert names("kind = other") == []
        shown = operating.shown(anna("GetOperation", name=stuck))
        assert (shown.state, shown.last_failure.message) == (5, "nothing goes")

    @pytest.mark.parametrize(
        "bad", ["state = WAITING", "subject = x", "state != STUCK", "kind = a*", "state = STUCK OR kind = x", "("]
    )
    def test_refuses_other_filters(self, anna, bad):
        assert "filter" in anna.refusal("ListOperations", parent="services/operating", filter=bad).violations

    @pytest.mark.parametrize("parent", ["", "services/other"])
    def test_refuses_another_parent(self, anna, parent):
        assert "parent" in anna.refusal("ListOperations", parent=parent).violations


class TestMigration:
    def test_makes_the_tables_as_they_are_declared(self, server):
        declared = {*operating.metadata.tables}

        def is_declared(name, kind, _):
            return kind != "table" or name in declared

        engine = sa.create_engine(
            sa.make_url(server.database.url("owner")).set(drivername="postgresql+psycopg"), poolclass=sa.NullPool
        )
        with engine.connect() as connection:
            options = {"compare_type": True, "include_name": is_declared}
            context = MigrationContext.configure(connection, opts=options)
            assert autogenerate.compare_metadata(context, operating.metadata) == []

    def test_goes_back(self, databases):
        database = databases.empty(operating.service())
        for revision in ("head", "base"):
            migrations.migrate(database.settings(), operating.service(), revision)
        with database.connect() as connection:
            assert connection.execute("SELECT to_regclass('operations'), to_regclass('leases')").fetchone() == (
                None,
                None,
            )


class TestCommand:
    @staticmethod
    def run(server, *arguments):
        command = upkeep.commands(server.service)["operations"]
        parser = argparse.ArgumentParser()
        command.arguments(parser)
        return command.run(server.runtime.settings, parser.parse_args(arguments))

    def test_lists_what_is_stuck_and_has_it_tried_again(self, rows, server, anna, pools, capsys):
        def run(work):
            if work.epoch == 1:
                raise Stuck(status_of(Unavailable("nothing goes"), "d", work.trace))

        stuck = anna("Mill").name.rpartition("/")[2]
        runner = operating.runner(pools, Kind("mill", operating.MillRequest, run))
        work_off(runner)
        anna("Mill")
        assert self.run(server, "--stuck") == 0
        [line] = capsys.readouterr().out.splitlines()
        assert line.startswith(f"{stuck}  {anna.tenant}  mill  STUCK")
        assert line.endswith("nothing goes")
        assert self.run(server) == 0
        assert len(capsys.readouterr().out.splitlines()) == 2
        assert self.run(server, "--retry", stuck) == 0
        work_off(runner)
        assert anna("GetOperation", name=f"services/operating/operations/{stuck}").done
        assert self.run(server, "--retry", stuck) == 1
