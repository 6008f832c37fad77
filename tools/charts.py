"""Writes what follows from the charts' values.yaml: the README of each chart, and the schema that values must keep to.

Usage: python -m tools.charts            writes deploy/helm/*/README.md and values.schema.json
       python -m tools.charts --check    says which are out of date

The comment above a value is its description; `(one of: a, b)` in it lists all that it may be.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from kontor_kit.config import variable
from kontor_kit.service import Service

CHARTS = Path(__file__).parent.parent / "deploy" / "helm"
EXPORTS = {"gateway": ("platform",), "kontor": (), "dev-infra": ()}
"""What charts that are no services take over of lib."""
FREE = {"resources", "dashboardLabels"}
"""Maps whose keys are not ours, although there is a default."""
CHOICE = re.compile(r"\(one of: ([^)]*)\)")
SET_BY_VALUES = re.compile(
    r"KONTOR_(LISTEN|METRICS_LISTEN|HTTP_LISTEN|ISSUER|AUDIENCE|JWKS_.*|PEERS|CLIENT_.*|TOKEN_URL|TRANSPORT|AMQP_.*"
    r"|TLS_.*|PLAINTEXT|DRAIN_.*|LOG_.*|TRUSTED_PROXIES|PUBLIC_URL|TICKETING_STORAGE_.*)|OTEL_.*"
)
"""Settings that the charts derive from other values."""
OBJECTS = {"to", "clients", "monitoring", "tolerations", "parentRefs"}
"""Lists of Kubernetes' own objects; others are of texts."""


class Value(NamedTuple):
    """A value of a chart."""

    path: tuple[str, ...]
    default: Any
    doc: str
    children: tuple[Value, ...] = ()


def read(path: Path) -> tuple[Value, ...]:
    """Read a values.yaml with its comments."""
    text = path.read_text()
    node = yaml.compose(text, yaml.SafeLoader)
    return tuple(_values(node, text.splitlines(), ())) if isinstance(node, yaml.MappingNode) else ()


def _values(mapping: yaml.MappingNode, lines: list[str], above: tuple[str, ...]) -> Iterator[Value]:
    for key, node in mapping.value:
        comments: list[str] = []
        number = key.start_mark.line
        while number and lines[number - 1].strip().startswith("#"):
            number -= 1
            comments.insert(0, lines[number].strip(" #"))
        path = (*above, key.value)
        is_ours = isinstance(node, yaml.MappingNode) and node.value and key.value not in FREE
        children = tuple(_values(node, lines, path)) if is_ours else ()
        yield Value(path, yaml.safe_load(yaml.serialize(node)), " ".join(comments), children)


def merged(*several: tuple[Value, ...]) -> tuple[Value, ...]:
    """Put values together; where a later one has the same path, its default and description win."""
    found: dict[str, Value] = {}
    for value in (value for values in several for value in values):
        before = found.get(value.path[-1])
        both = merged(before.children, value.children) if before else value.children
        doc = value.doc or (before.doc if before else "")
        found[value.path[-1]] = value._replace(children=both, doc=doc)
    return tuple(found.values())


def exports_of(chart: str) -> tuple[str, ...]:
    """Return what a chart takes over of lib."""
    return EXPORTS.get(chart, ("platform", "service"))


def values_of(chart: str) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
    """Return a chart's own values, and those that it takes over."""
    exports = {value.path[-1]: value.children for value in read(CHARTS / "lib" / "values.yaml")[0].children}
    taken = [_below(exports[name]) for name in exports_of(chart)]
    return read(CHARTS / chart / "values.yaml"), merged(*taken)


def _below(values: tuple[Value, ...]) -> tuple[Value, ...]:
    """Leave out where in lib the values stand."""
    return tuple(value._replace(path=value.path[2:], children=_below(value.children)) for value in values)


def services() -> set[str]:
    """Return the charts that install services."""
    return {path.parent.name for path in CHARTS.glob("*/Chart.yaml")} - {"lib"} - EXPORTS.keys()


def service_of(chart: str) -> Service:
    """Return the service that a chart installs."""
    made: Service = importlib.import_module(f"kontor_{chart}.service").service()
    return made


def settings_of(chart: str) -> dict[str, dataclasses.Field[Any]]:
    """Return the settings that a service reads, by variable; none for what is no service."""
    if chart in EXPORTS:
        return {}
    fields = dataclasses.fields(service_of(chart).settings)
    return {variable(field, chart): field for field in fields if field.metadata}


def secret_keys(chart: str) -> dict[str, str]:
    """Return the keys that a service's Secret may have, with what they are."""
    prefix = re.compile(rf"KONTOR_({chart.upper()}_)?")
    keys = {
        prefix.sub("", name).lower().replace("_", "-"): str(field.metadata["doc"])
        for name, field in settings_of(chart).items()
        if field.metadata["secret"]
    }
    if chart == "identity":
        del keys["client-secret"]  # It signs its tokens itself.
        keys["admin-password"] = "of the first administrator; for the bootstrap Job"
    return keys


def schema(chart: str) -> dict[str, Any]:
    """Return the JSON schema of a chart's values."""
    own, taken = values_of(chart)
    built = _object(merged(taken, own), chart)
    built["properties"]["global"] = built["properties"].get("global", {"type": "object"})
    if chart == "kontor":
        names = [each["name"] for each in yaml.safe_load((CHARTS / chart / "Chart.yaml").read_text())["dependencies"]]
        built["properties"] |= {name: {"type": "object"} for name in names}  # Their own schemas are asked.
        built["properties"]["global"].pop("additionalProperties")
    elif chart != "dev-infra":
        built["properties"]["lib"] = {"type": "object"}  # Helm puts the library's own values there.
    return {"$schema": "http://json-schema.org/draft-07/schema#", **built}


def _object(values: tuple[Value, ...], chart: str) -> dict[str, Any]:
    properties = {value.path[-1]: _schema(value, chart) for value in values}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _schema(value: Value, chart: str) -> dict[str, Any]:
    special = _special(".".join(value.path), chart)
    if special or value.children:
        return special or _object(value.children, chart)
    choice = CHOICE.search(value.doc)
    if choice:
        return {"type": "string", "enum": [each.strip() for each in choice[1].split(",")]}
    if isinstance(value.default, bool):
        return {"type": "boolean"}
    if isinstance(value.default, int):
        return {"type": "integer", "minimum": 0}
    if isinstance(value.default, list):
        items = "object" if value.path[-1] in OBJECTS else "string"
        return {"type": "array", "items": {"type": items}}
    return {"type": "object"} if isinstance(value.default, dict) else {"type": "string"}


def _special(path: str, chart: str) -> dict[str, Any] | None:
    if path == "global.issuer":
        return {"type": "string", "pattern": "^(https?://.+)?$"}
    if path == "global.tracing.variables":
        return _map({"type": "string"}, {"pattern": "^OTEL_"})
    if path == "settings":
        names = [name for name, field in settings_of(chart).items() if not field.metadata["secret"]]
        free = sorted(name for name in names if not SET_BY_VALUES.fullmatch(name))
        return _map({"type": "string"}, {"enum": free})
    if path in {"secrets.elsewhere", "bootstrap.clients"}:
        fields = {name: {"type": "string"} for name in ("name", "key")}
        place = {"type": "object", "additionalProperties": False, "required": ["name"], "properties": fields}
        known = secret_keys(chart) if path == "secrets.elsewhere" else services() - {chart}
        return _map(place, {"enum": sorted(known)})
    return None


def _map(values: dict[str, Any], keys: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": values, "propertyNames": keys}


def readme(chart: str) -> str:
    """Return the README of a chart."""
    facts = yaml.safe_load((CHARTS / chart / "Chart.yaml").read_text())
    own, taken = values_of(chart)
    lines = [f"# {chart}", "", facts["description"], ""]
    page = "[docs/operations/kubernetes.md](../../../docs/operations/kubernetes.md)"
    lines += [f"Written by `python -m tools.charts` from `values.yaml`; how to install is told in {page}.", ""]
    keys = secret_keys(chart)
    if keys:
        lines += ["## Secret", "", f"`kontor-{chart}` must be there before, with the keys that the setup needs:", ""]
        lines += ["| key | what it is |", "|---|---|", *(f"| `{key}` | {doc} |" for key, doc in keys.items()), ""]
    for title, values in (("Values of its own", own), ("Values that all share", taken)):
        rows = [row for value in values for row in _rows(value)]
        lines += [f"## {title}", "", "| value | default | meaning |", "|---|---|---|", *rows, ""] if rows else []
    return "\n".join(lines)


def _rows(value: Value) -> Iterator[str]:
    default = "" if value.children or value.default in ("", {}, []) else f"`{json.dumps(value.default)}`"
    if value.doc or not value.children:
        name = ".".join(value.path)
        yield f"| {f'**{name}**' if value.children else f'`{name}`'} | {default} | {value.doc} |"
    for child in value.children:
        yield from _rows(child)


def wanted() -> dict[Path, str]:
    """Return what the files must hold."""
    found = {}
    for path in sorted(CHARTS.glob("*/Chart.yaml")):
        chart = path.parent.name
        if chart != "lib":
            found[path.with_name("README.md")] = readme(chart)
            found[path.with_name("values.schema.json")] = json.dumps(schema(chart), indent=2) + "\n"
    return found


def stale() -> dict[Path, str]:
    """Return those files that do not hold what they must, with that."""
    return {path: text for path, text in wanted().items() if not path.exists() or path.read_text() != text}


def main() -> None:
    """Write or check all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only say what is out of date")
    check = parser.parse_args().check
    found = stale()
    if check and found:
        sys.exit("\n".join(f"{path} is out of date: python -m tools.charts" for path in found))
    for path, text in found.items():
        path.write_text(text)


if __name__ == "__main__":
    main()
