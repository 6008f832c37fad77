"""The data folder keeps facts, secrets and the lock."""

import stat

import pytest

from kontor_dev.data import LONGEST_SOCKET_PATH, DataFolder
from kontor_dev.errors import NothingRuns, Refused


@pytest.fixture
def data(tmp_path):
    folder = DataFolder(tmp_path / "data")
    folder.create()
    return folder


class TestFacts:
    def test_facts_come_back_and_none_removes_one(self, data):
        data.remember(url="http://127.0.0.1:8080", supervisor=1)
        data.remember(supervisor=None)
        assert DataFolder(data.path).state() == {"url": "http://127.0.0.1:8080"}

    def test_a_folder_that_cannot_be_made_is_refused_by_a_sentence(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(Refused, match="cannot be written"):
            DataFolder(tmp_path / "file" / "data").create()


class TestSecrets:
    def test_a_secret_stays_the_same_and_differs_from_others(self, data):
        assert data.secret("a") == DataFolder(data.path).secret("a") != data.secret("b")
        assert len(data.secret("page_token_key")) >= 32

    def test_nobody_else_can_read_them(self, data):
        data.secret("a")
        assert stat.S_IMODE((data.path / "secrets.json").stat().st_mode) == 0o600


class TestLock:
    def test_a_second_one_is_refused_naming_the_first(self, data):
        data.remember(supervisor=4711, url="http://127.0.0.1:8080")
        other = DataFolder(data.path)
        text = r"already \(process 4711, http://127\.0\.0\.1:8080\)"
        with data.lock(), pytest.raises(Refused, match=text), other.lock():
            pass

    def test_running_tells_what_is_recorded_only_while_the_lock_is_held(self, data):
        data.remember(url="x")
        with data.lock():
            assert DataFolder(data.path).running() == {"url": "x"}
        with pytest.raises(NothingRuns, match="kontor dev up --data"):
            data.running()

    def test_nothing_runs_on_a_folder_that_is_not_there(self, tmp_path):
        with pytest.raises(NothingRuns):
            DataFolder(tmp_path / "none").running()


class TestControlPath:
    def test_it_lies_in_the_folder(self, data):
        assert DataFolder(data.path.parents[-1] / "d").control_path().name == "control"

    def test_a_long_folder_gets_a_short_place(self, tmp_path):
        path = DataFolder(tmp_path / ("x" * 120)).control_path()
        assert len(str(path)) <= LONGEST_SOCKET_PATH
        path.parent.rmdir()
