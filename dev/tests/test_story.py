"""The demo data is believable, hangs together, and is the same every time."""

import datetime as dt

import email_validator
import phonenumbers
import pytest
from google.protobuf import json_format

from kontor_dev.demo.deals import deal
from kontor_dev.demo.markets import INDUSTRIES, MARKETS, POSITIONS
from kontor_dev.demo.story import CONTACTS, slug, tell


@pytest.fixture(scope="module")
def story():
    return tell()


@pytest.fixture(scope="module")
def deals(story):
    return deal(story, dt.date(2026, 11, 1))


class TestStory:
    def test_it_is_the_same_every_time_and_another_with_another_seed(self, story):
        assert tell() == story
        assert tell(seed=2) != story

    def test_there_is_enough_of_it(self, story):
        assert 100 <= len(story.accounts) <= 140
        assert len(story.contacts) == CONTACTS
        assert len(story.affiliations) > CONTACTS
        assert len(story.levels()) == 3
        assert {account.addresses[0].region_code for account in story.accounts.values()} == {m.region for m in MARKETS}

    def test_a_parent_stands_in_an_earlier_level(self, story):
        seen = set()
        for level in story.levels():
            assert all(story.parents[key] in seen for key in level if key in story.parents)
            seen |= set(level)
        assert seen == set(story.accounts)

    def test_everybody_works_somewhere_and_first_at_one_place(self, story):
        primary = [affiliation for affiliation in story.affiliations if affiliation.record.primary]
        assert sorted(affiliation.contact for affiliation in primary) == sorted(story.contacts)
        assert {affiliation.account for affiliation in story.affiliations} <= set(story.accounts)

    def test_addresses_numbers_and_keys_are_valid_and_nobody_elses(self, story):
        records = [*story.accounts.values(), *story.contacts.values()]
        numbers = [phone.number for record in records for phone in record.phones]
        assert len(set(numbers)) == len(numbers)
        assert all(phonenumbers.is_valid_number(phonenumbers.parse(number)) for number in numbers)
        for email in (email for record in records for email in record.emails):
            assert email_validator.validate_email(email.address, check_deliverability=False).domain.endswith(".example")

    def test_custom_values_fit_their_definitions(self, story):
        options = {d.key: {option.value for option in d.options} for d in story.definitions}
        for record in (*story.accounts.values(), *story.contacts.values()):
            for key, value in json_format.MessageToDict(record.custom_fields).items():
                assert key in options
                assert not options[key] or set(value if isinstance(value, list) else [value]) <= options[key]


class TestDeals:
    def test_they_are_the_same_every_time_and_others_with_another_seed(self, story, deals):
        assert deal(story, dt.date(2026, 11, 1)) == deals
        assert deal(story, dt.date(2026, 11, 1), seed=2) != deals

    def test_each_has_an_account_of_the_story_articles_that_are_sold_and_a_past(self, story, deals):
        for made in deals.opportunities.values():
            assert made.account in story.accounts
            assert {sku for sku, _ in made.lines} <= set(deals.products)
            times = [moment for _, moment in made.visits]
            assert times == sorted(times)
            assert times[-1].date() <= dt.date(2026, 11, 1)
            assert made.opportunity.stage == made.visits[-1][0]

    def test_leads_have_addresses_of_their_own(self, deals):
        emails = [lead.email for lead in deals.leads.values()]
        assert len(set(emails)) == len(emails)
        for email in emails:
            assert email_validator.validate_email(email, check_deliverability=False).domain.endswith(".example")


class TestMarkets:
    @pytest.mark.parametrize("market", MARKETS, ids=lambda market: market.locale)
    def test_lists_that_belong_together_are_equally_long(self, market):
        assert len(market.trades) == len(INDUSTRIES)
        assert len(market.titles) == len(POSITIONS)


class TestSlug:
    @pytest.mark.parametrize(
        ("text", "slugged"),
        [("Łódź", "lodz"), ("Größe & Söhne KG", "groesse-soehne-kg"), ("D'Énergie", "d-energie"), ("--", "")],
    )
    def test_it_is_fit_for_an_address(self, text, slugged):
        assert slug(text) == slugged
