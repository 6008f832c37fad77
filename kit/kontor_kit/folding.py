"""Folding of text for search and sort keys: what people take for the same word becomes the same string."""

from __future__ import annotations

import unicodedata

# Letters that Unicode does not take apart although people write them without the stroke or as two letters.
_LETTERS = str.maketrans(
    {
        "æ": "ae",
        "œ": "oe",
        "ø": "o",
        "ł": "l",
        "đ": "d",
        "ð": "d",
        "ħ": "h",
        "ı": "i",
        "ŋ": "n",
        "þ": "th",
        "ŧ": "t",
        "ƀ": "b",
        "ɨ": "i",
        "ƶ": "z",
        "’": "'",
        "‘": "'",
        "ʼ": "'",
        "–": "-",
        "—": "-",
    }
    | dict.fromkeys(range(768, 880))
)


def fold(text: str) -> str:
    """Return `text` in lower case, without accents and ligatures, with single spaces: `" Łódź  STRAẞE"` -> `"lodz strasse"`.

    Compatibility forms are taken as what they stand for (full width letters, ligatures; NFKC), case is folded as Unicode
    says (`ß` becomes `ss`), and the accents of Latin, Greek and Cyrillic letters are left out (U+0300 to U+036F). The
    marks of other scripts stay, since they make another letter there. Control and format characters are left out.
    Umlauts lose their dots (`ü` becomes `u`, not `ue`). Folding twice changes nothing.
    """
    if text.isascii():
        folded = text.lower()
    else:
        # The second pass is for the few characters whose folded form can be taken apart once more.
        for _ in range(2):
            text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold()).translate(_LETTERS)
        folded = unicodedata.normalize("NFC", text)
    if not folded.isprintable():
        folded = "".join(_visible(character) for character in folded)
    return " ".join(folded.split())


def _visible(character: str) -> str:
    if character.isspace():
        return " "
    return "" if unicodedata.category(character) in ("Cc", "Cf", "Cs") else character
