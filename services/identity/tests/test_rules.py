"""The pure rules: roles, users, tenants, secrets, keys, clients."""

import datetime as dt
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontor.identity.v1 import role_pb2, service_account_pb2, tenant_pb2, user_pb2
from kontor_identity.keys import rules as keys
from kontor_identity.oauth import rules as oauth
from kontor_identity.permissions import known_permissions
from kontor_identity.roles import rules as roles
from kontor_identity.roles.rules import Grant
from kontor_identity.secrets import rules as secrets
from kontor_identity.tenants import rules as tenants
from kontor_identity.users import rules as users
from kontor_kit.errors import FailedPrecondition, InvalidArgument, PermissionDenied
from kontor_kit.principals import PLATFORM_TENANT, Principal, Scope, parse_permissions

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
WORDS = st.sampled_from(["contacts", "sales", "accounts", "leads", "read", "update"])
PERMISSIONS = st.tuples(WORDS, WORDS, WORDS).map(".".join)
PATTERNS = PERMISSIONS.flatmap(lambda permission: st.sampled_from(roles.patterns(permission)))
GRANTS = st.lists(st.builds(Grant, PATTERNS, st.sampled_from(Scope)), max_size=8)


def principal(permissions):
    return Principal(tenant_id=uuid.UUID(int=1), subject=f"users/{uuid.UUID(int=2)}", permissions=permissions)


class TestRoles:
    def test_patterns_go_from_narrow_to_wide(self):
        assert roles.patterns("a.b.c") == ("a.b.c", "a.b.*", "a.*", "*")
        assert roles.patterns("a.b.*") == ("a.b.*", "a.*", "*")
        assert roles.patterns("*") == ("*",)

    @given(GRANTS, PERMISSIONS)
    def test_merge_permits_exactly_what_the_grants_permit_one_by_one(self, grants, permission):
        merged = principal(roles.merge(grants)).scope(permission)
        single = [principal({grant.permission: grant.scope}).scope(permission) for grant in grants]
        assert merged == max((scope for scope in single if scope), default=None)

    @given(GRANTS)
    def test_claim_is_read_back_by_who_gets_it(self, grants):
        merged = roles.merge(grants)
        assert parse_permissions(roles.claim(merged)) == merged

    @given(GRANTS, GRANTS, PERMISSIONS)
    def test_nothing_can_be_handed_on_that_is_not_held(self, given_on, held, permission):
        holder = roles.merge(held)
        if not roles.not_held(given_on, holder):
            got, had = principal(roles.merge(given_on)).scope(permission), principal(holder).scope(permission)
            assert (got or 0) <= (had or 0)

    @given(GRANTS)
    def test_what_is_held_can_be_handed_on(self, grants):
        roles.require_held(grants, roles.merge(grants))

    def test_more_than_is_held_is_refused(self):
        with pytest.raises(PermissionDenied) as refused:
            roles.require_held([Grant("a.b.c", Scope.ALL)], {"a.b.c": Scope.TEAM})
        assert refused.value.reason == "BEYOND_OWN_PERMISSIONS"

    @pytest.mark.parametrize("permission", ["contacts.accounts.read", "contacts.accounts.*", "contacts.*", "*"])
    def test_permission_is_known_when_the_contract_asks_for_it(self, permission):
        assert roles.is_known(permission, known_permissions())

    @pytest.mark.parametrize(
        "permission", ["contacts.accounts.fly", "contact.*", "", "contacts.accounts", "**", "public"]
    )
    def test_permission_is_unknown_when_nothing_asks_for_it(self, permission):
        assert not roles.is_known(permission, known_permissions())

    def test_standard_roles_are_made_of_known_permissions_and_only_the_first_manages_people(self):
        known = known_permissions()
        made = roles.standard_roles(known)
        assert [role.display_name for role in made] == ["Admin", "Manager", "Member", "Reader", "Partner"]
        assert all(roles.is_known(grant.permission, known) for role in made for grant in role.grants)
        for role in made[1:4]:
            somebody = principal(roles.merge(role.grants))
            assert somebody.scope("contacts.accounts.read") is Scope.ALL
            assert all(
                somebody.scope(permission) is None
                for permission in known
                if permission.startswith("identity.") and not permission.endswith((".read", ".setPassword"))
            )
        reader = principal(roles.merge(made[3].grants))
        assert all(reader.scope(p) is None for p in known if p.startswith("contacts.") and not p.endswith(".read"))

    def test_people_of_partners_see_nothing_of_others(self):
        (role,) = [each for each in roles.standard_roles(known_permissions()) if each.display_name == "Partner"]
        somebody = principal(roles.merge(role.grants))
        permitted = {permission for permission in known_permissions() if somebody.scope(permission)}
        assert {permission.partition(".")[0] for permission in permitted} == {"identity", "partners", "sales"}
        assert {p for p in permitted if not p.startswith("partners.")} == {
            "identity.users.setPassword",
            "sales.products.read",
        }
        assert not {p for p in permitted if p.endswith((".explain", ".approve", ".recall", ".distribute"))}
        assert {somebody.scope(p) for p in permitted if p.startswith("partners.")} == {Scope.TEAM}


class TestUsers:
    def test_states_are_those_of_the_contract(self):
        for rule, message in (
            (users.State, user_pb2.User),
            (users.State, service_account_pb2.ServiceAccount),
            (tenants.State, tenant_pb2.Tenant),
        ):
            assert {f"STATE_{state.name}": state.value for state in rule} == dict(message.State.items()[1:])
        assert {f"SCOPE_{scope.name}": scope.value for scope in Scope} == dict(role_pb2.Grant.Scope.items()[1:])

    def test_states_change_once(self):
        for there, back in ((users.deactivate, users.reactivate), (tenants.suspend, tenants.resume)):
            first = next(iter(users.State if there is users.deactivate else tenants.State))
            assert back(there(first)) is first
            with pytest.raises(FailedPrecondition):
                there(there(first))
            with pytest.raises(FailedPrecondition):
                back(first)

    def test_email_has_one_form(self):
        assert users.normal_email("Anna.Meier@Example.COM", "email") == "anna.meier@example.com"
        with pytest.raises(InvalidArgument):
            users.normal_email("anna", "email")

    @pytest.mark.parametrize(
        "password", ["short", "anna.meier@example.org", "Anna Meier 123", "a" * 300, "aaaaaaaaaaaaaa"]
    )
    def test_password_is_refused_when_it_is_easy_to_guess(self, password):
        with pytest.raises(InvalidArgument):
            users.check_password(password, email="anna.meier@example.org", display_name="Anna Meier")

    @pytest.mark.parametrize("password", ["correct horse battery", "Anna likes purple trains", "8sJ2-kk3d-0Plq"])
    def test_password_is_taken_when_it_is_not(self, password):
        users.check_password(password, email="anna.meier@example.org", display_name="Anna Meier")

    def test_language_and_time_zone_are_brought_into_form(self):
        user = user_pb2.User(language_code="de-ch", time_zone="Europe/Zurich")
        users.normalise_locale(user)
        assert (user.language_code, user.time_zone) == ("de-CH", "Europe/Zurich")
        users.normalise_locale(user_pb2.User())
        with pytest.raises(InvalidArgument) as refused:
            users.normalise_locale(user_pb2.User(language_code="klingonisch", time_zone="Mars/Olympus"))
        assert [violation.field for violation in refused.value.violations] == ["language_code", "time_zone"]


class TestTenants:
    def test_operators_only(self):
        tenants.require_operator(PLATFORM_TENANT)
        with pytest.raises(PermissionDenied):
            tenants.require_operator(uuid.uuid4())
        tenants.require_ordinary(uuid.uuid4())
        with pytest.raises(FailedPrecondition):
            tenants.require_ordinary(PLATFORM_TENANT)


class TestSecrets:
    def test_are_long_and_known_by_their_beginning(self):
        made = {secrets.new_secret() for _ in range(50)}
        assert len({secrets.prefix_of(secret) for secret in made}) == 50
        assert all(secret.startswith("kontor_secret_") and len(secret) > 50 for secret in made)

    @given(st.none() | st.datetimes(timezones=st.just(dt.UTC)), st.timedeltas(dt.timedelta(0), dt.timedelta(days=30)))
    def test_rotation_never_lets_an_old_secret_live_longer(self, expire_time, overlap):
        end = secrets.ending(expire_time, NOW, overlap)
        assert end <= NOW + overlap
        assert expire_time is None or end <= expire_time

    def test_room_is_counted_by_valid_secrets(self):
        secrets.check_room([NOW] * 50 + [None] * 9, NOW)
        with pytest.raises(FailedPrecondition):
            secrets.check_room([None] * 10, NOW)
        with pytest.raises(InvalidArgument):
            secrets.check_expiry(NOW, NOW)


class TestKeys:
    PERIOD = dt.timedelta(days=30)

    @given(st.lists(st.timedeltas(dt.timedelta(0), dt.timedelta(days=3)), max_size=60))
    def test_rotation_keeps_a_key_signing_and_drops_none_too_early(self, steps):
        now, stored, made = NOW, [], 0
        for step in [dt.timedelta(0), *steps]:
            now += step
            plan = keys.plan_rotation(stored, now, self.PERIOD)
            signing = keys.signing_key(stored, now)
            assert signing is None or signing.key_id not in plan.drop
            stored = [key for key in stored if key.key_id not in plan.drop]
            if plan.create:
                assert signing is None or plan.activate_time - now >= keys.LEAD
                made += 1
                stored.append(keys.KeyTimes(str(made), plan.activate_time))
            assert keys.signing_key(stored, now) is not None
            assert len(stored) <= 3

    def test_lead_and_overlap_outlast_caches_and_tokens(self):
        assert keys.OVERLAP > oauth.ACCESS_TOKEN
        assert dt.timedelta(minutes=10) < keys.LEAD


class TestClients:
    @pytest.mark.parametrize(
        "uri", ["http://127.0.0.1/callback", "http://127.0.0.1:1/callback", "http://[::1]:65535/callback"]
    )
    def test_loopback_redirection_is_allowed_on_any_port(self, uri):
        assert oauth.allows_redirect(oauth.FIRST_PARTY["kontor-cli"].redirect_uris, uri)

    @pytest.mark.parametrize(
        "uri",
        [
            "",
            "http://127.0.0.1:1/other",
            "http://127.0.0.1:1/callback?x=1",
            "http://127.0.0.1:1/callback#x",
            "http://127.0.0.1:99999/callback",
            "http://127.0.0.1:x/callback",
            "https://127.0.0.1:1/callback",
            "http://127.0.0.2:1/callback",
            "http://localhost:1/callback",
            "http://user@127.0.0.1:1/callback",
            "http://127.0.0.1:1@evil.example/callback",
            "http://127.0.0.1.evil.example:1/callback",
            "http://127.0.0.1:1\n/callback",
            "http://[::1/callback",
            "javascript:alert(1)",
        ],
    )
    def test_other_redirections_are_not(self, uri):
        assert not oauth.allows_redirect(oauth.FIRST_PARTY["kontor-cli"].redirect_uris, uri)

    def test_registered_address_elsewhere_must_be_the_same(self):
        registered = ("https://crm.example.com/callback",)
        assert oauth.allows_redirect(registered, "https://crm.example.com/callback")
        assert not oauth.allows_redirect(registered, "https://crm.example.com:444/callback")

    @given(st.uuids(), st.binary(min_size=32, max_size=32))
    def test_tenant_stands_in_codes_and_tokens(self, tenant, random):
        opaque = oauth.new_opaque(tenant, random)
        assert oauth.tenant_of_opaque(opaque) == tenant
        assert len(oauth.digest(opaque)) == 32

    @given(st.text(max_size=80))
    def test_anything_else_is_no_code(self, text):
        tenant = oauth.tenant_of_opaque(text)
        assert tenant is None or len(text) == 64
