"""The composition root of the ledger."""

from pathlib import Path

from kontor_kit.service import Service
from kontor_ledger.events import handlers
from kontor_ledger.tables import metadata


def service():
    return Service(
        name="ledger",
        package="kontor_ledger",
        servicers=lambda runtime: [],
        metadata=metadata,
        migrations=Path(__file__).parent / "migrations",
        handlers=handlers(),
    )
