"""OpenAPI 3.1 of everything that can be called over REST, generated from the contract."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kontor_gateway.contract import Binding, Contract, Field, Message, Method
from kontor_gateway.examples import Examples
from kontor_gateway.fields import HTTP_BODY, kind_of
from kontor_gateway.responses import HEADERS, PAGE_NOT_FOUND, components, error_statuses
from kontor_gateway.schemas import STATUS, Mode, Schemas, schema_name
from kontor_gateway.templates import Template

Json = dict[str, Any]

_MAX_PARAMETER_DEPTH = 3
_ABOUT = """\
Accounts, contacts and everything else of Kontor as JSON over HTTP.

**Signing in.** Every method needs a bearer token, where it does not say otherwise; see `/oauth2/token`.

**Names.** Fields are written `camelCase`; `snake_case` is understood too. A resource is named by the path that it is
found under, `accounts/0198c0de-...`, and referred to by this name.

**Errors.** Whatever goes wrong, the answer is a `google.rpc.Status`: a code, a text for people, and details for
programs. `ErrorInfo` gives a reason that never changes, `BadRequest` names the fields that are at fault. Unknown fields
and parameters are refused.

**Pages.** Lists give `nextPageToken` as long as there is more.

**Changing.** `updateMask` says which fields to change; without it, those that are set. `If-Match` with the `ETag` of an
earlier answer guards against overwriting somebody else's work.

**Repeating.** A call with an `Idempotency-Key` can be repeated for 24 hours, and does its work once.

**Limits.** `RateLimit` and `RateLimit-Policy` say what is left; `Retry-After` says how long to wait after a 429.
"""


def openapi_json(contract: Contract, *, issuer: str) -> bytes:
    """The description as UTF-8 JSON; `issuer` is the address of identity's `/oauth2` endpoints."""
    return json.dumps(openapi(contract, issuer=issuer), ensure_ascii=False, separators=(",", ":")).encode()


def openapi(contract: Contract | bytes | Path, *, issuer: str) -> Json:
    """The description as a dict; `contract` may also be a descriptor set or its file."""
    return _Generator(contract if isinstance(contract, Contract) else Contract.load(contract)).document(issuer)


class _Generator:
    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.schemas = Schemas(contract)
        self.examples = Examples(contract)
        self.names = _parameter_names(contract)

    def document(self, issuer: str) -> Json:
        paths: dict[str, Json] = {}
        for method in self.contract.methods:
            for index, binding in enumerate(method.bindings):
                path, parameters = self._path(method, binding.template)
                operation = self._operation(method, binding, parameters)
                if index:
                    operation["operationId"] += f"_{index}"
                paths.setdefault(path, {})[binding.verb.lower()] = operation
        self.schemas.message(STATUS, "output")
        services = sorted({method.service for method in self.contract.methods if method.bindings})
        return {
            "openapi": "3.1.0",
            "info": {"title": "Kontor", "version": "1", "description": _ABOUT},
            "servers": [{"url": "/"}],
            "tags": [{"name": _tag(name), "description": self.contract.services[name]} for name in services],
            "paths": dict(sorted(paths.items())),
            "components": {
                "schemas": dict(sorted(self.schemas.components.items())),
                **components(),
                "securitySchemes": _security_schemes(issuer),
            },
            "security": [{"oauth2": []}, {"bearer": []}],
        }

    def _operation(self, method: Method, binding: Binding, path_parameters: list[Json]) -> Json:
        request = self.contract.messages[method.request]
        operation: Json = {
            "operationId": _operation_id(method),
            "tags": [_tag(method.service)],
            "summary": method.comment.split(". ")[0].split("\n")[0].rstrip("."),
            "description": self._description(method),
            "x-kontor-permission": method.permission,
            "parameters": path_parameters + self._query(request, binding) + _headers(request, binding),
        }
        if method.is_public:
            operation["security"] = []
        if binding.body:
            operation["requestBody"] = self._body(request, method, binding)
        headers = {parameter["$ref"].rsplit("/", 1)[-1] for parameter in operation["parameters"] if "$ref" in parameter}
        operation["responses"] = {"200": self._answer(method)} | {
            str(status): {"$ref": f"#/components/responses/{status}"}
            for status in error_statuses(method, binding, headers)
        }
        if method.is_public and method.response == HTTP_BODY:
            operation["responses"]["404"] = {"$ref": f"#/components/responses/{PAGE_NOT_FOUND}"}
        return operation

    def _description(self, method: Method) -> str:
        parts = [method.comment]
        if method.is_public:
            parts.append("Needs no token.")
        elif "." in method.permission:
            parts.append(f"Needs the permission `{method.permission}`.")
        else:
            parts.append("Needs a token, but no permission.")
        if "filter" in self.contract.messages[method.request].fields:
            parts += self._uses(method)
        return "\n\n".join(part for part in parts if part)

    def _uses(self, method: Method) -> list[str]:
        """What a list can be filtered and sorted by."""
        response = self.contract.messages[method.response]
        listed = next((field for field in response.fields.values() if field.is_repeated), None)
        resource = self.contract.messages.get(listed.type_name) if listed else None
        if resource is None:
            return []
        lines = []
        for label, use in (("Can be filtered by", "filter"), ("Can be sorted by", "order")):
            names = [f"`{path}`" for path, field in self._walk(resource, 2) if getattr(field.use, use)]
            if names:
                lines.append(f"{label} {', '.join(names)}.")
        return lines

    def _walk(self, message: Message, depth: int) -> list[tuple[str, Field]]:
        found = []
        for field in message.fields.values():
            found.append((field.name, field))
            if depth > 1 and kind_of(field) == "message" and not self.contract.map_entry(field):
                inner = self._walk(self.contract.messages[field.type_name], depth - 1)
                found += [(f"{field.name}.{path}", nested) for path, nested in inner]
        return found

    def _path(self, method: Method, template: Template) -> tuple[str, list[Json]]:
        """The path as OpenAPI writes it, each variable named after its resource, and the parameters in it."""
        segments, parameters = list(template.segments), []
        for variable in template.variables:
            field, _ = self._resolve(method.request, variable.path)
            pattern = template.segments[variable.start : variable.end]
            names = iter(self.names.get(pattern) or [field.json_name] * pattern.count("*"))
            for at in range(variable.start, variable.end):
                if not segments[at].startswith("*"):
                    continue
                name = next(names, field.json_name)
                segments[at] = f"{{{name}}}"
                parameters.append(self._path_parameter(name, field, is_resource=pattern in self.names))
        return "/" + "/".join(segments) + (f":{template.verb}" if template.verb else ""), parameters

    def _path_parameter(self, name: str, field: Field, *, is_resource: bool) -> Json:
        example = self.examples.identifier(name) if is_resource else "10042" if name == "key" else "erp"
        schema: Json = {"type": "string", "minLength": 1}
        if not is_resource:
            schema |= self.schemas.field(field, "input")
        description = f"The last part of the name of the resource: `{name}`." if is_resource else field.comment
        return {
            "name": name,
            "in": "path",
            "required": True,
            "description": description,
            "schema": schema,
            "example": example,
        }

    def _resolve(self, message: str, path: str) -> tuple[Field, Message]:
        *parents, name = path.split(".")
        at = self.contract.messages[message]
        for parent in parents:
            at = self.contract.messages[at.fields[parent].type_name]
        return at.fields[name], at

    def _query(self, request: Message, binding: Binding) -> list[Json]:
        if binding.body == "*":
            return []
        taken = {variable.path for variable in binding.template.variables} | {binding.body}
        return list(self._parameters(request, taken, (), ()))

    def _parameters(
        self, message: Message, taken: set[str], proto_path: tuple[str, ...], json_path: tuple[str, ...]
    ) -> list[Json]:
        found = []
        for field in message.fields.values():
            path = (*proto_path, field.name)
            kind = kind_of(field)
            if ".".join(path) in taken or self.contract.map_entry(field) or kind in ("struct", "array", "any"):
                continue
            names = (*json_path, field.json_name)
            if kind != "message":
                found.append(self._query_parameter(".".join(names), field, message))
            elif not field.is_repeated and len(path) < _MAX_PARAMETER_DEPTH:
                found += self._parameters(self.contract.messages[field.type_name], taken, path, names)
        return found

    def _query_parameter(self, name: str, field: Field, message: Message) -> Json:
        parameter: Json = {"name": name, "in": "query", "description": field.comment}
        if field.is_required:
            parameter["required"] = True
            parameter["example"] = self.examples.value(field, message)
        schema = self.schemas.field(field, "input")
        if kind_of(field) == "mask":
            parameter["description"] += " Paths separated by commas."
            parameter["schema"] = schema
        elif field.is_repeated:
            parameter |= {"schema": schema, "style": "form", "explode": True}
        else:
            parameter["schema"] = schema
        return parameter

    def _body(self, request: Message, method: Method, binding: Binding) -> Json:
        if binding.body == "*":
            bound = {variable.path for variable in binding.template.variables}
            schema = self._without(request, bound)
            example = {
                name: value for name, value in self.examples.request(request.full_name).items() if name not in bound
            }
            is_needed = "required" in self.schemas.components[schema_name(request.full_name) + "Input"]
            return {"required": is_needed, "content": {"application/json": {"schema": schema, "example": example}}}
        field = request.fields[binding.body]
        if field.type_name == HTTP_BODY:
            return {"required": True, "content": {"*/*": {"schema": {}}}}
        mode: Mode = "patch" if binding.verb == "PATCH" else "input"
        content = {
            "schema": self.schemas.message(field.type_name, mode) if kind_of(field) == "message" else {},
            "example": self.examples.value(field, request, depth=0),
        }
        return {"required": field.is_required, "content": {"application/json": content}}

    def _without(self, request: Message, bound: set[str]) -> Json:
        """The schema of a request whose other fields come from the path; those need not be in the body."""
        reference = self.schemas.message(request.full_name, "input")
        whole = self.schemas.components[schema_name(request.full_name) + "Input"]
        for path in bound & request.fields.keys():
            name = request.fields[path].json_name
            whole["properties"].pop(name, None)
            whole["required"] = [other for other in whole.get("required", []) if other != name]
        if not whole.get("required"):
            whole.pop("required", None)
        return reference

    def _answer(self, method: Method) -> Json:
        headers = {name: {"$ref": f"#/components/headers/{name}"} for name in HEADERS}
        message = self.contract.messages[method.response]
        if "etag" in message.fields:
            headers["ETag"] = {"$ref": "#/components/headers/ETag"}
        answer: Json = {"description": message.comment or "The answer.", "headers": headers}
        if method.response == HTTP_BODY:
            return answer | {"content": {"*/*": {"schema": {}}}}
        if method.proto.server_streaming:
            answer["description"] += " One in each line, for as long as the stream lasts."
        schema = self.schemas.message(method.response, "output")
        content = {"schema": schema, "example": self.examples.answer(method.response)}
        return answer | {"content": {"application/json": content}}


def _parameter_names(contract: Contract) -> dict[tuple[str, ...], list[str]]:
    """The names of the variables in each pattern of a resource, and in its beginnings: `accounts/*` -> [account]."""
    names: dict[tuple[str, ...], list[str]] = {}
    for pattern in contract.patterns:
        key: tuple[str, ...] = ()
        found: list[str] = []
        for segment in pattern.split("/"):
            is_variable = segment.startswith("{")
            key += ("*" if is_variable else segment,)
            if is_variable:
                found.append(_camel(segment.strip("{}")))
                names[key] = list(found)
    return names


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _headers(request: Message, binding: Binding) -> list[Json]:
    found = []
    if binding.verb != "GET" and "request_id" in request.fields:
        found.append({"$ref": "#/components/parameters/Idempotency-Key"})
    if binding.verb in ("PATCH", "DELETE") or (binding.verb == "POST" and "etag" in request.fields):
        found.append({"$ref": "#/components/parameters/If-Match"})
    return found


def _operation_id(method: Method) -> str:
    """The service's name and the method's: every service of the platform has a ChangeService."""
    _, service, _, name = method.service.split(".")
    return f"{service}_{name}_{method.proto.name}"


def _tag(service: str) -> str:
    """The name under which the methods of a service are grouped."""
    return schema_name(service).split(".")[0] + ": " + service.rsplit(".", 1)[-1].removesuffix("Service")


def _security_schemes(issuer: str) -> Json:
    token_url = f"{issuer}/oauth2/token"
    return {
        "oauth2": {
            "type": "oauth2",
            "flows": {
                "authorizationCode": {
                    "authorizationUrl": f"{issuer}/oauth2/authorize",
                    "tokenUrl": token_url,
                    "refreshUrl": token_url,
                    "scopes": {},
                },
                "clientCredentials": {"tokenUrl": token_url, "scopes": {}},
            },
        },
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    }
