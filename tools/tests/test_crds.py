"""What checks objects of other operators is installed once, and found from then on."""

import json

import pytest

from tools import crds

NPM = "#!/bin/sh\necho $* >> {said}; mkdir node_modules\n"
NODE = "#!/bin/sh\ncat > /dev/null; echo '[null, \"wrong\"]'\n"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine whose npm and node only say what they were asked."""
    programs, said = tmp_path / "bin", tmp_path / "said"
    programs.mkdir()
    for name, text in (("npm", NPM.format(said=said)), ("node", NODE)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setattr(crds, "ROOT", tmp_path)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    return tmp_path


def test_they_are_installed_by_the_lock_and_once(machine):
    assert crds.main() == crds.main() == 0
    assert (machine / "said").read_text().splitlines() == ["ci --ignore-scripts --no-audit --no-fund --loglevel=error"]
    assert {each.name for each in crds.folder().iterdir()} == {"node_modules", "package-lock.json", "package.json"}


def test_what_is_wrong_is_told_for_each_object(machine):
    crds.main()
    assert crds.problems([{}, {}]) == [None, "wrong"]


def test_it_says_that_they_are_missing(machine):
    with pytest.raises(crds.CrdsMissing, match=r"python -m tools\.crds"):
        crds.problems([])


def test_nothing_half_installed_is_found(machine, capsys):
    (machine / "bin" / "npm").write_text("#!/bin/sh\nexit 1\n")
    assert crds.main() == 1
    assert "not installed" in capsys.readouterr().err
    assert not crds.folder().exists()
    assert list(crds.folder().parent.iterdir()) == []


def test_the_lock_names_no_address():
    text = (crds.SOURCE / "package-lock.json").read_text()
    assert "://" not in text
    packages = json.loads(text)["packages"]
    assert all("integrity" in package for name, package in packages.items() if name)
