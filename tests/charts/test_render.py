"""Charts are taken by Helm, and what they make by Kubernetes, as far as its schemas tell."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

import jsonschema_rs
import pytest

from tests.charts.rendering import CASES, SERVICES, name_of
from tools.helm import helm

VERSIONS = tuple(f"1.{minor}" for minor in range(29, 36))
_SCHEMAS = files("kubernetes_validate") / "kubernetes-json-schema"
CUSTOM = {
    "monitoring.coreos.com/v1": "the CRDs of the Prometheus operator: test_custom.py",
    "cert-manager.io/v1": "the CRDs of cert-manager: test_custom.py",
    "gateway.networking.k8s.io/v1": "the CRDs of the Gateway API: test_custom.py",
}
"""Kinds that Kubernetes does not bring, and who looks at them."""


@cache
def validator(version, kind, group):
    """Return what checks objects of a kind strictly, unknown fields being refused; None where there is no such kind."""
    folder = _SCHEMAS / f"v{version}.0-local-strict"
    path = folder / f"{kind.lower()}-{group}.json"
    if not path.is_file():
        return None
    schema = json.loads(path.read_text())
    return jsonschema_rs.Draft202012Validator(schema, registry=definitions(version))


@cache
def definitions(version):
    known = json.loads((_SCHEMAS / f"v{version}.0-local-strict" / "_definitions.json").read_text())
    return jsonschema_rs.Registry([(known["$id"], known)])


@pytest.mark.parametrize("case", CASES, ids=name_of)
class TestHelm:
    def test_takes_it_and_makes_objects_with_a_name_each(self, charts, case):
        chart, values = case
        said = helm("lint", "--strict", "--quiet", *charts.options(values), str(charts.folder / chart))
        assert said.returncode == 0, said.stdout + said.stderr

        objects = charts.rendered(case)
        names = [(each["apiVersion"], each["kind"], each["metadata"]["name"]) for each in objects]
        assert len(set(names)) == len(names) > 0


class TestKubernetes:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_takes_all_objects(self, charts, version):
        unique = {json.dumps(each, sort_keys=True): each for each in charts.all() if each["apiVersion"] not in CUSTOM}
        problems = []
        for each in unique.values():
            group, slash, number = each["apiVersion"].rpartition("/")
            check = validator(version, each["kind"], f"{group.split('.')[0]}{'-' if slash else ''}{number}")
            where = f"{each['kind']} {each['metadata']['name']}"
            if check is None:
                problems.append(f"{where}: {version} knows no {each['kind']} of {each['apiVersion']}")
                continue
            problems += [f"{where}: {error.instance_path}: {error.message}" for error in check.iter_errors(each)]
        assert problems == []

    def test_refuses_what_is_wrong(self, charts):
        """The check itself is seen to work."""
        (deployment, *_) = [each for each in charts.all() if each["kind"] == "Deployment"]
        check = validator(VERSIONS[0], "Deployment", "apps-v1")
        assert list(check.iter_errors(deployment)) == []
        for wrong in ({"replica": 1}, {"replicas": "two"}):
            assert list(check.iter_errors({**deployment, "spec": {**deployment["spec"], **wrong}}))

    def test_no_kind_is_excepted_that_is_not_made(self, charts):
        assert {each["apiVersion"] for each in charts.all()} >= CUSTOM.keys()


def test_a_host_has_one_route(charts):
    """Of two of different kinds a Gateway of the Gateway API refuses one."""
    for case in CASES:
        routes = [each for each in charts.rendered(case) if each["kind"] in ("HTTPRoute", "GRPCRoute")]
        hosts = [host for each in routes for host in each["spec"]["hostnames"]]
        assert len(set(hosts)) == len(hosts), name_of(case)


class TestValues:
    @pytest.mark.parametrize("chart", [*SERVICES, "gateway"])
    def test_an_unknown_value_is_refused(self, charts, chart):
        with pytest.raises(AssertionError, match="additional properties 'replicsa' not allowed"):
            charts.template(chart, "--set=global.issuer=https://x.example", "--set=replicsa=3")

    @pytest.mark.parametrize("chart", [*SERVICES, "gateway"])
    def test_the_address_of_the_platform_must_be_given(self, charts, chart):
        with pytest.raises(AssertionError, match="say where people and clients reach the gateway"):
            charts.template(chart, *(["--set=bootstrap.enabled=false"] if chart == "identity" else []))

    @pytest.mark.parametrize(
        ("chart", "values", "sentence"),
        [
            ("contacts", "global.image.tag=latest", "name a version"),
            ("gateway", "route.enabled=true,route.grpcHostnames={x.example}", "one route for a host"),
            ("ticketing", "storage.url=file:///data", "pods share no folder"),
            ("identity", "bootstrap.admin=a@b.example", "bootstrap.tenant: needed"),
            ("contacts", "global.tls.certManager.enabled=true", "name the issuer"),
            ("contacts", "settings.KONTOR_TREADS=3", "KONTOR_TREADS"),
            ("contacts", "secrets.elsewhere.database-uri.name=x", "database-uri"),
            ("contacts", "global.issuer=crm.example.com", "does not match pattern"),
            ("contacts", "global.transport=kafka", "must be one of 'stream', 'amqp'"),
        ],
    )
    def test_what_cannot_work_is_refused_with_a_reason(self, charts, chart, values, sentence):
        with pytest.raises(AssertionError, match=sentence):
            charts.template(chart, "--set=global.issuer=https://x.example", f"--set={values}")
