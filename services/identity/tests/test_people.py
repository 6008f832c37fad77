"""Users, teams, roles and service accounts behave as every resource does, and nobody gets more than others give."""

import threading
import uuid

import grpc
import pytest

RESOURCES = {
    "User": ("Users", "user", lambda n: {"email": f"user{n}@demo.example", "display_name": f"User {n}"}),
    "Team": ("Teams", "team", lambda n: {"display_name": f"Team {n}", "description": "x"}),
    "Role": ("Roles", "role", lambda n: {"display_name": f"Role {n}", "grants": [READ]}),
    "ServiceAccount": ("ServiceAccounts", "service_account", lambda n: {"display_name": f"Program {n}"}),
}
READ = {"permission": "contacts.accounts.read", "scope": "SCOPE_ALL"}
MISSING = "0198a000-0000-7000-8000-0000000000ff"


@pytest.fixture(params=RESOURCES)
def kind(request):
    return Kind(request.param, *RESOURCES[request.param])


class Kind:
    """One kind of record, and how to call its methods."""

    def __init__(self, name, plural, field, make):
        self.name, self.plural, self.field, self.make = name, plural, field, make

    def create(self, caller, number=1, **more):
        return caller(f"Create{self.name}", **{self.field: self.make(number)}, **more)

    def update(self, record, display_name="Other", **more):
        return {self.field: {"name": record.name, "display_name": display_name, **more}}

    def missing(self):
        return f"{self.plural[0].lower()}{self.plural[1:]}/{MISSING}"


def listed(response):
    return next(value for field, value in response.ListFields() if field.is_repeated)


class TestStandardMethods:
    def test_record_is_created_read_changed_deleted_and_brought_back(self, admin, kind):
        made = kind.create(admin)
        assert admin(f"Get{kind.name}", name=made.name) == made
        changed = admin(f"Update{kind.name}", **kind.update(made))
        assert (changed.display_name, changed.etag != made.etag) == ("Other", True)
        assert admin(f"Delete{kind.name}", name=made.name).HasField("delete_time")
        back = admin(f"Undelete{kind.name}", name=made.name)
        assert listed(admin(f"BatchGet{kind.plural}", names=[made.name])) == [back]

    def test_pages_are_walked_without_gap_or_repeat_while_others_are_inserted(self, admin, kind):
        names = {kind.create(admin, number).name for number in range(5)}
        seen, token = [], ""
        while True:
            response = admin(f"List{kind.plural}", page_size=2, page_token=token, order_by="display_name")
            seen += [record.name for record in listed(response)]
            token = response.next_page_token
            if not token:
                break
            kind.create(admin, 100 + len(seen))
        assert len(seen) == len(set(seen))
        assert names <= set(seen)

    def test_bad_input_is_refused_naming_the_field(self, admin, kind):
        for changes, field in (({"display_name": ""}, "display_name"), ({"display_name": "x" * 201}, "display_name")):
            record = {**kind.make(1), **changes}
            refusal = admin.refusal(f"Create{kind.name}", **{kind.field: record})
            assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
            assert f"{kind.field}.{field}" in refusal.violations
        assert "filter" in admin.refusal(f"List{kind.plural}", filter="nonsense = 1").violations
        assert "order_by" in admin.refusal(f"List{kind.plural}", order_by="etag").violations
        assert "name" in admin.refusal(f"Get{kind.name}", name="nonsense").violations

    def test_record_of_another_tenant_does_not_exist(self, identity, admin, kind):
        made = kind.create(admin)
        foreign = identity.caller()
        for method in (f"Get{kind.name}", f"Delete{kind.name}", f"Undelete{kind.name}"):
            assert foreign.refusal(method, name=made.name).code is grpc.StatusCode.NOT_FOUND
        assert foreign.refusal(f"Update{kind.name}", **kind.update(made)).code is grpc.StatusCode.NOT_FOUND
        assert not foreign(f"List{kind.plural}").ListFields()

    def test_is_refused_without_the_permission(self, identity, admin, kind):
        made = kind.create(admin)
        collection = made.name.partition("/")[0]
        reader = admin.colleague(f"identity.{collection}.read:all")
        assert reader(f"Get{kind.name}", name=made.name).name == made.name
        for method, fields in (
            (f"Create{kind.name}", {kind.field: kind.make(2)}),
            (f"Update{kind.name}", kind.update(made)),
            (f"Delete{kind.name}", {"name": made.name}),
        ):
            assert reader.refusal(method, **fields).code is grpc.StatusCode.PERMISSION_DENIED

    def test_scope_own_reaches_nobody_elses_record(self, admin, kind):
        made = kind.create(admin)
        collection = made.name.partition("/")[0]
        own = admin.colleague(f"identity.{collection}.*:own", "identity.roles.read:own")
        assert own.refusal(f"Get{kind.name}", name=made.name).code is grpc.StatusCode.NOT_FOUND
        reading = admin.colleague(f"identity.{collection}.*:own", f"identity.{collection}.read:all")
        refusal = reading.refusal(f"Update{kind.name}", **kind.update(made))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.PERMISSION_DENIED, "OUT_OF_SCOPE")
        refusal = own.refusal(f"Create{kind.name}", **{kind.field: kind.make(2)})
        assert refusal.code is grpc.StatusCode.PERMISSION_DENIED

    def test_one_of_two_writers_with_the_same_etag_wins(self, admin, kind):
        made = kind.create(admin)
        outcomes = []

        def write(name):
            try:
                admin(f"Update{kind.name}", **kind.update(made, name, etag=made.etag))
                outcomes.append("won")
            except grpc.RpcError as error:
                outcomes.append(error.code())

        writers = [threading.Thread(target=write, args=(f"By {number}",)) for number in range(2)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        assert set(outcomes) == {"won", grpc.StatusCode.ABORTED}

    def test_repeated_request_id_gives_the_first_answer(self, admin, kind):
        request_id = str(uuid.uuid4())
        assert kind.create(admin, request_id=request_id) == kind.create(admin, request_id=request_id)
        assert len(listed(admin(f"List{kind.plural}"))) == 1

    def test_nothing_is_stored_when_only_validated(self, admin, kind):
        kind.create(admin, validate_only=True)
        assert not admin(f"List{kind.plural}").ListFields()

    def test_taken_name_is_refused(self, admin, kind):
        kind.create(admin)
        refusal = admin.refusal(f"Create{kind.name}", **{kind.field: kind.make(1)})
        assert refusal.code is grpc.StatusCode.ALREADY_EXISTS


class TestMembership:
    def test_roles_and_teams_must_exist(self, admin):
        user = RESOURCES["User"][2](1)
        refusal = admin.refusal("CreateUser", user={**user, "roles": [f"roles/{MISSING}"]})
        assert "user.roles[0]" in refusal.violations
        refusal = admin.refusal("CreateUser", user={**user, "teams": [f"teams/{MISSING}"]})
        assert "user.teams[0]" in refusal.violations
        foreign = admin.running.caller()("CreateTeam", team={"display_name": "Foreign"})
        assert "user.teams[0]" in admin.refusal("CreateUser", user={**user, "teams": [foreign.name]}).violations

    def test_users_are_found_by_team_role_and_part_of_a_name(self, admin):
        team = admin("CreateTeam", team={"display_name": "Field"})
        anna = admin("CreateUser", user={"email": "a@demo.example", "display_name": "Anna Meier", "teams": [team.name]})
        admin("CreateUser", user={"email": "b@demo.example", "display_name": "Bert Zett"})
        assert list(admin("ListUsers", filter=f'teams:"{team.name}"').users) == [anna]
        assert list(admin("ListUsers", filter='email = "a@demo.example"').users) == [anna]
        assert admin("SearchUsers", query="eier").results[0].user == anna

    @pytest.fixture
    def strong(self, admin):
        """A role that may do everything, and a user and a program who have it."""
        role = admin("CreateRole", role={"display_name": "All", "grants": [{"permission": "*", "scope": "SCOPE_ALL"}]})
        user = admin("CreateUser", user={"email": "s@demo.example", "display_name": "Strong", "roles": [role.name]})
        program = admin("CreateServiceAccount", service_account={"display_name": "Strong", "roles": [role.name]})
        return role, user, program

    def test_nobody_gives_what_he_does_not_have(self, admin, strong):
        role, user, program = strong
        weak = admin.colleague("identity.*:all")
        attempts = [
            ("CreateRole", {"role": {"display_name": "X", "grants": [{"permission": "*", "scope": "SCOPE_OWN"}]}}),
            ("UpdateRole", {"role": {"name": role.name, "display_name": "X"}}),
            ("DeleteRole", {"name": role.name}),
            ("CreateUser", {"user": {"email": "x@demo.example", "display_name": "X", "roles": [role.name]}}),
            ("UpdateUser", {"user": {"name": user.name, "email": "mine@demo.example"}}),
            ("SetUserPassword", {"name": user.name, "password": "my own new password"}),
            ("DeactivateUser", {"name": user.name}),
            ("DeleteUser", {"name": user.name}),
            ("CreateSecret", {"parent": program.name, "secret": {}}),
            ("RotateSecrets", {"parent": program.name}),
            ("UpdateServiceAccount", {"service_account": {"name": program.name, "display_name": "X"}}),
        ]
        for method, fields in attempts:
            refusal = weak.refusal(method, **fields)
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.PERMISSION_DENIED, "BEYOND_OWN_PERMISSIONS"), (
                method
            )

    def test_role_that_is_deleted_counts_because_it_can_come_back(self, admin, strong):
        role, user, program = strong
        weak = admin.colleague("identity.*:all")
        admin("DeleteRole", name=role.name)
        for method, fields in (
            ("SetUserPassword", {"name": user.name, "password": "my own new password"}),
            ("CreateSecret", {"parent": program.name, "secret": {}}),
        ):
            assert weak.refusal(method, **fields).reason == "BEYOND_OWN_PERMISSIONS"

    def test_nobody_raises_himself(self, admin, strong):
        _, user, _ = strong
        team = admin("CreateTeam", team={"display_name": "Field"})
        own = admin.colleague("identity.users.*:own", user=user.name)
        assert own("UpdateUser", user={"name": user.name, "given_name": "S"}).given_name == "S"
        for change in ({"teams": [team.name]}, {"email": "other@demo.example"}):
            refusal = own.refusal("UpdateUser", user={"name": user.name, **change})
            assert refusal.code is grpc.StatusCode.PERMISSION_DENIED

    def test_role_takes_only_permissions_that_there_are(self, admin):
        grants = [READ, {"permission": "contacts.accounts.fly", "scope": "SCOPE_ALL"}]
        refusal = admin.refusal("CreateRole", role={"display_name": "X", "grants": grants})
        assert list(refusal.violations) == ["role.grants[1].permission"]


class TestUserStates:
    def test_user_is_deactivated_once_and_let_in_again_once(self, admin):
        user = admin("CreateUser", user=RESOURCES["User"][2](1))
        assert admin("DeactivateUser", name=user.name).state == 2
        assert admin.refusal("DeactivateUser", name=user.name).code is grpc.StatusCode.FAILED_PRECONDITION
        assert admin("ReactivateUser", name=user.name).state == 1
        assert admin.refusal("ReactivateUser", name=user.name).code is grpc.StatusCode.FAILED_PRECONDITION

    def test_user_who_is_deleted_is_shut_out_first_and_comes_back_so(self, identity, admin):
        user = admin("CreateUser", user=RESOURCES["User"][2](1))
        assert admin.refusal("DeleteUser", name=user.name, etag='"v9"').code is grpc.StatusCode.ABORTED
        deleted = admin("DeleteUser", name=user.name, etag=user.etag)
        assert (deleted.state, deleted) == (2, admin("GetUser", name=user.name))
        back = admin("UndeleteUser", name=user.name, etag=deleted.etag)
        assert back.state == 2
        admin("DeleteUser", name=user.name)
        with identity.database.connect() as connection:
            told = "SELECT event_type FROM change_pending WHERE resource_name = %s ORDER BY sequence"
            kinds = [row[0].rpartition(".")[2] for row in connection.execute(told, [user.name])]
        assert kinds == ["created", "deactivated", "deleted", "undeleted", "deleted"]

    def test_state_is_not_changed_by_an_update(self, admin):
        user = admin("CreateUser", user={**RESOURCES["User"][2](1), "state": "STATE_DEACTIVATED"})
        assert user.state == 1
        assert admin("UpdateUser", user={"name": user.name, "state": "STATE_DEACTIVATED"}).state == 1

    def test_own_password_takes_the_current_one(self, identity, admin):
        user = admin("CreateUser", user=RESOURCES["User"][2](1))
        self_ = admin.colleague("identity.users.setPassword:own", user=user.name)
        self_("SetUserPassword", name=user.name, password="the first password")
        refusal = self_.refusal("SetUserPassword", name=user.name, password="the second password")
        assert "current_password" in refusal.violations
        fields = {"password": "the second password", "current_password": "the first password"}
        assert self_("SetUserPassword", name=user.name, **fields).name == user.name
        assert "password" in admin.refusal("SetUserPassword", name=user.name, password="short").violations
        with identity.database.connect() as connection:
            stored = connection.execute("SELECT digest FROM passwords WHERE tenant_id = %s", [admin.tenant]).fetchall()
        assert [row[0][:9] for row in stored] == ["$argon2id"]

    def test_answer_has_the_etag_that_the_user_has_now(self, admin):
        user = admin("CreateUser", user=RESOURCES["User"][2](1))
        after = admin("SetUserPassword", name=user.name, password="a new long password")
        assert after == admin("GetUser", name=user.name)

    def test_sessions_end_with_the_password_and_the_state(self, identity, admin):
        user = admin("CreateUser", user=RESOURCES["User"][2](1))
        for method, fields in (
            ("SetUserPassword", {"password": "a new long password"}),
            ("DeactivateUser", {}),
            ("DeleteUser", {}),
        ):
            with identity.database.connect() as connection:
                connection.execute(
                    "INSERT INTO oauth_sessions (tenant_id, id, user_id, client_id, create_time, expire_time)"
                    " VALUES (%s, gen_random_uuid(), %s, 'x', now(), now())",
                    [admin.tenant, user.name.partition("/")[2]],
                )
                admin(method, name=user.name, **fields)
                open_ = "SELECT count(*) FROM oauth_sessions WHERE tenant_id = %s AND revoke_time IS NULL"
                assert connection.execute(open_, [admin.tenant]).fetchone() == (0,)


class TestSecrets:
    @pytest.fixture
    def program(self, admin):
        return admin("CreateServiceAccount", service_account={"display_name": "ERP"}).name

    def test_value_is_shown_once(self, admin, program):
        made = admin("CreateSecret", parent=program, secret={})
        assert made.value.startswith(made.prefix)
        listed_secret = admin("ListSecrets", parent=program).secrets[0]
        assert (listed_secret.name, listed_secret.prefix, listed_secret.value) == (made.name, made.prefix, "")
        assert admin("GetSecret", name=made.name) == listed_secret

    def test_rotation_leaves_the_others_a_while(self, admin, program):
        old = admin("CreateSecret", parent=program, secret={})
        new = admin("RotateSecrets", parent=program, overlap={"seconds": 3600})
        expiring = admin("GetSecret", name=old.name)
        assert 0 < expiring.expire_time.seconds - new.create_time.seconds <= 3600
        assert not admin("GetSecret", name=new.name).HasField("expire_time")

    def test_deleted_secret_is_gone(self, admin, program):
        made = admin("CreateSecret", parent=program, secret={})
        admin("DeleteSecret", name=made.name)
        assert admin.refusal("GetSecret", name=made.name).code is grpc.StatusCode.NOT_FOUND
        assert admin.refusal("DeleteSecret", name=made.name).code is grpc.StatusCode.NOT_FOUND

    def test_eleventh_is_refused(self, admin, program):
        for _ in range(10):
            admin("CreateSecret", parent=program, secret={})
        refusal = admin.refusal("CreateSecret", parent=program, secret={})
        assert refusal.reason == "TOO_MANY_SECRETS"

    def test_eleventh_is_refused_when_rotating_as_long_as_the_others_are_valid(self, admin, program):
        for _ in range(10):
            admin("RotateSecrets", parent=program)
        assert admin.refusal("RotateSecrets", parent=program).reason == "TOO_MANY_SECRETS"
        newest = admin("RotateSecrets", parent=program, overlap={})
        # There are never more than ten, those that ended included: the ones that ended first go.
        listed = admin("ListSecrets", parent=program).secrets
        assert (len(listed), listed[0].name) == (10, newest.name)
        made = admin("CreateSecret", parent=program, secret={})
        assert {newest.name, made.name} < {secret.name for secret in admin("ListSecrets", parent=program).secrets}
        assert len(admin("ListSecrets", parent=program).secrets) == 10

    def test_bad_input_is_refused(self, admin, program):
        refusal = admin.refusal("CreateSecret", parent=program, secret={"expire_time": {"seconds": 1}})
        assert "secret.expire_time" in refusal.violations
        assert "overlap" in admin.refusal("RotateSecrets", parent=program, overlap={"seconds": 2592001}).violations
        assert "parent" in admin.refusal("ListSecrets", parent="nonsense").violations
        for name in ("nonsense", f"{program}/secrets/nonsense", f"nonsense/secrets/{MISSING}"):
            assert "name" in admin.refusal("GetSecret", name=name).violations

    def test_secrets_of_another_tenant_do_not_exist(self, identity, admin, program):
        made = admin("CreateSecret", parent=program, secret={})
        foreign = identity.caller()
        for method, fields in (
            ("ListSecrets", {"parent": program}),
            ("CreateSecret", {"parent": program, "secret": {}}),
            ("RotateSecrets", {"parent": program}),
            ("GetSecret", {"name": made.name}),
            ("DeleteSecret", {"name": made.name}),
        ):
            assert foreign.refusal(method, **fields).code is grpc.StatusCode.NOT_FOUND

    def test_program_can_rotate_its_own_secrets_and_no_others(self, admin, program):
        other = admin("CreateServiceAccount", service_account={"display_name": "Shop"}).name
        self_ = admin.colleague("identity.secrets.*:own", user=program)
        assert self_("RotateSecrets", parent=program).value
        assert self_.refusal("RotateSecrets", parent=other).code is grpc.StatusCode.NOT_FOUND

    def test_value_is_kept_nowhere(self, identity, admin, program):
        made = admin("CreateSecret", parent=program, secret={}, metadata={"idempotency-key": "once"})
        with identity.database.connect() as connection:
            for table in ("secrets", "change_pending", "requests"):
                rows = connection.execute(f"SELECT * FROM {table} WHERE tenant_id = %s", [admin.tenant]).fetchall()
                assert made.value not in repr(rows)


class TestWhoAmI:
    def test_tells_who_calls_with_any_token(self, admin):
        user = admin("CreateUser", user=RESOURCES["User"][2](1))
        answer = admin.colleague("contacts.accounts.read:team", user=user.name)("WhoAmI")
        assert (answer.principal, answer.display_name, answer.email) == (user.name, "User 1", "user1@demo.example")
        assert answer.tenant == f"tenants/{admin.tenant}"
        assert [(grant.permission, grant.scope) for grant in answer.grants] == [("contacts.accounts.read", 2)]

    def test_is_refused_without_a_token(self, admin):
        admin.token = "nonsense"
        assert admin.refusal("WhoAmI").code is grpc.StatusCode.UNAUTHENTICATED


def test_row_security_alone_shows_nothing_of_another_tenant(identity, admin):
    for kind in RESOURCES.values():
        admin(f"Create{kind[1].title().replace('_', '')}", **{kind[1]: kind[2](1)})
    with identity.database.connect("app") as connection:
        connection.execute("SELECT set_config('kontor.tenant_id', %s, false)", [str(uuid.uuid4())])
        tables = ("tenants", "all_tenants", "users", "passwords", "teams", "roles", "service_accounts", "secrets")
        for table in (*tables, "oauth_sessions", "oauth_codes", "oauth_refresh_tokens", "terms", "change_pending"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table
