"""The page for operators lists every setting, as the code describes it."""

from pathlib import Path

import pytest

from kontor_identity.settings import IdentitySettings
from kontor_kit.config import Settings

PAGE = Path(__file__).parents[2] / "docs" / "operations" / "README.md"


@pytest.mark.parametrize(("settings", "service"), [(Settings, "contacts"), (IdentitySettings, "identity")])
def test_every_setting_is_on_the_page(settings, service):
    page = PAGE.read_text()
    rows = []
    for variable, default, meaning in settings.describe(service):
        name, value = (
            text.replace(service.upper(), "<NAME>").replace(service, "<name>") for text in (variable, default)
        )
        if variable.startswith("KONTOR_IDENTITY_") and "DATABASE" not in variable and "ROLE" not in variable:
            name = variable
        rows.append(f"| `{name}` | {f'`{value}`' if value else ''} | {meaning} |".replace("|  |", "| |"))
    missing = [row for row in rows if row not in page]
    assert missing == []
