"""Field behaviours: OUTPUT_ONLY is ignored, REQUIRED must be there, IMMUTABLE stays."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from kit.tests.things import BatchCreateThingsRequest, CreateThingRequest, Part, Plain, Thing, UpdateThingRequest
from kontor_kit import behaviours


def paths(violations: list) -> list[str]:
    return [violation.field for violation in violations]


class TestClean:
    def test_output_only_cleared_at_any_depth(self) -> None:
        thing = Thing(
            display_name="a",
            create_time=Timestamp(seconds=1),
            parts=[Part(code="1", broken=True)],
            main_part=Part(broken=True),
            inner=Thing(create_time=Timestamp(seconds=1), kind="k"),
        )
        request = CreateThingRequest(thing=thing)
        behaviours.clean(request)
        expected = Thing(display_name="a", parts=[Part(code="1")], main_part=Part(), inner=Thing(kind="k"))
        assert request.thing == expected
        assert request.thing.HasField("main_part")

    def test_untouched_when_the_type_declares_nothing(self) -> None:
        plain = Plain(text="a", inner=Plain(text="b"))
        behaviours.clean(plain)
        assert plain == Plain(text="a", inner=Plain(text="b"))
        assert behaviours._plan(Plain.DESCRIPTOR, behaviours.OUTPUT_ONLY) is None


class TestRequire:
    def test_nothing_when_all_is_set(self) -> None:
        assert behaviours.require(CreateThingRequest(thing=Thing(display_name="a", parts=[Part(code="1")]))) == []

    def test_paths_of_what_is_missing(self) -> None:
        thing = Thing(parts=[Part(code="1"), Part()], inner=Thing(main_part=Part()))
        request = BatchCreateThingsRequest(requests=[CreateThingRequest(), CreateThingRequest(thing=thing)])
        assert paths(behaviours.require(request)) == [
            "requests[0].thing",
            "requests[1].thing.display_name",
            "requests[1].thing.parts[1].code",
            "requests[1].thing.inner.display_name",
            "requests[1].thing.inner.main_part.code",
        ]

    def test_prefix_leads_the_path(self) -> None:
        assert paths(behaviours.require(Thing(), "thing")) == ["thing.display_name"]
        assert behaviours.require(BatchCreateThingsRequest())[0].description == "is required"

    def test_resource_of_an_update_is_left_to_the_mask(self) -> None:
        assert paths(behaviours.require(UpdateThingRequest())) == ["thing"]
        assert paths(behaviours.require(UpdateThingRequest(thing=Thing(), extra=Part()))) == ["extra.code"]


class TestRequireNamed:
    def test_only_named_fields(self) -> None:
        thing = Thing(parts=[Part()], main_part=Part())
        assert behaviours.require_named(thing, ["size", "tags", "custom_fields.segment"], "thing") == []
        named = ["display_name", "parts", "main_part.code", "main_part.colour", "inner.display_name"]
        assert paths(behaviours.require_named(thing, named, "thing")) == [
            "thing.display_name",
            "thing.parts[0].code",
            "thing.main_part.code",
        ]


class TestImmutable:
    def test_nothing_when_the_same(self) -> None:
        before = Thing(kind="a", size=1, main_part=Part(serial="1"))
        assert behaviours.immutable_changes(before, Thing(kind="a", size=2, main_part=Part(serial="1"))) == []

    def test_paths_of_what_changed(self) -> None:
        before = Thing(kind="a", main_part=Part(serial="1"))
        assert paths(behaviours.immutable_changes(before, Thing(kind="b"), "thing")) == [
            "thing.kind",
            "thing.main_part.serial",
        ]
        assert paths(behaviours.immutable_changes(Thing(), Thing(kind="b"))) == ["kind"]
