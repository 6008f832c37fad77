"""Helm is found, or taken out of its package."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from tools import helm

PROGRAM = '#!/bin/sh\necho "$@"; echo "$HELM_CONFIG_HOME" >&2\n'


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine that has no Helm yet; its package is small."""
    monkeypatch.setattr(helm, "BUILD", tmp_path / "build")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(helm.platform, "system", lambda: "Linux")
    monkeypatch.setattr(helm.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(helm, "_fetch", lambda _folder: package(tmp_path / "package.whl"))
    return tmp_path


def package(path: Path) -> Path:
    layer, tar = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(layer, "w") as inner:
        inner.writestr("helm/helm", PROGRAM)
    with tarfile.open(fileobj=tar, mode="w:gz") as middle:
        entry = tarfile.TarInfo("package/lib/layer.zip")
        entry.size = len(layer.getvalue())
        middle.addfile(entry, io.BytesIO(layer.getvalue()))
    with zipfile.ZipFile(path, "w") as outer:
        outer.writestr("some/layer@1.jsii.tgz", tar.getvalue())
    return path


class TestMain:
    def test_it_is_unpacked_and_found_from_then_on(self, machine, monkeypatch):
        assert helm.main() == 0
        monkeypatch.delattr(helm, "_fetch")
        assert helm.main() == 0
        assert helm.installed() == helm.pinned()

    def test_that_of_the_machine_serves_where_the_package_does_not_fit(self, machine, monkeypatch):
        monkeypatch.setattr(helm.platform, "machine", lambda: "arm64")
        (machine / "bin").mkdir()
        (machine / "bin" / "helm").touch(0o755)
        assert helm.main() == 0
        assert helm.installed() == machine / "bin" / "helm"

    def test_it_says_what_to_do_where_there_is_none(self, machine, monkeypatch, capsys):
        monkeypatch.setattr(helm.platform, "system", lambda: "Darwin")
        assert helm.main() == 1
        assert "brew install helm" in capsys.readouterr().err


class TestHelm:
    def test_settings_of_the_machine_do_not_reach_it(self, machine, monkeypatch):
        monkeypatch.setenv("HELM_CONFIG_HOME", "/somebody")
        helm.main()
        said = helm.helm("version", "--short")
        assert said.returncode == 0
        assert said.stdout == "version --short\n"
        assert "/somebody" not in said.stderr
