"""What follows from values.yaml is up to date: README and schema of each chart."""

import re

import pytest
import yaml

from tests.charts.rendering import ORDER, ROOT, SERVICES
from tools.charts import CHARTS, merged, schema, stale, values_of


def test_readme_and_schema_are_up_to_date():
    assert [*stale()] == []


class TestServices:
    """A new service is not forgotten."""

    def test_each_has_a_chart_with_the_templates_of_the_others(self):
        own = {"_facts.tpl", "bootstrap.yaml"}
        templates = {name: {each.name for each in (CHARTS / name / "templates").glob("*")} - own for name in SERVICES}
        assert len(set(map(frozenset, templates.values()))) == 1

    def test_each_can_be_left_out(self):
        own, taken = values_of("contacts")
        (known,) = [value.default for value in merged(own, taken) if value.path == ("global",)]
        assert known["services"] == dict.fromkeys(known["services"], True)
        assert known["services"].keys() == set(SERVICES)

    def test_each_is_part_of_the_whole(self):
        parts = yaml.safe_load((CHARTS / "kontor/Chart.yaml").read_text())["dependencies"]
        wanted = {"gateway": None} | {name: f"global.services.{name}" for name in SERVICES}
        assert {each["name"]: each.get("condition") for each in parts} == wanted
        values = yaml.safe_load((CHARTS / "kontor/values.yaml").read_text())
        assert values["global"]["services"].keys() == set(SERVICES)

    def test_all_charts_are_of_one_version(self):
        charts = [yaml.safe_load(path.read_text()) for path in CHARTS.glob("*/Chart.yaml")]
        asked = {each["version"] for chart in charts for each in chart.get("dependencies", ())}
        assert len({chart["version"] for chart in charts} | asked) == 1


def below(schemas):
    for each in schemas:
        yield each
        yield from below(each.get("properties", {}).values())


@pytest.mark.parametrize("chart", ORDER)
def test_values_must_be_known(chart):
    """Only what is Kubernetes' own, or a map of the operator's, may hold what we do not know."""
    free = [
        name
        for each in below([schema(chart)])
        for name, value in each.get("properties", {}).items()
        if value["type"] == "object" and "additionalProperties" not in value
    ]
    allowed = {"affinity", "annotations", "dashboardLabels", "labels", "lib", "nodeSelector", "podAnnotations"}
    # The charts that the whole is made of check their own.
    parts = {"kontor": {*ORDER, "global"}, "dev-infra": {"global"}}.get(chart, set())
    assert set(free) <= allowed | {"principals", "resources"} | parts


@pytest.mark.parametrize("chart", ORDER)
def test_every_value_is_described(chart):
    """By its own comment, or by that of what it belongs to."""

    def silent(values, above):
        for value in values:
            if not (value.doc or above or value.children):
                yield ".".join(value.path)
            yield from silent(value.children, above or value.doc)

    own, taken = values_of(chart)
    assert list(silent((*own, *taken), "")) == []


def test_the_values_that_operators_are_shown_are_taken(charts, tmp_path):
    text = (ROOT / "docs/operations/kubernetes.md").read_text()
    (values,) = re.findall(r"```yaml\n(# values.yaml\n.*?)```", text, re.DOTALL)
    (tmp_path / "values.yaml").write_text(values)
    assert "kind: HTTPRoute" in charts.template("kontor", f"--values={tmp_path / 'values.yaml'}")
