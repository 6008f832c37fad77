"""Events as they travel over the broker: what is written is read again, and what is wrong is said by its attribute."""

import base64
import dataclasses
import datetime as dt
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontor_kit.amqp.envelope import Malformed, Message, encode, parse, schema_of
from kontor_kit.ids import uuid7
from kontor_kit.inbox.events import Event

WORD = st.from_regex(r"[a-z][a-z0-9_]{0,10}", fullmatch=True)
VERB = st.from_regex(r"[a-z]{1,5}[A-Z][a-z]{1,5}", fullmatch=True)
TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=0x2000), min_size=1, max_size=50).filter(str.isprintable)
TRACE = st.from_regex(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", fullmatch=True)


@st.composite
def messages(draw):
    service = draw(WORD)
    kind, verb = draw(WORD), draw(WORD | VERB)
    event = Event(
        id=draw(st.uuids()),
        tenant_id=draw(st.uuids()),
        type=f"kontor.{service}.v1.{kind}_x.{verb}",
        resource_name=draw(TEXT),
        version=draw(st.integers(0, 2**63 - 1)),
        time=draw(st.datetimes(timezones=st.just(dt.UTC))),
        data=draw(st.binary(max_size=100)),
        traceparent=draw(st.just("") | TRACE),
        subject=draw(st.just("") | TEXT),
    )
    return Message(service, draw(st.none() | st.just(event)), draw(TEXT), draw(TEXT))


@given(messages())
def test_what_is_written_is_read_again(message):
    assert parse(encode(message)) == message


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_whatever_comes_is_read_or_malformed(body):
    with pytest.raises(Malformed):
        parse(body)


VALID = Message(
    "contacts",
    Event(
        id=uuid7(),
        tenant_id=uuid7(),
        type="kontor.contacts.v1.address_status.created",
        resource_name="addressStatuses/a",
        version=1,
        time=dt.datetime(2026, 1, 2, 3, 4, 5, 6, dt.UTC),
        data=b"\0\xff",
        traceparent=f"00-{'a' * 32}-{'b' * 16}-01",
        subject="users/a",
    ),
    "position",
    "relay",
)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(st.sampled_from(sorted(json.loads(encode(VALID)))), JSON)
def test_whatever_an_attribute_holds_it_is_read_or_named(attribute, value):
    problem = problem_of(json.dumps({**json.loads(encode(VALID)), attribute: value}))
    assert problem is None or problem.attribute in (attribute, "source", "dataschema")


def problem_of(body):
    try:
        parse(body)
    except Malformed as problem:
        return problem
    return None


def test_it_is_a_cloud_event_in_json():
    fields = json.loads(encode(VALID))
    assert fields == {
        "specversion": "1.0",
        "id": str(VALID.event.id),
        "source": "//contacts.kontor",
        "type": "kontor.contacts.v1.address_status.created",
        "subject": "addressStatuses/a",
        "time": "2026-01-02T03:04:05.000006Z",
        "datacontenttype": "application/protobuf",
        "dataschema": "type.googleapis.com/kontor.contacts.v1.AddressStatus",
        "data_base64": base64.b64encode(b"\0\xff").decode(),
        "kontorsubject": "users/a",
        "kontortenant": str(VALID.event.tenant_id),
        "kontorversion": "1",
        "kontorposition": "position",
        "kontorrelay": "relay",
        "traceparent": VALID.event.traceparent,
    }
    # Names of attributes are of lower-case letters and digits; `data_base64` is the one that JSON adds.
    assert all(name.isalnum() and name.islower() for name in fields if name != "data_base64")


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("specversion", "0.3"),
        ("specversion", None),
        ("id", "no uuid"),
        ("id", None),
        ("source", "//sales.kontor"),
        ("type", "com.example.created"),
        ("type", "kontor.contacts.v1.account"),
        ("type", 7),
        ("subject", None),
        ("subject", "a\0b"),
        ("subject", "a" * 1001),
        ("subject", "\N{GRINNING FACE}" * 251),
        ("time", "yesterday"),
        ("time", "2026-01-02T03:04:05"),
        ("kontortenant", "tenants/a"),
        ("kontorversion", "-1"),
        ("kontorversion", "٣"),
        ("kontorversion", str(2**63)),
        ("kontorversion", 1),
        ("kontorposition", None),
        ("kontorrelay", None),
        ("traceparent", "00-a-b-01"),
        ("datacontenttype", "application/json"),
        ("dataschema", "type.googleapis.com/kontor.contacts.v1.Account"),
        ("data_base64", "=="),
        ("data_base64", 7),
        ("data", {"display_name": "A"}),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_what_is_wrong_is_named(attribute, value):
    fields = {**json.loads(encode(VALID)), attribute: value}
    with pytest.raises(Malformed) as problem:
        parse(json.dumps({name: content for name, content in fields.items() if content is not None}))
    assert problem.value.attribute == attribute


def test_a_record_without_values_has_no_data():
    redacted = VALID._replace(event=dataclasses.replace(VALID.event, data=b""))
    assert not {"data_base64", "dataschema", "datacontenttype"} & json.loads(encode(redacted)).keys()
    assert parse(encode(redacted)) == redacted


def test_schemas_are_those_of_the_records():
    assert schema_of("kontor.contacts.v1.custom_field_definition.updated") == "kontor.contacts.v1.CustomFieldDefinition"
