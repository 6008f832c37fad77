"""TLS of the listener and of the upstreams: certificates come from files that Envoy watches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kontor_gateway.settings import Tls, UpstreamTls

_RESOURCE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
_CONTEXT = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"
_LISTENER, _LISTENER_CA = "listener", "listener-ca"
_UPSTREAM, _UPSTREAM_CA = "upstream", "upstream-ca"

Json = dict[str, Any]


def secrets(tls: Tls | None, upstream_tls: UpstreamTls | None) -> dict[str, Json]:
    """The files that have to lie in the folder `Options.secrets`: name -> content, for Envoy's JSON.

    They name the certificates' files and the folders to watch; what is secret stays in the files themselves.
    """
    found: dict[str, Json] = {}
    if tls:
        found |= _pair(_LISTENER, tls.certificate, tls.key)
        found |= _authority(_LISTENER_CA, tls.client_ca) if tls.client_ca else {}
    if upstream_tls:
        found |= _authority(_UPSTREAM_CA, upstream_tls.ca)
        if upstream_tls.certificate and upstream_tls.key:
            found |= _pair(_UPSTREAM, upstream_tls.certificate, upstream_tls.key)
    return found


def listener_socket(tls: Tls, folder: Path) -> Json:
    """The transport socket of the listener: TLS 1.2 or newer, HTTP/2 and HTTP/1.1."""
    context: Json = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_certificate_sds_secret_configs": [_source(_LISTENER, folder)],
    }
    if tls.client_ca:
        context["validation_context_sds_secret_config"] = _source(_LISTENER_CA, folder)
    config = {"common_tls_context": context, "require_client_certificate": bool(tls.client_ca)}
    return _socket("DownstreamTlsContext", config)


def upstream_socket(upstream_tls: UpstreamTls, folder: Path, name: str) -> Json:
    """The transport socket of a cluster; the service must show a certificate for the DNS name `name`."""
    # Where authority and name are checked together, Envoy wants the name beside the source of the authority.
    context: Json = {
        "combined_validation_context": {
            "default_validation_context": {
                "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": name}}]
            },
            "validation_context_sds_secret_config": _source(_UPSTREAM_CA, folder),
        }
    }
    if upstream_tls.certificate and upstream_tls.key:
        context["tls_certificate_sds_secret_configs"] = [_source(_UPSTREAM, folder)]
    return _socket("UpstreamTlsContext", {"common_tls_context": context, "sni": name})


def _socket(kind: str, config: Json) -> Json:
    return {"name": "envoy.transport_sockets.tls", "typed_config": {"@type": f"{_CONTEXT}.{kind}"} | config}


def _source(name: str, folder: Path) -> Json:
    return {"name": name, "sds_config": {"path_config_source": {"path": str(folder / f"{name}.json")}}}


def _pair(name: str, certificate: Path, key: Path) -> dict[str, Json]:
    pair = {
        "certificate_chain": {"filename": str(certificate)},
        "private_key": {"filename": str(key)},
        "watched_directory": {"path": str(certificate.parent)},
    }
    return _file(name, {"tls_certificate": pair})


def _authority(name: str, path: Path) -> dict[str, Json]:
    context = {"trusted_ca": {"filename": str(path)}, "watched_directory": {"path": str(path.parent)}}
    return _file(name, {"validation_context": context})


def _file(name: str, secret: Json) -> dict[str, Json]:
    return {f"{name}.json": {"resources": [{"@type": _RESOURCE, "name": name} | secret]}}
