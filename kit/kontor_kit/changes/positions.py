"""Positions in the log as others hold them: sealed, and good for one service and one view of it only."""

from __future__ import annotations

from typing import Final

from kontor_kit.pages import PageTokens

ALL_TENANTS: Final = "*"
"""The view over all tenants, which the platform's own services have."""


def position_arguments(domain: str, view: str) -> tuple[str, ...]:
    """Return what a position is sealed with, for `PageTokens`."""
    return ("changes", domain, view)


def seal(tokens: PageTokens, domain: str, view: str, position: tuple[int, int]) -> str:
    """Return the token for `position`, the log's incarnation and the place in it."""
    return tokens.seal(position_arguments(domain, view), position)
