"""Builds the images of all services and of the gateway, and says what is in them.

Usage: python -m tools.images tools                  (what checks and describes images, from locks/images.txt)
       python -m tools.images build [NAME...]        (kontor-<NAME>:<version>, all by default)
       python -m tools.images sbom [NAME...]         (.build/images/kontor-<NAME>.cdx.json)

For machines that cannot pull an image, or do not want to: `build` makes the two base images of Debian's packages, and
needs root, buildah and mmdebstrap (Debian: apt install buildah mmdebstrap). KONTOR_BUILD_IMAGE and KONTOR_BASE_IMAGE
name others. Packages of Python are fetched before, by the hashes of the locks and wherever this machine's pip gets them;
nothing is fetched while an image is built.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
BUILD = ROOT / ".build" / "images"
# The day from which zip files know time. What an image holds is as old, whenever it is built.
EPOCH = 315532800
SUITE = "bookworm"
"""The Debian whose Python is the one that the locks are for, 3.11."""
BUILD_IMAGE, BASE_IMAGE = "localhost/kontor-build", "localhost/kontor-base"
# Of the programs of all these packages only Python is left: no shell, and nothing that installs. mmdebstrap takes its
# own file out of etc/apt/apt.conf.d, and fails where it is gone.
PRUNE = """cd "$1"
find bin sbin usr/bin usr/sbin -mindepth 1 ! -name 'python3*' -delete
rm -r usr/share/man usr/share/locale var/cache/apt
find etc/apt -mindepth 1 ! -path 'etc/apt/apt.conf.d*' -delete
ln -s python3.11 usr/bin/python3
mkdir -p etc/ssl/certs"""
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


def dockerfiles() -> dict[str, Path]:
    """Return the Dockerfiles by what their images are called after `kontor-`."""
    return {
        path.parent.name: path for path in [*sorted(ROOT.glob("services/*/Dockerfile")), ROOT / "gateway/Dockerfile"]
    }


def tag(name: str) -> str:
    """Return the image's name and the version of its distribution."""
    return f"localhost/kontor-{name}:{_project(name)['version']}"


def _project(name: str) -> dict[str, str]:
    project: dict[str, str] = tomllib.loads((dockerfiles()[name].parent / "pyproject.toml").read_text())["project"]
    return project


def program(name: str) -> Path:
    """Return where a program of locks/images.txt is, or would be."""
    return _tools() / "bin" / name


def _tools() -> Path:
    """Return the environment of the tools: another lock makes another one."""
    return BUILD / f"tools-{hashlib.sha256((ROOT / 'locks/images.txt').read_bytes()).hexdigest()[:12]}"


def install_tools() -> None:
    """Install what locks/images.txt holds, by its hashes, into an environment of its own."""
    complete = _tools() / "complete"
    if complete.exists():
        return
    uv = (sys.executable, "tools/uv.py")
    _run(*uv, "venv", "--quiet", "--clear", str(_tools()))
    where = f"--python={_tools() / 'bin' / 'python'}"
    _run(*uv, "pip", "install", "--quiet", where, "--require-hashes", "--requirements=locks/images.txt")
    complete.touch()


def build(names: Sequence[str]) -> None:
    """Build images, and before them the base images that nobody named."""
    for name in names:
        began = time.monotonic()
        make(name, tag(name))
        (facts,) = json.loads(_run("buildah", "images", "--json", tag(name)))
        print(f"{tag(name)} {facts['digest']} {facts['size']}, {time.monotonic() - began:.0f} s")


def make(name: str, image: str, *options: str) -> None:
    """Build the image of `name` and call it `image`; `options` are those of buildah."""
    revision = _run("git", "describe", "--always", "--dirty", "--exclude=*", "--abbrev=40").strip()
    labels = {"version": _project(name)["version"], "revision": revision}
    bases = {"BUILD_IMAGE": _build_image(), "BASE_IMAGE": _base_image()}
    wheels = _fetched(name)
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as pip:
        pip.write("[global]\nno-index = true\nfind-links = /wheels\n")
        pip.flush()
        _buildah(
            *("build-using-dockerfile", "--layers", f"--timestamp={EPOCH}", *options),
            *(f"--build-arg={argument}={base}" for argument, base in bases.items()),
            *(f"--label=org.opencontainers.image.{label}={value}" for label, value in labels.items()),
            *(f"--secret=id=pip,src={pip.name}", f"--volume={wheels}:/wheels:ro"),
            *(f"--file={dockerfiles()[name]}", f"--tag={image}", str(ROOT)),
        )


def _fetched(name: str) -> Path:
    """Fetch the packages that an image is built with, and return the folder where they lie."""
    folder = BUILD / "wheels"
    folder.mkdir(parents=True, exist_ok=True)
    for lock in ("build", name):
        command = [sys.executable, "-m", "pip", "download", "-qq", "--disable-pip-version-check"]
        command += ["--require-hashes", "--only-binary=:all:", "--python-version=3.11", f"--dest={folder}"]
        _run(*command, f"--requirement=locks/{lock}.txt")
    return folder


def _build_image() -> str:
    """Return the image to build in, with Python, pip and a shell."""
    return os.environ.get("KONTOR_BUILD_IMAGE") or _from_debian(
        BUILD_IMAGE, "--variant=minbase", "--include=python3-venv,ca-certificates"
    )


def _base_image() -> str:
    """Return the image to build on, with nothing but Python."""
    return os.environ.get("KONTOR_BASE_IMAGE") or _from_debian(
        BASE_IMAGE,
        *("--variant=extract", "--include=python3.11-minimal,libpython3.11-stdlib,libstdc++6,base-files"),
        *(f"--extract-hook={PRUNE}", f"--extract-hook=copy-in {CERTIFICATES} {Path(CERTIFICATES).parent}"),
    )


def _from_debian(image: str, *options: str) -> str:
    """Make a base image of Debian's packages, if it is not there."""
    if subprocess.run(["buildah", "inspect", "--type=image", image], check=False, capture_output=True).returncode == 0:
        return image
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "root.tar"
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)}
        _run("mmdebstrap", "--quiet", *options, SUITE, str(archive), env=environment)
        dockerfile = Path(folder) / "Dockerfile"
        dockerfile.write_text("FROM scratch\nADD root.tar /\nENV PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8\n")
        _buildah("build-using-dockerfile", f"--timestamp={EPOCH}", f"--tag={image}", folder)
    return image


def sbom(names: Sequence[str]) -> None:
    """Write what each image holds of Python's packages, as CycloneDX in JSON."""
    install_tools()
    for name in names:
        with _mounted(tag(name)) as root, tempfile.TemporaryDirectory() as folder:
            # An environment with nothing in it but what the image has: the tool looks into environments.
            _run(sys.executable, "-m", "venv", "--without-pip", folder)
            (place,) = Path(folder).glob("lib/python*/site-packages")
            (place / "image.pth").write_text("".join(f"{root}/opt/kontor/{each}\n" for each in ("app", "lib")))
            out = BUILD / f"kontor-{name}.cdx.json"
            project = f"--pyproject={dockerfiles()[name].parent / 'pyproject.toml'}"
            command = [str(program("cyclonedx-py")), "environment", "--output-reproducible", project]
            _run(*command, f"--output-file={out}", f"{folder}/bin/python")
            print(out.relative_to(ROOT))


@contextmanager
def _mounted(image: str) -> Iterator[Path]:
    container = _run("buildah", "from", "--pull-never", image).strip()
    try:
        yield Path(_run("buildah", "mount", container).strip())
    finally:
        _run("buildah", "rm", container)


def _buildah(*words: str) -> None:
    # Needs no namespaces, so that it works where containers cannot run. What it says is for people.
    subprocess.run(["buildah", words[0], "--isolation=chroot", *words[1:]], check=True, cwd=ROOT, stdout=sys.stderr)


def _run(*command: str, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, check=True, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["tools", "build", "sbom"])
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    names = arguments.names or list(dockerfiles())
    try:
        if arguments.verb == "tools":
            install_tools()
        elif arguments.verb == "build":
            build(names)
        else:
            sbom(names)
    except subprocess.CalledProcessError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
