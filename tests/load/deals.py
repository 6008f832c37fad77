"""Measures the board of a pipeline and the roll-up of a forecast, against the bare SQL of the same answers.

Starts a platform of its own, puts opportunities of 500 users into it, and asks for both from 8 callers: the service
directly over gRPC, and PostgreSQL as the same role under the same row security, a connection for each caller, with the
statements that the service sends and nothing around them.

Example: python tests/load/deals.py --rows 100000 --seconds 5
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

import grpc
import psycopg
from instance import Instance, instance, kontor

from kontor.sales.v1 import (
    forecast_service_pb2,
    opportunity_service_pb2,
    pipeline_pb2,
    pipeline_service_pb2,
)

_FILL = """
INSERT INTO opportunities (tenant_id, id, version, create_time, update_time, owner, display_name, display_name_key,
    pipeline, stage, state, amount_amount, amount_currency, close_date, forecast_category, open_time, close_time,
    stage_enter_time, search_text)
SELECT %(tenant)s, gen_random_uuid(), 1, now(), now(), md5((n %% 500)::text)::uuid, 'Deal ' || n, 'deal ' || n,
    %(pipeline)s, (ARRAY['qualification', 'analysis', 'proposal', 'negotiation', 'won', 'lost'])[1 + n %% 6],
    (ARRAY[1, 1, 1, 1, 2, 3])[1 + n %% 6], 100 + n %% 9000, 'EUR', current_date - 365 + n %% 730, 2 + n %% 3,
    now() - interval '400 days', CASE WHEN n %% 6 > 3 THEN now() - n %% 365 * interval '1 day' END, now(), 'deal'
FROM generate_series(1, %(rows)s) n
"""
_BOARD = (
    (
        "SELECT stage, amount_currency, count(*), sum(amount_amount) FROM opportunities WHERE tenant_id = %(tenant)s"
        " AND pipeline = %(pipeline)s AND delete_time IS NULL GROUP BY 1, 2"
    ),
    (
        "SELECT d.* FROM unnest(ARRAY['qualification', 'analysis', 'proposal', 'negotiation', 'won', 'lost']) s(stage)"
        " CROSS JOIN LATERAL (SELECT id, display_name, account, stage, state, amount_amount, amount_currency, close_date,"
        " forecast_category, next_step, next_step_date, owner, team, open_time, stage_enter_time, version"
        ' FROM opportunities o WHERE o.tenant_id = %(tenant)s AND o.pipeline = %(pipeline)s AND o.stage = s.stage COLLATE "C"'
        " AND o.delete_time IS NULL ORDER BY close_date, id LIMIT 50) d"
    ),
)
_ROLL_UP = (
    (
        "SELECT owner, forecast_category, amount_currency, count(*), sum(amount_amount), sum(amount_amount * probability)"
        " FROM opportunities o JOIN pipeline_stages s USING (tenant_id, pipeline, stage) WHERE o.tenant_id = %(tenant)s"
        " AND state = 1 AND delete_time IS NULL AND close_date BETWEEN date_trunc('quarter', current_date)::date"
        " AND (date_trunc('quarter', current_date) + interval '3 months - 1 day')::date GROUP BY 1, 2, 3"
    ),
    (
        "SELECT owner, amount_currency, count(*), sum(amount_amount), sum(base_amount_amount) FROM opportunities"
        " WHERE tenant_id = %(tenant)s AND state = 2 AND delete_time IS NULL"
        " AND close_time >= date_trunc('quarter', now()) AND close_time < date_trunc('quarter', now()) + interval '3 months'"
        " GROUP BY 1, 2"
    ),
)


def fill(running: Instance, rows: int, stub: Callable[[str, object, type], object]) -> str:
    """Put opportunities into the tenant, and return the name of their pipeline."""
    request = pipeline_service_pb2.CreatePipelineRequest(pipeline={"display_name": "Bench"})
    name: str = stub("PipelineService/CreatePipeline", request, pipeline_pb2.Pipeline).name  # type: ignore[attr-defined]
    values = {"tenant": running.tenant, "pipeline": name.partition("/")[2], "rows": rows}
    with psycopg.connect(running.database_url("owner", "sales"), autocommit=True) as connection:
        connection.execute(_FILL, values)
        connection.execute("VACUUM ANALYZE opportunities")
    return name


def measure(ask: list[Callable[[], object]], seconds: float) -> list[float]:
    """Let each of `ask` be called again and again, all at a time; return how long each call took, in milliseconds."""
    took: list[float] = []
    end = time.monotonic() + seconds

    def loop(one: Callable[[], object]) -> None:
        one()
        while (began := time.monotonic()) < end:
            one()
            took.append((time.monotonic() - began) * 1000)

    threads = [threading.Thread(target=loop, args=(one,)) for one in ask]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return took


def bare(
    running: Instance, statements: tuple[str, ...], values: dict[str, object], stack: ExitStack
) -> Callable[[], None]:
    """Return what sends the statements in one pipeline, as the service does, on a connection of its own."""
    url = running.database_url("app", "sales")
    connection = stack.enter_context(psycopg.connect(url, autocommit=True, prepare_threshold=0))
    connection.execute("SELECT set_config('kontor.tenant_id', %s, false)", [str(running.tenant)])

    def ask() -> None:
        with connection.pipeline():
            cursors = [connection.execute(statement, values) for statement in statements]
            for cursor in cursors:
                cursor.fetchall()

    return ask


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--callers", type=int, default=8)
    options = parser.parse_args()
    with ExitStack() as stack:
        running = stack.enter_context(instance(None))
        channel = stack.enter_context(grpc.insecure_channel(kontor("url", "sales", data=running.data.path).strip()))
        metadata = (("authorization", f"Bearer {running.token}"),)

        def call(method: str, request, answer):  # type: ignore[no-untyped-def]
            send = channel.unary_unary(
                f"/kontor.sales.v1.{method}", lambda message: message.SerializeToString(), answer.FromString
            )
            return send(request, metadata=metadata, timeout=30)

        pipeline = fill(running, options.rows, call)
        values = {"tenant": running.tenant, "pipeline": pipeline.partition("/")[2]}
        board = opportunity_service_pb2.ShowBoardRequest(name=pipeline)
        roll_up = forecast_service_pb2.RollUpForecastRequest(period=2, group_by=1)
        whole = forecast_service_pb2.RollUpForecastRequest(period=2)
        boards, forecasts = opportunity_service_pb2.ShowBoardResponse, forecast_service_pb2.RollUpForecastResponse
        of_all = tuple(
            statement.replace("SELECT owner, ", "SELECT ").replace("BY 1, 2, 3", "BY 1, 2").replace("BY 1, 2 ", "BY 1")
            for statement in (_ROLL_UP[0], _ROLL_UP[1].removesuffix(", 2"))
        )
        rows = (
            ("board", _BOARD, "OpportunityService/ShowBoard", board, boards),
            ("roll-up", of_all, "ForecastService/RollUpForecast", whole, forecasts),
            ("roll-up by owner", _ROLL_UP, "ForecastService/RollUpForecast", roll_up, forecasts),
        )
        print(f"{'':18}{'path':8}{'req/s':>8}{'p50 ms':>9}{'p99 ms':>9}")
        for title, statements, method, request, answer in rows:
            asked = [bare(running, statements, values, stack) for _ in range(options.callers)]
            served = [lambda method=method, request=request, answer=answer: call(method, request, answer)]  # type: ignore[misc]
            found = {}
            for path, ask in (("bare", asked), ("gRPC", served * options.callers)):
                took = sorted(measure(ask, options.seconds))
                found[path] = statistics.median(took)
                p99 = took[int(len(took) * 0.99)]
                print(f"{title:18}{path:8}{len(took) / options.seconds:8.0f}{found[path]:9.1f}{p99:9.1f}", flush=True)
            print(f"{title:18}{found['gRPC'] / found['bare']:.1f} times as long as bare\n", flush=True)


if __name__ == "__main__":
    main()
