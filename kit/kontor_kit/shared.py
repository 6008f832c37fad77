"""What all resources of one service share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from kontor_kit import normal_forms
from kontor_kit.changes.pending import Changes
from kontor_kit.checks import Checks
from kontor_kit.clients import Peers
from kontor_kit.custom_fields import FieldType, Format
from kontor_kit.db import Database
from kontor_kit.definitions import Definitions
from kontor_kit.pages import PageTokens
from kontor_kit.references import References
from kontor_kit.requests import Requests

_FORMATS: Final[Mapping[FieldType, Format]] = {
    FieldType.EMAIL: normal_forms.email,
    FieldType.PHONE: normal_forms.phone,
    FieldType.URL: normal_forms.website,
}
"""What brings the text of custom fields into form."""


@dataclass(frozen=True, kw_only=True)
class Shared:
    """The database of a service, and what treats every resource in it alike."""

    domain: str
    """Stands in the errors: `contacts.kontor`."""
    database: Database
    page_tokens: PageTokens
    checks: Checks
    requests: Requests
    changes: Changes
    definitions: Definitions
    references: References

    @classmethod
    def of(
        cls,
        domain: str,
        metadata: sa.MetaData,
        *,
        database: Database,
        page_tokens: PageTokens,
        peers: Peers | None = None,
    ) -> Shared:
        """Make it for the tables in `metadata`, which `tables.kit_tables` has added its own to.

        `peers` are asked for records that others own.
        """
        return cls(
            domain=domain,
            database=database,
            page_tokens=page_tokens,
            checks=Checks(),
            requests=Requests(metadata, page_tokens.derive("kontor request fingerprint 1")),
            changes=Changes(metadata),
            definitions=Definitions(metadata, _FORMATS),
            references=References(peers or Peers({})),
        )
