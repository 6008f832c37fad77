"""The network lets through what the platform's processes connect to, and nothing else.

Who may talk to whom is computed from the rendered NetworkPolicies as Kubernetes reads them; whom processes call is read
from the code: the records that a service refers to, the services that it follows, the methods of others that it imports.
"""

from __future__ import annotations

import ast
import importlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from kontor_kit.references import foreign_fields
from tests.charts.rendering import SERVICES, pods_of
from tools.charts import service_of

GRPC, HTTP, METRICS = 50051, 8081, 9090
DATABASE, BROKER, TRACES, DNS = 5432, 5671, 4317, 53
STREAM, AMQP = (
    ("kontor", ("kontor/ci/minimal-values.yaml",)),
    (
        "kontor",
        ("kontor/ci/minimal-values.yaml", "kontor/ci/large-values.yaml"),
    ),
)


@cache
def referred(service):
    """Return the services whose records those of a service refer to: it asks them whether the records are there."""
    folder = Path(find_spec(f"kontor.{service}.v1").submodule_search_locations[0])
    found = set()
    for path in folder.glob("*_pb2.py"):
        file = importlib.import_module(f"kontor.{service}.v1.{path.stem}").DESCRIPTOR
        messages = list(file.message_types_by_name.values())
        while messages:
            message = messages.pop()
            messages += message.nested_types
            found |= {foreign.service for foreign in foreign_fields(message)}
    return found & set(SERVICES)


@cache
def imported(service):
    """Return the services whose methods a service imports: it calls them by itself."""
    found = set()
    for path in Path(find_spec(f"kontor_{service}").submodule_search_locations[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kontor."):
                owner = node.module.split(".")[1]
                if any(name.name.endswith("_service_pb2") for name in node.names):
                    found.add(owner)
    return found & set(SERVICES) - {service}


def wanted_calls():
    """Yield (service, role, callee, port) for every connection that a process of the platform opens to another."""
    for name in SERVICES:
        service = service_of(name)
        follows = set(service.handlers.services()) if service.handlers else set()
        # Whoever deletes a tenant asks all services to.
        others = set(SERVICES) - {"identity"} if name == "identity" else imported(name) if service.operations else set()
        yield from ((name, "serve", callee, GRPC) for callee in referred(name) | imported(name) - {name})
        yield from ((name, "work", callee, GRPC) for callee in follows | others)
        # Keys by which tokens are checked, and tokens of its own.
        if service.keys is None:
            yield name, "serve", "identity", HTTP
        if service.handlers:
            yield name, "work", "identity", HTTP
    yield from (("gateway", "serve", callee, GRPC) for callee in SERVICES)
    yield "gateway", "serve", "identity", HTTP


def wanted_outside(*, amqp):
    """Yield (service, role, port) for every connection to what lies outside of the charts; those for `large` only with amqp."""
    for name in SERVICES:
        service = service_of(name)
        roles = {"serve", "work", "migrate"} | ({"receive"} if amqp and service.handlers else set())
        roles |= {"bootstrap"} & service.commands.keys()
        yield from ((name, role, DATABASE) for role in roles)
        yield from ((name, role, BROKER) for role in roles & {"work", "receive"} if amqp)
        yield from ((name, role, TRACES) for role in ("serve", "work") if amqp)
    yield from [("gateway", "serve", TRACES)] if amqp else []
    if amqp:
        yield "marketing", "work", 465  # What sends mails is a job of work.
        yield from (("ticketing", role, 443) for role in ("serve", "work"))


class Network:
    """Which connections the policies of some objects let through."""

    def __init__(self, objects):
        self.pods = {
            (labels["app.kubernetes.io/name"], labels["app.kubernetes.io/component"]): (
                labels,
                {port["containerPort"] for each in spec["containers"] for port in each.get("ports", ())},
            )
            for _, labels, spec in pods_of(objects)
        }
        self._policies = [each["spec"] for each in objects if each["kind"] == "NetworkPolicy"]

    def between(self):
        """Return (service, role, callee, port) for what pods may connect to among themselves."""
        return {
            (*caller, callee[0], port)
            for caller, (labels, _) in self.pods.items()
            for callee, (target, ports) in self.pods.items()
            for port in ports
            if self._lets(labels, "Egress", target, port) and self._lets(target, "Ingress", labels, port)
        }

    def outward(self):
        """Return (service, role, port) for what pods may connect to that is none of them."""
        return {
            (*caller, port["port"])
            for caller, (labels, _) in self.pods.items()
            for rule in self._rules(labels, "Egress")
            if not any("podSelector" in peer and "namespaceSelector" not in peer for peer in rule.get("to", ()))
            for port in rule["ports"]
        }

    def inward(self):
        """Return (service, role, port) for where pods may be connected to by others than the platform's."""
        return {
            (*callee, port["port"])
            for callee, (labels, _) in self.pods.items()
            for rule in self._rules(labels, "Ingress")
            if not any("podSelector" in peer and "namespaceSelector" not in peer for peer in rule.get("from", ()))
            for port in rule["ports"]
        }

    def is_closed(self, pod):
        """Tell whether for a pod nothing is let through that no rule names."""
        kinds = {kind for policy in self._of(self.pods[pod][0]) for kind in policy["policyTypes"]}
        return kinds == {"Ingress", "Egress"}

    def _lets(self, labels, direction, other, port):
        key = {"Egress": "to", "Ingress": "from"}[direction]
        return any(
            any(each["port"] == port and each.get("protocol", "TCP") == "TCP" for each in rule["ports"])
            and (key not in rule or any(chosen(peer, other) for peer in rule[key]))
            for rule in self._rules(labels, direction)
        )

    def _rules(self, labels, direction):
        return [rule for policy in self._of(labels) for rule in policy.get(direction.lower(), ())]

    def _of(self, labels):
        return [policy for policy in self._policies if chosen({"podSelector": policy["podSelector"]}, labels)]


def chosen(peer, labels):
    """Tell whether a NetworkPolicyPeer stands for a pod of this namespace."""
    if set(peer) != {"podSelector"}:
        return False
    assert set(peer["podSelector"]) == {"matchLabels"}
    return peer["podSelector"]["matchLabels"].items() <= labels.items()


@pytest.fixture(params=[STREAM, AMQP], ids=["stream", "amqp"])
def case(request):
    return request.param


@pytest.fixture
def network(charts, case):
    return Network(charts.rendered(case))


class TestPicture:
    def test_pods_reach_whom_they_call_and_nobody_else(self, network):
        assert network.between() == set(wanted_calls())

    def test_they_reach_outside_what_they_use_and_nothing_else(self, network, case):
        outward = {each for each in network.outward() if each[2] != DNS}
        assert outward == set(wanted_outside(amqp=case is AMQP))
        assert {each[:2] for each in network.outward() if each[2] == DNS} == network.pods.keys()

    def test_the_gateway_alone_is_reached_from_outside_and_all_are_asked_for_metrics(self, network):
        serving = {pod for pod in network.pods if pod[1] in ("serve", "work", "receive")}
        assert network.inward() == {("gateway", "serve", 8080)} | {(*pod, METRICS) for pod in serving}

    def test_no_pod_is_left_open(self, network):
        assert all(network.is_closed(pod) for pod in network.pods)

    def test_each_chart_alone_lets_through_the_same(self, charts):
        """What is installed chart by chart is the same platform."""
        alone = [
            each
            for chart in (*SERVICES, "gateway")
            for each in charts.rendered((chart, (f"{chart}/ci/minimal-values.yaml",)))
        ]
        assert Network(alone).between() == Network(charts.rendered(STREAM)).between()


def test_who_has_no_keys_asks_the_machine_for_its_role(charts):
    """Clouds answer that at an address of the link, without TLS."""
    minimal, role = "ticketing/ci/minimal-values.yaml", "ticketing/ci/role-values.yaml"
    asking = {("ticketing", "serve", 80), ("ticketing", "work", 80)}
    assert Network(charts.rendered(("ticketing", (minimal, role)))).outward() >= asking
    assert not Network(charts.rendered(AMQP)).outward() & asking


class TestComputing:
    """The computation itself is seen to notice what is wrong."""

    def test_a_label_too_much_opens_a_way_only_where_both_ends_allow_it(self, charts):
        objects = charts.rendered(STREAM)
        network = Network(objects)
        labels, _ = network.pods["sales", "serve"]
        network.pods["sales", "serve"] = ({**labels, "calls.kontor.io/ticketing": "true"}, {GRPC})
        assert ("sales", "serve", "ticketing", GRPC) not in network.between()

    def test_without_policies_all_is_closed_here(self, charts):
        network = Network([each for each in charts.rendered(STREAM) if each["kind"] != "NetworkPolicy"])
        assert network.between() == set()
        assert not network.is_closed(("sales", "serve"))

    def test_a_callee_that_is_not_installed_is_not_reached(self, charts):
        values = ("kontor/ci/minimal-values.yaml", "kontor/ci/some-values.yaml")
        network = Network(charts.rendered(("kontor", values)))
        assert {callee for _, _, callee, _ in network.between()} == {"contacts", "identity", "sales"}
