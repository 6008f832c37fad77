"""The charts as Helm renders them: each with its `ci` values, and with the setups that `lib/ci` has for all charts."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from tools.charts import CHARTS, exports_of
from tools.helm import helm

ROOT = Path(__file__).parents[2]
SERVICES = tuple(sorted(path.parent.name for path in ROOT.glob("services/*/pyproject.toml")))
ORDER = (*SERVICES, "gateway", "kontor", "dev-infra")
"""What is installed, those first that others are made of."""
PLATFORM = ORDER[:-1]
"""Without what is for development alone."""
MINIMAL = "ci/minimal-values.yaml"


def _cases():
    for chart in ORDER:
        for own in sorted((CHARTS / chart / "ci").glob("*-values.yaml")):
            yield chart, tuple(dict.fromkeys([f"{chart}/{MINIMAL}", str(own.relative_to(CHARTS))]))
        for kind in exports_of(chart):
            for shared in sorted((CHARTS / "lib/ci" / kind).glob("*-values.yaml")):
                yield chart, (f"{chart}/{MINIMAL}", str(shared.relative_to(CHARTS)))


CASES = list(_cases())
"""A chart, and the files of values that it is rendered with."""


def name_of(case):
    """Return what a case is called."""
    chart, values = case
    return f"{chart}-{Path(values[-1]).name.removesuffix('-values.yaml')}"


class Charts:
    """The charts with their dependencies beside them, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(CHARTS, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("charts", "Chart.lock"))
        for chart in ORDER:
            if "dependencies" in yaml.safe_load((folder / chart / "Chart.yaml").read_text()):
                said = helm("dependency", "build", str(folder / chart))
                assert said.returncode == 0, said.stderr
        self._rendered: dict[tuple[str, tuple[str, ...]], list[dict]] = {}

    def template(self, chart: str, *options: str) -> str:
        """Render a chart; what is wrong with the values is an AssertionError."""
        said = helm("template", "kontor", str(self.folder / chart), "--namespace=kontor", *options)
        assert said.returncode == 0, said.stderr
        return said.stdout

    def options(self, values: tuple[str, ...]) -> list[str]:
        """Return what makes Helm read files of values."""
        return [f"--values={self.folder / each}" for each in values]

    def rendered(self, case) -> list[dict]:
        """Return the objects that a case makes; rendered once."""
        if case not in self._rendered:
            self._rendered[case] = self.objects(case[0], *self.options(case[1]))
        return self._rendered[case]

    def objects(self, chart: str, *options: str) -> list[dict]:
        """Return the objects that a chart makes."""
        return [each for each in yaml.load_all(self.template(chart, *options), yaml.CSafeLoader) if each]

    def all(self) -> list[dict]:
        """Return the objects of all cases."""
        with ThreadPoolExecutor(2) as pool:
            return [each for some in pool.map(self.rendered, CASES) for each in some]


def pods_of(objects):
    """Yield (name, labels, spec) of what becomes pods."""
    for each in objects:
        template = each.get("spec", {}).get("template", {})
        if "spec" in template:
            yield each["metadata"]["name"], template["metadata"]["labels"], template["spec"]
