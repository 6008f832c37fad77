"""Runs what the charts describe as processes of this machine: what they are told is enough to work together, in mTLS.

Usage: unshare --mount --net python -m tests.charts.live FOLDER      (as root; for test_live.py)

Each pod becomes a process with the arguments, variables and files of its container. What the cluster would do is done
here: each pod has an address of its own, names of Services lead there, Secrets and certificates are made, jobs run
before and after. Only Envoy's folder and log are others.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psycopg

from kit.tests.certificates import Authority
from kontor_kit.testing import ENVIRONMENT, postgres
from tests.charts.rendering import Charts, pods_of

ISSUER = "http://crm.example.com:8080"
VALUES = {
    "global": {
        "issuer": ISSUER,
        "services": {"sales": False, "ticketing": False, "marketing": False, "partners": False},
        "tls": {"clientCertificates": True, "certManager": {"enabled": True, "issuer": "authority"}},
    },
    "identity": {"bootstrap": {"tenant": "acme", "admin": "admin@acme.example"}},
    "contacts": {"settings": {"KONTOR_REFERENCE_SECONDS": ENVIRONMENT["KONTOR_REFERENCE_SECONDS"]}},
}
PATIENCE = 120
ALONE = ("unshare", "--mount", "--net")
"""Names of Services are written down, and ports taken, where nobody else sees it."""
MISSING = "What the charts describe was not seen at work: that needs root on Linux, with unshare and mount."
_SET_FLAGS, _UP = 0x8914, 1
"""Linux: SIOCSIFFLAGS, IFF_UP."""


class Machine:
    """What stands for the cluster: `objects` of the platform and of dev-infra, and a folder."""

    def __init__(self, objects: list[dict], infra: list[dict], database: str, folder: Path) -> None:
        self._folder = folder
        self._database = database
        self._secrets = {each["metadata"]["name"]: each["stringData"] for each in infra if each["kind"] == "Secret"}
        self._secrets |= self._certificates(objects)
        self.pods = {name: (labels, spec) for name, labels, spec in pods_of(objects)}
        self._addresses = {name: f"127.0.1.{number}" for number, name in enumerate(self.pods, 1)}
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def _certificates(self, objects: list[dict]) -> dict[str, dict[str, str]]:
        """Do what cert-manager does."""
        (self._folder / "authority").mkdir()
        self.authority = Authority(self._folder / "authority")
        made = {}
        for each in (each["spec"] for each in objects if each["kind"] == "Certificate"):
            certificate, key = self.authority.issue(*each["dnsNames"])
            paths = {"tls.crt": certificate, "tls.key": key, "ca.crt": self.authority.path}
            made[each["secretName"]] = {name: path.read_text() for name, path in paths.items()}
        return made

    def name_services(self) -> None:
        """Have the names of Services lead to their pods; for this process and its children."""
        names = {name.removesuffix("-serve"): address for name, address in self._addresses.items() if "-serve" in name}
        names["crm.example.com"] = names["kontor-gateway"]
        hosts = self._folder / "hosts"
        hosts.write_text("127.0.0.1 localhost\n" + "".join(f"{ip} {name}\n" for name, ip in names.items()))
        subprocess.run(["mount", "--bind", str(hosts), "/etc/hosts"], check=True)

    def command(self, pod: str, *instead: str) -> tuple[list[str], dict[str, str]]:
        """Return command and environment of the container of a pod, its files made."""
        labels, spec = self.pods[pod]
        (container,) = spec["containers"]
        root = self._folder / pod
        self._mount(spec, container, root)

        def here(text: str) -> str:
            return text.replace("/run/", f"{root}/run/").replace("0.0.0.0:", f"{self._addresses[pod]}:")

        env = {each["name"]: here(each["value"]) for each in container.get("env", ())}
        args = [here(each) for each in (instead or container["args"])]
        args += [f"--folder={root}/tmp", "--access-log="] if labels["app.kubernetes.io/name"] == "gateway" else []
        package = f"kontor_{labels['app.kubernetes.io/name']}"
        return [sys.executable, "-m", package, *args], {"PATH": os.environ["PATH"], **env}

    def _mount(self, spec: dict, container: dict, root: Path) -> None:
        sources = {each["name"]: each for each in spec["volumes"]}
        for mount in container["volumeMounts"]:
            folder = root / mount["mountPath"].removeprefix("/")
            folder.mkdir(parents=True, exist_ok=True)
            volume = sources[mount["name"]]
            for source in volume.get("projected", {}).get("sources", [volume]):
                if "secret" in source:
                    secret = source["secret"]
                    content = self._secrets[secret.get("name") or secret["secretName"]]
                    items = secret.get("items") or [{"key": key, "path": key} for key in content]
                    for item in items:
                        path = folder / item["path"]
                        path.parent.mkdir(exist_ok=True)
                        path.write_text(content[item["key"]].replace("dev-postgresql:5432", self._database))

    def run(self, pod: str, *instead: str, **more: str) -> str:
        """Run a Job, or another command where its pod runs, and return what it printed."""
        argv, env = self.command(pod, *instead)
        return subprocess.run(argv, env=env | more, check=True, stdout=subprocess.PIPE, text=True).stdout

    def start(self, pod: str) -> None:
        """Start a pod of a Deployment."""
        argv, env = self.command(pod)
        log = (self._folder / f"{pod}.log").open("wb")
        self.running[pod] = subprocess.Popen(argv, env=env, stdout=log, stderr=log)

    def await_ready(self) -> None:
        """Ask as the kubelet does, until all are ready."""
        until = time.monotonic() + PATIENCE
        for pod, process in self.running.items():
            (container,) = self.pods[pod][1]["containers"]
            probe = container["readinessProbe"]["httpGet"]
            port = next(each["containerPort"] for each in container["ports"] if each["name"] == probe["port"])
            while status(f"http://{self._addresses[pod]}:{port}{probe['path']}") != 200:
                assert process.poll() is None, (self._folder / f"{pod}.log").read_text()
                assert time.monotonic() < until, f"{pod} is not ready"
                time.sleep(0.2)
            print(f"{pod} is ready")

    def stop(self) -> list[int]:
        """End all as the kubelet does, and return the codes with which they ended."""
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        return [process.wait(60) for process in self.running.values()]


def is_possible() -> bool:
    """Tell whether this machine lets us be alone."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "mount"))):
        return False
    return subprocess.run([*ALONE, "true"], check=False, capture_output=True).returncode == 0


def switch_loopback_on() -> None:
    """Let processes reach each other; in a network of one's own even that is off."""
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh", b"lo", _UP))


def status(url: str) -> int | None:
    """Return the status of a GET; None where nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return None


def ask(path: str, token: str, body: object = None) -> dict:
    """Call the gateway, at the address that people have."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(ISSUER + path, data, headers), timeout=20) as response:
        return json.load(response)


def is_let_in(machine: Machine, *certificate: Path) -> bool:
    """Tell whether identity's gRPC answers who shows a certificate with its key, or none."""
    context = ssl.create_default_context(cafile=machine.authority.path)
    context.set_alpn_protocols(["h2"])
    if certificate:
        context.load_cert_chain(*certificate)
    with socket.create_connection(("kontor-identity", 50051), 5) as plain:
        try:
            with context.wrap_socket(plain, server_hostname="kontor-identity") as secure:
                secure.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
                return bool(secure.recv(1))
        except ssl.SSLCertVerificationError:
            raise  # It is we who refuse.
        except (ssl.SSLError, ConnectionResetError, BrokenPipeError):
            return False


def play(machine: Machine, database: str) -> None:
    """Install, use and end the platform."""
    for job in ("kontor-identity-migrate", "kontor-contacts-migrate"):
        machine.run(job)
    for pod in machine.pods:
        if pod.endswith(("-serve", "-work")):
            machine.start(pod)
    machine.await_ready()
    administrator = machine.run("kontor-identity-bootstrap").split()[-1]
    token = machine.run("kontor-identity-serve", "token", "--tenant=acme", "--user=Berta", KONTOR_DEV="1").strip()
    # The gateway asks identity for keys and contacts for the rest; contacts asks identity for keys and for the owner.
    made = ask(
        "/v1/accounts", token, {"displayName": "Blue Harbour", "roles": ["ROLE_CUSTOMER"], "owner": administrator}
    )
    assert ask(f"/v1/{made['name']}", token)["owner"] == administrator
    assert is_let_in(machine, *machine.authority.issue("somebody"))
    assert not is_let_in(machine)
    # Its work has got a token with the id that it was told before the account was there, and follows identity.
    until = time.monotonic() + PATIENCE
    with psycopg.connect(database, dbname="contacts", autocommit=True) as connection:
        while not connection.execute(
            "SELECT 1 FROM inbox_sources WHERE source = 'identity' AND position <> ''"
        ).fetchall():
            assert time.monotonic() < until, "contacts does not follow identity"
            time.sleep(0.5)
    print("contacts follows identity")
    # As an operator asks, in a pod that is there.
    assert machine.run("kontor-contacts-serve", "events", "list", "--dead") == ""


def make_databases(url: str, infra: list[dict]) -> str:
    """Do what PostgreSQL of dev-infra does at its start, and return where the server is that it was done on: host:port."""
    (made,) = [each["data"]["databases.sql"] for each in infra if each["kind"] == "ConfigMap"]
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in filter(str.strip, made.split(";")):
            connection.execute(statement.encode())
        return f"{connection.info.host}:{connection.info.port}"


def main(folder: Path) -> None:
    """Do it all."""
    charts = Charts(folder / "charts")
    (folder / "values.json").write_text(json.dumps(VALUES))
    objects = charts.objects("kontor", f"--values={folder / 'values.json'}")
    infra = charts.rendered(("dev-infra", ("dev-infra/ci/minimal-values.yaml",)))
    switch_loopback_on()
    with postgres.running() as url:
        machine = Machine(objects, infra, make_databases(url, infra), folder)
        machine.name_services()
        try:
            play(machine, url)
        finally:
            codes = machine.stop()
        assert set(codes) == {0}, codes


if __name__ == "__main__":
    main(Path(sys.argv[1]))
