"""TLS: who may connect, and certificates that are renewed while Envoy runs."""

import socket
import ssl
import time

import grpc
import httpx
import pytest
from cryptography import x509

from gateway.tests.conftest import serving_keys
from gateway.tests.fakes import Gateway
from kit.tests.certificates import Authority
from kontor_gateway.settings import Options, Tls, UpstreamTls


def served_serial(gateway: Gateway, context: ssl.SSLContext) -> int:
    host, port = gateway.address.split(":")
    plain = socket.create_connection((host, int(port)))
    with context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
        return x509.load_der_x509_certificate(connection.getpeercert(binary_form=True)).serial_number


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def context(authority):
    return ssl.create_default_context(cafile=authority.path)


def test_renewed_certificate_is_served_without_a_restart(start, authority, context, tmp_path):
    certificate, key = authority.issue("gateway", serial=1001)
    options = Options(access_log="", secrets=tmp_path)
    gateway = start(tls=Tls(certificate, key), options=options, verify=context)
    assert gateway.call("GET", "/v1/accounts").status_code == 200
    assert served_serial(gateway, context) == 1001
    renewed = authority.issue("next", serial=1002)
    renewed[1].replace(key)
    renewed[0].replace(certificate)
    deadline = time.monotonic() + 10
    while served_serial(gateway, context) != 1002:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert gateway.call("GET", "/v1/accounts").status_code == 200


def test_callers_without_a_certificate_are_refused_when_one_is_wanted(start, authority, context, tmp_path):
    certificate, key = authority.issue("gateway")
    context.load_cert_chain(*authority.issue("caller"))
    tls = Tls(certificate, key, client_ca=authority.path)
    gateway = start(tls=tls, options=Options(access_log="", secrets=tmp_path), verify=context)
    assert gateway.call("GET", "/v1/accounts").status_code == 200
    bare = ssl.create_default_context(cafile=authority.path)
    with pytest.raises(httpx.TransportError), httpx.Client(verify=bare) as stranger:
        stranger.get(gateway.url + "/healthz")


def https(authority, name):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue(name))
    return context


def test_services_are_spoken_to_in_tls_and_must_be_who_they_are(start, authority, signing_key, tmp_path):
    certificate, key = authority.issue("contacts")
    pairs = [(key.read_bytes(), certificate.read_bytes())]
    credentials = grpc.ssl_server_credentials(pairs, authority.path.read_bytes(), require_client_auth=True)
    certificate, key = authority.issue("gateway")
    upstream_tls = UpstreamTls(authority.path, certificate, key)
    options = Options(access_log="", secrets=tmp_path, upstream_tls=upstream_tls)
    with serving_keys(signing_key, https(authority, "identity")) as identity:
        gateway = start(options=options, credentials=credentials, identity_http=[identity])
        assert gateway.call("GET", "/v1/accounts").status_code == 200
        assert gateway.call("GET", "/oauth2/authorize").status_code == 400
    # The same server, but its certificate does not say identity.
    assert gateway.call("GET", "/v1/users").status_code == 503


def test_who_does_not_show_to_be_identity_signs_nothing(start, authority, signing_key, tmp_path):
    certificate, key = authority.issue("contacts")
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    options = Options(access_log="", secrets=tmp_path, upstream_tls=UpstreamTls(authority.path))
    with serving_keys(signing_key, https(authority, "contacts")) as identity:
        gateway = start(options=options, credentials=credentials, identity_http=[identity])
        refused = gateway.call("GET", "/v1/accounts")
        assert (refused.status_code, gateway.upstream.calls) == (503, [])
