"""Programs are found or installed, and no service is started by that."""

import os
import shutil
import stat

import pytest

from kontor_kit.testing import rabbitmq as kit
from tools import debian, prometheus, rabbitmq

APT = """#!/bin/sh
echo "$@" "policy=$(cat {policy} | tail -1)" >> {said}
[ "$1" = update ] || {{ cd {folder}; touch {programs}; chmod +x {programs}; }}
"""
# What each needs: the package, and the programs that are found then.
NEEDED = {rabbitmq: ("rabbitmq-server", "rabbitmq-server erl"), prometheus: ("prometheus", "prometheus")}


@pytest.fixture(params=NEEDED, ids=lambda tool: tool.__name__)
def tool(request):
    return request.param


@pytest.fixture
def machine(tool, tmp_path, monkeypatch):
    """A machine without the program, whose administrator we are, with an apt-get that only says what it was asked."""
    folder, policy, said = tmp_path / "bin", tmp_path / "policy-rc.d", tmp_path / "said"
    folder.mkdir()
    (folder / "apt-get").write_text(APT.format(policy=policy, said=said, folder=folder, programs=NEEDED[tool][1]))
    (folder / "apt-get").chmod(0o755)
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name, path=None: which(name, path=str(folder)))
    monkeypatch.setattr(kit, "_PACKAGED", tmp_path / "none")
    monkeypatch.setattr(kit, "_FOLDERS", ("/usr/bin", "/bin"))
    monkeypatch.setattr(debian, "POLICY", policy)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    # The scripts may use all programs.
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return tmp_path


def test_nothing_is_installed_where_one_is_found(tool, machine):
    for name in NEEDED[tool][1].split():
        (machine / "bin" / name).touch(0o755)
    assert tool.main() == 0
    assert not (machine / "said").exists()


def test_it_is_installed_and_no_service_started(tool, machine):
    assert tool.main() == 0
    assert (machine / "said").read_text().splitlines() == [
        "update --quiet=2 policy=exit 101",
        f"install --quiet=2 --yes --no-install-recommends {NEEDED[tool][0]} policy=exit 101",
    ]
    assert not (machine / "policy-rc.d").exists()


def test_a_rule_of_the_machine_stays(tool, machine):
    (machine / "policy-rc.d").write_text("exit 104\n")
    assert tool.main() == 0
    assert (machine / "policy-rc.d").read_text() == "exit 104\n"


def test_it_fails_where_the_package_does_not_come(tool, machine, capfd):
    (machine / "bin" / "apt-get").write_text("#!/bin/sh\nexit 100\n")
    assert tool.main() == 1
    assert "could not be installed" in capfd.readouterr().err
    assert not (machine / "policy-rc.d").exists()


def test_who_may_not_install_is_told_what_to_do(tool, machine, capsys, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert tool.main() == 1
    assert f"apt install {NEEDED[tool][0]}" in capsys.readouterr().err


@pytest.mark.usefixtures("machine")
def test_the_rule_can_be_run_by_packages():
    with debian.services_asleep():
        assert stat.S_IMODE(debian.POLICY.stat().st_mode) == 0o755
