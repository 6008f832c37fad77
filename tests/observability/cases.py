"""When each alert fires, what it says then, and when it does not: series as promtool writes them, a value a minute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

Series = Mapping[str, str]
"""Values by series; what chooses the chart is added."""


class Case(NamedTuple):
    alert: str
    at: str
    """When one looks."""
    fires: Series
    labels: Mapping[str, str]
    """Those of the alert, beside namespace, job and severity."""
    summary: str
    quiet: Series
    """What is near, and no reason to be called."""
    chart: str = "sales"


ONE = {"instance": "a:9090", "role": "serve"}
_ONE = 'instance="a:9090",role="serve"'
_CALL = 'rpc_service="kontor.sales.v1.LeadService",method="GetLead"'


def _calls(good: int, bad: int, minutes: int, code: str = "INTERNAL") -> Series:
    """Calls a minute that go well and that do not."""
    return {
        f'kontor_rpc_seconds_count{{{_CALL},code="OK"}}': f"0+{good}x{minutes}",
        f'kontor_rpc_seconds_count{{{_CALL},code="{code}"}}': f"0+{bad}x{minutes}",
    }


def _tokens(good: int, bad: int, minutes: int) -> Series:
    """The same over HTTP."""
    return {
        'kontor_http_seconds_count{route="/oauth2/token",code="200"}': f"0+{good}x{minutes}",
        'kontor_http_seconds_count{route="/oauth2/token",code="500"}': f"0+{bad}x{minutes}",
    }


def _slow(calls: int, slow: int, minutes: int) -> Series:
    """Calls a minute, and how many of them take longer than half a second."""
    return {
        f'kontor_rpc_seconds_count{{{_CALL},code="OK"}}': f"0+{calls}x{minutes}",
        f'kontor_rpc_seconds_bucket{{{_CALL},code="OK",le="0.5"}}': f"0+{calls - slow}x{minutes}",
    }


def _gateway(good: int, bad: int, minutes: int) -> Series:
    prefix = 'envoy_http_conn_manager_prefix="gateway"'
    return {
        f"envoy_http_downstream_rq_completed{{{prefix}}}": f"0+{good + bad}x{minutes}",
        f'envoy_http_downstream_rq_xx{{{prefix},envoy_response_code_class="5"}}': f"0+{bad}x{minutes}",
        f'envoy_http_downstream_rq_xx{{{prefix},envoy_response_code_class="2"}}': f"0+{good}x{minutes}",
    }


_GONE = "So many calls of {} that what a month allows is gone within days."
_LONG = "More calls of {} than a month allows, for long."

CALLS = (
    Case("KontorErrorBudgetBurnsFast", "70m", _calls(95, 5, 80), {}, _GONE.format("sales fail"), _calls(999, 1, 80)),
    # As many as would be too many, of the callers' own making.
    Case(
        "KontorErrorBudgetBurnsFast",
        "70m",
        _tokens(95, 5, 80),
        {},
        _GONE.format("sales fail"),
        _calls(50, 50, 80, code="NOT_FOUND"),
    ),
    # Within six hours; and one that failed of few.
    Case(
        "KontorErrorBudgetBurnsFast",
        "7h",
        _calls(990, 10, 450),
        {},
        _GONE.format("sales fail"),
        {
            f'kontor_rpc_seconds_count{{{_CALL},code="OK"}}': "0+1x450",
            f'kontor_rpc_seconds_count{{{_CALL},code="INTERNAL"}}': "0x400 3x50",
        },
    ),
    # It was much, and is over.
    Case(
        "KontorErrorBudgetBurnsSlowly",
        "25h",
        _calls(996, 4, 1600),
        {},
        _LONG.format("sales fail"),
        {
            f'kontor_rpc_seconds_count{{{_CALL},code="OK"}}': "0+1000x1600",
            f'kontor_rpc_seconds_count{{{_CALL},code="INTERNAL"}}': "0+4x1000 4000x600",
        },
    ),
    Case(
        "KontorErrorBudgetBurnsSlowly",
        "73h",
        _calls(998, 2, 4500),
        {},
        _LONG.format("sales fail"),
        _calls(9995, 5, 4500),
    ),
    Case(
        "KontorLatencyBudgetBurnsFast", "70m", _slow(100, 20, 80), {}, _GONE.format("sales are slow"), _slow(100, 5, 80)
    ),
    Case(
        "KontorLatencyBudgetBurnsSlowly",
        "25h",
        _slow(100, 5, 1600),
        {},
        _LONG.format("sales are slow"),
        _slow(100, 1, 1600),
    ),
)

PROCESSES = (
    Case(
        "KontorDown",
        "5m",
        {f"up{{{_ONE}}}": "1x10", 'up{instance="b:9090",role="work"}': "0x10"},
        {"role": "work"},
        "No process of sales answers in the role work.",
        {
            f"up{{{_ONE}}}": "1x10",
            'up{instance="b:9090",role="work"}': "0x10",
            'up{instance="c:9090",role="work"}': "1x10",
        },
    ),
    Case(
        "KontorDown",
        "5m",
        {'up{instance="b:9090",role="work"}': "1x10"},
        {"role": "serve"},
        "No process of sales answers in the role serve.",
        {f"up{{{_ONE}}}": "1 0 1x10", 'up{instance="b:9090",role="work"}': "1x10"},
    ),
    Case(
        "KontorTargetDown",
        "15m",
        {f"up{{{_ONE}}}": "0x20"},
        ONE,
        "One process of sales does not answer, a:9090.",
        {f"up{{{_ONE}}}": "1x10 0x10"},
    ),
    Case(
        "KontorUnhealthy",
        "10m",
        {f'kontor_health{{{_ONE},check="database"}}': "0x20"},
        {**ONE, "check": "database"},
        "a:9090 of sales cannot do without what fails: database.",
        {f'kontor_health{{{_ONE},check="database"}}': "1x7 0x10"},
    ),
    Case(
        "KontorMigrationsMissing",
        "10m",
        {f'kontor_health{{{_ONE},check="schema"}}': "0x20"},
        {**ONE, "check": "schema"},
        "The database of sales lacks tables or columns that this version needs.",
        {f'kontor_health{{{_ONE},check="schema"}}': "1x20"},
    ),
    Case(
        "KontorThreadsExhausted",
        "15m",
        {f"kontor_rpc_waiting{{{_ONE}}}": "4x20"},
        ONE,
        "Calls wait for a thread in a:9090 of sales.",
        {f"kontor_rpc_waiting{{{_ONE}}}": "0x12 9 0x10"},
    ),
    Case(
        "KontorPoolExhausted",
        "15m",
        {f'kontor_pool_waiting{{{_ONE},pool="app"}}': "3x20"},
        {**ONE, "pool": "app"},
        "Work waits for a connection to the database in a:9090 of sales.",
        {f'kontor_pool_waiting{{{_ONE},pool="app"}}': "0x12 9 0x10"},
    ),
    Case(
        "KontorSubscribersRefused",
        "20m",
        {f'kontor_rpc_stream_seconds_count{{{_ONE},method="Subscribe",code="RESOURCE_EXHAUSTED"}}': "0x10 0+1x20"},
        {},
        "sales refuses subscribers, because it has as many as it takes.",
        {f'kontor_rpc_stream_seconds_count{{{_ONE},method="Subscribe",code="UNAUTHENTICATED"}}': "0+9x30"},
    ),
    Case(
        "KontorPeerFails",
        "20m",
        {
            f'kontor_client_seconds_count{{{_ONE},rpc_service="kontor.contacts.v1.AccountService",code="OK"}}': "0+8x30",
            f'kontor_client_seconds_count{{{_ONE},rpc_service="kontor.contacts.v1.AccountService",code="UNAVAILABLE"}}': "0+2x30",
        },
        {"rpc_service": "kontor.contacts.v1.AccountService"},
        "More than a tenth of the calls of sales to kontor.contacts.v1.AccountService are not answered.",
        {
            f'kontor_client_seconds_count{{{_ONE},rpc_service="kontor.contacts.v1.AccountService",code="OK"}}': "0+8x30",
            f'kontor_client_seconds_count{{{_ONE},rpc_service="kontor.contacts.v1.AccountService",code="NOT_FOUND"}}': "0+8x30",
        },
    ),
)

EVENTS = (
    Case(
        "KontorChangeLogLag",
        "10m",
        {f"kontor_change_log_lag_seconds{{{_ONE}}}": "90x20"},
        {},
        "Nobody moves the changes of sales into its log, the oldest waits for 1m 30s.",
        {f"kontor_change_log_lag_seconds{{{_ONE}}}": "0x8 90 0x10"},
    ),
    Case(
        "KontorRelayLag",
        "10m",
        {f"kontor_relay_lag_seconds{{{_ONE}}}": "90x20"},
        {},
        "The changes of sales do not reach the broker, the oldest waits for 1m 30s.",
        {f"kontor_relay_lag_seconds{{{_ONE}}}": "20x20"},
    ),
    Case(
        "KontorReceiverDisconnected",
        "10m",
        {f"kontor_amqp_connected{{{_ONE}}}": "0x20"},
        {},
        "No receiver of sales reaches the broker.",
        {f"kontor_amqp_connected{{{_ONE}}}": "0x20", 'kontor_amqp_connected{instance="b:9090"}': "1x20"},
    ),
    Case(
        "KontorMessagesRejected",
        "20m",
        {f'kontor_amqp_received_total{{{_ONE},outcome="rejected"}}': "0x10 1x20"},
        {},
        "sales put messages aside that it cannot read.",
        {f'kontor_amqp_received_total{{{_ONE},outcome="stored"}}': "0+9x30"},
    ),
    Case(
        "KontorSourceSilent",
        "20m",
        {f'kontor_source_silent_seconds{{{_ONE},source="contacts"}}': "1800x30"},
        {"source": "contacts"},
        "sales hears nothing of contacts, for 30m 0s.",
        {f'kontor_source_silent_seconds{{{_ONE},source="contacts"}}': "290x30"},
    ),
    Case(
        "KontorInboxOld",
        "20m",
        {f"kontor_inbox_oldest_seconds{{{_ONE}}}": "1800x30"},
        {},
        "sales does not keep up with what others tell, the oldest event waits for 30m 0s.",
        {f"kontor_inbox_oldest_seconds{{{_ONE}}}": "300x30"},
    ),
    Case(
        "KontorInboxDead",
        "5m",
        {f"kontor_inbox_dead{{{_ONE}}}": "2x30"},
        {},
        "sales gave up 2 events.",
        {f"kontor_inbox_dead{{{_ONE}}}": "0x30"},
    ),
)

WORK = (
    Case(
        "KontorOperationsStuck",
        "5m",
        {f"kontor_operations_stuck{{{_ONE}}}": "1x30"},
        {},
        "1 operations of sales can neither go on nor back.",
        {f"kontor_operations_stuck{{{_ONE}}}": "0x30"},
    ),
    Case(
        "KontorOperationsLate",
        "20m",
        {f"kontor_operations_oldest_seconds{{{_ONE}}}": "600x30"},
        {},
        "Nobody works on the operations of sales, the oldest is due for 10m 0s.",
        {f"kontor_operations_oldest_seconds{{{_ONE}}}": "20x30"},
    ),
    Case(
        "KontorJobOverdue",
        "20m",
        {f'kontor_job_overdue_seconds{{{_ONE},task="purge-operations"}}': "3600x30"},
        {"task": "purge-operations"},
        "Nobody takes the turn of purge-operations in sales.",
        {f'kontor_job_overdue_seconds{{{_ONE},task="purge-operations"}}': "0 5 0x30"},
    ),
    Case(
        "KontorJobFails",
        "20m",
        {f'kontor_job_turns_total{{{_ONE},task="renew-contracts",outcome="failed"}}': "0+1x30"},
        {"task": "renew-contracts"},
        "renew-contracts of sales fails again and again.",
        {
            f'kontor_job_turns_total{{{_ONE},task="renew-contracts",outcome="failed"}}': "0x10 1x30",
            f'kontor_job_turns_total{{{_ONE},task="renew-contracts",outcome="done"}}': "0+1x30",
        },
    ),
    Case(
        "KontorDueLate",
        "20m",
        {f'kontor_due_late{{{_ONE},task="expire-quotes"}}': "1x30"},
        {"task": "expire-quotes"},
        "A record of sales is due for over an hour and not dealt with, by expire-quotes.",
        {f'kontor_due_late{{{_ONE},task="expire-quotes"}}': "0x10 1x8 0x10"},
    ),
)

GATEWAY = tuple(
    case._replace(chart="gateway")
    for case in (
        Case(
            "KontorDown",
            "5m",
            {'up{instance="a:9901"}': "0x10"},
            {},
            "No gateway answers.",
            {'up{instance="a:9901"}': "1x10"},
        ),
        Case(
            "KontorTargetDown",
            "15m",
            {'up{instance="a:9901"}': "0x20"},
            {"instance": "a:9901"},
            "One gateway does not answer, a:9901.",
            {'up{instance="a:9901"}': "1x20"},
        ),
        Case(
            "KontorUpstreamMissing",
            "5m",
            {'envoy_cluster_membership_healthy{envoy_cluster_name="contacts"}': "0x10"},
            {"envoy_cluster_name": "contacts"},
            "The gateway reaches no replica of contacts that is well.",
            {'envoy_cluster_membership_healthy{envoy_cluster_name="contacts"}': "1 0 1x10"},
        ),
        Case(
            "KontorErrorBudgetBurnsFast",
            "70m",
            _gateway(95, 5, 80),
            {},
            _GONE.format("gateway fail"),
            _gateway(999, 1, 80),
        ),
        Case(
            "KontorErrorBudgetBurnsSlowly",
            "25h",
            _gateway(996, 4, 1600),
            {},
            _LONG.format("gateway fail"),
            _gateway(9999, 1, 1600),
        ),
    )
)

CASES = (*CALLS, *PROCESSES, *EVENTS, *WORK, *GATEWAY)
