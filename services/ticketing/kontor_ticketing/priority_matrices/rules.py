"""What a priority matrix must be like."""

from __future__ import annotations

from typing import Any

from kontor_kit.errors import Violation


def check(matrix: Any) -> list[Violation]:
    """Return what is wrong with a matrix."""
    violations = [] if matrix.display_name.strip() else [Violation("display_name", "must not be blank")]
    said: set[tuple[int, int]] = set()
    for place, cell in enumerate(matrix.cells):
        if (cell.impact, cell.urgency) in said:
            violations.append(Violation(f"cells[{place}]", "is said before, for the same impact and urgency"))
        said.add((cell.impact, cell.urgency))
    return violations
