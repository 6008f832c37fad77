"""The tenant's own fields of products: contacts keeps their definitions, and sales follows it."""

from __future__ import annotations

import uuid

import pytest

from kontor.contacts.v1.custom_field_definition_pb2 import CustomFieldDefinition
from kontor_kit.testing.telling import teller
from kontor_sales.service import service

PREFIX = "kontor.contacts.v1.custom_field_definition"


@pytest.fixture
def tell(server):
    with teller(server, service()) as telling:
        yield telling


@pytest.fixture
def definition():
    return CustomFieldDefinition(
        name=f"customFieldDefinitions/{uuid.uuid4()}",
        resource_type="products",
        key="colour",
        type=CustomFieldDefinition.TYPE_ENUM,
        options=[{"value": "red"}, {"value": "blue", "retired": True}],
        filterable=True,
    )


def create(caller, sku, **values):
    return {"product": {"sku": sku, "display_name": sku, "custom_fields": values}}


def test_a_field_can_be_used_once_it_is_told_of(anna, tell, definition):
    assert anna.refusal("CreateProduct", **create(anna, "A", colour="red")).violations
    tell(anna.tenant, f"{PREFIX}.created", definition, 1)
    made = anna("CreateProduct", **create(anna, "A", colour="red"))
    assert anna("ListProducts", filter="custom_fields.colour = red").products == [made]
    assert (
        "product.custom_fields.colour" in anna.refusal("CreateProduct", **create(anna, "B", colour="blue")).violations
    )


def test_what_is_older_than_the_copy_changes_nothing(anna, tell, definition):
    tell(anna.tenant, f"{PREFIX}.updated", definition, 3)
    definition.ClearField("options")
    definition.options.add(value="green")
    tell(anna.tenant, f"{PREFIX}.snapshot", definition, 2)
    assert anna.refusal("CreateProduct", **create(anna, "A", colour="green")).violations
    assert anna("CreateProduct", **create(anna, "A", colour="red"))


def test_a_deleted_field_takes_no_more_values(anna, tell, definition):
    tell(anna.tenant, f"{PREFIX}.created", definition, 1)
    definition.delete_time.GetCurrentTime()
    tell(anna.tenant, f"{PREFIX}.deleted", definition, 2)
    assert anna.refusal("CreateProduct", **create(anna, "A", colour="red")).violations


def test_another_tenant_has_not_the_field(server, anna, tell, definition):
    tell(anna.tenant, f"{PREFIX}.created", definition, 1)
    assert server.caller().refusal("CreateProduct", **create(anna, "A", colour="red")).violations
