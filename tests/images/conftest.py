"""Says loudly what of the images was not checked."""

import pytest

from kontor_kit.testing.missing import go_without
from tools.images import program

MISSING = "hadolint is not installed: python -m tools.images tools"


@pytest.fixture
def hadolint():
    """The program that lints Dockerfiles."""
    found = program("hadolint")
    if not found.exists():
        go_without(MISSING)
    return found
