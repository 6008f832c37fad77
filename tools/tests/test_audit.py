"""Packages of which nothing is known are told from packages of which nothing bad is known."""

from tools.audit import skipped


def test_package_is_skipped_when_the_service_does_not_know_it():
    report = '{"dependencies": [{"name": "uv", "skip_reason": "not found"}, {"name": "pip", "vulns": []}]}'
    assert skipped(report) == ["uv"]
