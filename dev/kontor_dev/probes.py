"""Asks processes how they are; each answer is a word of the gRPC health protocol."""

from __future__ import annotations

import http.client
import json
import socket
import urllib.request

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kontor_dev.supervisor import NOT_SERVING, SERVING

SECONDS = 1.0
# Why Envoy leaves an upstream out.
LEFT_OUT = ("failed_outlier_check", "failed_active_health_check", "pending_active_hc")
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
    return NOT_SERVING if _get(url) is None else SERVING


def is_in_rotation(admin_port: int, port: int) -> bool:
    """Tells whether Envoy sends calls to an upstream: one that was away for a moment it leaves out for seconds.

    Nobody waits for an Envoy that does not answer.
    """
    told = _get(f"http://127.0.0.1:{admin_port}/clusters?format=json")
    if told is None:
        return True
    hosts = [host for cluster in json.loads(told)["cluster_statuses"] for host in cluster.get("host_statuses", ())]
    ours = [host for host in hosts if host["address"].get("socket_address", {}).get("port_value") == port]
    return not any(host.get("health_status", {}).get(flag) for host in ours for flag in LEFT_OUT)


def _get(url: str) -> bytes | None:
    """Returns the body of a 200, None for anything else."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=SECONDS) as answer:
            return bytes(answer.read()) if answer.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
