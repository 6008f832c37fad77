"""Configuration: every problem at once, secrets never shown."""

from __future__ import annotations

import pytest

from kontor_kit.config import ConfigurationError, Settings, seconds, setting, settings_class, text

DSN = "postgresql://app:hunter2@db/contacts"
KEY = "k" * 32


@settings_class
class Extended(Settings):
    """Settings of a service with more."""

    greeting: str = setting("KONTOR_{SERVICE}_GREETING", text, "hello", "what it says")


def problems(environ, **kwargs):
    with pytest.raises(ConfigurationError) as caught:
        Settings.load("contacts", environ, **kwargs)
    return caught.value.problems


class TestLoad:
    def test_everything_has_a_default(self):
        settings = Settings.load("contacts", {})
        assert (settings.service, settings.listen, settings.threads) == ("contacts", "127.0.0.1:50051", 16)
        assert (settings.app_role, settings.system_role) == ("contacts_app", "contacts_system")

    def test_variables_carry_the_name_of_the_service(self):
        environ = {"KONTOR_CONTACTS_DATABASE_URL": DSN, "KONTOR_IDENTITY_DATABASE_URL": "postgresql://other"}
        assert Settings.load("contacts", environ, need=["database_url"]).database_url == DSN

    def test_empty_counts_as_not_set(self):
        assert Settings.load("contacts", {"KONTOR_THREADS": ""}).threads == 16

    def test_secret_from_a_file(self, tmp_path):
        path = tmp_path / "key"
        path.write_text(f"{KEY}\n")
        assert Settings.load("contacts", {"KONTOR_PAGE_TOKEN_KEY_FILE": str(path)}).page_token_key == KEY

    def test_service_with_settings_of_its_own(self):
        assert Extended.load("contacts", {"KONTOR_CONTACTS_GREETING": "moin"}).greeting == "moin"
        assert ("KONTOR_CONTACTS_GREETING", "hello", "what it says") in list(Extended.describe("contacts"))

    def test_every_setting_is_described(self):
        assert all(doc for _, _, doc in Settings.describe("contacts"))


class TestProblems:
    def test_all_are_reported_together(self):
        found = problems(
            {
                "KONTOR_THREADS": "many",
                "KONTOR_LISTEN": "0.0.0.0:1",
                "KONTOR_DRAIN_SECONDS": "-1",
                "KONTOR_LOG_LEVEL": "loud",
                "KONTOR_METRICS_LISTEN": "nowhere",
                "KONTOR_PAGE_TOKEN_KEY": "short",
                "KONTOR_TLS_CLIENT_CA_FILE": "/does/not/exist",
                "KONTOR_JWKS_URL": "file:///etc/passwd",
            },
            need=["database_url", "jwks_url|jwks_file"],
        )
        names = [problem.partition(":")[0] for problem in found]
        assert sorted(names) == [
            "KONTOR_CONTACTS_DATABASE_URL",
            "KONTOR_DRAIN_SECONDS",
            "KONTOR_JWKS_URL",
            "KONTOR_LISTEN",
            "KONTOR_LOG_LEVEL",
            "KONTOR_METRICS_LISTEN",
            "KONTOR_PAGE_TOKEN_KEY",
            "KONTOR_THREADS",
            "KONTOR_TLS_CLIENT_CA_FILE",
        ]

    def test_one_of_two_is_needed(self):
        (problem,) = problems({}, need=["jwks_url|jwks_file"])
        assert problem == "KONTOR_JWKS_URL or KONTOR_JWKS_FILE: needed and not set"

    def test_plain_text_only_on_loopback_unless_allowed(self):
        assert problems({"KONTOR_LISTEN": "0.0.0.0:1"})
        assert Settings.load("contacts", {"KONTOR_LISTEN": "0.0.0.0:1", "KONTOR_PLAINTEXT": "true"})
        assert Settings.load("contacts", {"KONTOR_LISTEN": "[::1]:1"})
        assert Settings.load("contacts", {"KONTOR_LISTEN": "localhost:1"})

    def test_tls_settings_that_need_each_other(self, tmp_path):
        path = tmp_path / "file"
        path.touch()
        assert len(problems({"KONTOR_TLS_KEY_FILE": str(path)})) == 1
        assert len(problems({"KONTOR_TLS_CLIENT_CA_FILE": str(path)})) == 1
        assert len(problems({"KONTOR_TLS_PRINCIPALS_FILE": str(path)})) == 1

    @pytest.mark.parametrize(
        "target",
        [
            "10.0.0.1:1",
            "identity:50051",
            "dns:///identity:50051",
            "ipv4:127.0.0.1:1,10.0.0.1:1",
            "localhost.example:1",
            "xds:///localhost:1",
        ],
    )
    def test_other_services_need_tls_unless_on_loopback(self, target, tmp_path):
        peers = {"KONTOR_PEERS": f"sales=ipv4:127.0.0.1:1,127.0.0.2:1;contacts=localhost:1;identity={target}"}
        assert problems(peers) == [
            f"KONTOR_PEERS: identity={target} needs TLS (KONTOR_TLS_CA_FILE), or KONTOR_PLAINTEXT=true"
        ]
        path = tmp_path / "file"
        path.touch()
        assert Settings.load("contacts", {**peers, "KONTOR_TLS_CA_FILE": str(path)})
        assert Settings.load("contacts", {**peers, "KONTOR_PLAINTEXT": "true"})

    @pytest.mark.parametrize("target", ["[::1]:1", "ipv6:[::1]:1", "unix:/run/identity", "dns:///localhost:1"])
    def test_services_on_loopback_need_no_tls(self, target):
        assert Settings.load("contacts", {"KONTOR_PEERS": f"identity={target}"})

    @pytest.mark.parametrize("name", ["KONTOR_TOKEN_URL", "KONTOR_JWKS_URL"])
    def test_what_makes_trust_needs_tls_unless_on_loopback(self, name):
        assert problems({name: "http://identity/x"}) == [
            f"{name}: http://identity/x needs https, or KONTOR_PLAINTEXT=true"
        ]
        assert Settings.load("contacts", {name: "https://identity/x"})
        assert Settings.load("contacts", {name: "http://127.0.0.1:8081/x"})
        assert Settings.load("contacts", {name: "http://identity/x", "KONTOR_PLAINTEXT": "true"})

    def test_a_broker_that_is_reached_over_the_network_needs_tls(self):
        broker = {"KONTOR_AMQP_URL": "amqp://me:secret@broker:5672/"}
        assert problems(broker) == ["KONTOR_AMQP_URL: needs amqps, or KONTOR_PLAINTEXT=true"]
        assert Settings.load("contacts", {**broker, "KONTOR_PLAINTEXT": "true"})
        assert Settings.load("contacts", {"KONTOR_AMQP_URL": "amqps://me:secret@broker/"})
        assert Settings.load("contacts", {"KONTOR_AMQP_URL": "amqp://me:secret@127.0.0.1/"})

    def test_the_certificate_for_the_broker_needs_its_key(self, tmp_path):
        certificate = tmp_path / "certificate.pem"
        certificate.touch()
        assert problems({"KONTOR_AMQP_CERTIFICATE_FILE": str(certificate)}) == [
            "KONTOR_AMQP_CERTIFICATE_FILE and KONTOR_AMQP_KEY_FILE: set both or none"
        ]

    def test_secret_given_twice_or_unreadable(self):
        twice = {"KONTOR_PAGE_TOKEN_KEY": KEY, "KONTOR_PAGE_TOKEN_KEY_FILE": "/f"}
        assert problems(twice) == [
            "KONTOR_PAGE_TOKEN_KEY: is set as well as KONTOR_PAGE_TOKEN_KEY_FILE; set one of them"
        ]
        (problem,) = problems({"KONTOR_PAGE_TOKEN_KEY_FILE": "/does/not/exist"})
        assert "/does/not/exist cannot be read" in problem

    @pytest.mark.parametrize("value", ["nan", "inf", "1e9", "x", "-0.1"])
    def test_seconds_outside_of_their_range(self, value):
        with pytest.raises(ValueError, match="number of seconds"):
            seconds(0, 60)(value)


class TestSecrets:
    def test_not_in_the_repr(self):
        environ = {"KONTOR_CONTACTS_DATABASE_URL": DSN, "KONTOR_PAGE_TOKEN_KEY": KEY}
        shown = repr(Settings.load("contacts", environ))
        assert "hunter2" not in shown
        assert KEY not in shown

    def test_not_in_a_problem(self):
        found = problems({"KONTOR_CONTACTS_DATABASE_URL": "mysql://app:hunter2@db", "KONTOR_PAGE_TOKEN_KEY": "hunter2"})
        assert len(found) == 2
        assert "hunter2" not in str(found)
