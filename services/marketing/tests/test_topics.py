"""Topics: what is theirs alone; what they share with all resources is tested in the kit."""

from __future__ import annotations

import pytest
from grpc import StatusCode

CONSENT = 1


def test_legal_basis_is_consent_where_none_is_said(anna):
    topic = anna("CreateTopic", topic={"display_name": "Newsletter", "key": "news", "description": "Once a month."})
    assert topic.legal_basis == CONSENT
    assert anna("GetTopic", name=topic.name) == topic


def test_key_is_unique_and_stays(anna):
    topic = anna("CreateTopic", topic={"display_name": "Newsletter", "key": "news"})
    refusal = anna.refusal("CreateTopic", topic={"display_name": "Another", "key": "news"})
    assert refusal.code is StatusCode.ALREADY_EXISTS
    assert "topic.key" in anna.refusal("UpdateTopic", topic={"name": topic.name, "key": "other"}).violations


@pytest.mark.parametrize(
    ("fields", "path"),
    [({"display_name": " ", "key": "a"}, "display_name"), ({"display_name": "A", "key": "A b"}, "key")],
    ids=["blank-name", "key"],
)
def test_names_the_field_that_is_wrong(anna, fields, path):
    assert [*anna.refusal("CreateTopic", topic=fields).violations] == [f"topic.{path}"]
