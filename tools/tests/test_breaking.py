"""The protos are compared with the newest release, else with the parent of what lies in the work tree."""

import subprocess

import pytest

from tools import breaking


@pytest.fixture
def git(tmp_path, monkeypatch):
    """A repository of two commits with protos."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        command = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.org", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    run("init", "--quiet")
    (tmp_path / "protos").mkdir()
    for number in ("1", "2"):
        (tmp_path / "protos" / "a.proto").write_text(number)
        run("add", ".")
        run("commit", "--quiet", "--message", number)
    return run


class TestBaseline:
    def test_newest_release_is_taken_when_there_is_one(self, git):
        git("tag", "v0.1.0", "HEAD^")
        assert breaking.baseline() == "v0.1.0"

    def test_parent_is_taken_when_nothing_was_released(self, git):
        assert breaking.baseline() == git("rev-parse", "HEAD^")

    def test_last_commit_is_taken_when_the_protos_were_changed_since(self, git, tmp_path):
        (tmp_path / "protos" / "a.proto").write_text("3")
        assert breaking.baseline() == git("rev-parse", "HEAD")

    def test_nothing_is_taken_when_history_ends_here(self, git):
        git("checkout", "--quiet", "--orphan", "new")
        git("commit", "--quiet", "--message", "first")
        assert breaking.baseline() is None

    def test_nothing_is_built_when_the_older_tree_has_no_builder(self, git, tmp_path):
        assert breaking.build_older("HEAD", tmp_path / "older") is None
