"""Stands in for a service's package: `migrate` makes a table, the other roles answer health until SIGTERM."""

import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer

import grpc
import psycopg
from grpc_health.v1 import health, health_pb2, health_pb2_grpc


class Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        told = (os.environ["KONTOR_TRANSPORT"], os.environ["KONTOR_AMQP_URL"])
        self.send_response(200 if self.path == "/healthz" and told == ("amqp", "amqp://broker.test") else 503)
        self.end_headers()


def main() -> None:
    if sys.argv[1] == "migrate":
        with psycopg.connect(os.environ["KONTOR_ALPHA_OWNER_DATABASE_URL"]) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS note (text text)")
        return
    if sys.argv[1] == "receive":
        host, _, port = os.environ["KONTOR_METRICS_LISTEN"].partition(":")
        HTTPServer((host, int(port)), Healthy).serve_forever()
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
