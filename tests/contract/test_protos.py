"""The contract's shape: what `buf lint` cannot see. Driven from the descriptors, so that nothing new is forgotten."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import NamedTuple

import pytest
from buf.validate import validate_pb2
from google.api import annotations_pb2, field_behavior_pb2, resource_pb2
from google.longrunning import operations_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)

from kontor.api.v1 import annotations_pb2 as kontor_annotations

TIMESTAMP = ".google.protobuf.Timestamp"
MASK = ".google.protobuf.FieldMask"
WRITES = {"request_id": "string", "validate_only": "bool"}
BY_NAME = {"name": "string", "etag": "string", **WRITES}

# What the request of a standard method has at least; {} is the resource's own name.
REQUESTS = {
    "Get": {"name": "string", "read_mask": MASK},
    "List": {
        "page_size": "int32",
        "page_token": "string",
        "filter": "string",
        "order_by": "string",
        "show_deleted": "bool",
        "include_total_size": "bool",
        "read_mask": MASK,
    },
    "Search": {"query": "string", "page_size": "int32", "read_mask": MASK},
    "Create": {"{}": "{}", **WRITES},
    "Update": {"{}": "{}", "update_mask": MASK, **WRITES},
    "Upsert": {"external_id": ".kontor.type.v1.ExternalId", "{}": "{}", "update_mask": MASK, **WRITES},
    "Delete": BY_NAME,
    "Undelete": BY_NAME,
    "BatchGet": {"names": "string*", "read_mask": MASK},
    "BatchCreate": {"requests": "Create*", "return_partial_success": "bool", "request_id": "string"},
}
PERMISSION_VERBS = {
    "Get": "read",
    "List": "read",
    "Search": "read",
    "BatchGet": "read",
    "Create": "create",
    "BatchCreate": "create",
    "Update": "update",
    "Upsert": "update",
    "Delete": "delete",
    "Undelete": "delete",
}
# Records that only live below another one are few, and do without filters, masks and etags.
NESTED_REQUESTS = {
    "Get": {"name": "string"},
    "List": {"parent": "string", "page_size": "int32", "page_token": "string"},
    "Create": {"parent": "string", "{}": "{}"},
    "Delete": {"name": "string"},
}
# Their requests or answers hold a secret, which must not be kept for a repetition of the call.
WITH_SECRETS = (
    *("AcceptQuote", "DeclineQuote", "SendQuote"),
    *("RotateCalendarFeedKey", "RotateLeadFormKey", "RotateSecrets", "SetUserPassword"),
)
# Services that other services call, at each one's own address, and nobody else.
AMONG_SERVICES = ("TenantDataService",)
UNLIMITED = ("name", "parent", "etag", "page_token", "filter", "order_by")
PLURAL = ("List", "Search", "BatchGet", "BatchCreate")


class Resource(NamedTuple):
    """A resource message, and the words for it."""

    file: FileDescriptorProto
    message: DescriptorProto
    collection: str
    snake: str
    plural: str

    @property
    def is_nested(self) -> bool:
        return self.message.options.Extensions[resource_pb2.resource].pattern[0].count("/") > 1

    @property
    def type(self) -> str:
        return f".{self.file.package}.{self.message.name}"


class Method(NamedTuple):
    """A method of a resource's service; `verb` is empty where it is no standard method."""

    resource: Resource
    method: MethodDescriptorProto
    verb: str


def camel(snake: str) -> str:
    head, *rest = snake.split("_")
    return head + "".join(map(str.capitalize, rest))


@cache
def files() -> list[FileDescriptorProto]:
    data = (resources.files("kontor") / "descriptors.binpb").read_bytes()
    return [file for file in FileDescriptorSet.FromString(data).file if file.package.startswith("kontor.")]


def messages(file: FileDescriptorProto) -> Iterator[DescriptorProto]:
    ahead = list(file.message_type)
    while ahead:
        message = ahead.pop()
        ahead += message.nested_type
        if not message.options.map_entry:
            yield message


@cache
def all_resources() -> list[Resource]:
    found = []
    for file in files():
        for message in messages(file):
            option = message.options.Extensions[resource_pb2.resource]
            if option.type:
                *_, collection, variable = option.pattern[0].split("/")
                plural = collection[0].upper() + collection[1:]
                found.append(Resource(file, message, collection, variable.strip("{}"), plural))
    return found


def services() -> list[tuple[FileDescriptorProto, ServiceDescriptorProto]]:
    return [(file, service) for file in files() for service in file.service]


def methods() -> list[tuple[FileDescriptorProto, ServiceDescriptorProto, MethodDescriptorProto]]:
    return [(file, service, method) for file, service in services() for method in service.method]


def resource_methods() -> list[Method]:
    by_service = {(r.file.package, f"{r.message.name}Service"): r for r in all_resources()}
    found = []
    for file, service, method in methods():
        resource = by_service.get((file.package, service.name))
        if resource is not None:
            names = {verb: verb + (resource.plural if verb in PLURAL else resource.message.name) for verb in REQUESTS}
            verb = next((verb for verb, name in names.items() if name == method.name), "")
            found.append(Method(resource, method, verb))
    return found


def message(type_: str) -> DescriptorProto:
    return next(m for file in files() for m in file.message_type if f".{file.package}.{m.name}" == type_)


def type_of(field: FieldDescriptorProto) -> str:
    name = field.type_name or FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    return name + "*" * (field.label == FieldDescriptorProto.LABEL_REPEATED)


def behaviours(field: FieldDescriptorProto) -> set[str]:
    values = field.options.Extensions[field_behavior_pb2.field_behavior]
    return {field_behavior_pb2.FieldBehavior.Name(value) for value in values}


def permission(method: MethodDescriptorProto) -> str:
    return method.options.Extensions[kontor_annotations.permission]


def http(method: MethodDescriptorProto) -> tuple[str, str, str]:
    rule = method.options.Extensions[annotations_pb2.http]
    verb = rule.WhichOneof("pattern")
    return verb or "", getattr(rule, verb) if verb else "", rule.body


@pytest.mark.parametrize("file", files(), ids=lambda file: file.name)
class TestEveryFile:
    def test_every_element_has_a_comment(self, file: FileDescriptorProto) -> None:
        """Messages (4), enums (5), services (6) and extensions (7), and what is inside of them."""
        commented = {tuple(loc.path) for loc in file.source_code_info.location if loc.leading_comments.strip()}
        elements = {
            tuple(loc.path)
            for loc in file.source_code_info.location
            if re.fullmatch(r"(4,\d+,(3,\d+,)*(2,\d+,|4,\d+,(2,\d+,)?)?|5,\d+,(2,\d+,)?|6,\d+,(2,\d+,)?|7,\d+,)",
                            "".join(f"{part}," for part in loc.path))
        }  # fmt: skip
        assert elements - commented == set()

    def test_times_and_enums_are_called_as_such(self, file: FileDescriptorProto) -> None:
        for each in messages(file):
            for field in each.field:
                assert field.name.endswith("_time") == (type_of(field) == TIMESTAMP), f"{each.name}.{field.name}"
        for enum in [*file.enum_type, *(enum for each in messages(file) for enum in each.enum_type)]:
            prefix = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", enum.name).upper()
            assert (enum.value[0].name, enum.value[0].number) == (f"{prefix}_UNSPECIFIED", 0)
            assert all(value.name.startswith(f"{prefix}_") for value in enum.value)

    def test_references_lead_to_resources(self, file: FileDescriptorProto) -> None:
        known = {r.message.options.Extensions[resource_pb2.resource].type for r in all_resources()}
        for each in messages(file):
            for field in each.field:
                reference = field.options.Extensions[resource_pb2.resource_reference]
                target = reference.type or reference.child_type
                assert target in {"", "*", *known}, f"{each.name}.{field.name}"
                assert not target or type_of(field) in ("string", "string*")

    def test_what_callers_send_has_a_limit(self, file: FileDescriptorProto) -> None:
        """Text and lists; a name has its form, and filter, order and token have limits in the kit."""
        if file.package == "kontor.api.v1" or file.name == "kontor/changes/v1/change.proto":
            return  # Only services send these.
        sent = [each for each in messages(file) if not each.name.endswith("Response")]
        for each in sent:
            for field in each.field:
                reference = field.options.Extensions[resource_pb2.resource_reference].type
                if "OUTPUT_ONLY" in behaviours(field) or each.name == "Result":
                    continue
                rules = field.options.Extensions[validate_pb2.field]
                if field.label == FieldDescriptorProto.LABEL_REPEATED:
                    assert rules.repeated.HasField("max_items"), f"{each.name}.{field.name}"
                    text = rules.repeated.items.string
                else:
                    text = rules.string
                if type_of(field).startswith("string") and not reference and field.name not in UNLIMITED:
                    assert {"max_len", "len", "pattern", "in"} & {r.name for r, _ in text.ListFields()}, (
                        f"{each.name}.{field.name}"
                    )

    def test_behaviours_do_not_contradict(self, file: FileDescriptorProto) -> None:
        for each in messages(file):
            for field in each.field:
                declared = behaviours(field)
                assert len(declared & {"REQUIRED", "OUTPUT_ONLY", "IDENTIFIER"}) < 2, f"{each.name}.{field.name}"


class TestResources:
    def test_collections_are_unique(self) -> None:
        counts = Counter(resource.collection for resource in all_resources())
        assert [collection for collection, count in counts.items() if count > 1] == []

    @pytest.mark.parametrize("resource", all_resources(), ids=lambda resource: resource.collection)
    def test_words_agree(self, resource: Resource) -> None:
        option = resource.message.options.Extensions[resource_pb2.resource]
        service = resource.file.package.split(".")[1]
        assert option.type == f"{service}.kontor/{resource.message.name}"
        assert (option.plural, option.singular) == (resource.collection, camel(resource.snake))
        assert option.singular == resource.message.name[0].lower() + resource.message.name[1:]
        assert option.pattern[0].endswith(f"{resource.collection}/{{{resource.snake}}}")
        assert resource.file.name == f"kontor/{service}/v1/{resource.snake}.proto"

    @pytest.mark.parametrize("resource", all_resources(), ids=lambda resource: resource.collection)
    def test_fields_that_every_resource_has(self, resource: Resource) -> None:
        fields = {field.name: field for field in resource.message.field}
        assert resource.message.field[0].name == "name"
        assert behaviours(fields["name"]) == {"IDENTIFIER"}
        assert type_of(fields["create_time"]) == TIMESTAMP
        for name in ("create_time", "update_time", "delete_time"):
            assert name not in fields or behaviours(fields[name]) == {"OUTPUT_ONLY"}
        verbs = {method.verb for method in resource_methods() if method.resource is resource}
        assert ("etag" in fields and "update_time" in fields) or "Update" not in verbs
        assert "delete_time" in fields or "Undelete" not in verbs

    def test_every_resource_has_a_service(self) -> None:
        served = {method.resource.collection for method in resource_methods()}
        assert {resource.collection for resource in all_resources()} == served


@pytest.mark.parametrize(
    ("file", "service", "method"), methods(), ids=[f"{service.name}.{method.name}" for _, service, method in methods()]
)
class TestEveryMethod:
    def test_file_is_called_like_the_service(
        self, file: FileDescriptorProto, service: ServiceDescriptorProto, method: MethodDescriptorProto
    ) -> None:
        snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", service.name).lower()
        assert file.name == f"{file.package.replace('.', '/')}/{snake}.proto"

    def test_has_a_route(
        self, file: FileDescriptorProto, service: ServiceDescriptorProto, method: MethodDescriptorProto
    ) -> None:
        verb, path, body = http(method)
        if service.name in AMONG_SERVICES:
            assert not verb
            return
        assert verb in ("get", "post", "patch", "delete")
        assert path.startswith("/v1/")
        assert bool(body) == (verb in ("post", "patch"))

    def test_has_a_permission(
        self, file: FileDescriptorProto, service: ServiceDescriptorProto, method: MethodDescriptorProto
    ) -> None:
        granted = permission(method)
        if granted not in ("public", "authenticated"):
            owner, collection, verb = granted.split(".")
            assert owner == file.package.split(".")[1]
            own = {resource.collection for resource in all_resources() if resource.file.package == file.package}
            # Every service has its own changes and operations, though no message of its own for them.
            common = {"ChangeService": {"changes"}, "OperationService": {"operations"}}
            assert collection in common.get(service.name, own)
            assert re.fullmatch("[a-z][A-Za-z]*", verb)


@pytest.mark.parametrize(("file", "service"), services(), ids=lambda each: each.name)
def test_permissions_that_no_method_asks_for_are_its_own(
    file: FileDescriptorProto, service: ServiceDescriptorProto
) -> None:
    own = {resource.collection for resource in all_resources() if resource.file.package == file.package}
    for granted in service.options.Extensions[kontor_annotations.permissions]:
        owner, collection, verb = granted.split(".")
        assert owner == file.package.split(".")[1]
        assert collection in own
        assert re.fullmatch("[a-z][A-Za-z]*", verb)
        assert granted not in {permission(method) for _, _, method in methods()}


def test_routes_are_unique() -> None:
    routes = Counter(
        (http(method)[0], re.sub(r"\{[^}=]*", "{", http(method)[1])) for *_, method in methods() if http(method)[0]
    )
    assert [route for route, count in routes.items() if count > 1] == []


STANDARD = [case for case in resource_methods() if case.verb]
CUSTOM = [case for case in resource_methods() if not case.verb]


@pytest.mark.parametrize("case", STANDARD, ids=lambda case: case.method.name)
class TestStandardMethods:
    def test_request_has_the_fields(self, case: Method) -> None:
        resource, method, verb = case
        assert method.input_type == f".{resource.file.package}.{method.name}Request"
        fields = {field.name: type_of(field) for field in message(method.input_type).field}
        for name, type_ in (NESTED_REQUESTS if resource.is_nested else REQUESTS)[verb].items():
            expected = {
                "{}": resource.type,
                "Create*": f".{resource.file.package}.Create{resource.message.name}Request*",
            }
            assert fields.get(name.format(resource.snake)) == expected.get(type_, type_), name

    def test_response(self, case: Method) -> None:
        resource, method, verb = case
        if method.options.HasExtension(operations_pb2.operation_info):
            info = method.options.Extensions[operations_pb2.operation_info]
            assert method.output_type == ".google.longrunning.Operation"
            assert message(f".{resource.file.package}.{info.response_type}")
            assert info.metadata_type == "kontor.operations.v1.OperationMetadata"
            return
        if verb == "Delete" and "delete_time" not in {field.name for field in resource.message.field}:
            assert method.output_type == ".google.protobuf.Empty"
            return
        if verb in ("Get", "Create", "Update", "Delete", "Undelete"):
            assert method.output_type == resource.type
            return
        assert method.output_type == f".{resource.file.package}.{method.name}Response"
        fields = {field.name: type_of(field) for field in message(method.output_type).field}
        snakes = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", resource.collection).lower()
        if verb == "Upsert":
            assert fields == {resource.snake: resource.type, "created": "bool"}
        elif verb == "Search":
            assert fields == {"results": f"{method.output_type}.Result*"}
        else:
            assert fields[snakes] == f"{resource.type}*"
        if verb == "List":
            assert fields["next_page_token"] == "string"
            assert fields.get("total_size") == (None if resource.is_nested else "int32")

    def test_route(self, case: Method) -> None:
        resource, method, verb = case
        *parents, _, _ = resource.message.options.Extensions[resource_pb2.resource].pattern[0].split("/")
        above = "".join(f"{part}/" if index % 2 == 0 else "*/" for index, part in enumerate(parents))
        name = f"{above}{resource.collection}/*"
        collection = f"{{parent={above.rstrip('/')}}}/{resource.collection}" if above else resource.collection
        assert http(method) == {
            "Get": ("get", f"/v1/{{name={name}}}", ""),
            "List": ("get", f"/v1/{collection}", ""),
            "Search": ("get", f"/v1/{collection}:search", ""),
            "Create": ("post", f"/v1/{collection}", resource.snake),
            "Update": ("patch", f"/v1/{{{resource.snake}.name={name}}}", resource.snake),
            "Upsert": (
                "patch", f"/v1/{collection}/externalIds/{{external_id.system}}/{{external_id.key}}", resource.snake
            ),
            "Delete": ("delete", f"/v1/{{name={name}}}", ""),
            "Undelete": ("post", f"/v1/{{name={name}}}:undelete", "*"),
            "BatchGet": ("get", f"/v1/{collection}:batchGet", ""),
            "BatchCreate": ("post", f"/v1/{collection}:batchCreate", "*"),
        }[verb]  # fmt: skip

    def test_permission(self, case: Method) -> None:
        resource, method, verb = case
        service = resource.file.package.split(".")[1]
        assert permission(method) == f"{service}.{resource.collection}.{PERMISSION_VERBS[verb]}"


@pytest.mark.parametrize("case", CUSTOM, ids=lambda case: case.method.name)
class TestCustomMethods:
    def test_request_is_its_own(self, case: Method) -> None:
        assert case.method.input_type == f".{case.resource.file.package}.{case.method.name}Request"

    def test_route_ends_with_the_verb(self, case: Method) -> None:
        verb, path, _ = http(case.method)
        custom = path.rpartition(":")[2]
        assert verb in ("get", "post")
        assert case.method.name.lower().startswith(re.match("[a-z]+", custom).group())

    def test_writes_can_be_repeated_safely(self, case: Method) -> None:
        fields = {field.name: type_of(field) for field in message(case.method.input_type).field}
        if http(case.method)[0] != "get" and case.method.name not in WITH_SECRETS:
            assert fields["request_id"] == "string"
