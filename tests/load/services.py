"""Measures a read and a write of each service, and answers that are made of many rows, against the bare SQL of the same.

The service is asked directly over gRPC, PostgreSQL as the same role under the same row security on a connection for
each caller, with the least that gives the same answer and nothing around it.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, Final, NamedTuple

import grpc
import psycopg
from instance import Instance, kontor
from report import ServiceRow, percentile

from kontor.contacts.v1 import account_pb2, account_service_pb2
from kontor.marketing.v1 import topic_pb2, topic_service_pb2
from kontor.partners.v1 import partner_pb2, partner_service_pb2
from kontor.sales.v1 import (
    forecast_service_pb2,
    opportunity_service_pb2,
    pipeline_pb2,
    pipeline_service_pb2,
)
from kontor.ticketing.v1 import ticket_pb2, ticket_service_pb2

CALLERS: Final = 8
USERS: Final = 500
GROUPS: Final = 50
"""So many owners are on a page of a forecast."""

_FILL: Final = f"""
INSERT INTO opportunities (tenant_id, id, version, create_time, update_time, owner, display_name, display_name_key,
    pipeline, stage, state, amount_amount, amount_currency, close_date, forecast_category, open_time, close_time,
    stage_enter_time, search_text)
SELECT %(tenant)s, gen_random_uuid(), 1, now(), now(), md5((n %% {USERS})::text)::uuid, 'Deal ' || n, 'deal ' || n,
    %(pipeline)s, (ARRAY['qualification', 'analysis', 'proposal', 'negotiation', 'won', 'lost'])[1 + n %% 6],
    (ARRAY[1, 1, 1, 1, 2, 3])[1 + n %% 6], 100 + n %% 9000, 'EUR', current_date - 365 + n %% 730, 2 + n %% 3,
    now() - interval '400 days', CASE WHEN n %% 6 > 3 THEN now() - n %% 365 * interval '1 day' END, now(), 'deal'
FROM generate_series(1, %(rows)s) n
"""  # a constant
_BOARD: Final = (
    (
        "SELECT count(*), sum(amount_amount), stage, amount_currency FROM opportunities WHERE tenant_id = %(tenant)s"
        " AND pipeline = %(pipeline)s AND delete_time IS NULL GROUP BY 3, 4"
    ),
    (
        "SELECT d.* FROM unnest(ARRAY['qualification', 'analysis', 'proposal', 'negotiation', 'won', 'lost']) s(stage)"
        " CROSS JOIN LATERAL (SELECT id, display_name, account, stage, state, amount_amount, amount_currency, close_date,"
        " forecast_category, next_step, next_step_date, owner, team, open_time, stage_enter_time, version"
        ' FROM opportunities o WHERE o.tenant_id = %(tenant)s AND o.pipeline = %(pipeline)s AND o.stage = s.stage COLLATE "C"'
        " AND o.delete_time IS NULL ORDER BY close_date, id LIMIT 50) d"
    ),
)
_OPEN: Final = (
    "SELECT count(*), sum(amount_amount), sum(amount_amount * probability), forecast_category, amount_currency{key}"
    " FROM opportunities o JOIN pipeline_stages s USING (tenant_id, pipeline, stage) WHERE o.tenant_id = %(tenant)s"
    " AND state = 1 AND delete_time IS NULL AND close_date BETWEEN date_trunc('quarter', current_date)::date"
    " AND (date_trunc('quarter', current_date) + interval '3 months - 1 day')::date GROUP BY {sets}"
)
_WON: Final = (
    "SELECT count(*), sum(amount_amount), sum(base_amount_amount), 5, amount_currency{key} FROM opportunities"
    " WHERE tenant_id = %(tenant)s AND state = 2 AND delete_time IS NULL"
    " AND close_time >= date_trunc('quarter', now()) AND close_time < date_trunc('quarter', now()) + interval '3 months'"
    " GROUP BY {sets}"
)


def _grouped(statement: str, columns: str) -> str:
    sets = f"GROUPING SETS (({columns}, owner), ({columns}))"
    return statement.format(key=", owner, grouping(owner) AS whole", sets=sets)


_ROLL_UP: Final = tuple(
    each.format(key="", sets=columns)
    for each, columns in ((_OPEN, "forecast_category, amount_currency"), (_WON, "amount_currency"))
)
_BY_OWNER: Final = (
    f"{_grouped(_OPEN, 'forecast_category, amount_currency')} UNION ALL {_grouped(_WON, 'amount_currency')}"
)
_ROLL_UP_BY_OWNER: Final = (
    (
        "SELECT * FROM (SELECT *, dense_rank() OVER (PARTITION BY whole ORDER BY owner) AS rank"
        f" FROM ({_BY_OWNER}) g) r WHERE whole = 1 OR rank <= {GROUPS}"
    ),
)


class Case(NamedTuple):
    """A question to a service, and the statements with the same answer."""

    title: str
    method: str
    """`Service/Method`."""
    requests: Sequence[Any]
    """The callers take turns with them."""
    answer: Any
    """The class of what comes back."""
    statements: Sequence[str]
    values: Sequence[dict[str, Any]]
    """For each request."""
    counted: Callable[[Any], int]
    """How many rows an answer is about: as many as the first columns of the statements' answers say."""


class Record(NamedTuple):
    """A resource that one record of is read and changed."""

    service: str
    collection: str
    table: str
    message: Any
    module: Any
    """Where the requests are."""
    fields: Callable[[Services, int], dict[str, Any]]
    """What a new one has."""
    field: str
    """What is changed of it."""


_RECORDS: Final = (
    Record(
        "ticketing",
        "tickets",
        "tickets",
        ticket_pb2.Ticket,
        ticket_service_pb2,
        lambda _, number: {"subject": f"Ticket {number}"},
        "subject",
    ),
    Record(
        "marketing",
        "topics",
        "topics",
        topic_pb2.Topic,
        topic_service_pb2,
        lambda _, number: {"display_name": f"Topic {number}", "key": f"topic_{number}"},
        "description",
    ),
    Record(
        "partners",
        "partners",
        "partners",
        partner_pb2.Partner,
        partner_service_pb2,
        lambda services, number: {"display_name": f"Partner {number}", "account": services.create_account(number)},
        "display_name",
    ),
)
# What every change writes: the record, and what is told of it.
_UPDATE: Final = (
    (
        "UPDATE {table} SET {field} = 'Changed', version = version + 1, update_time = now()"
        " WHERE tenant_id = %(tenant)s AND id = %(id)s RETURNING 1"
    ),
    (
        "INSERT INTO change_pending (tenant_id, resource_name, version, event_type, after, subject)"
        " VALUES (%(tenant)s, %(id)s, 1, %(type)s, '', 'bench') RETURNING 0"
    ),
)


class Services:
    """Asks the services of a platform, and its databases."""

    def __init__(self, running: Instance, rows: int, seconds: float) -> None:
        self._running = running
        self._rows = rows
        self._seconds = seconds
        self._stack = ExitStack()

    def rows(self) -> Iterator[ServiceRow]:
        """Measure one case after the other."""
        with self._stack:
            for record in _RECORDS:
                for case in self._record(record):
                    yield self._measure(record.service, case)
            for case in self._deals():
                yield self._measure("sales", case)

    def _record(self, record: Record) -> Iterator[Case]:
        """Return the cases of reading a record and changing a field of it; each caller has one of their own."""
        kind, collection = record.message.DESCRIPTOR.name, record.collection
        module, snake = record.module, re.sub(r"(?<!^)([A-Z])", r"_\1", kind).lower()
        create, get, update = (getattr(module, f"{verb}{kind}Request") for verb in ("Create", "Get", "Update"))
        fields = [record.fields(self, number) for number in range(CALLERS)]
        made = [
            self._call(record.service, f"{kind}Service/Create{kind}", create(**{snake: each}), record.message)()
            for each in fields
        ]
        ids = [
            {"tenant": self._running.tenant, "id": one.name.rpartition("/")[2], "type": f"{collection}.updated"}
            for one in made
        ]
        yield Case(
            f"get one of {collection}",
            f"{kind}Service/Get{kind}",
            [get(name=one.name) for one in made],
            record.message,
            [f"SELECT 1, t.* FROM {record.table} t WHERE tenant_id = %(tenant)s AND id = %(id)s"],  # constants
            ids,
            lambda _: 1,
        )
        yield Case(
            f"update one of {collection}",
            f"{kind}Service/Update{kind}",
            [
                update(
                    **{
                        snake: record.message(name=one.name, **{record.field: "Changed"}),
                        "update_mask": {"paths": [record.field]},
                    }
                )
                for one in made
            ],
            record.message,
            [statement.format(table=record.table, field=record.field) for statement in _UPDATE],
            ids,
            lambda _: 1,
        )

    def create_account(self, number: int) -> str:
        """Return the name of a new account."""
        request = account_service_pb2.CreateAccountRequest(account={"display_name": f"Account {number}"})
        answer = self._call("contacts", "AccountService/CreateAccount", request, account_pb2.Account)()
        return str(answer.name)

    def _deals(self) -> Iterator[Case]:
        created = pipeline_service_pb2.CreatePipelineRequest(pipeline={"display_name": "Bench"})
        name = self._call("sales", "PipelineService/CreatePipeline", created, pipeline_pb2.Pipeline)().name
        values = {"tenant": self._running.tenant, "pipeline": name.partition("/")[2]}
        with psycopg.connect(self._running.database_url("owner", "sales"), autocommit=True) as connection:
            connection.execute(_FILL, {**values, "rows": self._rows})
            connection.execute("VACUUM ANALYZE opportunities")
        yield Case(
            "board",
            "OpportunityService/ShowBoard",
            [opportunity_service_pb2.ShowBoardRequest(name=name)],
            opportunity_service_pb2.ShowBoardResponse,
            _BOARD,
            [values],
            lambda answer: sum(column.count for column in answer.columns),
        )
        for title, statements, fields in (
            ("roll-up", _ROLL_UP, {}),
            ("roll-up by owner", _ROLL_UP_BY_OWNER, {"group_by": 1, "page_size": GROUPS}),
        ):
            yield Case(
                title,
                "ForecastService/RollUpForecast",
                [forecast_service_pb2.RollUpForecastRequest(period=2, **fields)],  # type: ignore[arg-type]
                forecast_service_pb2.RollUpForecastResponse,
                statements,
                [values],
                lambda answer: sum(
                    line.count for forecast in (answer.total, *answer.groups) for line in forecast.lines
                ),
            )

    def _measure(self, service: str, case: Case) -> ServiceRow:
        turns = [number % len(case.requests) for number in range(CALLERS)]
        served = [self._call(service, case.method, case.requests[turn], case.answer) for turn in turns]
        asked = [self._bare(service, case, case.values[turn]) for turn in turns]
        if (found := case.counted(served[0]())) != (expected := asked[0]()):
            raise AssertionError(f"{case.title}: the service counts {found} rows, the statements {expected}")
        bare, took = self._ask(asked), self._ask(served)
        return ServiceRow(
            case.title,
            CALLERS,
            *(percentile(bare, share) for share in (0.5, 0.99)),
            *(percentile(took, share) for share in (0.5, 0.99)),
        )

    def _call(self, service: str, method: str, request: Any, answer: Any) -> Callable[[], Any]:
        address = kontor("url", service, data=self._running.data.path).strip()
        channel = self._stack.enter_context(grpc.insecure_channel(address))
        send = channel.unary_unary(
            f"/kontor.{service}.v1.{method}", lambda message: message.SerializeToString(), answer.FromString
        )
        metadata = (("authorization", f"Bearer {self._running.token}"),)
        return lambda: send(request, metadata=metadata, timeout=30)

    def _bare(self, service: str, case: Case, values: dict[str, Any]) -> Callable[[], int]:
        """Return what sends the statements in one pipeline, as the service does, and counts what they count."""
        url = self._running.database_url("app", service)
        connection = self._stack.enter_context(psycopg.connect(url, autocommit=True, prepare_threshold=0))
        connection.execute("SELECT set_config('kontor.tenant_id', %s, false)", [str(self._running.tenant)])

        def ask() -> int:
            with connection.pipeline():
                cursors = [connection.execute(statement, values) for statement in case.statements]
                rows = [row for cursor in cursors for row in cursor.fetchall()]
            return sum(row[0] for row in rows if isinstance(row[0], int))

        return ask

    def _ask(self, ask: Sequence[Callable[[], object]]) -> list[float]:
        """Let each of `ask` be called again and again, all at a time; return how many seconds each call took, in order."""
        took: list[float] = []
        end = time.monotonic() + self._seconds

        def loop(one: Callable[[], object]) -> None:
            one()
            while (began := time.monotonic()) < end:
                one()
                took.append(time.monotonic() - began)

        threads = [threading.Thread(target=loop, args=(one,)) for one in ask]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sorted(took)
