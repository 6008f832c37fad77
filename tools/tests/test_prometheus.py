"""Prometheus is found or installed, and no service is started by that."""

import os

import pytest

from tools import prometheus, rabbitmq

APT = """#!/bin/sh
echo "$@" "policy=$(cat {policy} | tail -1)" >> {said}
[ "$1" = update ] || {{ touch {folder}/prometheus; chmod +x {folder}/prometheus; }}
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine without Prometheus, whose administrator we are, with an apt-get that only says what it was asked."""
    folder, policy, said = tmp_path / "bin", tmp_path / "policy-rc.d", tmp_path / "said"
    folder.mkdir()
    (folder / "apt-get").write_text(APT.format(policy=policy, said=said, folder=folder))
    (folder / "apt-get").chmod(0o755)
    which = prometheus.shutil.which
    monkeypatch.setattr(prometheus.shutil, "which", lambda name: which(name, path=str(folder)))
    monkeypatch.setattr(rabbitmq, "POLICY", policy)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return tmp_path


class TestMain:
    def test_nothing_is_installed_where_one_is_found(self, machine):
        (machine / "bin" / "prometheus").touch(0o755)
        assert prometheus.main() == 0
        assert not (machine / "said").exists()

    def test_it_is_installed_and_no_service_started(self, machine):
        assert prometheus.main() == 0
        assert (machine / "said").read_text().splitlines() == [
            "update --quiet=2 policy=exit 101",
            "install --quiet=2 --yes --no-install-recommends prometheus policy=exit 101",
        ]
        assert not (machine / "policy-rc.d").exists()

    def test_it_fails_where_the_package_does_not_come(self, machine, capfd):
        (machine / "bin" / "apt-get").write_text("#!/bin/sh\nexit 100\n")
        assert prometheus.main() == 1
        assert "could not be installed" in capfd.readouterr().err

    def test_who_may_not_install_is_told_what_to_do(self, machine, capsys, monkeypatch):
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        assert prometheus.main() == 1
        assert "apt install prometheus" in capsys.readouterr().err
