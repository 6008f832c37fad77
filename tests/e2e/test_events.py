"""Events that contacts gets from identity and cannot handle, in an operator's hands."""

import contextlib
import json
import subprocess
import sys
import uuid

import psycopg

from tests.e2e.instance import eventually
from tests.e2e.leaving import Leaver
from tests.e2e.rest import Rest, new_tenant

# As many attempts as the next failure is the last after.
NEARLY_DEAD = 7


def kontor_events(platform, *words):
    """Run `kontor events contacts ...` as an operator does."""
    command = [sys.executable, "-m", "kontor_dev", "events", "--data", str(platform.data), "contacts", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def found(platform, leaver, *words):
    """Return what `kontor events contacts ...` lists of a user, by handler."""
    listed = kontor_events(platform, *words)
    assert listed.returncode == 0, listed.stderr
    events = [json.loads(line) for line in listed.stdout.splitlines()]
    return {event["handler"]: event for event in events if event["resource_name"] == leaver.name}


@contextlib.contextmanager
def unwritable(connection, *leavers):
    """Have the database refuse whatever is written to the accounts of these users, for as long as the block lasts."""
    ids = ", ".join(f"'{leaver.account.partition('/')[2]}'" for leaver in leavers)
    name = f"test_{uuid.uuid4().hex}"
    connection.execute(
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'out of order'; END$$"
    )
    when = f"WHEN (NEW.id IN ({ids}))"
    connection.execute(f"CREATE TRIGGER {name} BEFORE UPDATE ON accounts FOR EACH ROW {when} EXECUTE FUNCTION {name}()")
    try:
        yield
    finally:
        connection.execute(f"DROP FUNCTION {name} CASCADE")


class TestDeadEvents:
    def test_operators_find_them_replay_them_and_put_them_aside(self, platform):
        with (
            Rest(platform, tenant=new_tenant(platform)) as rest,
            psycopg.connect(platform.database_url("contacts"), autocommit=True) as connection,
        ):
            one, other = leavers = [Leaver(rest) for _ in range(2)]
            with unwritable(connection, *leavers):
                for leaver in leavers:
                    leaver.leave()
                waiting = [eventually(lambda leaver=leaver: self.failing(platform, leaver)) for leaver in leavers]
                assert [(event["state"], event["version"]) for event in waiting] == [("waiting", 2)] * 2
                # Eight attempts take a minute.
                hurry = "UPDATE inbox SET attempts = %s, due_time = now() WHERE event_id = %s AND state = 0"
                for event in waiting:
                    connection.execute(hurry, [NEARLY_DEAD, event["event_id"]])
                dead = [
                    eventually(lambda leaver=leaver: found(platform, leaver, "list", "--dead", "--json"))
                    for leaver in leavers
                ]
            ((handler, event),) = dead[0].items()
            assert (event["state"], event["attempts"]) == ("dead", NEARLY_DEAD + 1)
            shown = found(platform, one, "show", event["event_id"])
            assert shown[handler] == event
            assert {each["state"] for name, each in shown.items() if name != handler} == {"done"}
            self.put_right(platform, one, event["event_id"])
            self.put_aside(platform, other, dead[1][handler]["event_id"])

    @staticmethod
    def failing(platform, leaver):
        listed = found(platform, leaver, "list", "--json").values()
        return next((event for event in listed if "out of order" in (event["error"] or "")), None)

    @staticmethod
    def put_right(platform, leaver, event):
        assert not leaver.has_handed_over()
        assert kontor_events(platform, "replay", event).stdout == "1 replayed\n"
        eventually(leaver.has_handed_over)
        assert {each["state"] for each in found(platform, leaver, "show", event).values()} == {"done"}
        again = kontor_events(platform, "replay", event)
        assert (again.returncode, again.stdout) == (1, "")
        assert f"the event {event} is not dead" in again.stderr

    @staticmethod
    def put_aside(platform, leaver, event):
        assert kontor_events(platform, "discard", event).stdout == "1 discarded\n"
        assert found(platform, leaver, "list", "--json") == {}
        assert "discarded" in {each["state"] for each in found(platform, leaver, "show", event).values()}
        assert not leaver.has_handed_over()

    def test_of_a_service_that_handles_none_there_are_none(self, platform):
        command = [sys.executable, "-m", "kontor_dev", "events", "--data", str(platform.data), "identity", "list"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1
        assert "`identity` handles no events" in done.stderr
