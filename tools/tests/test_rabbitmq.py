"""RabbitMQ is found or installed, and no service is started by that."""

import os
import stat

import pytest

from kontor_kit.testing import rabbitmq as kit
from tools import rabbitmq

APT = """#!/bin/sh
echo "$@" "policy=$(cat {policy} | tail -1)" >> {said}
[ "$1" = update ] || {{ touch {folder}/rabbitmq-server {folder}/erl; chmod +x {folder}/rabbitmq-server {folder}/erl; }}
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine without RabbitMQ, whose administrator we are, with an apt-get that only says what it was asked."""
    folder, policy, said = tmp_path / "bin", tmp_path / "policy-rc.d", tmp_path / "said"
    folder.mkdir()
    (folder / "apt-get").write_text(APT.format(policy=policy, said=said, folder=folder))
    (folder / "apt-get").chmod(0o755)
    monkeypatch.setattr(kit, "_PACKAGED", tmp_path / "none")
    monkeypatch.setattr(kit, "_FOLDERS", ("/usr/bin", "/bin"))
    monkeypatch.setattr(kit.shutil, "which", only_in(folder, kit.shutil.which))
    monkeypatch.setattr(rabbitmq, "POLICY", policy)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return tmp_path


def only_in(folder, which):
    """What finds programs in `folder` only, although the scripts there may use all."""
    return lambda name, path=None: which(name, path=str(folder))


class TestMain:
    def test_nothing_is_installed_where_one_is_found(self, machine):
        for name in ("rabbitmq-server", "erl"):
            (machine / "bin" / name).touch(0o755)
        assert rabbitmq.main() == 0
        assert not (machine / "said").exists()

    def test_it_is_installed_and_no_service_started(self, machine):
        assert rabbitmq.main() == 0
        assert (machine / "said").read_text().splitlines() == [
            "update --quiet=2 policy=exit 101",
            "install --quiet=2 --yes --no-install-recommends rabbitmq-server policy=exit 101",
        ]
        assert not (machine / "policy-rc.d").exists()

    def test_a_rule_of_the_machine_stays(self, machine):
        (machine / "policy-rc.d").write_text("exit 104\n")
        assert rabbitmq.main() == 0
        assert (machine / "policy-rc.d").read_text() == "exit 104\n"

    def test_it_fails_where_the_package_does_not_come(self, machine, capfd):
        (machine / "bin" / "apt-get").write_text("#!/bin/sh\nexit 100\n")
        assert rabbitmq.main() == 1
        assert "could not be installed" in capfd.readouterr().err
        assert not (machine / "policy-rc.d").exists()

    def test_who_may_not_install_is_told_what_to_do(self, machine, capsys, monkeypatch):
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        assert rabbitmq.main() == 1
        assert "apt install rabbitmq-server" in capsys.readouterr().err


def test_the_rule_can_be_run_by_packages(machine):
    with rabbitmq.services_asleep():
        assert stat.S_IMODE((machine / "policy-rc.d").stat().st_mode) == 0o755
