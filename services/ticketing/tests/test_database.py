"""The database of the service, and what a tenant has beside it."""

import pytest

from kontor_kit.errors import FailedPrecondition
from kontor_kit.forgetting import tables_of
from kontor_kit.tenants.exporting import export
from kontor_kit.tenants.restoring import restore
from kontor_kit.testing import TENANT
from kontor_kit.testing.schema import DatabaseChecks, insert_row
from kontor_ticketing.attachments.rules import key
from kontor_ticketing.attachments.storage import Folder
from kontor_ticketing.service import service


class TestDatabase(DatabaseChecks):
    made = staticmethod(service)


class TestContentsOfATenant:
    @pytest.fixture
    def archive(self, databases, tmp_path):
        """The archive of a tenant that has a row in every table, and of another one nothing."""
        original = databases.new(service())
        with original.connect() as connection:
            for table in tables_of(service().metadata):
                if not table.name.startswith("change_log"):
                    insert_row(connection, table)
        storage = Folder(tmp_path / "here")
        storage.put(key(TENANT, TENANT), b"content")
        storage.put("somebody/else", b"not theirs")
        folder = tmp_path / "archive"
        export(service(), original.settings(storage_url=(tmp_path / "here").as_uri()), TENANT, folder)
        return folder

    def test_are_restored_with_it(self, databases, archive, tmp_path):
        settings = databases.new(service()).settings(storage_url=(tmp_path / "there").as_uri())
        manifest = restore(service(), settings, archive)
        assert list(manifest.contents) == [key(TENANT, TENANT)]
        assert Folder(tmp_path / "there").get(key(TENANT, TENANT)) == b"content"

    def test_must_be_what_was_exported(self, databases, archive, tmp_path):
        (archive / "contents" / key(TENANT, TENANT)).write_bytes(b"of somebody else")
        settings = databases.new(service()).settings(storage_url=(tmp_path / "there").as_uri())
        with pytest.raises(FailedPrecondition, match="is not what was exported"):
            restore(service(), settings, archive)

    def test_need_a_storage(self, databases, archive):
        with pytest.raises(FailedPrecondition) as error:
            restore(service(), databases.new(service()).settings(), archive)
        assert error.value.reason == "STORAGE_MISSING"
