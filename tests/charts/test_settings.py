"""What the charts hand to processes is what these read: by the code that reads it."""

from __future__ import annotations

import dataclasses
import json

import pytest

from kontor_gateway import __main__ as gateway
from kontor_identity.registration import client_id
from kontor_kit import main
from kontor_kit.config import variable
from kontor_kit.tls import read_principals
from tests.charts.rendering import CASES, SERVICES, name_of, pods_of
from tools.charts import secret_keys, service_of

VALUES = {
    "DATABASE_URL": "postgresql://somebody:secret@db.example.com/kontor",
    "AMQP_URL": "amqps://somebody:secret@broker.example.com/kontor",
    "SMTP_URL": "smtps://somebody:secret@mail.example.com:465",
}
WITHOUT_CERTIFICATE = {"migrate", "bootstrap", "receive"}
"""Who serves no gRPC, and so needs no certificate."""
SERVICE_CASES = [case for case in CASES if case[0] in SERVICES]


def containers(charts, case):
    """Yield the containers of a case, with the first word of what they are told."""
    for _, labels, spec in pods_of(charts.rendered(case)):
        for container in spec["containers"]:
            yield labels["app.kubernetes.io/component"], container


def environment(container, folder):
    """Return the environment of a container, the files that it names lying in `folder` with something fitting inside."""
    found = {}
    for each in container["env"]:
        name, value = each["name"], each["value"]
        if value.startswith("/run/"):
            path = folder / value.removeprefix("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            fitting = (text for end, text in VALUES.items() if name.endswith(f"{end}_FILE"))
            path.write_text(next(fitting, "x" * 40))
            value = str(path)
        found[name] = value
    return found


@pytest.mark.parametrize("case", SERVICE_CASES, ids=name_of)
class TestServices:
    def test_every_variable_is_a_setting(self, charts, case):
        fields = [field for field in dataclasses.fields(service_of(case[0]).settings) if field.metadata]
        known = {variable(field, case[0]) + ("_FILE" if field.metadata["secret"] else "") for field in fields}
        for role, container in containers(charts, case):
            # Further variables of OpenTelemetry are read by its own library.
            given = {each["name"] for each in container["env"]} - {"OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"}
            assert given <= known, role

    def test_each_process_can_start_with_them(self, charts, case, tmp_path):
        """Nothing that is needed is missing, and nothing contradicts the rest."""
        service = service_of(case[0])
        commands = {**main._standard(service), **service.commands}
        for role, container in containers(charts, case):
            settings = service.settings.load(case[0], environment(container, tmp_path), need=commands[role].need)
            if role == "work":
                assert set(service.handlers.needed_services() if service.handlers else ()) <= settings.peers.keys()
            if settings.transport == "amqp" and role in ("work", "receive"):
                assert settings.amqp_url
            assert settings.plaintext is not bool(settings.tls_certificate_file) or role in WITHOUT_CERTIFICATE

    def test_commands_of_operators_find_what_they_need_where_calls_are_answered(self, charts, case, tmp_path):
        service = service_of(case[0])
        (container,) = (container for role, container in containers(charts, case) if role == "serve")
        commands = {**main._standard(service), **service.commands}
        for name in commands.keys() - {"work", "receive"}:
            if "owner_database_url" not in commands[name].need:
                service.settings.load(case[0], environment(container, tmp_path), need=commands[name].need)

    def test_arguments_are_understood(self, charts, case):
        service = service_of(case[0])
        commands = {**main._standard(service), **service.commands}
        parser = main._parser(case[0], service, commands)
        for role, container in containers(charts, case):
            assert parser.parse_args(container["args"]).command == role


class TestSecrets:
    @pytest.mark.parametrize("chart", SERVICES)
    def test_each_key_of_the_readme_is_used_and_no_other(self, charts, chart):
        used = {
            item["key"]
            for case in SERVICE_CASES
            for _, _, spec in pods_of(charts.rendered(case))
            for volume in spec["volumes"]
            if "projected" in volume
            for source in volume["projected"]["sources"]
            if source["secret"]["name"] == f"kontor-{chart}"
            for item in source["secret"]["items"]
        }
        assert used == set(secret_keys(chart))

    def test_only_who_migrates_is_the_owner(self, charts):
        for case in SERVICE_CASES:
            for role, container in containers(charts, case):
                owner = any("OWNER" in each["name"] for each in container["env"])
                assert owner is (role == "migrate")

    def test_the_certificates_of_others_can_be_read(self, charts):
        case = next(case for case in CASES if name_of(case) == "contacts-principals")
        (found,) = [each for each in charts.rendered(case) if each["kind"] == "ConfigMap"]
        assert read_principals(json.loads(found["data"]["principals.json"]))

    def test_services_are_who_bootstrap_registers(self, charts):
        for case in SERVICE_CASES:
            for role, container in containers(charts, case):
                env = {each["name"]: each["value"] for each in container["env"]}
                if role == "work" and case[0] != "identity":
                    assert env["KONTOR_CLIENT_ID"] == str(client_id(case[0]))


@pytest.mark.parametrize("case", [case for case in CASES if case[0] == "gateway"], ids=name_of)
class TestGateway:
    def test_it_listens_where_its_pod_says(self, charts, case):
        (container,) = (container for _, container in containers(charts, case))
        options = gateway._parser().parse_args(container["args"])
        assert {options.listen[1], options.metrics[1]} == {port["containerPort"] for port in container["ports"]}
        assert bool(options.tls_certificate) is (container["readinessProbe"]["httpGet"]["scheme"] == "HTTPS")

    def test_it_is_drained_before_it_is_ended(self, charts, case):
        (container,) = (container for _, container in containers(charts, case))
        command = container["lifecycle"]["preStop"]["exec"]["command"]
        assert command[:3] == ["python3", "-m", "kontor_gateway"]
        assert gateway._parser().parse_args(command[3:]).command == "drain"


def test_envoy_is_configured(charts, tmp_path):
    """For one case: it takes seconds, and the arguments of all were understood."""
    case = next(case for case in CASES if name_of(case) == "gateway-tls")
    (container,) = (container for _, container in containers(charts, case))
    options = gateway._parser().parse_args([*container["args"], f"--folder={tmp_path}"])
    options.out = tmp_path / "envoy.json"
    gateway._render(options)
    config = json.loads(options.out.read_text())["static_resources"]
    assert {each["name"] for each in config["listeners"]} == {"gateway", "metrics"}
    assert {each["name"] for each in config["clusters"]} > set(SERVICES)
    assert {path.name for path in (tmp_path / "secrets").iterdir()} == {"upstream-ca.json", "upstream.json"}
