"""What rules and dashboards ask for is what real processes tell, by name and label."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys

import httpx
import pytest
from prometheus_client import generate_latest

from kontor.changes.v1.stream_pb2 import SubscribeRequest
from kontor.partners.v1.change_service_pb2_grpc import ChangeServiceStub
from kontor.partners.v1.partner_pb2 import Partner
from kontor.partners.v1.partner_service_pb2 import CreatePartnerRequest
from kontor.partners.v1.partner_service_pb2_grpc import PartnerServiceStub
from kontor_identity.oauth.measuring import Measured
from kontor_kit.clients import connect
from kontor_kit.metrics import Metrics
from kontor_kit.testing import ENVIRONMENT, ISSUER
from kontor_kit.testing.programs import free_ports
from kontor_partners import service as partners_service
from tests.e2e.instance import eventually
from tests.observability.conftest import envoy
from tests.observability.prometheus import answers
from tests.observability.rendering import CHARTS, PAGES, ROOT, expressions, named_metrics, queries

TARGET = {"namespace", "job", "instance", "role"}
"""Labels that Prometheus adds."""
OPERATOR = {"container", "endpoint", "pod", "service"}
"""And those that its operator does."""
PATIENCE = 120
DESCRIPTION = ROOT / "docs" / "operations" / "observability.md"
ACCOUNT = "accounts/0198a000-0000-7000-8000-0000000000aa"
_MATCHER = re.compile(r'(\w+)(?:=~|!=|=)"')
_EXACT = re.compile(r'\b(outcome|check|le|envoy_http_conn_manager_prefix)="(.*?)"')
_SAMPLE = re.compile(r"^([a-z]\w*)(\{.*\})? [^ ]+$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="(.*?)"')
_BY = re.compile(r"by \((.*?)\)")


class Exported:
    """The samples that processes tell: the values of each label, by the sample's name."""

    def __init__(self, *texts):
        self.samples = {}
        # The client's own parser calls counters otherwise than they are called.
        for name, labels in _SAMPLE.findall("\n".join(texts)):
            known = self.samples.setdefault(name, {})
            for label, value in _LABEL.findall(labels):
                known.setdefault(label, set()).add(value)

    def lacks(self, expression):
        """Return what an expression asks for and is not told."""
        names = named_metrics(expression)
        known = {label: set() for label in TARGET}
        for name in names & self.samples.keys():
            for label, values in self.samples[name].items():
                known.setdefault(label, set()).update(values)
        labels = {label for group in _BY.findall(expression) for label in group.split(", ")}
        labels |= set(_MATCHER.findall(expression)) - {"__name__"}
        missing = [*sorted(names - self.samples.keys()), *sorted(labels - known.keys())]
        return missing + [
            f"{label}={value}" for label, value in _EXACT.findall(expression) if value not in known.get(label, ())
        ]


def scraped(url):
    return httpx.get(f"{url}/metrics", timeout=10).text


@pytest.fixture(scope="module")
def service(databases, peer, keys, signer):
    """What the roles of a service tell, each a process, with a broker that is not there; and identity of its HTTP."""
    database = databases.new(partners_service.service())
    roles = ("serve", "work", "receive")
    *ports, listen = free_ports(4)
    environment = {
        "KONTOR_PARTNERS_DATABASE_URL": database.url("app"),
        "KONTOR_PARTNERS_SYSTEM_DATABASE_URL": database.url("system"),
        "KONTOR_PAGE_TOKEN_KEY": "a key for page tokens of thirty-two characters",
        "KONTOR_JWKS_FILE": str(keys),
        "KONTOR_ISSUER": ISSUER,
        "KONTOR_CLIENT_ID": "partners",
        "KONTOR_CLIENT_SECRET": "secret",
        "KONTOR_TOKEN_URL": "http://127.0.0.1:1",
        "KONTOR_PEERS": ";".join(f"{name}={peer.address}" for name in ("identity", "contacts", "sales")),
        "KONTOR_TRANSPORT": "amqp",
        "KONTOR_AMQP_URL": "amqp://127.0.0.1:1",
        **ENVIRONMENT,
    }
    with contextlib.ExitStack() as stack:
        for role, port in zip(roles, ports, strict=True):
            own = {
                "KONTOR_LISTEN": f"127.0.0.1:{listen if role == 'serve' else 0}",
                "KONTOR_METRICS_LISTEN": f"127.0.0.1:{port}",
            }
            command = [sys.executable, "-m", "kontor_partners", role]
            process = stack.enter_context(subprocess.Popen(command, env={**os.environ, **environment, **own}))
            stack.callback(process.kill)
        urls = [f"http://127.0.0.1:{port}" for port in ports]
        for url in urls:
            eventually(lambda url=url: answers(f"{url}/livez"), PATIENCE)
        call(f"127.0.0.1:{listen}", signer.token())
        eventually(lambda: "kontor_source_silent_seconds{" in scraped(urls[1]), PATIENCE)
        yield Exported(*map(scraped, urls), requests_told())


def call(address, token):
    """Make a call that makes one itself, and a subscription."""
    with connect(address, token=token) as channel:
        partner = Partner(display_name="Hafen", account=ACCOUNT)
        PartnerServiceStub(channel).CreatePartner(CreatePartnerRequest(partner=partner))
        assert [*ChangeServiceStub(channel).Subscribe(SubscribeRequest(until_end=True))]


def requests_told():
    """What identity tells of its requests over HTTP."""
    metrics = Metrics()
    answer = Measured(lambda _, start: start("200 OK", []) or [], ["/oauth2/token"], metrics)
    answer({"PATH_INFO": "/oauth2/token"}, lambda *_: None)
    return generate_latest(metrics.registry).decode()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, keys):
    """What the gateway tells, after a request that it answers itself."""
    (nobody,) = free_ports(1)
    upstreams = {"contacts": [("127.0.0.1", nobody)]}
    with envoy(tmp_path_factory.mktemp("gateway") / "envoy", upstreams, keys) as (url, admin):
        httpx.get(f"{url}/v1/accounts")
        # Histograms are there after some seconds only.
        eventually(lambda: "envoy_http_downstream_rq_time_bucket" in told(admin), PATIENCE)
        return Exported(told(admin))


def told(admin):
    return httpx.get(f"{admin}/stats/prometheus").text


@pytest.fixture
def exported(request):
    """What is told by who has a chart of a name."""
    return lambda chart: request.getfixturevalue("gateway" if chart == "gateway" else "service")


@pytest.mark.parametrize("chart", CHARTS)
class TestExported:
    def test_everything_that_rules_ask_for_is_told(self, rendered, exported, chart):
        asked = [each for each in expressions(rendered[chart][0]) if named_metrics(each)]
        assert {each: lacks for each in asked if (lacks := exported(chart).lacks(each))} == {}

    def test_everything_that_the_dashboard_shows_is_told(self, rendered, exported, chart):
        asked = [each for each in queries(rendered[chart][1]) if named_metrics(each)]
        assert {each: lacks for each in asked if (lacks := exported(chart).lacks(each))} == {}


def test_everything_of_ours_that_is_told_is_asked_for(rendered, service):
    """What nobody looks at costs and helps nobody; sums and counts go with their buckets."""
    asked = set().union(
        *(named_metrics(each) for each in [*expressions(rendered["sales"][0]), *queries(rendered["sales"][1])])
    )
    told = {name for name in service.samples if name.startswith("kontor_") and not name.endswith(("_created", "_sum"))}
    families = {re.sub(r"_(bucket|count)$", "", name) for name in asked}
    assert {name for name in told if re.sub(r"_(bucket|count)$", "", name) not in families} == set()


def test_everything_of_ours_that_is_told_is_described(service):
    described = set(re.findall(r"`(kontor_[a-z_]+)`", DESCRIPTION.read_text()))
    told = {name for name in service.samples if name.startswith("kontor_")}
    assert {re.sub(r"_(bucket|count|sum|total|created)$", "", name) for name in told} == described


def test_pages_of_alerts_ask_for_what_is_told(service, gateway):
    told = {**service.samples, **gateway.samples}
    known = {*told, *(re.sub(r"_(bucket|count|sum|total)$", "", name) for name in told)}
    known |= {label for labels in told.values() for label in labels}
    named = {
        (page.name, name)
        for page in PAGES.glob("*.md")
        for name in re.findall(r"\b(?:kontor|envoy)_[a-z][a-z_]+", page.read_text())
    }
    assert {(page, name) for page, name in named if name not in known} == set()


def test_no_label_is_one_that_a_target_has(service, gateway):
    """Prometheus would call it otherwise, and no rule would find it."""
    told = {label for each in (service, gateway) for labels in each.samples.values() for label in labels}
    assert told & (TARGET | OPERATOR) == set()


def test_no_label_names_a_tenant_or_a_record(service):
    values = {value for labels in service.samples.values() for found in labels.values() for value in found}
    assert not [value for value in values if re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-", value)]
