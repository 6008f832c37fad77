"""Migrations that stop writes are found, unless they say why they may; what was released is not changed."""

import subprocess

import pytest

from tools import migrations

HARMLESS = "BEGIN; CREATE TABLE a (id bigint PRIMARY KEY); CREATE INDEX b ON a (id); COMMIT;"
LOCKING = "BEGIN; CREATE INDEX b ON large (id); COMMIT;"


@pytest.fixture
def judge(tmp_path):
    """Judge a revision: `judge(sql, source)` returns what is wrong."""

    def run(statements, source=""):
        path = tmp_path / "0002_b.py"
        path.write_text(source)
        (tmp_path / "contacts-0002_b.sql").write_text(statements)
        return migrations.verdict({"contacts-0002_b.sql": path}, migrations.lint(tmp_path))

    return run


class TestLint:
    def test_new_table_with_index_is_fine(self, judge):
        assert judge(HARMLESS) == []

    @pytest.mark.parametrize(
        ("statements", "rule"),
        [
            (LOCKING, "require-concurrent-index-creation"),
            ("ALTER TABLE large ADD COLUMN a int NOT NULL;", "adding-required-field"),
            ("ALTER TABLE large ALTER COLUMN a SET NOT NULL;", "adding-not-nullable-field"),
            ("ALTER TABLE large ADD CONSTRAINT c CHECK (a > 0);", "constraint-missing-not-valid"),
            ("ALTER TABLE large ALTER COLUMN a TYPE bigint;", "changing-column-type"),
            ("ALTER TABLE large DROP COLUMN a;", "ban-drop-column"),
            ("ALTER TABLE large RENAME COLUMN a TO b;", "renaming-column"),
            ("DROP TABLE large;", "ban-drop-table"),
        ],
    )
    def test_what_stops_writes_or_the_release_before_is_found(self, judge, statements, rule):
        assert any(f": {rule}: " in sentence for sentence in judge(statements))

    def test_reason_in_the_revision_lets_it_pass(self, judge):
        assert judge(LOCKING, "# squawk-ignore require-concurrent-index-creation: it has ten rows\n") == []

    def test_ignoring_without_a_reason_does_not(self, judge):
        assert len(judge(LOCKING, "# squawk-ignore require-concurrent-index-creation:\n")) == 1

    def test_reason_for_nothing_is_found(self, judge):
        assert len(judge(HARMLESS, "# squawk-ignore ban-drop-table: nobody reads it\n")) == 1


def test_statements_of_every_revision_are_looked_at(tmp_path):
    revisions = migrations.write_statements(tmp_path)
    assert {path.parts[1] for path in revisions.values()} >= {"identity", "contacts"}
    for name, path in revisions.items():
        statements = (tmp_path / name).read_text()
        assert f"-> {path.name[:4]}" in statements
        assert statements.count("-- Running upgrade") == 1


def test_migration_that_was_released_is_not_changed(tmp_path, monkeypatch):
    def git(*arguments):
        command = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.org", *arguments]
        subprocess.run(command, check=True, cwd=tmp_path, capture_output=True)

    folder = tmp_path / "services" / "contacts" / "kontor_contacts" / "migrations"
    folder.mkdir(parents=True)
    (folder / "0001_a.py").write_text("released")
    monkeypatch.chdir(tmp_path)
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "1")
    (folder / "0001_a.py").write_text("before the first release")
    assert migrations.changed_since_release() == []
    git("commit", "--quiet", "--all", "--message", "2")
    git("tag", "v0.1.0")
    (folder / "0002_b.py").write_text("new")
    git("add", ".")
    assert migrations.changed_since_release() == []
    (folder / "0001_a.py").write_text("changed")
    assert len(migrations.changed_since_release()) == 1
