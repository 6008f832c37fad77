"""Tenants: everybody sees the own one, operators manage all."""

import uuid

import grpc
import pytest

from kontor_kit.principals import PLATFORM_TENANT

PASSWORD = "correct horse battery staple"


@pytest.fixture
def slug():
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture
def tenant(operator, slug):
    administrator = {"email": "Boss@acme.example", "display_name": "Boss", "password": PASSWORD}
    return operator("CreateTenant", tenant={"slug": slug, "display_name": "Acme"}, administrator=administrator)


@pytest.fixture
def inside(identity, tenant):
    """Somebody of the tenant who may do everything there."""
    return identity.caller(tenant=uuid.UUID(tenant.name.partition("/")[2]))


class TestOperators:
    def test_tenant_starts_with_roles_and_its_administrator(self, tenant, inside):
        assert tenant.state == 1
        roles = {role.display_name: role.name for role in inside("ListRoles").roles}
        assert set(roles) == {"Admin", "Manager", "Member", "Reader", "Partner"}
        (boss,) = inside("ListUsers").users
        assert (boss.email, list(boss.roles)) == ("boss@acme.example", [roles["Admin"]])

    def test_tenant_is_read_listed_and_changed(self, operator, tenant, slug):
        assert operator("GetTenant", name=tenant.name).display_name == "Acme"
        listed = operator("ListTenants", filter=f'slug = "{slug}"', include_total_size=True)
        assert (listed.tenants[0].name, listed.total_size) == (tenant.name, 1)
        changed = operator("UpdateTenant", tenant={"name": tenant.name, "display_name": "Acme Ltd"})
        assert changed.display_name == "Acme Ltd"

    def test_all_tenants_are_walked_page_by_page(self, operator, tenant):
        made = {
            operator("CreateTenant", tenant={"slug": f"{tenant.slug}-{n}", "display_name": "X"}).name for n in "abc"
        }
        seen, token = [], ""
        while True:
            page = operator("ListTenants", page_size=2, page_token=token, order_by="slug")
            seen += [each.name for each in page.tenants]
            token = page.next_page_token
            if not token:
                break
        assert len(seen) == len(set(seen))
        assert made <= set(seen)

    def test_tenant_is_suspended_and_resumed(self, operator, tenant):
        suspended = operator("SuspendTenant", name=tenant.name, reason="unpaid", etag=tenant.etag)
        assert (suspended.state, suspended.suspend_reason) == (2, "unpaid")
        assert operator.refusal("SuspendTenant", name=tenant.name).reason == "ALREADY_SUSPENDED"
        assert operator.refusal("ResumeTenant", name=tenant.name, etag=tenant.etag).code is grpc.StatusCode.ABORTED
        resumed = operator("ResumeTenant", name=tenant.name)
        assert (resumed.state, resumed.suspend_reason) == (1, "")
        assert operator.refusal("ResumeTenant", name=tenant.name).reason == "NOT_SUSPENDED"

    def test_tenant_is_deleted_and_its_slug_is_free_until_it_comes_back(self, operator, tenant, slug):
        operator("DeleteTenant", name=tenant.name)
        operator("CreateTenant", tenant={"slug": slug, "display_name": "Another"})
        assert operator.refusal("UndeleteTenant", name=tenant.name).code is grpc.StatusCode.ALREADY_EXISTS

    def test_slug_is_taken_once_and_never_changes(self, operator, tenant, slug):
        refusal = operator.refusal("CreateTenant", tenant={"slug": slug, "display_name": "Another"})
        assert refusal.code is grpc.StatusCode.ALREADY_EXISTS
        refusal = operator.refusal("UpdateTenant", tenant={"name": tenant.name, "slug": f"{slug}x"})
        assert "tenant.slug" in refusal.violations

    def test_repeated_request_creates_one(self, operator, slug):
        fields = {"tenant": {"slug": slug, "display_name": "Once"}, "request_id": str(uuid.uuid4())}
        assert operator("CreateTenant", **fields) == operator("CreateTenant", **fields)

    def test_nothing_is_stored_when_only_validated(self, operator, slug):
        operator("CreateTenant", tenant={"slug": slug, "display_name": "Try"}, validate_only=True)
        assert not operator("ListTenants", filter=f'slug = "{slug}"').tenants

    @pytest.mark.parametrize(
        ("request_", "field"),
        [
            ({"tenant": {"slug": "Not a slug", "display_name": "X"}}, "tenant.slug"),
            ({"tenant": {"slug": "fine", "display_name": "X", "time_zone": "Mars"}}, "tenant.time_zone"),
            ({"tenant": {"slug": "fine", "display_name": "X", "language_code": "?"}}, "tenant.language_code"),
            (
                {"tenant": {"slug": "fine", "display_name": "X"}, "administrator": {"email": "x@"}},
                "administrator.email",
            ),
            (
                {
                    "tenant": {"slug": "fine", "display_name": "X"},
                    "administrator": {"email": "a@b.example", "password": "short"},
                },
                "administrator.password",
            ),
        ],
    )
    def test_bad_input_is_refused_naming_the_field(self, operator, request_, field):
        assert list(operator.refusal("CreateTenant", **request_).violations) == [field]

    def test_unknown_tenant_does_not_exist(self, operator):
        name = f"tenants/{uuid.uuid4()}"
        for method in ("GetTenant", "SuspendTenant", "DeleteTenant"):
            assert operator.refusal(method, name=name).code is grpc.StatusCode.NOT_FOUND

    def test_operators_do_not_shut_themselves_out(self, operator):
        name = f"tenants/{PLATFORM_TENANT}"
        for method in ("SuspendTenant", "DeleteTenant"):
            assert operator.refusal(method, name=name).reason == "PLATFORM_TENANT"

    def test_operator_without_the_permission_is_refused(self, identity, tenant):
        reader = identity.caller("identity.tenants.read:all", tenant=PLATFORM_TENANT)
        assert reader("GetTenant", name=tenant.name).name == tenant.name
        assert reader.refusal("SuspendTenant", name=tenant.name).code is grpc.StatusCode.PERMISSION_DENIED

    def test_log_of_the_tenant_tells_what_the_operator_did(self, identity, operator, tenant, inside):
        operator("SuspendTenant", name=tenant.name)
        with identity.database.connect() as connection:
            query = "SELECT event_type, subject FROM change_pending WHERE tenant_id = %s AND resource_name = %s ORDER BY sequence"
            rows = connection.execute(query, [inside.tenant, tenant.name]).fetchall()
        assert rows == [
            ("kontor.identity.v1.tenant.created", operator.user),
            ("kontor.identity.v1.tenant.suspended", operator.user),
        ]


class TestOthers:
    def test_own_tenant_is_read_listed_and_changed(self, tenant, inside):
        assert inside("GetTenant", name=tenant.name).name == tenant.name
        assert [each.name for each in inside("ListTenants").tenants] == [tenant.name]
        changed = inside("UpdateTenant", tenant={"name": tenant.name, "display_name": "We", "time_zone": "Europe/Rome"})
        assert (changed.display_name, changed.time_zone) == ("We", "Europe/Rome")

    def test_other_tenants_do_not_exist(self, admin, tenant):
        assert admin.refusal("GetTenant", name=tenant.name).code is grpc.StatusCode.NOT_FOUND
        refusal = admin.refusal("UpdateTenant", tenant={"name": tenant.name, "display_name": "X"})
        assert refusal.code is grpc.StatusCode.NOT_FOUND
        assert not admin("ListTenants").tenants

    @pytest.mark.parametrize("method", ["DeleteTenant", "UndeleteTenant", "SuspendTenant", "ResumeTenant"])
    def test_what_operators_do_is_refused_even_for_the_own_tenant(self, tenant, inside, method):
        assert inside.refusal(method, name=tenant.name).reason == "OPERATORS_ONLY"

    def test_tenants_are_not_created(self, admin):
        refusal = admin.refusal("CreateTenant", tenant={"slug": "mine", "display_name": "Mine"})
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.PERMISSION_DENIED, "OPERATORS_ONLY")

    def test_view_of_all_tenants_is_empty_for_them(self, identity, tenant, admin):
        with identity.database.connect("app") as connection:
            for current in (str(admin.tenant), ""):
                connection.execute("SELECT set_config('kontor.tenant_id', %s, false)", [current])
                assert connection.execute("SELECT count(*) FROM all_tenants").fetchone() == (0,)
