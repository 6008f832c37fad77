"""A quote as a PDF document: the same bytes for the same quote."""

from __future__ import annotations

import datetime as dt
import functools
import importlib.util
import io
import unicodedata
from collections.abc import Container, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NoReturn
from xml.sax.saxutils import escape

from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import Flowable, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from kontor_kit import money

_REGULAR, _BOLD = "DejaVuSans", "DejaVuSans-Bold"
_TEXT: Final = ParagraphStyle("text", fontName=_REGULAR, fontSize=8.5, leading=12)
_NUMBER: Final = ParagraphStyle("number", parent=_TEXT, alignment=2)
_STRONG: Final = ParagraphStyle("strong", parent=_NUMBER, fontName=_BOLD)
_TITLE: Final = ParagraphStyle("title", parent=_TEXT, fontName=_BOLD, fontSize=15, leading=22)
_WIDTHS: Final = (82 * mm, 24 * mm, 24 * mm, 20 * mm, 24 * mm)
_RULES: Final = TableStyle(
    [
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LINEBELOW", (0, 0), (-1, 0), 0.6, colors.black),
        ("LINEBELOW", (0, 1), (-1, -1), 0.2, colors.lightgrey),
    ]
)
_SUMS: Final = TableStyle([("LINEABOVE", (0, -1), (-1, -1), 0.6, colors.black)])


def render(quote: Any) -> bytes:
    """Return the document of a quote; it has no date but those of the quote."""
    target = io.BytesIO()
    template = SimpleDocTemplate(
        target,
        pagesize=A4,
        leftMargin=18 * mm,
        rightMargin=18 * mm,
        title=writable(f"{quote.quote_number} {quote.display_name}"),
        author="Kontor",
        invariant=1,
    )
    template.build([*_head(quote), *_body(quote), *_foot(quote)])
    return target.getvalue()


@functools.cache
def _letters() -> Container[int]:
    """Make the fonts known, whose files come with matplotlib, and return the code points they have."""
    (found,) = (importlib.util.find_spec("matplotlib") or _missing()).submodule_search_locations or _missing()
    for name in (_REGULAR, _BOLD):
        pdfmetrics.registerFont(TTFont(name, Path(found) / "mpl-data" / "fonts" / "ttf" / f"{name}.ttf"))
    glyphs: dict[int, int] = pdfmetrics.getFont(_REGULAR).face.charToGlyph
    return glyphs


def _missing() -> NoReturn:
    raise FileNotFoundError("matplotlib is not installed, or without its fonts")


def writable(text: str) -> str:
    """Return a text in the letters that the fonts have; others lose their marks, or become `?`."""
    known = _letters()
    composed = unicodedata.normalize("NFC", text)
    return "".join(letter if letter == "\n" or ord(letter) in known else _plain(letter) for letter in composed)


def _plain(letter: str) -> str:
    base = unicodedata.normalize("NFKD", letter)[0]
    return base if ord(base) in _letters() else "?"


def _paragraph(text: str, style: ParagraphStyle = _TEXT) -> Paragraph:
    return Paragraph(escape(writable(text)).replace("\n", "<br/>"), style)


def _head(quote: Any) -> Iterator[Flowable]:
    yield _paragraph(quote.display_name, _TITLE)
    yield _paragraph(f"Quote {quote.quote_number}, version {quote.revision}")
    if quote.HasField("valid_until"):
        day = quote.valid_until
        yield _paragraph(f"Valid until {dt.date(day.year, day.month, day.day).isoformat()}")
    yield Spacer(1, 6 * mm)
    if quote.introduction:
        yield _paragraph(quote.introduction)
        yield Spacer(1, 4 * mm)


def _body(quote: Any) -> Iterator[Flowable]:
    titles = ("Description", "Quantity", "Unit price", "Discount", "Net")
    rows = [[_paragraph(titles[0]), *(_paragraph(title, _NUMBER) for title in titles[1:])]]
    for line in quote.lines:
        unit = f" {line.unit}" if line.unit else ""
        rows.append(
            [
                _paragraph(line.description),
                _paragraph(f"{line.quantity.value}{unit}", _NUMBER),
                _paragraph(shown(line.unit_price), _NUMBER),
                _paragraph(_discount(line), _NUMBER),
                _paragraph(shown(line.net_amount), _NUMBER),
            ]
        )
    yield Table(rows, colWidths=_WIDTHS, style=_RULES, repeatRows=1)
    yield Spacer(1, 4 * mm)
    sums = [("Net", shown(quote.net_amount), _NUMBER)]
    sums += [(f"Tax {tax.rate.value} %", shown(tax.tax_amount), _NUMBER) for tax in quote.taxes]
    sums.append(("Total", shown(quote.gross_amount), _STRONG))
    table = [[_paragraph(title, style), _paragraph(amount, style)] for title, amount, style in sums]
    yield Table(table, colWidths=(40 * mm, 36 * mm), style=_SUMS, hAlign="RIGHT")


def _foot(quote: Any) -> Iterator[Flowable]:
    if quote.terms:
        yield Spacer(1, 6 * mm)
        yield _paragraph(quote.terms)


def _discount(line: Any) -> str:
    if line.HasField("discount_percent"):
        return f"{line.discount_percent.value} %"
    return shown(line.discount_amount) if line.HasField("discount_amount") else ""


def shown(amount: Any) -> str:
    """Return an amount of money for people: its decimal places as the currency has them, finer where it is finer."""
    if not amount.currency_code:
        return "0"
    value = money.amount(amount)
    rounded = money.rounded(value, amount.currency_code)
    exact: Decimal = rounded if rounded == value else value.normalize()
    return f"{exact:,f} {amount.currency_code}"
