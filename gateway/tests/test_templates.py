"""Path templates."""

import re

import pytest

from kontor_gateway.templates import parse


@pytest.mark.parametrize(
    ("template", "path", "values"),
    [
        ("/v1/accounts", "/v1/accounts", []),
        ("/v1/accounts:search", "/v1/accounts:search", []),
        ("/v1/{name=accounts/*}", "/v1/accounts/a", ["accounts/a"]),
        ("/v1/{name=accounts/*}:undelete", "/v1/accounts/a:undelete", ["accounts/a"]),
        ("/v1/{parent=accounts/*}/sites", "/v1/accounts/a/sites", ["accounts/a"]),
        ("/v1/things/{id.system}/{id.key}", "/v1/things/erp/7", ["erp", "7"]),
        ("/v1/{name=files/**}", "/v1/files/a/b", ["files/a/b"]),
    ],
)
def test_matches_and_captures(template, path, values):
    parsed = parse(template)
    assert re.fullmatch(parsed.regex, path)
    assert not re.fullmatch(parsed.regex, "/v2" + path)
    # What Lua writes [^/]+ and .+ means the same here.
    found = re.fullmatch(parsed.lua_pattern.strip("^$"), path)
    assert list(found.groups()) == values


def test_tells_prefix_and_verb():
    template = parse("/v1/{name=accounts/*}:undelete")
    assert template.prefix == "/v1/accounts"
    assert template.verb == "undelete"
    assert not template.is_literal


@pytest.mark.parametrize("text", ["/v1/{name", "/v1/a:b/c", "/v1/{Name=a}x}"])
def test_refuses_when_malformed(text):
    with pytest.raises(ValueError, match="malformed path template"):
        parse(text)
