"""The processes of identity: migrations, commands, HTTP beside gRPC."""

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from kit.tests.certificates import Authority
from kontor_identity.housekeeping import clear, repeating
from kontor_identity.oauth.server import HttpServer
from kontor_identity.oauth.subjects import find_subject
from kontor_identity.secrets.rules import new_secret
from kontor_identity.service import service
from kontor_kit.testing import ENVIRONMENT, ISSUER
from kontor_kit.testing.programs import free_ports
from kontor_kit.testing.schema import ACROSS_TENANTS, WITHOUT_TENANT, DatabaseChecks
from services.identity.tests.conftest import KEY, PASSWORD
from services.identity.tests.flows import refresh, tokens


@pytest.fixture(scope="module")
def database(databases):
    return databases.new(service())


@pytest.fixture(scope="module")
def environment(database):
    port, http_port = free_ports(2)
    return {
        **os.environ,
        "KONTOR_IDENTITY_DATABASE_URL": database.url("app"),
        "KONTOR_IDENTITY_SYSTEM_DATABASE_URL": database.url("system"),
        "KONTOR_IDENTITY_OWNER_DATABASE_URL": database.url("owner"),
        "KONTOR_IDENTITY_APP_ROLE": database.role("app"),
        "KONTOR_IDENTITY_SYSTEM_ROLE": database.role("system"),
        "KONTOR_IDENTITY_KEY_ENCRYPTION_KEY": KEY,
        "KONTOR_PAGE_TOKEN_KEY": KEY,
        "KONTOR_ISSUER": ISSUER,
        "KONTOR_LISTEN": f"127.0.0.1:{port}",
        "KONTOR_HTTP_LISTEN": f"127.0.0.1:{http_port}",
        **ENVIRONMENT,
    }


def command(environment, *arguments):
    argv = [sys.executable, "-m", "kontor_identity", *arguments]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=50)


class TestDatabase(DatabaseChecks):
    made = staticmethod(service)
    without_tenant = WITHOUT_TENANT | {"oauth_attempts", "signing_keys"}
    across_tenants = ACROSS_TENANTS | {
        "oauth_attempts_end_time",
        "oauth_attempts_pkey",
        "oauth_sessions_expire_time",
        "service_accounts_id",
        "signing_keys_pkey",
        "tenants_slug",
    }

    @pytest.fixture
    def server(self, identity):
        return identity

    def test_app_role_cannot_change_keys_or_find_more_than_ids(self, database):
        with database.connect("app") as connection:
            for privilege in ("INSERT", "UPDATE", "DELETE"):
                query = "SELECT has_table_privilege('signing_keys', %s)"
                assert connection.execute(query, [privilege]).fetchone() == (False,)


class TestCommands:
    def test_bootstrap_and_token_and_serve_work_together(self, environment, tmp_path):
        password = tmp_path / "password"
        password.write_text(f"{PASSWORD}\n")
        argv = ["bootstrap", "--tenant", "demo", "--display-name", "Demo", "--admin", "admin@demo.example", "--json"]
        made = [command(environment, *argv, "--password-file", str(password)) for _ in range(2)]
        assert [each.returncode for each in made] == [0, 0], made[0].stderr
        first, second = (json.loads(each.stdout) for each in made)
        assert first == second
        assert set(first) == {"tenant", "tenant_id", "user"}
        refused = command(environment, "token", "--tenant", "demo")
        assert refused.returncode == 2
        assert "KONTOR_DEV" in refused.stderr
        dev = {**environment, "KONTOR_DEV": "1"}
        for arguments in ((), ("--role", "reader", "--user", "Rita Rot"), ("--role", "Member", "--lifetime", "43200")):
            answer = command(dev, "token", "--tenant", "demo", *arguments)
            assert answer.returncode == 0, answer.stderr
            assert answer.stdout.count(".") == 2
        assert command(dev, "token", "--tenant", "demo", "--role", "nonsense").returncode == 1
        assert "a new key signs from" in command(environment, "rotate-keys").stdout
        secret = tmp_path / "secret"
        secret.write_text(f"{new_secret()}\n")
        registered = command(
            environment, "register-service", "--name", "contacts", "--secret-file", str(secret), "--json"
        )
        assert set(json.loads(registered.stdout)) == {"client_id"}, registered.stderr
        again = command(environment, *argv, "--register", f"contacts={secret}")
        assert again.returncode == 0, again.stderr

    def test_who_is_made_for_a_token_has_its_role(self, platform):
        tenant, user, permissions = platform.commands.subject("demo", "Reader", "Role Taker")
        with platform.app_database.read(tenant) as tx:
            found = find_subject(tx, "users", user)
        assert found.permissions == permissions

    def test_tokens_asked_for_at_the_same_time_are_for_one_user(self, platform):
        def subject(number):
            return platform.commands.subject("demo", "Member", f"Somebody {number // 8}")

        with ThreadPoolExecutor(8) as pool:
            subjects = list(pool.map(subject, range(40)))
        assert len({user for _, user, _ in subjects}) == 5

    def test_serve_answers_http_and_ends_calmly(self, environment):
        process = subprocess.Popen([sys.executable, "-m", "kontor_identity", "serve"], env=environment)
        try:
            url = f"http://{environment['KONTOR_HTTP_LISTEN']}/.well-known/oauth-authorization-server"
            until = time.monotonic() + 30
            while True:
                try:
                    with urllib.request.urlopen(url, timeout=5) as response:
                        assert json.load(response)["issuer"] == ISSUER
                    break
                except OSError:
                    assert time.monotonic() < until
                    time.sleep(0.1)
        finally:
            process.terminate()
            assert process.wait(timeout=20) == 0

    def test_serve_says_what_is_missing(self, environment):
        without = {**environment, "KONTOR_IDENTITY_KEY_ENCRYPTION_KEY": ""}
        refused = command(without, "serve")
        assert refused.returncode == 2
        assert "KONTOR_IDENTITY_KEY_ENCRYPTION_KEY" in refused.stderr


class TestHttpServer:
    def test_serves_and_stops(self, platform):
        server = HttpServer("127.0.0.1:0", platform.application)
        server.start()
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/.well-known/jwks.json", timeout=5) as response:
            assert json.load(response)["keys"]
        server.stop()
        with pytest.raises(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{server.port}/", timeout=1)

    def test_speaks_tls_with_the_certificate_that_the_files_hold_now(self, platform, tmp_path):
        authority = Authority(tmp_path)
        certificate, key = authority.issue("identity", serial=1001)
        server = HttpServer("127.0.0.1:0", platform.application, certificate=certificate, key=key)
        server.start()
        try:
            assert self.serial(server, authority) == 1001
            authority.issue("identity", serial=2002)
            assert self.serial(server, authority) == 2002
        finally:
            server.stop()

    @staticmethod
    def serial(server, authority):
        context = ssl.create_default_context(cafile=authority.path)
        with (
            socket.create_connection(("127.0.0.1", server.port), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname="identity") as secured,
        ):
            return int(secured.getpeercert()["serialNumber"], 16)


class TestHousekeeping:
    def test_clears_what_has_ended(self, platform):
        token = tokens(platform.browser())["refresh_token"]
        clear(platform.system_database, platform.clock.now)
        token = refresh(platform.browser(), token).json["refresh_token"]
        platform.clock.forward(days=31)
        clear(platform.system_database, platform.clock.now)
        for table in ("oauth_sessions", "oauth_codes", "oauth_refresh_tokens", "oauth_attempts"):
            assert platform.run(f"SELECT count(*) FROM {table}") == [(0,)], table

    def test_goes_on_after_the_database_was_away(self, platform):
        done = threading.Event()
        outcomes = iter([False, True])

        def work():
            if next(outcomes):
                done.set()
            else:
                platform.system_database.close()
                clear(platform.system_database, platform.clock.now)

        stopping = threading.Event()
        thread = threading.Thread(target=repeating(work, 0.01), args=(stopping,))
        thread.start()
        assert done.wait(10)
        stopping.set()
        thread.join()
