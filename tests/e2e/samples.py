"""What a valid request holds that its descriptor does not say, and how records come into the state a method needs."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Names = Mapping[str, str]
"""Type of resource, for example `contacts.kontor/Account`, to the name of a record; further `CALLER`, `OTHER` and `LINK`."""
Fields = Callable[[Names], dict[str, Any]]
"""Returns fields as in JSON; they may name the records of `names`."""

CALLER = "caller"
"""The user who asks."""
OTHER = "other"
"""Another record of the kind that a method is used on."""
LINK = "link"
"""The secret that lets somebody in who has no token: the key of a form or a feed, the token of a quote."""
ACTIVITY, QUOTE, ORDER = "sales.kontor/Activity", "sales.kontor/Quote", "sales.kontor/Order"
USER, ACCOUNT = "identity.kontor/User", "contacts.kontor/Account"
CAMPAIGN, RECIPIENT = "marketing.kontor/Campaign", "marketing.kontor/CampaignRecipient"
MEMBERSHIP = "marketing.kontor/SegmentMembership"
CONTACT, PARTY, SUPPRESSION = "contacts.kontor/Contact", "marketing.kontor/Party", "marketing.kontor/Suppression"
PIPELINE, OPPORTUNITY = "sales.kontor/Pipeline", "sales.kontor/Opportunity"
DEAL = "partners.kontor/DealRegistration"
TICKET, QUEUE = "ticketing.kontor/Ticket", "ticketing.kontor/Queue"
LEAD, PARTNER, PROGRAMME = "sales.kontor/Lead", "partners.kontor/Partner", "partners.kontor/Programme"

# What a field holds where its type alone does not say what is valid; `{}` stands for what is new each time.
TEXTS = {
    "address": "{}@example.com",
    "base_currency_code": "CHF",
    "country_code": "CH",
    "currency_code": "EUR",
    "email": "{}@example.com",
    "event_type": "mail.opened",
    "external_id": "Example {}",
    "filter": 'display_name = "Example"',
    "key": "key_{}",
    "language_code": "de-CH",
    "password": "correct horse battery {}",
    "permission": "contacts.accounts.read",
    "query": "Example",
    "resource_type": "accounts",
    "reply_to_email": "{}@example.com",
    "sender_email": "{}@example.com",
    "slug": "tenant-{}",
    "stage": "analysis",
    "system": "erp",
    "time_zone": "Europe/Zurich",
}
ONE_CLICK = "List-Unsubscribe=One-Click", "application/x-www-form-urlencoded"
DAY = {"year": 2030, "month": 1, "day": 15}
YEARS = {"startDate": {"year": 2025, "month": 1, "day": 1}, "endDate": {"year": 2034, "month": 12, "day": 31}}
START, END = "2030-01-01T08:00:00Z", "2030-01-31T18:00:00Z"
TIMES = {"start_time": START, "end_time": END}
LINES = [{"description": "Example", "unitPrice": {"currencyCode": "EUR", "units": "100"}}]
MESSAGES: dict[str, Any] = {
    "google.type.Decimal": {"value": "1"},
    "google.type.Money": {"currencyCode": "EUR", "units": "100"},
    "kontor.sales.v1.LineItem": LINES[0],
}


# What was paid in the month before all of these can be settled with any of them, and each can be settled once.
_MONTHS = itertools.count()


def _month() -> dict[str, int]:
    """Return a month that is over, another one each time."""
    number = next(_MONTHS)
    return {"year": 2000 + number // 12, "month": 1 + number % 12, "day": 1}


# Two who want the same deal would wait for each other.
_CUSTOMERS = itertools.count()


def _text(content: str, content_type: str) -> dict[str, str]:
    return {"contentType": content_type, "data": base64.b64encode(content.encode()).decode()}


def _reply(names: Names) -> str:
    """Return the answer of somebody who is invited to an activity."""
    lines = (
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//example//EN",
        "METHOD:REPLY",
        "BEGIN:VEVENT",
        f"UID:{names[ACTIVITY].rpartition('/')[2]}",
        "DTSTAMP:20300101T000000Z",
        "DTSTART:20300101T080000Z",
        "ATTENDEE;PARTSTAT=ACCEPTED:mailto:guest@example.com",
        "END:VEVENT",
        "END:VCALENDAR",
        "",
    )
    return "\r\n".join(lines)


# What every record of a kind has, beside what is required of it.
RECORDS: dict[str, Fields] = {
    ACTIVITY: lambda names: {
        "type": "TYPE_MEETING",
        "startTime": START,
        "endTime": "2030-01-01T09:00:00Z",
        "organizer": {"email": "host@example.com"},
        "attendees": [{"user": names[CALLER]}, {"email": "guest@example.com"}],
    },
    DEAL: lambda names: {
        "endCustomer": {"company": "Example", "regionCode": "DE", "website": f"customer{next(_CUSTOMERS)}.example"},
        "products": [names["sales.kontor/Product"]],
        "amount": {"currencyCode": "EUR", "units": "100"},
        "expectedCloseDate": {"year": 2090, "month": 1, "day": 1},
    },
    "marketing.kontor/Template": lambda names: {"textBody": "{{ unsubscribe_url }}"},
    "sales.kontor/DiscountPolicy": lambda names: {"pipeline": names[PIPELINE]},
    OPPORTUNITY: lambda names: {
        "pipeline": names[PIPELINE],
        "amount": {"currencyCode": "EUR", "units": "100"},
        "closeDate": DAY,
    },
    PROGRAMME: lambda names: {"levels": [{"id": "silver", "displayName": "Example", "weight": 1}]},
    LEAD: lambda names: {"company": "Example"},
    "sales.kontor/LeadAssignmentRule": lambda names: {"members": [{"user": names[USER]}]},
    "sales.kontor/LeadForm": lambda names: {"inputs": [{"input": "mail", "field": "email"}]},
    "sales.kontor/LeadScoreRule": lambda names: {"points": 5, "eventType": "form.submitted"},
    "sales.kontor/Promotion": lambda names: {"discountPercent": {"value": "10"}, "startTime": "2020-01-01T00:00:00Z"},
    QUOTE: lambda names: {"lines": LINES, "validUntil": {"year": 2090, "month": 1, "day": 1}},
    SUPPRESSION: lambda names: {"party": names[PARTY], "address": f"{next(_MONTHS)}@example.com"},
    TICKET: lambda names: {"account": names[ACCOUNT]},
    "ticketing.kontor/SlaPolicy": lambda names: {"tags": ["gold"], "targets": [{"resolution": "28800s"}]},
    "ticketing.kontor/WorkingCalendar": lambda names: {"slots": [{"day": "MONDAY", "start": {"hours": 9}, "end": {}}]},
}
# What a request holds, beside what is required of it; and where that has to be something particular.
REQUESTS: dict[str, Fields] = {
    "AcceptQuote": lambda names: {"token": names[LINK]},
    "AnalyzeOutcomes": lambda names: YEARS,
    "AssignTicket": lambda names: {"assignee": names[USER]},
    "BridgeForecast": lambda names: {"date": DAY},
    "CaptureLead": lambda names: {
        "key": names[LINK],
        "submission": _text('{"mail": "example@example.com"}', "application/json"),
    },
    "ConvertLead": lambda names: {"opportunity": {"displayName": "Example"}},
    "DeclineQuote": lambda names: {"token": names[LINK]},
    "MergeTicket": lambda names: {"into": names[OTHER]},
    "PreviewSegment": lambda names: {"filter": "create_time > 2000-01-01T00:00:00Z"},
    "PlanVisits": lambda names: {
        "user": names[USER],
        "startDate": {"year": 2030, "month": 1, "day": 7},
        "endDate": {"year": 2030, "month": 1, "day": 11},
    },
    "ProcessReply": lambda names: {"reply": _text(_reply(names), "text/calendar")},
    "ExportFreeBusy": lambda names: {"startTime": START, "endTime": END},
    "QueryFreeBusy": lambda names: {"startTime": START, "endTime": END},
    "ReadCalendarFeed": lambda names: {"key": names[LINK]},
    "ReportOrderState": lambda names: {"state": "STATE_CONFIRMED"},
    "SetPartnerLevel": lambda names: {"programme": names[PROGRAMME], "level": "silver"},
    "ReviewQuote": lambda names: {"token": names[LINK]},
    "RespondToActivity": lambda names: {"participation": "PARTICIPATION_ACCEPTED"},
    "RollUpForecast": lambda names: {"date": DAY},
    "SettleCommissions": lambda names: {"agent": names[CALLER], "month": _month()},
    "ShowFunnel": lambda names: YEARS,
    "ShowQuotePage": lambda names: {"token": names[LINK]},
    "ShowUnsubscribePage": lambda names: {"token": names[LINK]},
    "Unsubscribe": lambda names: {"token": names[LINK], "submission": _text(*ONE_CLICK)},
    "UnsubscribeFromAll": lambda names: {"token": names[LINK], "submission": _text(*ONE_CLICK)},
    "UploadAttachment": lambda names: {"content": _text("Example", "text/plain")},
}
# The methods that records come from which nobody creates as such.
MAKERS = {
    "sales.kontor/Commission": "SettleCommissions",
    ORDER: "OrderQuote",
    MEMBERSHIP: "AddSegmentMembers",
    "sales.kontor/PromotionRedemption": "RedeemPromotion",
    "sales.kontor/VisitPlan": "PlanVisits",
    "ticketing.kontor/Attachment": "UploadAttachment",
}

# Records that nobody creates at all, because each follows another one, under its id and a moment later.
FOLLOWED = {PARTY: CONTACT, RECIPIENT: CAMPAIGN}
# What has to be begun with the record that is followed, and what there must be for it.
BEGUN = {RECIPIENT: ("SendCampaign", MEMBERSHIP)}

# Methods that are used on the records that are there, so that they can be found.
AFTERWARDS = ("ReportOrderState", "PublishArticle")
# Methods that can be used once with each record of a kind, which is neither their target nor made by them.
ONCE = {
    "CreateDiscountPolicy": PIPELINE,
    "BatchCreateDiscountPolicies": PIPELINE,
    "CreateLeadOffer": LEAD,
    "CreatePriceBookEntry": "sales.kontor/Product",
    "BatchCreatePriceBookEntries": "sales.kontor/Product",
    "DistributeLead": LEAD,
    "RedeemPromotion": ACCOUNT,
    "CreateSubscription": "marketing.kontor/Topic",
    "BatchCreateSubscriptions": "marketing.kontor/Topic",
}


def nothing(names: Names) -> dict[str, Any]:
    """Return no fields."""
    return {}


@dataclass(frozen=True)
class State:
    """How a record comes to where a method can be used on it."""

    steps: tuple[str, ...] = ()
    """The methods that have to be used on the record before, in this order."""
    record: Fields = nothing
    """What it is created with."""
    kind: str = ""
    """What it is, where that is not what the method's request names."""
    by: str = CALLER
    """Who creates it and does the steps: `CALLER`, or `COLLEAGUE` where the caller must be another."""
    requests: Mapping[str, Fields] = field(default_factory=dict)
    """What the requests of the steps hold."""

    @property
    def asking(self) -> tuple[Fields, ...]:
        """All that asks for records."""
        return self.record, *self.requests.values()


COLLEAGUE = "colleague"
SENT = State(("SubmitQuote", "SendQuote"), kind=QUOTE)
WON = State(("MarkOpportunityWon",))
SCHEDULED = State(("ScheduleCampaign",))
RECEIVED = State(kind=RECIPIENT)
ROTATED = State(("RotateLeadFormKey",), kind="sales.kontor/LeadForm")
WAITS = State(
    ("SubmitQuote",),
    lambda names: {"discountPercent": {"value": "50"}, "opportunity": names[OPPORTUNITY]},
    by=COLLEAGUE,
)
OFFERED = State(
    ("HandOverActivity",),
    lambda names: {"owner": names[USER]},
    requests={"HandOverActivity": lambda names: {"user": names[CALLER]}},
)
APPROVED_PARTNER = State(("ApplyPartner", "ApprovePartner", "SetPartnerLevel"))
ACTIVE_PARTNER = State(
    (*APPROVED_PARTNER.steps, "ActivatePartner"),
    kind=PARTNER,
    requests={"SetPartnerLevel": REQUESTS["SetPartnerLevel"]},
)
SUBMITTED = State(("SubmitDealRegistration",))
REVIEWED = State((*SUBMITTED.steps, "StartDealRegistrationReview"))
PAID = State(
    ("ReportOrderState",),
    kind=ORDER,
    requests={
        "ReportOrderState": lambda names: {
            "payments": [
                {
                    "source": "erp",
                    "externalId": names[ORDER],
                    "payDate": {"year": 1999, "month": 12, "day": 1},
                    "netAmount": {"currencyCode": "EUR", "units": "10"},
                }
            ]
        }
    },
)
# By the whole name of a method, or else by its first word.
STATES = {
    "Undelete": State(("Delete{}",)),
    "Reactivate": State(("Deactivate{}",)),
    "ResumeCampaign": State(("ScheduleCampaign", "PauseCampaign")),
    "Resume": State(("Suspend{}",)),
    "CancelCampaign": SCHEDULED,
    "PauseCampaign": SCHEDULED,
    "ScheduleCampaign": State(),
    "SendCampaign": State(),
    "ShowUnsubscribePage": RECEIVED,
    "Unsubscribe": RECEIVED,
    "UnsubscribeFromAll": RECEIVED,
    "AcceptHandOver": OFFERED,
    "AcceptQuote": SENT,
    "ActivatePartner": APPROVED_PARTNER,
    "ApprovePartner": State(("ApplyPartner",)),
    "ApproveDealRegistration": REVIEWED,
    "ApproveQuote": WAITS,
    "ArchiveArticle": State(("PublishArticle",)),
    "CaptureLead": ROTATED,
    # With what is there by now.
    "BridgeForecast": State(kind="sales.kontor/ForecastSnapshot"),
    "CreateDealRegistration": ACTIVE_PARTNER,
    "CreateLeadOffer": ACTIVE_PARTNER,
    "DeclineHandOver": OFFERED,
    "DeclineQuote": SENT,
    "ClearTicketPriority": State(("OverrideTicketPriority",)),
    # No opportunity goes through it.
    "DeletePipeline": State(),
    # No partner is in it.
    "DeleteProgramme": State(),
    # No campaign goes to it.
    "DeleteSegment": State(),
    "DistributeLead": ACTIVE_PARTNER,
    # No ticket is in it.
    "DeleteTicketState": State(),
    "MakeQuotePrimary": State(record=lambda names: {"opportunity": names[OPPORTUNITY]}),
    "LiftSuppression": State(),
    "MergeTicket": State(),
    "OrderQuote": State((*SENT.steps, "AcceptQuote")),
    "PublishArticle": State(),
    "ReadCalendarFeed": State(("RotateCalendarFeedKey",), kind="sales.kontor/CalendarFeed"),
    "ExtendDealRegistration": State((*REVIEWED.steps, "ApproveDealRegistration")),
    "RejectDealRegistration": SUBMITTED,
    "RejectQuote": WAITS,
    "ReportOrderState": State(),
    "ReleaseTicket": State(record=lambda names: {"queue": names[QUEUE], "owner": names[CALLER]}),
    "ReopenActivity": State(("CompleteActivity",)),
    "ReopenOpportunity": WON,
    "ReopenTicket": State(("SolveTicket",)),
    "RenewContract": State(
        record=lambda names: {
            "startDate": {"year": 2030, "month": 1, "day": 1},
            "endDate": {"year": 2030, "month": 12, "day": 31},
            "renewal": "RENEWAL_AUTOMATIC",
            "renewalMonths": 12,
        }
    ),
    "RepriceQuote": State(record=lambda names: {"priceBook": names["sales.kontor/PriceBook"]}),
    "ReturnDealRegistration": SUBMITTED,
    "ReviewQuote": SENT,
    "ReviseQuote": SENT,
    "SendQuote": State(("SubmitQuote",)),
    "SettleCommissions": PAID,
    "ShowQuotePage": SENT,
    "VoteArticle": State(("PublishArticle",)),
    "StartDealRegistrationReview": SUBMITTED,
    "SuspendPartner": ACTIVE_PARTNER,
}


def state_for(name: str) -> State | None:
    """Return the state that a method needs; None where a new record will do."""
    if name in STATES:
        return STATES[name]
    for word, state in STATES.items():
        if name.startswith(word):
            steps = tuple(step.format(name.removeprefix(word)) for step in state.steps)
            return State(steps, state.record)
    return None
