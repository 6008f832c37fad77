"""How a registration goes from a draft to its end, and when it is complete."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from kontor_kit import money, normal_forms
from kontor_kit.errors import FailedPrecondition, Violation
from kontor_partners.known_deals import rules as customers
from kontor_partners.known_deals.rules import Key

DRAFT, SUBMITTED, PENDING, APPROVED, RETURNED, REJECTED, EXPIRED, CANCELLED, APPROVING = range(1, 10)
"""As DealRegistration.State."""
OPEN: Final = (DRAFT, RETURNED)
"""The partner writes it; nothing is claimed."""
UNDECIDED: Final = (SUBMITTED, PENDING)
HOLDING: Final = (APPROVING, APPROVED)
CLAIMING: Final = (*UNDECIDED, *HOLDING)
ENDED: Final = (REJECTED, EXPIRED, CANCELLED)

STEPS: Final = {
    "submitted": (OPEN, SUBMITTED),
    "review_started": (UNDECIDED, PENDING),
    "approval_started": ((PENDING,), APPROVING),
    "approval_failed": ((APPROVING,), PENDING),
    "approved": ((APPROVING,), APPROVED),
    "returned": (UNDECIDED, RETURNED),
    "rejected": (UNDECIDED, REJECTED),
    "expired": ((APPROVED,), EXPIRED),
    "cancelled": ((*OPEN, *UNDECIDED, APPROVED), CANCELLED),
}
"""By event: where a registration can come from, and where it goes."""

PROTECTION_DAYS: Final = 90
MAX_PROTECTION_DAYS: Final = 180
_NAMES: Final = {
    DRAFT: "DRAFT",
    SUBMITTED: "SUBMITTED",
    PENDING: "PENDING",
    APPROVED: "APPROVED",
    RETURNED: "RETURNED",
    REJECTED: "REJECTED",
    EXPIRED: "EXPIRED",
    CANCELLED: "CANCELLED",
    APPROVING: "APPROVING",
}


def normalise(registration: Any) -> list[Violation]:
    """Bring a registration into its normal form, in place, and return what is wrong with it."""
    violations: list[Violation] = []
    if not registration.display_name.strip():
        violations.append(Violation("display_name", "must not be blank"))
    if registration.HasField("end_customer"):
        violations += _normalise_customer(registration.end_customer)
    regions: list[str] = []
    for place, code in enumerate(registration.region_codes):
        try:
            regions.append(normal_forms.country(code))
        except ValueError as error:
            violations.append(Violation(f"region_codes[{place}]", str(error)))
    registration.region_codes[:] = dict.fromkeys(regions)
    if registration.HasField("amount"):
        violations += money.check(registration.amount, "amount")
    if registration.HasField("expected_close_date"):
        date = registration.expected_close_date
        try:
            dt.date(date.year, date.month, date.day)
        except ValueError:
            violations.append(Violation("expected_close_date", "must be a day that exists"))
    registration.state = registration.state or DRAFT
    return violations


def _normalise_customer(customer: Any) -> list[Violation]:
    for field in ("company", "postal_code", "registration_id", "contact_name"):
        setattr(customer, field, getattr(customer, field).strip())
    forms = {
        "region_code": normal_forms.country,
        "website": normal_forms.website,
        "contact_email": normal_forms.email,
    }
    return [
        violation
        for field, form in forms.items()
        for violation in normal_forms.normalise_field(customer, field, form, f"end_customer.{field}")
    ]


def customer_keys(registration: Any) -> frozenset[Key]:
    """Return what the end customer of a registration is known by."""
    customer = registration.end_customer
    return customers.keys(
        account=registration.account,
        country=customer.region_code,
        registration_id=customer.registration_id,
        addresses=[customer.website, customer.contact_email],
        names=[customer.company],
        postal_codes=[customer.postal_code],
    )


def claimed(registration: Any) -> tuple[Any, ...]:
    """Return what a registration claims: it stays while it is claimed."""
    return registration.end_customer, registration.account, [*registration.products], [*registration.region_codes]


def complete(registration: Any, today: dt.date) -> None:
    """Fill in the country where none is said, in place. Raises FailedPrecondition with all that a registration lacks."""
    customer = registration.end_customer
    if not registration.region_codes and customer.region_code:
        registration.region_codes.append(customer.region_code)
    check_complete(registration)
    date = registration.expected_close_date
    if dt.date(date.year, date.month, date.day) < today:
        raise FailedPrecondition("expected_close_date is past", reason="CLOSE_DATE_PAST")


def check_complete(registration: Any) -> None:
    """Raise FailedPrecondition with all that a registration lacks to be submitted, and as long as it is."""
    customer = registration.end_customer
    there = {
        "end_customer.company": customer.company,
        "end_customer.region_code": customer.region_code,
        "end_customer.registration_id, website, contact_email or postal_code": customer_keys(registration),
        "products": registration.products,
        "amount": registration.HasField("amount"),
        "expected_close_date": registration.HasField("expected_close_date"),
    }
    missing = [field for field, value in there.items() if not value]
    if missing:
        raise FailedPrecondition(
            f"it is not complete, there is no {'; '.join(missing)}",
            reason="INCOMPLETE",
            metadata={"missing": "; ".join(missing)},
        )


def check_allowed(registration: Any, partner: Any) -> None:
    """Raise FailedPrecondition where the partner does not sell this, or not there.

    Whether products are of the families that the partner sells is known to who looks at the registration.
    """
    outside = sorted(set(registration.region_codes) - set(partner.region_codes)) if partner.region_codes else []
    if outside:
        raise FailedPrecondition(f"the partner does not sell in {', '.join(outside)}", reason="OUT_OF_REGION")
    sold = set(partner.products)
    other = sorted(set(registration.products) - sold) if sold and not partner.product_families else []
    if other:
        raise FailedPrecondition(f"the partner does not sell {', '.join(other)}", reason="OUT_OF_RANGE")


def go(registration: Any, event: str, reason: str = "") -> None:
    """Let a registration go a step, in place. Raises FailedPrecondition where it cannot from where it stands."""
    sources, target = STEPS[event]
    if registration.state not in sources:
        name = _NAMES[registration.state]
        raise FailedPrecondition(f"the registration is {name.lower()}", reason=name)
    registration.state, registration.state_reason = target, reason


def check_editable(registration: Any) -> None:
    """Raise FailedPrecondition where a registration is over."""
    if registration.state in ENDED:
        name = _NAMES[registration.state]
        raise FailedPrecondition(f"the registration is {name.lower()}", reason=name)


def protection_days(partner: Any, programme: Any | None) -> tuple[int, int]:
    """Return for how many days a deal is protected by the partner's level, and at most."""
    if programme is None:
        return PROTECTION_DAYS, MAX_PROTECTION_DAYS
    at_level = next((level.protection_days for level in programme.levels if level.id == partner.level), 0)
    days = at_level or PROTECTION_DAYS
    return days, max(days, programme.max_protection_days or MAX_PROTECTION_DAYS)


def extend(registration: Any, days: int, evidence: str, now: dt.datetime) -> None:
    """Prolong the protection of an approved deal, in place. Raises FailedPrecondition beyond what the programme lets."""
    end = registration.protection_end_time.ToDatetime(dt.UTC)
    if registration.state != APPROVED or end <= now:
        raise FailedPrecondition("nothing is protected by the registration", reason="NOT_PROTECTED")
    longest = registration.max_protection_end_time.ToDatetime(dt.UTC)
    extended = end + dt.timedelta(days=days)
    if extended > longest:
        raise FailedPrecondition(
            f"the programme protects it until {longest:%Y-%m-%d} at most",
            reason="EXTENSION_LIMIT",
            metadata={"max_protection_end_time": longest.isoformat()},
        )
    registration.protection_end_time = extended
    registration.extensions.add(extend_time=now, days=days, evidence=evidence)
