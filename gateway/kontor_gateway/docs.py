"""The page at `/docs`: everything of the OpenAPI description, readable, in one file that loads nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

Json = dict[str, Any]

_METHODS = ("get", "post", "patch", "put", "delete")


def page(specification: bytes) -> bytes:
    """The page as UTF-8 HTML, made from the description as `openapi_json` gives it."""
    document = json.loads(specification)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"markdown": _markdown, "pretty": _pretty}
    source = (files("kontor_gateway") / "docs.html.j2").read_text()
    groups = [
        {"name": tag["name"], "id": _anchor(tag["name"]), "about": tag["description"], "methods": methods}
        for tag in document["tags"]
        if (methods := list(_methods(document, tag["name"])))
    ]
    schemas = [
        {"name": name, "id": _anchor(name), "about": schema.get("description", ""), "fields": list(_fields(schema))}
        for name, schema in document["components"]["schemas"].items()
    ]
    html = environment.from_string(source).render(info=document["info"], groups=groups, schemas=schemas)
    return html.encode()


def _methods(document: Json, tag: str) -> Iterator[Json]:
    for path, operations in document["paths"].items():
        for verb in _METHODS:
            operation = operations.get(verb)
            if operation is None or tag not in operation["tags"]:
                continue
            parameters = [_resolve(document, parameter) for parameter in operation["parameters"]]
            body = next(iter(operation.get("requestBody", {}).get("content", {}).values()), None)
            yield {
                "id": operation["operationId"],
                "verb": verb,
                "path": path,
                "summary": operation["summary"],
                "about": operation["description"],
                "parameters": [_parameter(parameter) for parameter in parameters],
                "body": body and {"type": _type(body["schema"]), "example": body.get("example")},
                "answers": [_answer(status, _resolve(document, it)) for status, it in operation["responses"].items()],
                "curl": _curl(path, verb, operation, parameters, body),
            }


def _parameter(parameter: Json) -> Json:
    return {
        "name": parameter["name"],
        "where": parameter["in"],
        "is_required": parameter.get("required", False),
        "type": _type(parameter["schema"]),
        "rules": _rules(parameter["schema"]),
        "about": parameter.get("description", ""),
    }


def _answer(status: str, response: Json) -> Json:
    content: Json = next(iter(response.get("content", {}).values()), {})
    return {
        "status": status,
        "about": response["description"],
        "type": _type(content.get("schema", {})),
        "example": content.get("example") if status == "200" else None,
    }


def _fields(schema: Json) -> Iterator[Json]:
    required = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        yield {
            "name": name,
            "type": _type(field),
            "rules": _rules(field) + _rules(field.get("items", {})),
            "is_required": name in required,
            "is_read_only": field.get("readOnly", False),
            "about": field.get("description", ""),
        }


def _resolve(document: Json, item: Json) -> Json:
    found: Any = document if "$ref" in item else item
    for part in item.get("$ref", "#").split("/")[1:]:
        found = found[part]
    return dict(found)


def _type(schema: Json) -> Markup:
    """What values look like, with links to the schemas."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return Markup('<a href="#{}">{}</a>').format(_anchor(name), name.split(".", 2)[-1])
    if "anyOf" in schema:
        return _type(schema["anyOf"][0])
    kinds = schema.get("type", "any")
    kind = next(iter(kinds)) if isinstance(kinds, list) else kinds
    if kind == "array":
        return Markup("list of {}").format(_type(schema.get("items", {})))
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return Markup("map to {}").format(_type(schema["additionalProperties"]))
    return escape(schema.get("format", kind) if kind in ("string", "integer") else kind)


def _rules(schema: Json) -> list[str]:
    """The constraints in words."""
    words = {
        "minLength": "at least {} characters",
        "maxLength": "at most {} characters",
        "minItems": "at least {} items",
        "maxItems": "at most {} items",
        "pattern": "matches {}",
    }
    found = [text.format(schema[key]) for key, text in words.items() if key in schema]
    if schema.get("uniqueItems"):
        found.append("no item twice")
    # The bounds of the type itself go without saying.
    if abs(schema.get("minimum", -(2**31))) < 2**31:
        found.append(f"at least {schema['minimum']}")
    if schema.get("maximum", 2**31 - 1) < 2**31 - 1:
        found.append(f"at most {schema['maximum']}")
    return found


def _curl(path: str, verb: str, operation: Json, parameters: list[Json], body: Json | None) -> str:
    """The call with the examples, as one types it."""
    query = "&".join(
        f"{it['name']}={_flat(it['example'])}" for it in parameters if it["in"] == "query" and "example" in it
    )
    for parameter in parameters:
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", str(parameter["example"]))
    lines = [f'curl -X {verb.upper()} "$KONTOR{path}{"?" + query if query else ""}"']
    if operation.get("security") != []:
        lines.append('-H "Authorization: Bearer $TOKEN"')
    if body and body.get("example") is not None:
        lines.append('-H "Content-Type: application/json"')
        text = json.dumps(body["example"], ensure_ascii=False).replace("'", r"'\''")
        lines.append(f"-d '{text}'")
    return " \\\n  ".join(lines)


def _flat(value: Any) -> str:
    return str(value[0] if isinstance(value, list) else value)


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _anchor(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name)


def _markdown(text: str) -> Markup:
    """The little Markdown that comments use: paragraphs, lists, code, bold."""
    blocks = []
    for block in text.strip().split("\n\n"):
        safe = str(escape(block))
        safe = re.sub(r"`([^`]+)`", r"<code>\1</code>", safe)
        safe = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", safe)
        if safe.startswith("- "):
            items = "".join(f"<li>{line.removeprefix('- ')}</li>" for line in safe.split("\n"))
            blocks.append(f"<ul>{items}</ul>")
        else:
            blocks.append(f"<p>{safe}</p>")
    # Everything in it has been escaped above.
    return Markup("".join(blocks))  # noqa: S704
