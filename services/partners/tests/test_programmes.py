"""Programmes: their levels, and what each asks for."""

from __future__ import annotations

from grpc import StatusCode

from services.partners.tests.partnering import programme


class TestStored:
    def test_says_what_it_was_not_told(self, anna):
        made = programme(anna, currency_code="eur", levels=[{"id": "only", "display_name": "Only"}])
        assert anna("GetProgramme", name=made.name) == made
        assert (made.currency_code, made.max_protection_days) == ("EUR", 180)
        (level,) = made.levels
        assert (level.weight, level.protection_days, level.offer_hours) == (0, 90, 48)

    def test_names_what_is_wrong(self, anna):
        wrong = [
            {"id": "a", "display_name": "A", "criteria": [{"description": "Sells", "measure": "revenue"}]},
            {"id": "a", "display_name": "A", "protection_days": 200},
            {"id": "b", "display_name": "B", "criteria": [measured("nonsense"), measured("-1")]},
        ]
        wanted = {"display_name": "Wrong", "currency_code": "XXQ", "levels": wrong}
        assert {*anna.refusal("CreateProgramme", programme=wanted).violations} == {
            "programme.currency_code",
            "programme.levels[0].criteria[0]",
            "programme.levels[1].id",
            "programme.levels[1].protection_days",
            "programme.levels[2].criteria[0].minimum",
            "programme.levels[2].criteria[1].minimum",
        }

    def test_needs_a_level(self, anna):
        wanted = {"display_name": "Empty", "currency_code": "EUR"}
        assert anna.refusal("CreateProgramme", programme=wanted).code is StatusCode.INVALID_ARGUMENT

    def test_levels_without_partners_can_go(self, anna):
        made = programme(anna)
        after = anna("UpdateProgramme", programme={"name": made.name, "levels": [made.levels[0]]})
        assert [level.id for level in after.levels] == ["silver"]
        anna("DeleteProgramme", name=made.name)


def measured(minimum):
    return {"description": "Sells", "measure": "revenue", "minimum": {"value": minimum}}
