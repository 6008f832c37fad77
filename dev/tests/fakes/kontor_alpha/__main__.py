"""Stands in for a service's package: `migrate` makes a table, `serve` and `work` answer health until SIGTERM."""

import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import psycopg
from grpc_health.v1 import health, health_pb2, health_pb2_grpc


def main() -> None:
    if sys.argv[1] == "migrate":
        with psycopg.connect(os.environ["KONTOR_ALPHA_OWNER_DATABASE_URL"]) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS note (text text)")
        return
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    server = grpc.server(ThreadPoolExecutor(2))
    servicer = health.HealthServicer()
    servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    server.add_insecure_port(os.environ["KONTOR_LISTEN"])
    server.start()
    while not stop.wait(0.1):
        pass
    server.stop(0)


if __name__ == "__main__":
    main()
