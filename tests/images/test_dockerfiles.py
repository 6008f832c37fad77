"""Each service and the gateway has a Dockerfile, which is in order, and a lock that holds all that its code imports."""

import re
import subprocess
from functools import cache
from importlib.metadata import packages_distributions

import pytest

from tools.declared import undeclared
from tools.images import ROOT, dockerfiles

MODEL = "contacts"
SERVICES = sorted(path.parent.name for path in ROOT.glob("services/*/pyproject.toml"))
IMAGES = [*SERVICES, "gateway"]


def final_stage(name):
    return dockerfiles()[name].read_text().rpartition("\nFROM ")[2].splitlines()


def gateways(text):
    """The model's Dockerfile as that of the gateway, which needs no kit."""
    moved = text.replace(f"services/{MODEL}", "gateway").replace(MODEL, "gateway")
    return moved.replace("COPY kit kit\n", "").replace("./kit ", "")


def test_everything_that_is_deployed_has_one():
    assert sorted(dockerfiles()) == sorted(IMAGES)


def test_they_differ_in_the_name_alone():
    model = dockerfiles()[MODEL].read_text()
    for name in SERVICES:
        assert dockerfiles()[name].read_text() == model.replace(MODEL, name)
    assert dockerfiles()["gateway"].read_text() == gateways(model)


def test_linter_finds_nothing(hadolint):
    done = subprocess.run([hadolint, *dockerfiles().values()], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", IMAGES)
def test_what_runs_is_an_ordinary_user_and_no_shell(name):
    words = [line.split(maxsplit=1)[0] for line in final_stage(name)[1:] if re.match(r"[A-Z]", line)]
    assert set(words) == {"COPY", "ENV", "LABEL", "WORKDIR", "USER", "ENTRYPOINT"}
    assert "USER 65532:65532" in final_stage(name)
    assert f'ENTRYPOINT ["python3", "-m", "kontor_{name}"]' in final_stage(name)


@pytest.mark.parametrize("name", IMAGES)
def test_nothing_is_installed_but_what_is_locked(name):
    text = dockerfiles()[name].read_text().replace("\\\n", " ")
    for command in re.findall(r"pip install [^&\n]+", text):
        assert "--require-hashes" in command or "--no-index --no-deps" in command
    assert "http" not in text


@cache
def imports(folder):
    """A line of code for each package that the modules of a folder import, those of Python itself left out."""
    code = (path.read_text() for path in folder.rglob("*.py") if "testing" not in path.parts)
    return [f"import {package}" for package in undeclared(code, (), {})]


# The distributions are known by the environment of developers, in which all of them are installed.
@pytest.fixture(scope="module")
def providers():
    return {**packages_distributions(), "kontor": ["kontor-protos"], "buf": ["kontor-protos"]}


@pytest.mark.parametrize("name", IMAGES)
def test_lock_holds_what_the_code_imports(name, providers):
    folders = [dockerfiles()[name].parent / f"kontor_{name}", ROOT / "protos/gen"]
    folders += [] if name == "gateway" else [ROOT / "kit/kontor_kit"]
    locked = (ROOT / f"locks/{name}.txt").read_text().splitlines()
    own = [f"kontor-{each}" for each in (name, "kit", "protos")]
    assert undeclared((line for folder in folders for line in imports(folder)), [*own, *locked], providers) == []
