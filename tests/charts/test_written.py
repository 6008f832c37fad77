"""What follows from values.yaml is up to date: README and schema of each chart."""

import re

import pytest

from tests.charts.rendering import ORDER, ROOT
from tools.charts import schema, values_of, wanted


def test_readme_and_schema_are_up_to_date():
    assert [str(path) for path, text in wanted().items() if not path.exists() or path.read_text() != text] == []


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
    assert "kind: GRPCRoute" in charts.template("kontor", f"--values={tmp_path / 'values.yaml'}")
