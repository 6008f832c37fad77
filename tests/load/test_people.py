"""The persons of the bench: in the form in which the service keeps them, so that filling in by COPY is right."""

import random

from kontor_contacts.contacts import rules
from tests.load import people


def test_a_person_is_in_normal_form():
    draw = random.Random(1)
    for number in range(100):
        person = people.person(draw, str(number))
        before = type(person)()
        before.CopyFrom(person)
        assert rules.normalise(person, None) == []
        assert person == before


def test_the_same_seed_gives_the_same_person():
    assert people.person(random.Random(3), "a") == people.person(random.Random(3), "a")


def test_a_fragment_is_part_of_family_names():
    draw = random.Random(5)
    names = [people.family_name(draw).lower() for _ in range(5000)]
    assert 5 <= sum(people.fragment(draw) in name for name in names) <= 100
