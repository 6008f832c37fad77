"""Asks processes how they are; each answer is a word of the gRPC health protocol."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kontor_dev.supervisor import NOT_SERVING, SERVING

SECONDS = 1.0
# A channel per question: a shared one would remember an earlier refusal and wait.
OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))


def accepts(port: int) -> str:
    """Tells whether something accepts connections."""
    try:
        socket.create_connection(("127.0.0.1", port), SECONDS).close()
    except OSError:
        return NOT_SERVING
    return SERVING


def grpc_health(port: int) -> str:
    """Asks a gRPC server for its overall health."""
    if accepts(port) != SERVING:
        return NOT_SERVING
    with grpc.insecure_channel(f"127.0.0.1:{port}", OPTIONS) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
        except grpc.RpcError:
            return NOT_SERVING
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def http_ready(url: str) -> str:
    """Asks a URL that answers 200 when all is well."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=SECONDS) as answer:
            return SERVING if answer.status == 200 else NOT_SERVING
    except (OSError, urllib.error.URLError):
        return NOT_SERVING
