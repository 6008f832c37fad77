"""What is wrong with the tree as a whole is said."""

import tomllib
from pathlib import Path

import pytest

from tools.tree import names, registrations, text

ROOT = Path(__file__).parents[2]


class TestNames:
    @pytest.mark.parametrize("path", ["uv.lock", "protos/gen/kontor/type/v1/money_pb2.py", "a/descriptors.binpb"])
    def test_file_is_refused_when_it_is_generated(self, path):
        assert "generated" in names(path)[0]

    @pytest.mark.parametrize("path", ["kit/kontor_kit/utils.py", "services/sales/kontor_sales/common/tax.py"])
    def test_file_is_refused_when_its_name_says_nothing(self, path):
        assert "does not say" in names(path)[0]

    def test_file_is_accepted_when_its_name_says_something(self):
        assert names("kit/kontor_kit/database.py") == []


class TestText:
    def test_commit_is_refused_when_it_is_outside_of_the_kit(self):
        assert "commits" in text("services/sales/kontor_sales/orders/api.py", "connection.commit()", set())[0]

    def test_kit_is_refused_when_it_names_a_service(self):
        assert "names sales" in text("kit/kontor_kit/calls.py", "import kontor.sales.v1.order_pb2", {"sales"})[0]

    def test_test_may_commit(self):
        assert text("services/sales/tests/test_orders.py", "connection.commit()", set()) == []


class TestRegistrations:
    def test_nothing_is_missing_when_the_service_is_listed_everywhere(self):
        services = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["sources"])
        known = {name.removeprefix("kontor-") for name in services} & {"identity", "contacts"}
        assert registrations(ROOT, known) == []

    def test_each_list_is_named_when_a_service_is_new(self):
        found = registrations(ROOT, {"warehouse"})
        assert any("uv.sources" in each for each in found)
        assert any("root_packages" in each for each in found)
        assert any("Services and gateway meet" in each for each in found)
        assert any("A slice shows" in each for each in found)
