"""What a link offers, as a page for people: no style sheet, picture or script from anywhere else."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any, Final

from kontor_sales.quotes import rules
from kontor_sales.quotes.document import shown

_SCRIPT: Final = """
document.querySelectorAll("form").forEach(form => form.addEventListener("submit", async event => {
  event.preventDefault();
  const body = Object.fromEntries(new FormData(form));
  body.token = new URLSearchParams(location.search).get("token");
  const answer = await fetch(form.action, {method: "POST", headers: {"Content-Type": "application/json"},
    body: JSON.stringify(body)});
  if (answer.ok) location.reload(); else alert((await answer.json()).message);
}));
"""
_FORMS: Final = """
<form action="/v1/quotes:accept"><label>Name <input name="signerName" required maxlength="200"></label>
<button>Accept</button></form>
<form action="/v1/quotes:decline"><label>Reason <input name="reason" maxlength="2000"></label>
<button>Decline</button></form>
"""


def render(offer: Any) -> bytes:
    """Return the page of an offer as HTML, in UTF-8."""
    return _page(f"{offer.quote_number}: {offer.display_name}", *_body(offer), f"<script>{_SCRIPT}</script>")


def tell(text: str) -> bytes:
    """Return a page that says one sentence."""
    return _page("Quote", _text(text))


def _page(title: str, *parts: str) -> bytes:
    head = f'<!doctype html><html><head><meta charset="utf-8"><title>{escape(title)}</title></head><body>'
    return "".join([head, *parts, "</body></html>"]).encode()


def _body(offer: Any) -> Iterator[str]:
    yield f"<h1>{escape(offer.display_name)}</h1>"
    yield f"<p>Quote {escape(offer.quote_number)}, version {offer.revision}</p>"
    if offer.HasField("valid_until"):
        day = offer.valid_until
        yield f"<p>Valid until {day.year:04}-{day.month:02}-{day.day:02}</p>"
    yield _text(offer.introduction)
    yield "<table><tr><th>Description</th><th>Quantity</th><th>Unit price</th><th>Net</th></tr>"
    for line in offer.lines:
        cells = (line.description, f"{line.quantity.value} {line.unit}", shown(line.unit_price), shown(line.net_amount))
        yield f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
    yield f"</table><p>Net {shown(offer.net_amount)}, tax {shown(offer.tax_amount)}</p>"
    yield f"<p><strong>Total {shown(offer.gross_amount)}</strong></p>"
    yield _text(offer.terms)
    if offer.state == rules.SENT:
        yield _FORMS
    elif offer.state == rules.ACCEPTED:
        yield f"<p>Accepted by {escape(offer.signer_name)}</p>"
    else:
        yield f"<p>{escape(rules.REASONS[offer.state][1])}</p>"


def _text(text: str) -> str:
    return f"<p>{escape(text).replace(chr(10), '<br>')}</p>" if text else ""
