"""What a form must be like, what its keys are like, and what becomes of what people send with it."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import secrets
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import Any, Final

from kontor_kit import normal_forms
from kontor_kit.errors import InvalidArgument, Violation

STATE_ACTIVE: Final = 1
"""As LeadForm.State."""
MARK: Final = "kontor_form_"
"""What every key begins with."""
MAX_BYTES: Final = 64 * 1024
MAX_INPUTS: Final = 200
DAILY_LIMIT: Final = 1000
DEFAULT_OVERLAP: Final = dt.timedelta(days=1)

CONSENT: Final = "consent"
CUSTOM: Final = "custom_fields."
TOUCH: Final = "touch."
TEXT_FIELDS: Final = frozenset(
    (
        *("salutation", "given_name", "family_name", "job_title", "email", "phone", "company", "website", "industry"),
        *("street", "postal_code", "locality", "region_code", "language_code", "description", "source", "campaign"),
    )
)
_TOUCH_FIELDS: Final = frozenset(("campaign", "medium", "origin", "landing_page"))
_FORM_TYPE: Final = "application/x-www-form-urlencoded"
_JSON_TYPE: Final = "application/json"
_NO: Final = frozenset(("", "0", "false", "no", "off"))
_PREFIX_LENGTH: Final = len(MARK) + 6


def normalise(form: Any) -> list[Violation]:
    """Bring the message of a form into its normal form, in place, and return what is wrong with it."""
    found: list[Violation] = []
    if not form.display_name.strip():
        found.append(Violation("display_name", "must not be blank"))
    seen: set[str] = set()
    for place, entry in enumerate(form.inputs):
        if not _is_field(entry.field):
            choice = ", ".join(sorted(TEXT_FIELDS))
            found.append(
                Violation(
                    f"inputs[{place}].field",
                    f"must be one of {choice}, {CONSENT}, touch.<{'|'.join(sorted(_TOUCH_FIELDS))}>, custom_fields.<key>",
                )
            )
        if entry.input in seen:
            found.append(Violation(f"inputs[{place}].input", "is taken already"))
        seen.add(entry.input)
    if form.honeypot in seen:
        found.append(Violation("honeypot", "must be no input that people see"))
    for place, origin in enumerate(form.allowed_origins):
        try:
            form.allowed_origins[place] = plain_origin(origin)
        except ValueError as error:
            found.append(Violation(f"allowed_origins[{place}]", str(error)))
    found += normal_forms.normalise_field(form, "language_code", normal_forms.language)
    form.state = form.state or STATE_ACTIVE
    return found


def plain_origin(text: str) -> str:
    """Return an origin as browsers send it: scheme, host and port, in lower case. Raises ValueError."""
    parts = urllib.parse.urlsplit(text.lower())
    plain = f"{parts.scheme}://{parts.netloc}"
    if parts.scheme not in ("http", "https") or not parts.hostname or text.lower().rstrip("/") != plain:
        raise ValueError("must be scheme and host of a page, for example https://www.example.com")
    return plain


def new_key() -> str:
    """Return a new key with 192 random bits."""
    return MARK + secrets.token_urlsafe(24)


def prefix_of(key: str) -> str:
    """Return the beginning of a key, which people may see."""
    return key[:_PREFIX_LENGTH]


def digest(key: str) -> bytes:
    """Return what is kept of a key: it is random, so that nothing slower is needed, and found by this alone."""
    return hashlib.sha256(key.encode()).digest()


def is_allowed(origins: Iterable[str], origin: str) -> bool:
    """Tell whether a page of an origin may send the form; who is no page has none."""
    allowed = list(origins)
    return not allowed or not origin or origin.lower() in allowed


def read(content_type: str, data: bytes) -> dict[str, str]:
    """Return what was sent, by input. Raises InvalidArgument where it is nothing that a form sends."""
    if len(data) > MAX_BYTES:
        raise InvalidArgument(("submission", f"must not be longer than {MAX_BYTES} bytes"))
    kind = content_type.partition(";")[0].strip().lower()
    try:
        text = data.decode()
        if kind == _FORM_TYPE:
            pairs = urllib.parse.parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_INPUTS)
            return _joined(pairs)
        if kind == _JSON_TYPE:
            return _flat(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(("submission", f"cannot be read as {kind}")) from error
    raise InvalidArgument(("submission", f"must be {_FORM_TYPE} or {_JSON_TYPE}"))


def fill(lead: Any, form: Any, sent: Mapping[str, str], origin: str, now: dt.datetime) -> None:
    """Fill an empty lead with what was sent with a form. Raises InvalidArgument where something required is missing."""
    missing = [
        Violation(entry.input, "is required")
        for entry in form.inputs
        if entry.required and not sent.get(entry.input, "").strip()
    ]
    if missing:
        raise InvalidArgument(*missing)
    for name in ("source", "campaign", "language_code"):
        setattr(lead, name, getattr(form, name))
    lead.owner, lead.team = form.lead_owner, form.lead_team
    lead.tags.extend(form.tags)
    touch: dict[str, str] = {}
    agreed = bool(form.consent_text) and all(entry.field != CONSENT for entry in form.inputs)
    for entry in form.inputs:
        value = sent.get(entry.input, "").strip()
        if entry.field == CONSENT:
            agreed = agreed or value.lower() not in _NO
        elif entry.field.startswith(TOUCH):
            touch[entry.field.removeprefix(TOUCH)] = value
        elif value and entry.field.startswith(CUSTOM):
            lead.custom_fields[entry.field.removeprefix(CUSTOM)] = value
        elif value:
            setattr(lead, entry.field, value)
    if agreed:
        lead.consent.text, lead.consent.place, lead.consent.consent_time = form.consent_text, origin, now
    if any(touch.values()) or form.campaign:
        lead.touches.add(**{"campaign": form.campaign, **touch}, touch_time=now)


def input_of(form: Any, path: str) -> str:
    """Return the input that filled a field of the lead; the form as a whole where none did."""
    return next((entry.input for entry in form.inputs if entry.field == path), "submission")


def _is_field(field: str) -> bool:
    if field.startswith(TOUCH):
        return field.removeprefix(TOUCH) in _TOUCH_FIELDS
    return field in TEXT_FIELDS or field == CONSENT or (field.startswith(CUSTOM) and len(field) > len(CUSTOM))


def _joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in pairs:
        # Boxes of one name come one by one.
        found[name] = f"{found[name]}, {value}" if found.get(name) and value else found.get(name) or value
    return found


def _flat(document: Any) -> dict[str, str]:
    if not isinstance(document, dict) or len(document) > MAX_INPUTS:
        raise ValueError("not an object")
    found: dict[str, str] = {}
    for name, value in document.items():
        if not isinstance(value, str | bool | int | float | None):
            raise ValueError("not flat")  # noqa: TRY004  # of what was sent
        found[name] = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        found[name].encode()  # JSON can say half a character, which no text can be: a ValueError as well.
    return found
