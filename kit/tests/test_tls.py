"""TLS: certificates are reloaded, and name principals."""

from __future__ import annotations

import json
import ssl

import grpc
import pytest
from cryptography.x509 import load_pem_x509_certificate

from kit.tests.certificates import Authority
from kit.tests.echo import SERVICE, Echo, EchoServicer, EchoStub, bearer
from kontor_kit.calls import CallPath
from kontor_kit.clients import Peers, connect
from kontor_kit.config import Settings
from kontor_kit.principals import Scope
from kontor_kit.testing import TENANT, USER, Signer, answer, serving
from kontor_kit.tls import CertificatePrincipals, ClientTls


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def signer():
    return Signer()


def presented_serial(port):
    pem = ssl.get_server_certificate(("127.0.0.1", port))
    return load_pem_x509_certificate(pem.encode()).serial_number


class TestServerCertificate:
    def test_call_over_tls(self, authority, signer):
        certificate, key = authority.issue("localhost")
        servicer = EchoServicer()
        with (
            serving([servicer], signer.verifier(), tls_certificate_file=certificate, tls_key_file=key) as server,
            connect(f"127.0.0.1:{server.port}", token=signer.token(), tls=ClientTls(ca=authority.path)) as channel,
        ):
            assert EchoStub(channel).GetEcho(Echo(text="x")).text == "x"

    def test_renewed_certificate_is_used_without_a_restart(self, authority, signer):
        certificate, key = authority.issue("localhost", serial=1)
        with serving([EchoServicer()], signer.verifier(), tls_certificate_file=certificate, tls_key_file=key) as server:
            assert presented_serial(server.port) == 1
            authority.issue("localhost", serial=2)
            assert presented_serial(server.port) == 2

    def test_half_written_renewal_leaves_the_old_one_in_use(self, authority, signer, caplog):
        certificate, key = authority.issue("localhost", serial=1)
        old_key = key.read_bytes()
        with serving([EchoServicer()], signer.verifier(), tls_certificate_file=certificate, tls_key_file=key) as server:
            authority.issue("localhost", serial=2)
            new_key = key.read_bytes()
            key.write_bytes(old_key)
            assert presented_serial(server.port) == 1
            assert "changed files cannot be used" in caplog.text
            key.write_bytes(new_key)
            assert presented_serial(server.port) == 2


class TestPeers:
    """What a service opens to others follows its settings."""

    @pytest.fixture
    def peer(self, authority, signer):
        certificate, key = authority.issue("localhost")
        changes = {"tls_certificate_file": certificate, "tls_key_file": key, "tls_client_ca_file": authority.path}
        with serving([EchoServicer()], signer.verifier(), **changes) as server:
            yield f"localhost:{server.port}"

    def settings(self, peer, **files):
        environ = {f"KONTOR_TLS_{name.upper()}_FILE": str(path) for name, path in files.items()}
        return Settings.load("contacts", {"KONTOR_PEERS": f"echo={peer}", **environ})

    def test_a_channel_to_another_service_checks_it_and_shows_the_own_certificate(self, peer, authority, signer):
        certificate, key = authority.issue("contacts")
        settings = self.settings(peer, ca=authority.path, certificate=certificate, key=key)
        with connect(peer, token=signer.token(), tls=ClientTls.of(settings)) as channel:
            assert EchoStub(channel).GetEcho(Echo(text="x")).text == "x"

    def test_another_service_without_a_known_certificate_is_not_trusted(self, peer, signer, tmp_path):
        (tmp_path / "other").mkdir()
        other = Authority(tmp_path / "other")
        certificate, key = other.issue("contacts")
        settings = self.settings(peer, ca=other.path, certificate=certificate, key=key)
        with connect(peer, tls=ClientTls.of(settings)) as channel, pytest.raises(grpc.RpcError) as caught:
            EchoStub(channel).GetEcho(Echo(text="x"), timeout=5)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE

    def test_plain_text_without_an_authority(self):
        assert ClientTls.of(self.settings("localhost:1")) is None

    def test_other_services_are_called_over_tls_also_after_a_renewal(self, peer, authority, signer):
        certificate, key = authority.issue("contacts")
        peers = Peers({"test": peer}, ClientTls(ca=authority.path, certificate=certificate, key=key))
        token = (("authorization", f"Bearer {signer.token()}"),)
        for _ in range(2):
            assert (
                peers.call(SERVICE.methods_by_name["GetEcho"], Echo(text="x"), metadata=token, timeout=30).text == "x"
            )
            before = peers.channel("test")
            assert peers.channel("test") is before
            authority.issue("contacts")
            assert peers.channel("test") is not before
        peers.close()


class TestClientCertificate:
    @pytest.fixture
    def address(self, authority, signer, tmp_path):
        principals = tmp_path / "principals.json"
        entry = {"tenant": str(TENANT), "subject": USER, "perms": ["test.echoes.*:team"]}
        principals.write_text(json.dumps({"erp.example": entry, "warehouse": entry}))
        certificate, key = authority.issue("localhost")
        path = CallPath("test.kontor", signer.verifier(), certificates=CertificatePrincipals(principals))
        changes = {"tls_certificate_file": certificate, "tls_key_file": key, "tls_client_ca_file": authority.path}
        self.servicer = EchoServicer()
        with serving([self.servicer], signer.verifier(), path=path, **changes) as server:
            yield f"127.0.0.1:{server.port}"

    def call(self, address, authority, *, metadata=None, pair=(None, None)):
        tls = ClientTls(ca=authority.path, certificate=pair[0], key=pair[1])
        with connect(address, tls=tls) as channel:
            return EchoStub(channel).UpdateEcho(Echo(text="x"), metadata=metadata, timeout=5)

    @pytest.mark.parametrize("names", [{"name": "erp.example"}, {"name": "other", "common_name": "warehouse"}])
    def test_listed_name_is_a_principal(self, address, authority, names):
        self.call(address, authority, pair=authority.issue(**names))
        assert self.servicer.call.principal.subject == USER
        assert self.servicer.call.scope is Scope.TEAM

    def test_name_not_listed_is_nobody(self, address, authority):
        with pytest.raises(grpc.RpcError) as caught:
            self.call(address, authority, pair=authority.issue("stranger"))
        assert answer(caught.value).reason == "TOKEN_MISSING"

    def test_token_goes_before_the_certificate(self, address, authority, signer):
        pair = authority.issue("erp.example")
        self.call(address, authority, pair=pair, metadata=bearer(signer.token("*:all")))
        assert self.servicer.call.scope is Scope.ALL

    @pytest.mark.parametrize("other", [True, False])
    def test_connection_refused_without_a_certificate_of_the_authority(self, address, authority, tmp_path, other):
        (tmp_path / "other").mkdir()
        pair = Authority(tmp_path / "other").issue("erp.example") if other else (None, None)
        with pytest.raises(grpc.RpcError) as caught:
            self.call(address, authority, pair=pair)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
