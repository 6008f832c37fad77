"""Which processes there are, on which ports, in which environment."""

import socket

import pytest

from kontor_dev.data import DataFolder
from kontor_dev.platform import SERVICES, Service, chosen, environment, plan, pool_size
from kontor_dev.ports import free_ports, is_free
from kontor_kit.testing import programs


class TestChosen:
    def test_is_in_order_and_has_identity(self):
        assert [service.name for service in chosen("sales, contacts")] == ["identity", "contacts", "sales"]


class TestCommand:
    def test_python_runs_the_package(self):
        assert Service("alpha").command("serve")[1:] == ("-P", "-m", "kontor_alpha", "serve")

    def test_another_program_takes_its_place(self):
        assert Service("alpha", program=("podman", "run", "alpha")).command("serve") == (
            "podman",
            "run",
            "alpha",
            "serve",
        )


class TestPlan:
    def test_every_service_serves_in_replicas_and_works_once(self):
        names = [process.name for process in plan((Service("alpha"), Service("beta")), 2).processes]
        assert names == [
            "alpha-serve-1",
            "alpha-serve-2",
            "alpha-work-1",
            "beta-serve-1",
            "beta-serve-2",
            "beta-work-1",
        ]

    def test_over_a_broker_who_follows_others_receives_once(self):
        services = (Service("alpha"), Service("beta", follows=True))
        found = plan(services, 2, "amqp").processes
        assert [process.name for process in found if process.role == "receive"] == ["beta-receive-1"]
        assert [process.role for process in plan(services, 1).processes] == ["serve", "work"] * 2

    def test_who_receives_answers_http_only(self):
        (*_, process) = plan((Service("beta", follows=True),), 1, "amqp").processes
        assert process.address == f"127.0.0.1:{process.metrics_port}"

    def test_no_port_is_given_twice(self):
        found = plan(SERVICES, 3, "amqp")
        ports = [found.database_port, found.admin_port, found.broker_port, found.distribution_port]
        ports += [
            port for process in found.processes for port in (process.port, process.metrics_port, process.http_port)
        ]
        assert len(ports) == len(set(ports))

    def test_only_serving_identity_listens_for_http_and_all_trust_its_keys(self):
        found = plan(SERVICES, 1)
        listening = {
            process.name for process in found.processes if "KONTOR_HTTP_LISTEN" in found.settings(process, "http://i")
        }
        assert listening == {"identity-serve-1"}
        assert len({found.settings(process, "http://i")["KONTOR_JWKS_URL"] for process in found.processes}) == 1

    def test_replicas_that_have_a_stand_in_take_their_time_to_go(self):
        def delays(replicas):
            found = plan((Service("alpha"),), replicas)
            return [
                found.settings(process, "http://i").get("KONTOR_DRAIN_DELAY_SECONDS") for process in found.processes
            ]

        assert delays(1) == [None, None]
        assert delays(2) == ["4.5", "4.5", None]

    def test_everybody_knows_where_the_others_answer(self):
        found = plan((Service("alpha"), Service("beta"), Service("idle", roles=("work",))), 2)
        a1, a2, _, b1, b2, *_ = (process.address for process in found.processes)
        assert found.peers() == f"alpha=ipv4:{a1},{a2};beta=ipv4:{b1},{b2}"

    def test_all_pools_together_leave_room_on_the_server(self):
        assert pool_size(4) == 16
        assert all(count * pool_size(count) <= 200 for count in range(1, 81))


class TestEnvironment:
    def test_what_this_mode_fixes_is_not_ours_to_set_but_what_it_does_not_is(self, tmp_path, monkeypatch):
        for name in ("KONTOR_TLS_KEY_FILE", "KONTOR_PAGE_TOKEN_KEY_FILE", "KONTOR_ISSUER"):
            monkeypatch.setenv(name, "leftover")
        monkeypatch.setenv("KONTOR_THREADS", "4")
        monkeypatch.setenv("LANG", "C.UTF-8")
        data = DataFolder(tmp_path)
        env = environment(data, Service("alpha"), database_port=5, settings={"KONTOR_ISSUER": "http://i"})
        assert (env["KONTOR_THREADS"], env["LANG"], env["KONTOR_ISSUER"]) == ("4", "C.UTF-8", "http://i")
        assert not [name for name, value in env.items() if value == "leftover"]
        assert env["KONTOR_ALPHA_SYSTEM_DATABASE_URL"].endswith("@127.0.0.1:5/alpha")
        assert len(env["KONTOR_PAGE_TOKEN_KEY"]) >= 32

    def test_a_service_that_follows_others_has_credentials(self, tmp_path):
        data = DataFolder(tmp_path)
        data.remember(clients={"beta": "the-id"})
        env = environment(data, Service("beta", follows=True), database_port=5, settings={})
        assert env["KONTOR_CLIENT_ID"] == "the-id"
        assert env["KONTOR_CLIENT_SECRET"].startswith("kontor_secret_")
        assert "KONTOR_CLIENT_ID" not in environment(data, Service("alpha"), database_port=5, settings={})

    def test_a_service_has_folders_below_the_data(self, tmp_path):
        service = Service("alpha", folders=(("KONTOR_ALPHA_FILES_URL", "files"),))
        data = DataFolder(tmp_path / "a b")
        data.create()
        env = environment(data, service, database_port=5, settings={})
        assert env["KONTOR_ALPHA_FILES_URL"] == f"file://{tmp_path}/a%20b/files"


class TestPorts:
    def test_free_ports_differ_and_are_free(self):
        ports = free_ports(20)
        assert len(set(ports)) == 20
        assert all(map(is_free, ports))

    def test_a_port_that_was_given_away_is_given_to_nobody_else(self, monkeypatch):
        (given,) = free_ports(1)
        assert is_free(given)
        monkeypatch.setattr(programs, "_PORTS", (given,))
        with pytest.raises(IndexError):
            free_ports(1)

    def test_a_port_that_is_listened_on_is_not_free(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            assert not is_free(listener.getsockname()[1])
