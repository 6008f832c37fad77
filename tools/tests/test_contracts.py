"""Our own contract types find the imports they forbid, and only those."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIGURATION = """
[tool.importlinter]
root_packages = ["shop"]
include_external_packages = true
contract_types = ["only: tools.contracts.OnlyContract", "slices: tools.contracts.SlicesContract"]
[[tool.importlinter.contracts]]
name = "slices"
type = "slices"
services = ["shop"]
root = "service"
shared = ["rules"]
[[tool.importlinter.contracts]]
name = "rules"
type = "only"
modules = ["**.rules"]
allowed = ["holidays"]
"""


@pytest.fixture
def lint(tmp_path):
    """Lint a service of two slices in which one file says something more."""

    def run(path: str, code: str) -> str:
        for folder in ("shop", "shop/carts", "shop/orders"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "__init__.py").touch()
            for name in ("api.py", "rules.py", "service.py"):
                (tmp_path / folder / name).touch()
        (tmp_path / path).write_text(code)
        (tmp_path / "pyproject.toml").write_text(CONFIGURATION)
        command = [Path(sys.prefix) / "bin" / "lint-imports", "--no-cache", "--no-logo"]
        environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
        return subprocess.run(
            command, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True
        ).stdout

    return run


class TestSlices:
    def test_import_is_found_when_it_reaches_into_another_slice(self, lint):
        assert "shop.carts.api -> shop.orders.api (l. 1)" in lint("shop/carts/api.py", "import shop.orders.api")

    def test_import_is_found_when_it_comes_from_outside_of_all_slices(self, lint):
        assert "shop.api -> shop.orders.api (l. 1)" in lint("shop/api.py", "from shop.orders import api")

    def test_rules_of_another_slice_may_be_imported(self, lint):
        assert "2 kept, 0 broken" in lint("shop/carts/api.py", "from shop.orders import rules")

    def test_service_may_import_all_slices(self, lint):
        assert "2 kept, 0 broken" in lint("shop/service.py", "from shop.orders import api\nfrom shop.carts import api")


class TestOnly:
    def test_import_is_found_when_it_is_not_listed(self, lint):
        assert "shop.orders.rules -> sqlalchemy (l. 2)" in lint("shop/orders/rules.py", "import re\nimport sqlalchemy")

    def test_standard_library_and_listed_packages_may_be_imported(self, lint):
        assert "2 kept, 0 broken" in lint("shop/orders/rules.py", "import re\nimport holidays\nimport os.path")

    def test_modules_under_the_contract_may_import_each_other(self, lint):
        assert "2 kept, 0 broken" in lint("shop/orders/rules.py", "import shop.carts.rules")
