"""Runs uv with pip's configuration, so that a machine whose pip uses a mirror needs no second configuration.

Usage: python tools/uv.py ARGUMENT...      (the arguments are uv's own)

uv reads neither pip.conf nor PIP_*; whatever is set for uv itself (UV_*, uv.toml) wins over what pip would do.
Nothing is written down: which index a package came from is the machine's business, not the repository's.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

TRANSLATION = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
    "timeout": "UV_HTTP_TIMEOUT",
}


def pip_options(listing: str) -> dict[str, str]:
    """Read the output of `pip config list`: lines of `section.option='value'`, the environment winning over the files."""
    lines = (line.partition("=") for line in listing.splitlines())
    options = {key: ast.literal_eval(value) for key, _, value in lines if value}
    globals_ = {key.removeprefix("global."): value for key, value in options.items() if key.startswith("global.")}
    environment = {key.removeprefix(":env:."): value for key, value in options.items() if key.startswith(":env:.")}
    return {key.removeprefix("default-"): value for key, value in (globals_ | environment).items()}


def uv_environment(options: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """Return what has to be added to `environment` for uv to use the packages that pip would use."""
    # pip looks at all indexes alike; so must uv, or a stale first one hides what the second has. Hashes are checked.
    added = {"UV_INDEX_STRATEGY": "unsafe-best-match", "UV_SYSTEM_CERTS": "true", "UV_PYTHON_DOWNLOADS": "never"}
    for option, variable in TRANSLATION.items():
        if options.get(option):
            separator = "," if variable == "UV_FIND_LINKS" else " "
            added[variable] = separator.join(options[option].split())
    return {variable: value for variable, value in added.items() if variable not in environment}


def pip_configuration() -> dict[str, str]:
    """Ask pip for its options on this machine."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    return pip_options(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Become uv."""
    environment = {"VIRTUAL_ENV": sys.prefix} | os.environ | uv_environment(pip_configuration(), os.environ)
    uv = str(Path(sys.prefix) / "bin" / "uv")
    os.execve(uv, [uv, *sys.argv[1:]], environment)


if __name__ == "__main__":
    main()
