"""The whole platform runs from its images alone: as an ordinary user, without rights, on a root that cannot be written.

PostgreSQL runs beside it, as it would in production. Needs the images (`make images`), podman, and root.
"""

import json
import os
import subprocess
import tempfile
from pathlib import Path

import httpx
import pytest

from kontor_dev.data import DataFolder
from kontor_dev.platform import SERVICES
from kontor_dev.story.steps import STEPS
from kontor_dev.story.world import Mails, new_world
from tests.e2e.instance import Instance, rows
from tests.images.container import CONFINED, LABEL
from tests.upgrade.load import Load
from tools.images import ROOT, dockerfiles, tag

pytestmark = [
    pytest.mark.skipif(not os.environ.get("KONTOR_IMAGES"), reason="takes minutes: make images-run"),
    pytest.mark.timeout(1800),
]


def podman(*words):
    return subprocess.run(["podman", *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def mails():
    made = Mails()
    yield made
    made.close()


@pytest.fixture(scope="module")
def instance(mails):
    """Two replicas of each service that serves, behind one gateway."""
    # A folder that every user can enter, which tmp_path is not.
    with tempfile.TemporaryDirectory(prefix="kontor-images-") as path, pytest.MonkeyPatch.context() as patch:
        Path(path).chmod(0o755)
        patch.setenv("IMAGES_RUN", path)
        patch.setenv("KONTOR_MARKETING_SMTP_URL", mails.url)
        made = Instance(Path(path) / "data", "--no-demo", "--replicas", "2", command=("-m", "tests.images.up"))
        try:
            made.start(cwd=ROOT)
            yield made
        finally:
            made.clear_away()
            left = podman("ps", "--all", "--quiet", f"--filter=label={LABEL}={path}").split()
            if left:  # by who was killed
                podman("rm", "--force", "--ignore", *left)


def containers():
    running = podman("ps", "--quiet", f"--filter=label={LABEL}={os.environ['IMAGES_RUN']}").split()
    return json.loads(podman("inspect", *running))


def status_of(process):
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return {name: value.split() for name, _, value in (line.partition(":") for line in lines)}


@pytest.mark.parametrize("name", dockerfiles())
def test_there_is_no_shell_in_an_image(name):
    command = ["podman", "run", *CONFINED, "--entrypoint=sh", tag(name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "executable file not found" in done.stderr


def test_all_that_runs_is_an_image_with_an_ordinary_user_and_no_rights(instance):
    found = containers()
    assert {each["ImageName"] for each in found} == {tag(name) for name in dockerfiles()}
    assert len(found) == len(rows(instance.platform)) - len({"postgres"})
    for each in found:
        status = status_of(each["State"]["Pid"])
        assert status["Uid"] == ["65532"] * 4
        assert int(status["CapBnd"][0], 16) == int(status["CapEff"][0], 16) == 0
        assert status["NoNewPrivs"] == ["1"]
        assert status["Seccomp"] == ["2"]
        assert each["HostConfig"]["ReadonlyRootfs"]


def test_the_story_ends_well(instance, mails, tmp_path):
    with new_world(DataFolder(instance.data), mails) as world:
        world.known["history"] = str(tmp_path / "history.json")
        for step in STEPS:
            assert [*step.play(world)], step.name


@pytest.mark.parametrize("service", [service.name for service in SERVICES])
def test_no_call_fails_while_replicas_are_replaced(instance, service):
    load = Load(service, instance.platform.token(), instance.platform.url.removeprefix("http://"))
    before = rows(instance.platform)
    load.start()
    instance.platform.command("restart", service)
    load.stop()
    after = rows(instance.platform)
    replaced = {name for name in after if after[name]["pid"] != before[name]["pid"]}
    assert replaced == {name for name in after if after[name]["service"] == service}
    print(f"{service}: {load.rounds} rounds of calls")  # looked at where this is run
    assert load.rounds
    assert load.failed == []


def test_the_gateway_sends_its_callers_away_before_it_ends(instance):
    (gateway,) = [each["Id"] for each in containers() if each["ImageName"] == tag("gateway")]
    admin = next(word for word in podman("inspect", "--format={{.Args}}", gateway).split() if "--admin" in word)
    assert httpx.get(f"{instance.platform.url}/healthz").status_code == 200
    podman("exec", gateway, "python3", "-m", "kontor_gateway", "drain", admin.strip("[]"), "--seconds=0")
    assert httpx.get(f"{instance.platform.url}/healthz").status_code == 503
    assert httpx.get(f"{instance.platform.url}/openapi.json").headers["connection"] == "close"
