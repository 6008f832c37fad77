"""Runs a command of an image as a cluster would: as the image's user, without rights, on a root that nobody can write.

Called as `python container.py IMAGE ARGUMENT...` in the environment that the command is to have, which is handed on
where a name begins with KONTOR_. IMAGES_RUN names a folder of the whole run; containers have its name as a label.
"""

import os
import shutil
import sys
import uuid
from pathlib import Path
from urllib.parse import urlsplit

USER = 65532
LABEL = "kontor-run"
CONFINED = (
    *("--rm", "--pull=never", "--network=host", "--log-driver=none"),
    *("--read-only", "--read-only-tmpfs=false", "--tmpfs=/tmp:size=64m"),
    *("--cap-drop=all", "--security-opt=no-new-privileges"),
    # Below what any machine lets its processes have: podman asks for more than it may itself.
    *("--ulimit=nofile=8192:8192", "--ulimit=nproc=8192:8192"),
)


def readable(words: list[str], folder: Path) -> list[str]:
    """Return the volumes by which the user of the image finds the files that the arguments name, as a Secret would be."""
    volumes = []
    for word in words:
        path = Path(word.rpartition("=")[2])
        if path.is_absolute() and path.is_file():
            copy = folder / uuid.uuid4().hex
            shutil.copyfile(path, copy)
            copy.chmod(0o400)
            os.chown(copy, USER, USER)
            volumes.append(f"--volume={copy}:{path}:ro")
    return volumes


def writable() -> list[str]:
    """Return the volume that stands for an object storage, where there is to be one."""
    path = Path(urlsplit(os.environ.get("KONTOR_TICKETING_STORAGE_URL", "")).path)
    if not path.is_absolute():
        return []
    path.mkdir(exist_ok=True)
    os.chown(path, USER, USER)
    return [f"--volume={path}:{path}"]


def main() -> None:
    """Become podman: signals that it gets reach the command."""
    image, *words = sys.argv[1:]
    folder = Path(os.environ["IMAGES_RUN"])
    settings = [f"--env={name}" for name in os.environ if name.startswith("KONTOR_")]
    volumes = [*readable(words, folder), *writable()]
    options = [*CONFINED, f"--label={LABEL}={folder}", *settings, *volumes]
    os.execvp("podman", ["podman", "run", *options, image, *words])


if __name__ == "__main__":
    main()
