"""What only marketing reads from its environment."""

import pytest

from kontor_kit.config import ConfigurationError
from kontor_marketing.settings import MarketingSettings


def load(**environ):
    return MarketingSettings.load("marketing", {f"KONTOR_{name}": value for name, value in environ.items()})


def test_links_begin_where_people_reach_the_gateway():
    assert load(ISSUER="https://crm.example.com/").link_base == "https://crm.example.com"
    assert load(PUBLIC_URL="https://www.example.com/crm/").link_base == "https://www.example.com/crm"


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({"MARKETING_SMTP_URL": "mail.example.com"}, "KONTOR_MARKETING_SMTP_URL: must be a URL"),
        ({"MARKETING_SMTP_URL": "smtp://mail.example.com"}, "KONTOR_MARKETING_SMTP_URL: needs smtps or starttls"),
        (
            {"MARKETING_SMTP_URL": "smtps://mail.example.com", "PUBLIC_URL": "http://crm.example.com"},
            "KONTOR_PUBLIC_URL: must begin with https",
        ),
    ],
)
def test_says_what_cannot_be(environ, problem):
    with pytest.raises(ConfigurationError, match=problem):
        load(**environ)


def test_passwords_are_not_shown():
    loaded = load(MARKETING_SMTP_URL="smtps://u:secret@mail.example.com", PUBLIC_URL="https://crm.example.com")
    assert "secret" not in repr(loaded)
