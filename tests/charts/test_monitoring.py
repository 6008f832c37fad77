"""What Prometheus finds by a chart's ServiceMonitor bears the labels by which the chart's rules and dashboard choose."""

import json

import pytest

from tests.charts.rendering import CASES, SERVICES, name_of

WATCHED = [case for case in CASES if name_of(case).endswith("-watched")]
NAME = "app.kubernetes.io/name"


@pytest.fixture(params=WATCHED, ids=name_of)
def watched(charts, request):
    """The chart's name, and its objects by kind and name."""
    chart, _ = request.param
    return chart, {(each["kind"], each["metadata"]["name"]): each for each in charts.rendered(request.param)}


def test_every_service_and_the_gateway_can_be_watched():
    assert {chart for chart, _ in WATCHED} == {*SERVICES, "gateway"}


def test_targets_bear_the_labels_that_rules_choose_by(watched):
    chart, objects = watched
    monitor = objects["ServiceMonitor", f"kontor-{chart}"]["spec"]
    service = objects["Service", f"kontor-{chart}-metrics"]
    assert service["metadata"]["labels"].items() >= monitor["selector"]["matchLabels"].items()
    assert service["metadata"]["labels"][monitor["jobLabel"]] == chart
    (endpoint,) = monitor["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    roles = [each for each in endpoint["relabelings"] if each["targetLabel"] == "role"]
    assert roles[0]["sourceLabels"] == ["__meta_kubernetes_pod_label_app_kubernetes_io_component"]
    components = {
        each["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"]
        for (kind, _), each in objects.items()
        if kind == "Deployment"
    }
    assert components >= ({"serve"} if chart == "gateway" else {"serve", "work"})


def test_rules_and_dashboard_are_those_of_the_chart(watched):
    chart, objects = watched
    groups = objects["PrometheusRule", f"kontor-{chart}"]["spec"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert all(f'namespace="kontor",job="{chart}"' in rule["expr"] for rule in rules)
    assert all(rule["annotations"]["runbook"].endswith(f"/{rule['alert']}.md") for rule in rules if "alert" in rule)
    assert all(group["name"].startswith(f"kontor-{chart}-") for group in groups)
    (text,) = objects["ConfigMap", f"kontor-{chart}-dashboard"]["data"].values()
    assert json.loads(text)["title"] == f"Kontor {chart}"
