"""Locks belong to what they were made from, and hold nothing but hashed versions."""

from pathlib import Path

import pytest

from tools.lock import Lock, locks, problems

PIN = "grpcio==1.85.1 ; python_version >= '3.11' \\\n    --hash=sha256:" + "0" * 64 + "\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    groups = 'bootstrap = ["uv"]\nbuild = ["hatchling"]\nimages = ["cyclonedx-bom"]\ndev = ["pytest"]\n'
    (tmp_path / "pyproject.toml").write_text(f"[dependency-groups]\n{groups}")
    for folder, dependencies in {"kit": '"grpcio"', "services/sales": '"kontor-kit", "rich"', "dev": '"httpx"'}.items():
        (tmp_path / folder).mkdir(parents=True)
        name = f"kontor-{Path(folder).name}"
        (tmp_path / folder / "pyproject.toml").write_text(
            f'[project]\nname = "{name}"\ndependencies = [{dependencies}]\n'
        )
    (tmp_path / "locks").mkdir()
    return tmp_path


def _write(root: Path, lock: Lock, text: str = PIN) -> None:
    (root / lock.path).write_text(f"{lock.digest(root)}\n{text}")


class TestLocks:
    def test_image_lock_holds_the_own_distributions_it_needs(self, root):
        by_name = {lock.path.stem: lock for lock in locks(root)}
        assert set(by_name) == {"dev", "bootstrap", "build", "images", "sales"}
        assert by_name["sales"].requirements(root) == ["grpcio", "kontor-kit", "rich"]

    def test_lock_of_a_group_holds_the_group(self, root):
        by_name = {lock.path.stem: lock for lock in locks(root)}
        assert by_name["build"].requirements(root) == ["hatchling"]

    def test_dev_lock_holds_everything(self, root):
        assert locks(root)[0].requirements(root) == ["grpcio", "httpx", "kontor-kit", "pytest", "rich"]


class TestProblems:
    def test_nothing_is_wrong_when_the_requirements_are_the_same(self, root):
        lock = locks(root)[0]
        _write(root, lock)
        assert problems(lock, root) == []

    def test_lock_is_stale_when_a_requirement_was_removed(self, root):
        lock = locks(root)[0]
        _write(root, lock)
        (root / "dev/pyproject.toml").write_text('[project]\nname = "kontor-dev"\ndependencies = []\n')
        assert "older than" in problems(lock, root)[0]

    def test_lock_is_missing_when_a_service_is_new(self, root):
        assert "is missing" in problems(locks(root)[-1], root)[0]

    @pytest.mark.parametrize("line", ["--index-url https://mirror.test/simple", "rich==1.0", "-e ./kit"])
    def test_line_is_refused_when_it_is_no_hashed_version(self, root, line):
        lock = locks(root)[0]
        _write(root, lock, f"{PIN}{line}\n")
        assert line in problems(lock, root)[0]
