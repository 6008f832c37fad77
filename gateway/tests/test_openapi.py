"""The OpenAPI description: valid, complete, and its examples are what its schemas say."""

import re

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from gateway.tests.fakes import DESCRIPTORS
from kontor_gateway.contract import Contract
from kontor_gateway.docs import page
from kontor_gateway.fields import HTTP_BODY
from kontor_gateway.openapi import openapi, openapi_json

JSON = "application/json"


@pytest.fixture(scope="module")
def contract():
    return Contract.load(DESCRIPTORS)


@pytest.fixture(scope="module")
def document(contract):
    return openapi(contract, issuer="http://127.0.0.1:8080")


@pytest.fixture(scope="module")
def operations(document):
    return {
        operation["operationId"]: (verb, path, operation)
        for path, item in document["paths"].items()
        for verb, operation in item.items()
    }


def check(document, schema, value):
    Draft202012Validator(schema | {"components": document["components"]}).validate(value)


def test_is_valid(document):
    validate(document)


def test_has_every_method(contract, operations):
    for method in contract.methods:
        name = operation_id(method)
        assert (name in operations) == bool(method.bindings)
    assert len(operations) == sum(len(method.bindings) for method in contract.methods)


def operation_id(method):
    _, service, _, name = method.service.split(".")
    return f"{service}_{name}_{method.proto.name}"


def test_says_the_permission_of_every_method(contract, operations):
    for method in contract.methods:
        for _, _, operation in operations.values():
            if operation["operationId"] == operation_id(method):
                assert operation["x-kontor-permission"] == method.permission
                assert (operation.get("security") == []) == method.is_public
                assert method.is_public or {"401", "403"} <= operation["responses"].keys()


def test_paths_name_their_resource(document):
    for path, item in document["paths"].items():
        names = re.findall(r"\{(\w+)\}", path)
        assert not {"name", "parent"} & set(names), path
        assert len(names) == len(set(names)), path
        for operation in item.values():
            declared = [parameter["name"] for parameter in operation["parameters"] if parameter.get("in") == "path"]
            assert sorted(declared) == sorted(names), path


def test_everything_is_described(document):
    for path, item in document["paths"].items():
        for operation in item.values():
            assert operation["summary"], path
            for parameter in operation["parameters"]:
                assert "$ref" in parameter or parameter["description"], (path, parameter)


def test_requests_refuse_unknown_fields(document, operations):
    bodies = [operation["requestBody"] for _, _, operation in operations.values() if "requestBody" in operation]
    for content in (body["content"] for body in bodies if JSON in body["content"]):
        reference = content[JSON]["schema"]["$ref"]
        assert document["components"]["schemas"][reference.rsplit("/", 1)[-1]]["additionalProperties"] is False


def test_only_what_is_given_as_it_is_has_another_type_than_json(contract, operations):
    for method in contract.methods:
        for _, _, operation in (operations[name] for name in [operation_id(method)] if name in operations):
            content = operation["responses"]["200"]["content"]
            assert (JSON in content) == (method.response != HTTP_BODY), method.full_name


def test_examples_fit_their_schemas(document, operations):
    for _, _, operation in operations.values():
        contents = [operation["requestBody"]["content"]] if "requestBody" in operation else []
        contents.append(operation["responses"]["200"]["content"])
        for media in (content[JSON] for content in contents if JSON in content):
            check(document, media["schema"], media["example"])
        for parameter in operation["parameters"]:
            if "example" in parameter:
                check(document, parameter["schema"], parameter["example"])
    for response in document["components"]["responses"].values():
        media = response["content"]["application/json"]
        check(document, media["schema"], media["example"])


def test_constraints_become_keywords(document):
    schema = document["components"]["schemas"]["contacts.v1.AccountInput"]
    assert schema["required"] == ["displayName"]
    assert schema["properties"]["displayName"]["maxLength"] == 200
    assert schema["properties"]["employeeCount"]["minimum"] == 0
    assert schema["properties"]["tags"]["uniqueItems"] is True
    assert schema["properties"]["createTime"]["readOnly"] is True
    patch = document["components"]["schemas"]["contacts.v1.AccountPatch"]
    assert "required" not in patch
    assert "minLength" not in patch["properties"]["displayName"], "empty is not set"
    schemas = document["components"]["schemas"]
    states = [schemas[f"marketing.v1.Subscription{mode}"]["properties"]["state"] for mode in ("Input", "Patch")]
    assert ["STATE_UNSPECIFIED" in str(state.get("not")) for state in states] == [True, False], "nor is 0"
    assert "additionalProperties" not in document["components"]["schemas"]["contacts.v1.Account"]


def test_lists_say_what_they_filter_and_sort_by(operations):
    about = operations["contacts_AccountService_ListAccounts"][2]["description"]
    assert "Can be filtered by `display_name`" in about
    assert "Can be sorted by `display_name`" in about


def test_the_page_shows_every_method_and_loads_nothing(contract, operations):
    html = page(openapi_json(contract, issuer="http://127.0.0.1:8080")).decode()
    for name in operations:
        assert f'id="{name}"' in html
    assert not re.search(r"""(?:src|@import|url\()\s*=?\s*["']?(?:https?:)?//""", html)
    targets = set(re.findall(r'id="([^"]+)"', html))
    assert set(re.findall(r'href="#([^"]+)"', html)) <= targets
