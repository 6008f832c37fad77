"""What an article must be like, how it comes into use, and by which words it is suggested."""

from __future__ import annotations

import re
from typing import Any, Final

from kontor_kit import normal_forms
from kontor_kit.errors import Violation
from kontor_kit.folding import fold

DRAFT, PUBLISHED, ARCHIVED = range(1, 4)
"""As Article.State."""
INTERNAL, PUBLIC = range(1, 3)
"""As Article.Visibility."""
ANY_LANGUAGE: Final = "simple"
# The languages whose words PostgreSQL brings to their stems; stop words are left out.
STEMMED: Final = {
    "da": "danish",
    "de": "german",
    "en": "english",
    "es": "spanish",
    "fi": "finnish",
    "fr": "french",
    "hu": "hungarian",
    "it": "italian",
    "nb": "norwegian",
    "nl": "dutch",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sv": "swedish",
    "tr": "turkish",
}
"""Language to text search configuration."""


# No word is that long, and PostgreSQL looks again from each character of such a text to its end.
_UNBROKEN: Final = re.compile(r"\S{500}")


def normalise(article: Any) -> list[Violation]:
    """Bring an article into its normal form, in place, and return what is wrong with it."""
    violations = []
    article.title = article.title.strip()
    if not article.title:
        violations.append(Violation("title", "must not be blank"))
    violations += normal_forms.normalise_field(article, "language_code", normal_forms.language)
    violations += [
        Violation(f"keywords[{place}]", "must not be blank")
        for place, keyword in enumerate(article.keywords)
        if not keyword.strip()
    ]
    article.category = article.category.strip()
    article.state = article.state or DRAFT
    article.visibility = article.visibility or INTERNAL
    return violations


def configuration(language_code: str) -> str:
    """Return the text search configuration for texts in a language."""
    return STEMMED.get(language_code.partition("-")[0].lower(), ANY_LANGUAGE)


def texts(article: Any) -> tuple[str, str, str]:
    """Return the texts that an article is suggested by, the weightiest first, folded."""
    return (
        fold(" ".join((article.title, *article.keywords))),
        fold(article.summary),
        _UNBROKEN.sub(r"\g<0> ", fold(article.body)),
    )
