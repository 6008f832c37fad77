"""Whoever is called shows a certificate with the name that is asked for."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest

from kontor_kit.config import peers
from tests.charts.rendering import SERVICES, pods_of

CASE = ("kontor", ("kontor/ci/minimal-values.yaml", "kontor/ci/large-values.yaml"))


@pytest.fixture
def objects(charts):
    return charts.rendered(CASE)


@pytest.fixture
def certificates(objects):
    """The names in the certificate of each chart, by the Secret that it lies in."""
    found = [each["spec"] for each in objects if each["kind"] == "Certificate"]
    return {each["secretName"]: set(each["dnsNames"]) for each in found}


def containers(objects):
    for _, labels, spec in pods_of(objects):
        secrets = {each["secret"]["secretName"] for each in spec["volumes"] if "secret" in each}
        for container in spec["containers"]:
            yield labels["app.kubernetes.io/name"], container, secrets


def hosts(container):
    """Return the hosts of other pods that a container is told, and that it checks the certificates of."""
    env = {each["name"]: each["value"] for each in container.get("env", ())}
    targets = peers(env.get("KONTOR_PEERS", "")).values()
    assert all(re.fullmatch(r"dns:///[\w-]+:\d+", target) for target in targets)
    urls = [env[name] for name in ("KONTOR_JWKS_URL", "KONTOR_TOKEN_URL") if name in env]
    assert all(url.startswith("https://") for url in urls)
    return {target.split("/")[-1].partition(":")[0] for target in targets} | {urlsplit(url).hostname for url in urls}


def test_services_are_called_by_a_name_in_their_certificate(objects, certificates):
    for name, container, _ in containers(objects):
        for host in hosts(container):
            assert host in certificates[f"{host}-tls"], f"{name} calls {host}"


def test_the_gateway_finds_the_name_of_the_service_in_its_certificate(certificates):
    """As Envoy asks for it: see kontor_gateway.tls."""
    assert all(service in certificates[f"kontor-{service}-tls"] for service in SERVICES)


def test_every_process_that_speaks_tls_has_its_own_certificate(objects, certificates):
    for name, container, secrets in containers(objects):
        if "ports" in container and container["name"] != "receive":
            assert f"kontor-{name}-tls" in secrets & certificates.keys()


def test_certificates_are_for_both_ends(objects):
    usages = [set(each["spec"]["usages"]) for each in objects if each["kind"] == "Certificate"]
    assert usages
    assert all({"server auth", "client auth"} <= each for each in usages)
