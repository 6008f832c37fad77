"""The rules and the dashboard of a chart, as Helm renders them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import yaml

from tools.helm import helm

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "deploy" / "helm" / "lib" / "templates"
PAGES = ROOT / "docs" / "operations" / "alerts"
CHARTS = ("sales", "gateway")
"""A service, all of which have the same rules, and the gateway."""
_RULES = '{{ $rules := include "kontor.alerts" . | fromYamlArray }}{{ toYaml (dict "groups" $rules) }}\n'
_DASHBOARD = '{{ include "kontor.dashboard" . | fromJson | toYaml }}\n'
_NAMES = re.compile(r"\b([a-z]+_\w+)\{")


def render(chart: str, folder: Path, namespace: str = "crm") -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the rules, as Prometheus reads them from a file, and the dashboard of the chart of a name."""
    place = folder / chart
    (place / "templates").mkdir(parents=True)
    for template in [*TEMPLATES.glob("_alerts*.tpl"), TEMPLATES / "_dashboard.tpl"]:
        shutil.copy(template, place / "templates")
    (place / "templates" / "rules.yaml").write_text(_RULES)
    (place / "templates" / "dashboard.yaml").write_text(_DASHBOARD)
    (place / "Chart.yaml").write_text(json.dumps({"apiVersion": "v2", "name": chart, "version": "1.0.0"}))
    (place / "values.yaml").write_text(json.dumps({"global": {"monitoring": {"runbooks": "https://runbooks.test/"}}}))
    rendered = helm("template", "test", str(place), "--namespace", namespace)
    assert not rendered.returncode, rendered.stderr
    parts = {("groups" in part): part for part in yaml.safe_load_all(rendered.stdout) if part}
    return parts[True], parts[False]


def alerts(rules: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule}


def expressions(rules: dict[str, Any]) -> list[str]:
    return [rule["expr"] for group in rules["groups"] for rule in group["rules"]]


def queries(dashboard: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]


def named_metrics(expression: str) -> set[str]:
    """Return the names of the metrics that an expression asks for."""
    found = set(_NAMES.findall(expression))
    for what in ("count", "bucket"):
        if f'__name__=~"kontor_(rpc|http)_seconds_{what}"' in expression:
            found |= {f"kontor_rpc_seconds_{what}", f"kontor_http_seconds_{what}"}
    return found
