"""An image holds what its lock says and nothing else, and comes out the same whenever it is built (`make images-run`)."""

import json
import os
import re
import subprocess
import sys

import pytest

from tools.images import BUILD, ROOT, dockerfiles, make, tag

pytestmark = [
    pytest.mark.skipif(not os.environ.get("KONTOR_IMAGES"), reason="takes minutes: make images-run"),
    pytest.mark.timeout(1800),
]
PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)( ; .*)? \\$")


def locked(name):
    """Return what a lock holds, and the part of it that holds for some machines only."""
    found = [PIN.match(line) for line in (ROOT / f"locks/{name}.txt").read_text().splitlines()]
    pins = {(each[1], each[2]): each[3] for each in found if each}
    return set(pins), {pin for pin, marker in pins.items() if marker}


def layers(image):
    done = subprocess.run(["podman", "image", "inspect", image], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)[0]["RootFS"]["Layers"]


@pytest.mark.parametrize("name", dockerfiles())
def test_it_holds_what_is_locked_and_nothing_else(name):
    subprocess.run([sys.executable, "-m", "tools.images", "sbom", name], check=True, cwd=ROOT)
    told = json.loads((BUILD / f"kontor-{name}.cdx.json").read_text())
    assert told["metadata"]["component"]["name"] == f"kontor-{name}"
    held = {(re.sub(r"[-_.]+", "-", each["name"]).lower(), each["version"]) for each in told["components"]}
    own = {each for each in held if each[0] in {"kontor-kit", "kontor-protos"}}
    pins, conditional = locked(name)
    assert held - own <= pins
    assert pins - held <= conditional


def test_layers_are_the_same_when_they_are_built_again():
    name = "contacts"
    make(name, "localhost/kontor-again", "--no-cache")
    assert layers("localhost/kontor-again") == layers(tag(name))
