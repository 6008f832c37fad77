"""Folding of text."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontor_kit.folding import fold


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("  ACME   Inc. ", "acme inc."),
        ("STRAẞE", "strasse"),
        ("Größe", "grosse"),
        ("Łódź", "lodz"),
        ("Ærøskøbing", "aeroskobing"),
        ("İstanbul ISPARTA ılıca", "istanbul isparta ilica"),
        ("Þórður", "thordur"),
        ("Cafe\u0301", "cafe"),
        ("ΑΘΉΝΑ", "αθηνα"),
        ("Королёв", "королев"),
        ("ﬁnance ＡＢＣ №5", "finance abc no5"),
        ("が", "が"),
        ("한국", "한국"),
        ("soft\u00adhyphen zero\u200bwidth", "softhyphen zerowidth"),
        ("tab\tline\nno\u00a0break", "tab line no break"),
        ("nul\0", "nul"),
        ("L’Oréal – x", "l'oreal - x"),
        ("", ""),
    ],
)
def test_folded(text: str, folded: str) -> None:
    assert fold(text) == folded


def test_idempotent_for_every_character() -> None:
    named = (chr(code) for code in range(sys.maxunicode + 1) if unicodedata.name(chr(code), "").count(" ") > 1)
    letters = (character for character in named if "IDEOGRAPH" not in unicodedata.name(character))
    changed = [hex(ord(character)) for character in letters if fold(once := fold(character)) != once]
    assert changed == []


@given(st.text())
def test_idempotent(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@given(st.text())
def test_single_spaces_and_no_control_characters(text: str) -> None:
    folded = fold(text)
    assert folded == " ".join(folded.split())
    assert folded == "".join(character for character in folded if character >= " ")
