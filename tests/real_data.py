"""Where the real data is that some tests look at; it lies beside the repository and not in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("KONTOR_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"the test data is not at {DATA}; KONTOR_TEST_DATA says where it is"
)
