"""Every alert fires when it should and not else, has a page that says what to do, and asks for nothing that is not there."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from tests.observability.cases import CASES
from tests.observability.rendering import CHARTS, PAGES, alerts, expressions, queries
from tools.prometheus import installed

IDS = [f"{case.chart}-{case.alert}-{number}" for number, case in enumerate(CASES)]


@pytest.fixture(scope="session")
def promtool(tmp_path_factory):
    """Run promtool on a document: `promtool("test", "rules", document)` returns what it says, None where all is well."""
    folder = tmp_path_factory.mktemp("promtool")

    def run(*words, **files):
        for name, document in files.items():
            (folder / f"{name}.json").write_text(json.dumps(document))
        last = [*files][-1]
        command = [str(installed("promtool")), *words, str(folder / f"{last}.json")]
        ended = subprocess.run(command, check=False, capture_output=True, text=True)
        return ended.stdout + ended.stderr if ended.returncode else None

    return run


def chosen(case, series):
    """Add what chooses the chart to the name of a series."""
    name, _, labels = series.partition("{")
    return f'{name}{{namespace="crm",job="{case.chart}",{labels or "}"}'


def expected(case, rule):
    labels = {"namespace": "crm", "job": case.chart, **rule["labels"], **case.labels}
    return {"exp_labels": labels, "exp_annotations": {**rule["annotations"], "summary": case.summary}}


def trial(case, series, found):
    return {
        "interval": "1m",
        "input_series": [{"series": chosen(case, name), "values": values} for name, values in series.items()],
        "alert_rule_test": [{"eval_time": case.at, "alertname": case.alert, "exp_alerts": found}],
    }


def together(trials):
    """Put trials that have no metric in common into one, because each has a database made for it."""
    groups: list[tuple[set[str], dict]] = []
    for each in trials:
        metrics = {series["series"].partition("{")[0] for series in each["input_series"]}
        found = next((group for group in groups if not group[0] & metrics), None)
        if found is None:
            groups.append((metrics, each))
        else:
            found[0].update(metrics)
            for part in ("input_series", "alert_rule_test"):
                found[1][part] += each[part]
    return [trial for _, trial in groups]


@pytest.mark.parametrize("chart", CHARTS)
@pytest.mark.parametrize("evaluation", ["1m", "15m"], ids=["soon", "after days"])
def test_alerts_fire_when_they_should_and_not_else(rendered, promtool, chart, evaluation):
    rules = rendered[chart][0]
    known = alerts(rules)
    # What takes days is looked at less often, or it would take minutes here.
    cases = [case for case in CASES if case.chart == chart and case.at.endswith("h") == (evaluation == "15m")]
    tests = [trial(case, case.fires, [expected(case, known[case.alert])]) for case in cases]
    tests += [trial(case, case.quiet, []) for case in cases]
    document = {"rule_files": [f"{chart}.json"], "evaluation_interval": evaluation, "tests": together(tests)}
    said = promtool("test", "rules", **{chart: rules, "tests": document})
    assert said is None, said


@pytest.mark.parametrize("chart", CHARTS)
class TestRules:
    def test_are_understood(self, rendered, promtool, chart):
        assert promtool("check", "rules", **{chart: rendered[chart][0]}) is None

    def test_are_all_tried(self, rendered, chart):
        assert {case.alert for case in CASES if case.chart == chart} == alerts(rendered[chart][0]).keys()

    def test_name_their_page(self, rendered, chart):
        for name, rule in alerts(rendered[chart][0]).items():
            assert rule["annotations"]["runbook"] == f"docs/operations/alerts/{name}.md"
            assert rule["annotations"]["runbook_url"] == f"https://runbooks.test/{name}.md"
            assert rule["labels"]["severity"] in ("page", "ticket")

    def test_ask_for_their_own_chart_only(self, rendered, chart):
        for expression in expressions(rendered[chart][0]):
            for selector in re.findall(r"\{(.*?)\}", expression):
                assert f'namespace="crm",job="{chart}"' in selector, expression


def test_every_alert_has_a_page_and_every_page_an_alert(rendered):
    known = {name for rules, _ in rendered.values() for name in alerts(rules)}
    assert {page.stem for page in PAGES.glob("*.md")} == known


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.stem)
def test_page_says_what_it_means_how_to_see_it_and_what_to_do(page):
    titles = [line for line in page.read_text().splitlines() if line.startswith("#")]
    assert titles == [f"# {page.stem}", "## What it means", "## How to see it", "## What to do"]


@pytest.mark.parametrize("chart", CHARTS)
class TestDashboard:
    def test_asks_in_a_way_that_is_understood(self, rendered, promtool, chart):
        asked = queries(rendered[chart][1])
        assert asked
        rules = [{"record": f"query:{number}", "expr": expr.replace("$__rate_interval", "5m").replace("$__range", "1h")}
                 for number, expr in enumerate(asked)]  # fmt: skip
        assert promtool("check", "rules", dashboard={"groups": [{"name": "dashboard", "rules": rules}]}) is None
