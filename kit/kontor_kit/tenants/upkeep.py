"""Tenants in an operator's hands: export one into a folder, restore it from there."""

from __future__ import annotations

import argparse
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kontor_kit.errors import KontorError
from kontor_kit.service import Command, Service


def commands(service: Service) -> Mapping[str, Command]:
    """Return the subcommand `tenant`; none for a service without a change log."""
    if service.metadata is None or "change_log" not in service.metadata.tables:
        return {}

    def run(settings: Any, given: argparse.Namespace) -> int:
        try:
            print(given.work(service, settings, given))  # noqa: T201
        except KontorError as error:
            sys.stderr.write(f"{error.message} ({error.reason})\n")
            return 1
        return 0

    return {
        "tenant": Command(
            help="export all that the service keeps of a tenant, or restore it, as the owner role",
            run=run,
            arguments=_arguments,
            need=["owner_database_url"],
        )
    }


def _arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    export = verbs.add_parser("export", help="write an archive of the tenant as it is now; nothing is changed")
    export.add_argument("--tenant", type=uuid.UUID, required=True, help="the tenant (a UUID)")
    export.set_defaults(work=_export)
    restore = verbs.add_parser("restore", help="put an archive into a database that has nothing of its tenant")
    restore.set_defaults(work=_restore)
    for verb in (export, restore):
        verb.add_argument("--folder", type=Path, required=True, help="the folder of the archive, one for each service")


# What works on the database is imported when it is wanted: every process of a service reads this file.


def _export(service: Service, settings: Any, given: argparse.Namespace) -> str:
    from kontor_kit.tenants.exporting import export  # noqa: PLC0415

    return _told("exported", export(service, settings, given.tenant, given.folder))


def _restore(service: Service, settings: Any, given: argparse.Namespace) -> str:
    from kontor_kit.tenants.restoring import restore  # noqa: PLC0415

    return _told("restored", restore(service, settings, given.folder))


def _told(verb: str, manifest: Any) -> str:
    rows = sum(part.rows for part in manifest.tables.values())
    place = f"schema {manifest.revision}, position {manifest.position}"
    return f"{manifest.service}: {verb} {rows} rows and {len(manifest.contents)} contents ({place})"
