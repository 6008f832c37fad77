"""Runs a service of an older tree, which stands first on the path: its migrations, then itself, and its own clients.

Usage: python tests/upgrade/older.py SERVICE FOLDER TOKEN NEWER     (NEWER: where today's service will be)

Its clients ask it, and today's service as soon as that is there. What they came to is written into FOLDER/clients.json
when it ends.
"""

import dataclasses
import json
import os
import sys
import threading
from importlib import import_module, util
from pathlib import Path

import grpc


def main() -> int:
    """Return the exit code of the service."""
    name, folder, token, newer = sys.argv[1], Path(sys.argv[2]), *sys.argv[3:]
    package, kit = import_module(f"kontor_{name}.service"), import_module("kontor_kit.main")
    for module in (package, kit, import_module("kontor")):
        assert Path(module.__path__[0] if hasattr(module, "__path__") else module.__file__).is_relative_to(folder)

    def service():
        # The tokens are those that the tests sign.
        return dataclasses.replace(package.service(), keys=None)

    if kit.run(name, service, ["migrate"]) != 0:
        return 1
    # By its place: of `tests` the older tree may have one of its own.
    spec = util.spec_from_file_location("load", Path(__file__).with_name("load.py"))
    module = util.module_from_spec(spec)
    sys.modules["load"] = module
    spec.loader.exec_module(module)
    load = module.Load(name, token, newer)
    threading.Thread(target=begin, args=[load, newer], daemon=True).start()
    code = kit.run(name, service, ["serve"])
    if load.is_alive():
        load.stop()
    (folder / f"{name}-clients.json").write_text(json.dumps({"rounds": load.rounds, "failed": load.failed}))
    return code


def begin(load, newer):
    """Begin when today's service is there."""
    with grpc.insecure_channel(newer) as channel:
        grpc.channel_ready_future(channel).result()
    load.start()


if __name__ == "__main__":
    sys.stdout.flush()
    os._exit(main())
