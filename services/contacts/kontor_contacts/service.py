"""The composition root: everything that the service consists of."""

from pathlib import Path

from kontor_kit.service import Runtime, Service
from kontor_kit.shared import Shared

from kontor_contacts.accounts.api import Accounts
from kontor_contacts.tables import metadata


def service() -> Service:
    """Return the service contacts."""
    return Service(
        name="contacts",
        package="kontor_contacts",
        servicers=_servicers,
        metadata=metadata,
        migrations=Path(__file__).parent / "migrations",
    )


def _servicers(runtime: Runtime) -> list[Accounts]:
    shared = Shared.of("contacts.kontor", runtime.database, runtime.page_tokens(), metadata)
    return [Accounts(shared)]
