"""Products: what is theirs alone; what they share with all resources is tested in the kit."""

from __future__ import annotations

import pytest
from grpc import StatusCode


def create(caller, sku, **fields):
    return caller("CreateProduct", product={"sku": sku, "display_name": f"Product {sku}", **fields})


class TestStored:
    def test_comes_back_in_every_field_and_in_its_normal_form(self, anna):
        sent = {
            "sku": " GTX-1 ",
            "display_name": "GTX Basic",
            "family": "GTX",
            "description": "For the small office.",
            "unit": "piece",
            "facts": [{"label": "Weight", "value": "1.2", "unit": "kg"}],
            "benefits": [{"usage_scenario": "Branch office", "argument": "Runs by itself.", "proof": "Betasoloin"}],
            "media": [{"uri": "Example.COM/film", "type": 2, "title": "Film"}],
            "tags": ["new"],
            "external_ids": [{"system": "erp", "key": "4711"}],
        }
        created = anna("CreateProduct", product=sent)
        assert anna("GetProduct", name=created.name) == created
        assert (created.sku, created.state, created.media[0].uri) == ("GTX-1", 1, "https://example.com/film")
        for name in ("display_name", "family", "description", "unit", "tags"):
            assert getattr(created, name) == sent[name]

    def test_article_number_is_unique_whatever_its_case(self, anna):
        create(anna, "A-1")
        refusal = anna.refusal("CreateProduct", product={"sku": "a-1", "display_name": "Another"})
        assert refusal.code is StatusCode.ALREADY_EXISTS
        assert "sku" in refusal.message

    @pytest.mark.parametrize(
        ("fields", "path"),
        [
            ({"sku": " "}, "sku"),
            ({"display_name": " "}, "display_name"),
            ({"media": [{"uri": "ftp://x.example"}]}, "media[0].uri"),
            ({"facts": [{"label": "Weight"}]}, "facts[0].value"),
        ],
    )
    def test_names_the_field_that_is_wrong(self, anna, fields, path):
        refusal = anna.refusal("CreateProduct", product={"sku": "B", "display_name": "B", **fields})
        assert (refusal.code, [*refusal.violations]) == (StatusCode.INVALID_ARGUMENT, [f"product.{path}"])
        assert len(anna("ListProducts").products) == 0
