"""The fault suite would see it if something were lost, repeated, invented or out of order."""

import uuid
from dataclasses import replace
from types import SimpleNamespace

import pytest

from tests.faults import verdicts
from tests.faults.load import KINDS, Write
from tests.faults.stored import Entry


def entry(position, name, version):
    tenant, event = uuid.UUID(int=1), f"event-{position}"
    return Entry("contacts", position, tenant, event, name, version, "created", f"key-{position}", f"digest-{position}")


LOG = [entry(1, "accounts/a", 1), entry(2, "accounts/b", 1), entry(3, "accounts/a", 2), entry(4, "accounts/a", 3)]
EFFECTS = [
    SimpleNamespace(event_id=one.event, resource_name=one.name, version=one.version, digest=one.digest) for one in LOG
]
EVENTS = [one.event for one in LOG]


def write(key, name, version, **fields):
    answer = {"name": name, "etag": f"v{version}"} if name else None
    return Write(key, writer=None, tenant="demo", kind=KINDS[0], name="", text="", sent=1, answer=answer, **fields)


WRITES = [write(one.key, one.name, one.version) for one in LOG]


class TestWrites:
    def test_all_is_well_when_each_is_there_once_and_one_left_in_doubt_is_there_or_not(self):
        left = [write(WRITES[0].key, "", 0, is_left=True), write("key-9", "", 0, is_left=True)]
        assert verdicts.of_writes([*left, *WRITES[1:]], LOG) == []

    @pytest.mark.parametrize(
        ("writes", "log"),
        [
            pytest.param(WRITES, LOG[1:], id="lost"),
            pytest.param(WRITES, [*LOG, replace(LOG[0], position=5)], id="repeated"),
            pytest.param(WRITES[1:], LOG, id="invented"),
            pytest.param(WRITES, [replace(LOG[0], version=7), *LOG[1:]], id="another version"),
            pytest.param([*WRITES, write("key-9", "", 0)], LOG, id="never answered"),
        ],
    )
    def test_a_problem_is_found_when_one_is(self, writes, log):
        assert len(verdicts.of_writes(writes, log)) == 1


class TestLog:
    def test_all_is_well_when_nothing_is_missing(self):
        assert verdicts.of_log(LOG, 1) == []

    @pytest.mark.parametrize(
        "log",
        [
            pytest.param([LOG[0], LOG[2], LOG[3]], id="gap"),
            pytest.param([*LOG[:2], replace(LOG[2], version=3), replace(LOG[3], version=2)], id="order of versions"),
            pytest.param([*LOG, replace(LOG[3], position=5)], id="version twice"),
        ],
    )
    def test_a_problem_is_found_when_something_is(self, log):
        assert len(verdicts.of_log(log, 1)) == 1

    def test_a_record_that_the_log_does_not_tell_of_is_found(self):
        stored = {"accounts/a": 3, "accounts/b": 1}
        assert verdicts.of_records(stored, LOG) == []
        assert len(verdicts.of_records(stored | {"accounts/c": 1}, LOG)) == 1
        assert len(verdicts.of_records(stored | {"accounts/a": 4}, LOG)) == 1


class TestEffects:
    def test_all_is_well_when_records_overtake_each_other(self):
        assert verdicts.of_effects([EFFECTS[1], EFFECTS[0], *EFFECTS[2:]], LOG) == []

    @pytest.mark.parametrize(
        "effects",
        [
            pytest.param(EFFECTS[:3], id="lost"),
            pytest.param([*EFFECTS, EFFECTS[1]], id="repeated"),
            pytest.param([EFFECTS[0], EFFECTS[1], EFFECTS[3], EFFECTS[2]], id="order"),
            pytest.param(
                [SimpleNamespace(**{**vars(EFFECTS[0]), "digest": "else"}), *EFFECTS[1:]], id="another record"
            ),
        ],
    )
    def test_a_problem_is_found_when_one_is(self, effects):
        assert verdicts.of_effects(effects, LOG) != []

    def test_an_effect_of_nothing_is_found(self):
        assert verdicts.of_effects(EFFECTS, LOG[:3]) != []


class TestStream:
    @pytest.mark.parametrize("events", [EVENTS[1:], [*EVENTS, EVENTS[-1]], [EVENTS[1], EVENTS[0], *EVENTS[2:]]])
    def test_only_the_log_in_its_order_is_well(self, events):
        assert verdicts.of_stream("somebody", EVENTS, LOG) == []
        assert len(verdicts.of_stream("somebody", events, LOG)) == 1
