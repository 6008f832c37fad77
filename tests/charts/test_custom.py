"""Objects that other operators take are in their form, as far as somebody publishes it."""

from __future__ import annotations

import pytest
import yaml

from kontor_kit.testing.missing import go_without
from tools.charts import CHARTS, secret_keys
from tools.crds import CrdsMissing, problems

# Everything is rendered for one test.
pytestmark = pytest.mark.timeout(300)

KUBERNETES = {"v1", "apps/v1"}
UNCHECKED = {
    "postgresql.cnpg.io/v1": "nobody publishes a validator of CloudNativePG's objects as a package",
    "rabbitmq.com/v1beta1": "nor of the cluster operator of RabbitMQ",
}
CHECKED = ("cert-manager.io/", "external-secrets.io/", "gateway.networking.k8s.io/", "monitoring.coreos.com/")


def checked(objects):
    try:
        return problems(objects)
    except CrdsMissing as missing:
        go_without(missing)


def examples():
    for path in sorted((CHARTS / "examples").glob("*.yaml")):
        yield from (each for each in yaml.safe_load_all(path.read_text()) if each)


class TestCharts:
    def test_objects_are_what_operators_take(self, charts):
        objects = [each for each in charts.all() if each["apiVersion"].startswith(CHECKED)]
        kinds = {each["kind"] for each in objects}
        assert kinds == {"Certificate", "GRPCRoute", "HTTPRoute", "PrometheusRule", "ServiceMonitor"}
        assert [found for found in checked(objects) if found] == []

    def test_the_check_notices_what_is_wrong(self, charts):
        (certificate, *_) = [each for each in charts.all() if each["kind"] == "Certificate"]
        wrong = {**certificate, "spec": {**certificate["spec"], "dnsNames": "one"}}
        assert checked([certificate, wrong]) == [None, "data/spec/dnsNames must be array"]


class TestExamples:
    def test_are_what_operators_take(self):
        objects = [each for each in examples() if each["apiVersion"].startswith(CHECKED)]
        assert {each["kind"] for each in objects} >= {"Certificate", "ClusterIssuer", "ExternalSecret"}
        assert [found for found in checked(objects) if found] == []

    def test_what_nobody_can_check_is_said(self):
        kinds = {each["apiVersion"] for each in examples() if not each["apiVersion"].startswith(CHECKED)}
        assert kinds - KUBERNETES == UNCHECKED.keys()

    def test_the_secret_has_the_keys_that_the_chart_reads(self):
        (secret,) = [each for each in examples() if each["kind"] == "ExternalSecret"]
        assert secret["spec"]["target"]["template"]["data"].keys() == secret_keys("contacts").keys()
