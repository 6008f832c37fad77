"""Read masks and update masks."""

from __future__ import annotations

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import ParseDict
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from kit.tests.things import Part, Thing
from kontor_kit import masks
from kontor_kit.errors import InvalidArgument

DESCRIPTOR = Thing.DESCRIPTOR
UNKNOWN = ["", ".", "nope", "size.x", "main_part.nope", "parts.code", "tags.0", "labels.a", "due_time.seconds",
           "custom_fields.", "display_name.", "displayName", "*"]  # fmt: skip


def thing(**fields: object) -> Thing:
    return ParseDict(fields, Thing())


def everything() -> Thing:
    return thing(
        name="things/1",
        display_name="a",
        kind="k",
        size=1,
        weight=0,
        tags=["x", "y"],
        parts=[{"code": "1"}],
        main_part={"code": "2", "colour": "red"},
        custom_fields={"segment": "a", "rank": 1, "odd.key": True},
        labels={"l": "1"},
        street="s",
        inner={"size": 3},
        etag="e",
        create_time="2026-01-01T00:00:00Z",
        due_time="2026-01-02T00:00:00Z",
    )


class TestReading:
    @pytest.mark.parametrize("paths", [[], ["*"]])
    def test_everything_when_empty_or_star(self, paths: list[str]) -> None:
        assert masks.read_paths(FieldMask(paths=paths), DESCRIPTOR) == ()
        message = everything()
        masks.prune(message, ())
        assert message == everything()

    def test_only_what_is_named_remains(self) -> None:
        wanted = ["size", "main_part.code", "custom_fields.odd.key", "inner", "inner.size", "tags", "tags", "due_time"]
        paths = masks.read_paths(FieldMask(paths=wanted), DESCRIPTOR)
        assert paths == ("size", "main_part.code", "custom_fields.odd.key", "inner", "tags", "due_time")
        message = everything()
        masks.prune(message, paths)
        assert message == thing(
            size=1,
            main_part={"code": "2"},
            custom_fields={"odd.key": True},
            inner={"size": 3},
            tags=["x", "y"],
            due_time="2026-01-02T00:00:00Z",
        )

    @pytest.mark.parametrize("path", UNKNOWN)
    def test_refused_naming_the_path_when_unknown(self, path: str) -> None:
        with pytest.raises(InvalidArgument) as caught:
            masks.read_paths(FieldMask(paths=["size", path, "also_unknown"]), DESCRIPTOR)
        first, second = caught.value.violations
        assert first.field == second.field == "read_mask"
        assert repr(path) in first.description
        assert "'also_unknown'" in second.description

    def test_refused_when_there_are_too_many(self) -> None:
        with pytest.raises(InvalidArgument):
            masks.read_paths(FieldMask(paths=["size"] * 201), DESCRIPTOR)


class TestUpdatePaths:
    def test_fields_that_are_set_when_empty(self) -> None:
        paths = masks.update_paths(FieldMask(), everything())
        keys = [f"custom_fields.{key}" for key in ("segment", "rank", "odd.key")]
        whole = ["display_name", "kind", "size", "weight", "tags", "parts", "main_part", "labels", "street", "inner"]
        assert sorted(paths) == sorted([*whole, *keys, "due_time"])
        assert masks.update_paths(FieldMask(), Thing(name="things/1", etag="e")) == ()

    def test_all_that_can_be_set_when_star(self) -> None:
        paths = masks.update_paths(FieldMask(paths=["*"]), Thing(size=1))
        assert set(paths) == {field.name for field in DESCRIPTOR.fields} - {"name", "etag", "create_time", "kind"}
        assert "kind" in masks.update_paths(FieldMask(paths=["*"]), Thing(kind="k"))

    def test_what_a_caller_cannot_set_is_left_out(self) -> None:
        named = ["name", "etag", "create_time", "main_part.broken", "inner.create_time", "kind", "size", "size"]
        assert masks.update_paths(FieldMask(paths=named), Thing()) == ("kind", "size")

    @pytest.mark.parametrize("path", UNKNOWN)
    def test_refused_naming_the_path_when_unknown(self, path: str) -> None:
        with pytest.raises(InvalidArgument) as caught:
            masks.update_paths(FieldMask(paths=["size", path]), Thing(), "other_mask")
        ((field, description),) = caught.value.violations
        assert field == "other_mask"
        assert repr(path) in description


class TestApply:
    def test_equal_after_all_fields_are_applied(self) -> None:
        target = thing(size=9, weight=9, tags=["z"], custom_fields={"old": 1}, box={"code": "b"}, labels={"o": "2"})
        masks.apply(masks.update_paths(FieldMask(paths=["*"]), everything()), everything(), target)
        expected = everything()
        for name in ("name", "etag", "create_time"):
            expected.ClearField(name)
        assert target == expected

    def test_cleared_when_unset_in_the_source(self) -> None:
        target = everything()
        masks.apply(
            ("size", "weight", "tags", "main_part.colour", "due_time", "labels", "street", "box"), Thing(), target
        )
        assert target.main_part == Part(code="2")
        assert not target.size
        assert not target.tags
        assert not target.labels
        assert not any(map(target.HasField, ("weight", "due_time", "street")))

    def test_presence_is_kept(self) -> None:
        target = Thing()
        masks.apply(("weight", "main_part", "inner.size"), Thing(weight=0, main_part=Part()), target)
        assert target.HasField("weight")
        assert target.HasField("main_part")
        assert not target.HasField("inner")

    def test_keys_of_a_struct(self) -> None:
        source = thing(custom_fields={"segment": "b", "rank": None, "new.key": False})
        target = everything()
        masks.apply(masks.update_paths(FieldMask(), source), source, target)
        assert dict(target.custom_fields) == {"segment": "b", "odd.key": True, "new.key": False}
        masks.apply(("custom_fields.segment", "custom_fields.absent"), Thing(), target)
        assert dict(target.custom_fields) == {"odd.key": True, "new.key": False}
        masks.apply(("custom_fields.absent",), Thing(), empty := Thing())
        assert empty == Thing()

    def test_a_struct_replaced_as_a_whole_drops_nulls(self) -> None:
        target = everything()
        masks.apply(("custom_fields",), thing(custom_fields={"rank": None, "b": 1}), target)
        assert dict(target.custom_fields) == {"b": 1}

    @given(
        st.sets(st.sampled_from(["size", "weight", "tags", "street", "main_part.code", "inner", "custom_fields.rank"]))
    )
    def test_only_what_is_named_changes(self, named: set[str]) -> None:
        source = thing(size=5, tags=["q"], main_part={"code": "z"}, custom_fields={"rank": 7})
        target, before = everything(), everything()
        masks.apply(named, source, target)
        masks.apply(named, before, target)
        assert target == before


def test_read_and_update_masks_agree_on_times() -> None:
    target = Thing(due_time=Timestamp(seconds=5))
    masks.apply(("due_time",), Thing(due_time=Timestamp(seconds=7)), target)
    assert target.due_time.seconds == 7
