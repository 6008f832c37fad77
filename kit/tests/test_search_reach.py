"""A search that a resource narrows down by a rule of its own: the best of what somebody reaches are found."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest

from kit.tests import widgets
from kontor_kit import migrations
from kontor_kit.db import TENANT_SETTING
from kontor_kit.ids import uuid7

# Whoever does not reach all sees big ones, and with a team the middle ones too.
RULE = "($1 IS NULL OR r.size = 3 OR (r.size = 2 AND $2 IS NOT NULL))"


@pytest.fixture(scope="module")
def server(serve, databases, tmp_path_factory):
    folder = tmp_path_factory.mktemp("migrations") / "widgets"
    shutil.copytree(widgets.service().migrations, folder, ignore=shutil.ignore_patterns("__pycache__"))
    revision = folder / "0002_search.py"
    usual, narrowed = 'create_search("widgets")', f'create_search("widgets", reach="{RULE}")'
    assert usual in revision.read_text()
    revision.write_text(revision.read_text().replace(usual, narrowed))
    service = dataclasses.replace(widgets.service(), migrations=folder)
    database = databases.empty(service)
    migrations.migrate(database.settings(), service)
    return serve(service, database)


@pytest.fixture
def search(server, anna):
    """Call the function as the app role does: `search(text, owner, teams, size)`."""
    with server.database.connect("app") as connection:
        connection.execute("SELECT set_config(%s, %s, false)", [TENANT_SETTING, str(anna.tenant)])

        def run(text, owner, teams, size=20):
            rows = connection.execute("SELECT id FROM search_widgets(%s, %s, %s, %s)", [text, owner, teams, size])
            return {names[f"widgets/{id}"] for (id,) in rows}

        names = {}
        for title, size in (("small wheel", 1), ("middle wheel", 2), ("big wheel", 3)):
            names[anna("CreateWidget", widget={"display_name": title, "size": size}).name] = title.split()[0]
        yield run


@pytest.mark.parametrize("text", ["wheel", "whele"], ids=["part", "alike"])
def test_the_rule_says_what_is_looked_through(search, text):
    assert search(text, None, None) == {"small", "middle", "big"}
    assert search(text, uuid7(), None) == {"big"}
    assert search(text, uuid7(), [uuid7()]) == {"middle", "big"}


def test_what_is_out_of_reach_takes_nobodys_place(anna, search):
    for _ in range(3):
        anna("CreateWidget", widget={"display_name": "wheel", "size": 1}, allow_duplicates=True)
    assert search("wheel", uuid7(), None, 1) == {"big"}


def test_planner_expects_as_many_as_are_asked_for(server):
    with server.database.connect() as connection:
        [(plan,)] = connection.execute(
            "EXPLAIN (FORMAT JSON) SELECT * FROM search_widgets('wheel', NULL, NULL, 20)"
        ).fetchall()
    found = plan if isinstance(plan, list) else json.loads(plan)
    assert found[0]["Plan"]["Plan Rows"] == 20
