"""What stands in the way of a tenant that comes back."""

import pytest

from kontor_identity.service import service
from kontor_kit.errors import AlreadyExists
from kontor_kit.tenants.exporting import export
from kontor_kit.tenants.restoring import restore
from kontor_kit.testing import TENANT

TENANTS = (
    "INSERT INTO tenants (tenant_id, id, version, create_time, update_time, slug, display_name, display_name_key, state)"
    " VALUES (%(id)s, %(id)s, 1, now(), now(), 'acme', 'Acme', 'acme', 1)"
)


def test_short_name_that_another_tenant_has_by_now_is_told(databases, tmp_path):
    here, there = databases.new(service()), databases.new(service())
    for database, id in ((here, TENANT), (there, "0198a000-0000-7000-8000-00000000000f")):
        with database.connect() as connection:
            connection.execute(TENANTS, {"id": id})
    export(service(), here.settings(), TENANT, tmp_path / "archive")
    with pytest.raises(AlreadyExists, match="acme") as error:
        restore(service(), there.settings(), tmp_path / "archive")
    assert error.value.reason == "TAKEN"
