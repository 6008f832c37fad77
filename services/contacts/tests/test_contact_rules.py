"""Contacts: names, lifecycle, keys of duplicates."""

from __future__ import annotations

import csv
import gzip
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontor.contacts.v1.contact_pb2 import Contact
from kontor.contacts.v1.contact_point_pb2 import EmailAddress, PhoneNumber, PostalAddress
from kontor_contacts.contacts import rules
from tests.real_data import DATA, needs_data

STAGES = st.sampled_from(list(Contact.LifecycleStage.values()))


class TestDisplayName:
    @pytest.mark.parametrize(
        ("contact", "name"),
        [
            (Contact(given_name="Ada", middle_name="King", family_name=" Lovelace "), "Ada King Lovelace"),
            (Contact(given_name="Martin", family_name="King", name_suffix="Jr."), "Martin King Jr."),
            (Contact(display_name="Ada", family_name="Lovelace"), "Ada"),
            (Contact(display_name="  ", family_name="Lovelace"), "Lovelace"),
            (Contact(emails=[EmailAddress(address="ada@x.example")]), "ada@x.example"),
            (Contact(phones=[PhoneNumber(number="+4930123456")]), "+4930123456"),
            (Contact(given_name="x" * 100, middle_name="y" * 100, family_name="z" * 100), "x" * 100 + " " + "y" * 99),
            (Contact(), ""),
        ],
    )
    def test_as_submitted_else_made_of_the_other_fields(self, contact: Contact, name: str) -> None:
        assert rules.display_name(contact) == name

    def test_made_anew_when_the_names_change(self) -> None:
        before = Contact(display_name="Ada Byron", given_name="Ada", family_name="Byron")
        after = Contact(display_name="Ada Byron", given_name="Ada", family_name="Lovelace")
        assert rules.display_name(after, before) == "Ada Lovelace"

    def test_kept_when_people_chose_it(self) -> None:
        before = Contact(display_name="Countess", given_name="Ada", family_name="Byron")
        after = Contact(display_name="Countess", given_name="Ada", family_name="Lovelace")
        assert rules.display_name(after, before) == "Countess"
        after.display_name = "Ada Byron"
        assert rules.display_name(after, before) == "Ada Byron"


class TestNormalise:
    def test_in_place(self) -> None:
        contact = Contact(family_name="Curie", language_code="FR_fr", time_zone="Europe/Paris")
        assert rules.normalise(contact, None) == []
        assert (contact.display_name, contact.language_code) == ("Curie", "fr-FR")

    @pytest.mark.parametrize(
        ("contact", "path"),
        [
            (Contact(), "display_name"),
            (Contact(title="CEO"), "display_name"),
            (Contact(display_name="A", time_zone="CEST"), "time_zone"),
            (Contact(display_name="A", language_code="xx"), "language_code"),
            (Contact(phones=[PhoneNumber(number="12")]), "phones[0].number"),
        ],
    )
    def test_path_of_what_is_wrong(self, contact: Contact, path: str) -> None:
        assert [violation.field for violation in rules.normalise(contact, None)] == [path]


class TestLifecycle:
    def test_forward_only(self) -> None:
        assert rules.is_step_allowed(Contact.LIFECYCLE_STAGE_LEAD, Contact.LIFECYCLE_STAGE_CUSTOMER)
        assert not rules.is_step_allowed(Contact.LIFECYCLE_STAGE_CUSTOMER, Contact.LIFECYCLE_STAGE_LEAD)

    @given(STAGES)
    def test_cleared_and_set_again(self, stage: int) -> None:
        assert rules.is_step_allowed(stage, 0)
        assert rules.is_step_allowed(0, stage)
        assert rules.is_step_allowed(stage, stage)

    @given(STAGES.filter(bool), STAGES.filter(bool))
    def test_only_one_of_two_directions(self, one: int, other: int) -> None:
        assert rules.is_step_allowed(one, other) != rules.is_step_allowed(other, one) or one == other


class TestMatchKeys:
    def test_shared_when_names_are_swapped_at_one_place(self) -> None:
        place = [PostalAddress(postal_code="2000", region_code="AU")]
        one = Contact(given_name="Hans", family_name="Müller", addresses=place)
        other = Contact(display_name="MULLER, Hans", addresses=place)
        assert rules.match_keys(one) & rules.match_keys(other) == {("display_name", "hans muller|AU:2000")}

    def test_shared_when_the_address_is_the_same(self) -> None:
        one, other = (Contact(display_name=n, emails=[EmailAddress(address=f"{n}@x.example")]) for n in ("ada", "Ada"))
        assert rules.match_keys(one) & rules.match_keys(other) == {("emails", "ada@x.example")}

    def test_not_shared_by_colleagues_with_one_phone(self) -> None:
        def colleague(family_name: str) -> Contact:
            return Contact(given_name="A", family_name=family_name, phones=[PhoneNumber(number="+4930123456")])

        assert not rules.match_keys(colleague("Curie")) & rules.match_keys(colleague("Meitner"))
        assert rules.match_keys(colleague("Curie")) & rules.match_keys(colleague("CURIE"))

    @needs_data
    def test_only_true_duplicates_are_suspected_among_persons_with_typing_errors(self) -> None:
        """Exact keys cannot see through every error, but nobody is taken for somebody else."""
        (path,) = (DATA / "dedupe" / "febrl").glob("dataset1.csv*")
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8", newline="") as file:
            rows = [{k.strip(): v.strip() for k, v in row.items()} for row in csv.DictReader(file)]
        carriers: dict[rules.MatchKey, list[str]] = {}
        for row in rows:
            places = [PostalAddress(postal_code=row["postcode"], region_code="AU")] if row["postcode"] else []
            contact = Contact(given_name=row["given_name"], family_name=row["surname"], addresses=places)
            for key in rules.match_keys(contact):
                carriers.setdefault(key, []).append(row["rec_id"].split("-")[1])
        pairs = [pair for persons in carriers.values() for pair in itertools.combinations(persons, 2)]
        assert all(one == other for one, other in pairs)
        assert len(pairs) > 200
