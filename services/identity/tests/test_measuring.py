"""Requests over HTTP are counted by path and status, and a path that somebody makes up makes no series."""

from werkzeug.test import Client

from kontor_identity.oauth.measuring import Measured
from kontor_kit.metrics import Metrics


def test_requests_are_counted_by_path_and_status(platform):
    application, metrics = platform.browser().application, Metrics()
    client = Client(Measured(application, application.paths, metrics))
    assert client.get("/.well-known/jwks.json").status_code == 200
    refused = client.post("/oauth2/token").status_code
    for path in ("/made/up", "/made/up/too"):
        assert client.get(path).status_code == 404

    def count(route, code):
        return metrics.registry.get_sample_value("kontor_http_seconds_count", {"route": route, "code": str(code)})

    assert (count("/.well-known/jwks.json", 200), count("/oauth2/token", refused), count("other", 404)) == (1, 1, 2)
