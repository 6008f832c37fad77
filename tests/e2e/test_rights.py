"""Who must not, cannot: every method, called in every way, by everybody who has no right to.

The methods are those of the descriptors, so that a new one is tried as soon as it is there. Each case has a control:
the same request by who has the right is let in.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from types import SimpleNamespace

import psycopg
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey
from psycopg import sql

from kontor_dev.platform import SERVICES
from kontor_kit.calls import AUTHENTICATED, PUBLIC
from kontor_kit.testing import schema
from tests.e2e import contract
from tests.e2e.calls import DIRECT, WAYS
from tests.e2e.contract import TENANT, method, request, target
from tests.e2e.people import Identity, Tenant, fingerprint, settled, tables
from tests.e2e.samples import CALLER, LINK, USER

METHODS = contract.protected()
OPEN = [spec for spec in contract.methods() if spec.permission == PUBLIC]
PERMITTED = [spec for spec in METHODS if spec.permission != AUTHENTICATED]
PERMISSIONS = sorted({spec.permission for spec in PERMITTED})
# Only the tenant of the operators may call them; in all others they are refused, whatever the permission.
OPERATORS = {"CreateTenant", "DeleteTenant", "UndeleteTenant", "SuspendTenant", "ResumeTenant"}
# Resources that belong to nobody in a tenant, so that every scope reaches all of them.
OF_THE_TENANT = {
    "contacts.kontor/AddressStatus": "an address is opted out or invalid for everybody who uses it",
    "contacts.kontor/CustomFieldDefinition": "whoever fills in a record must know its fields",
    "marketing.kontor/Segment": "a campaign is the company's; of its members one sees the parties that one may see",
    "marketing.kontor/Template": "everybody writes with the same words",
    "marketing.kontor/Topic": "everybody subscribes to the same topics",
    "partners.kontor/Programme": "every partner is told what there is to be had",
    "sales.kontor/CloseReason": "everybody says why in the same words",
    "sales.kontor/CareCadence": "how often which customers are heard of is decided for everybody",
    "sales.kontor/CommissionPlan": "what there is for a payment is agreed upon for everybody",
    "sales.kontor/DiscountPolicy": "who writes a quote must know what needs approval",
    "sales.kontor/ExchangeRate": "an amount is worth the same for everybody",
    "sales.kontor/ForecastSnapshot": "it shows no deals; a bridge shows those that its reader may see",
    "sales.kontor/LeadAssignmentRule": "who assigns leads does it for everybody",
    "sales.kontor/LeadForm": "a form is the company's",
    "sales.kontor/LeadScoreRule": "everybody's leads get points for the same",
    "sales.kontor/Pipeline": "everybody's deals go the same ways; a board shows of them what its reader may see",
    "sales.kontor/PriceBook": "everybody sells at the same prices",
    "sales.kontor/PriceBookEntry": "everybody sells at the same prices",
    "sales.kontor/Product": "everybody sells the same things",
    "sales.kontor/Promotion": "its budget is for the customers of all",
    "sales.kontor/PromotionRedemption": "each customer redeems once, whoever sells",
    "sales.kontor/Territory": "the market is cut up for everybody",
    "ticketing.kontor/Article": "who writes articles does it for everybody; the service's tests try its readers",
    "ticketing.kontor/PriorityMatrix": "what is urgent is decided for everybody",
    "ticketing.kontor/Queue": "whose work a ticket is, and who can do it, is decided for everybody",
    "ticketing.kontor/SlaPolicy": "who answers a customer must know what was promised",
    "ticketing.kontor/TicketState": "everybody's tickets stand somewhere in the same words",
    "ticketing.kontor/WorkingCalendar": "everybody's deadlines are counted in the same hours",
}
# Methods that a permission is enough for, because they tell about the caller alone.
ABOUT_THE_CALLER = {"WhoAmI"}
# Methods that show what the caller started without a permission, and what others did with one.
ABOUT_THE_OWN = {"GetOperation"}
# Methods that tell what happened to records. Who is told of which is tried with the log of each service.
ABOUT_THE_LOG = {"ListChanges", "Subscribe"}
# Methods that tell no record, but what the records that the caller may read come to.
ABOUT_TOTALS = {"AnalyzeOpportunities", "AnalyzeOutcomes", "BridgeForecast", "RollUpForecast", "ShowFunnel"}
# Methods about a customer: for those who may see that one, which its service decides.
ABOUT_CUSTOMERS = {"DeclineRecommendation", "FindSimilarAccounts", "RecommendProducts"}
# Methods of which nothing can be seen on the day that a tenant begins; the tests of the service say who is told what.
ABOUT_LATER = {"ListOverdueCare"}
# Methods that tell when somebody is busy, and nothing of what with: their permission is for all of the tenant.
ABOUT_TIMES = {"ExportFreeBusy", "QueryFreeBusy"}
# Methods of what is learned of all deals of a tenant, and tells of none: their permission is for the whole;
# and why they are refused in a tenant that has no deals.
ABOUT_MODELS = {
    "ShowWinModel": "NOT_TRAINED",
    "TrainRecommendations": "TOO_FEW_BASKETS",
    "TrainWinModel": "TOO_FEW_OUTCOMES",
}
TOLD_ELSEWHERE = {*ABOUT_TOTALS, *ABOUT_TIMES, *ABOUT_CUSTOMERS, *ABOUT_LATER, *ABOUT_MODELS}
# Methods that need the right to create, too, where they create.
CREATES_TOO = {
    spec.name: spec.permission.removesuffix("update") + "create" for spec in METHODS if spec.name.startswith("Upsert")
} | {"SetAddressStatus": "contacts.addressStatuses.create"}
# Methods that name something of ours beside their own records: whoever uses them has to see that.
SEES_MORE = {
    "AddSegmentMembers",
    "BatchCreateLeadAssignmentRules",
    "CreateLeadAssignmentRule",
    "PreviewTemplate",
    "RedeemPromotion",
    "RemoveSegmentMembers",
}
# Methods for those who were asked themselves: for others there is nothing to answer, however much they see.
FOR_THE_INVITED = {"AcceptHandOver", "DeclineHandOver", "RespondToActivity"}
# Methods that list what the caller was asked, to nobody else.
OF_THE_ASKED = {"ListOfferedActivities"}
# Tables that belong to no tenant beside those of the kit: what migrated last, and in identity keys that sign tokens
# (encrypted) and failed attempts to sign in. Identity follows nobody.
WITHOUT_TENANT = {service: {*schema.WITHOUT_TENANT, "alembic_version"} for service in (each.name for each in SERVICES)}
WITHOUT_TENANT["identity"] ^= {"inbox_bindings", "inbox_sources", "oauth_attempts", "signing_keys"}


def by_name(specs):
    return pytest.mark.parametrize("spec", list(specs), ids=lambda spec: f"{spec.service.split('.')[-1]}.{spec.name}")


@pytest.fixture(scope="module")
def world(client):
    """Two tenants that know nothing of each other, and tokens of whoever calls in them."""
    home, other, operators = Tenant(client), Tenant(client), Tenant(client, "platform")
    home.furnish()
    home.learn()
    other.furnish()
    own = {"*": "own"}
    seen = {name: "all" if name.endswith(".read") else "own" for name in PERMISSIONS}
    lacking = {each: {name: "all" for name in PERMISSIONS if name != each} for each in PERMISSIONS}
    return SimpleNamespace(
        home=home,
        other=other,
        lacking={permission: home.program(grants) for permission, grants in lacking.items()},
        owns=home.program(own),
        sees=home.program(seen),
        operator_owns=operators.program(own),
        operator_sees=operators.program(seen),
        names={spec.name: home.in_state_for(spec) for spec in METHODS},
        keyed={name: keyed(home, name) for name in CREATES_TOO},
    )


def keyed(tenant, name):
    """A request about a record by its key, which has created it."""
    wanted = request(method(name), tenant.names)
    tenant.client.do(method(name), wanted, tenant.admin)
    return wanted


@pytest.fixture(scope="module")
def identity(client):
    signing = Identity(client)
    yield signing
    signing.close()


@pytest.fixture(scope="class")
def nothing_changes(world):
    """Whatever a class of tests tries, the tenant it is tried on stays as it is."""
    before = settled(world.home)
    yield
    assert fingerprint(world.home) == before


def codes(answers):
    return {way: answer.code for way, answer in answers.items()}


def everywhere(code):
    return dict.fromkeys(WAYS, code)


@by_name(METHODS)
def test_whoever_has_the_right_is_let_in(world, client, spec):
    """The control of all that follows: the requests are valid, the records are there."""
    kind, tenant = target(spec), world.home
    is_operators = kind == TENANT or spec.name in OPERATORS
    for way in WAYS:
        answer = client.call(way, spec, harmless(world, spec), tenant.operator if is_operators else tenant.admin)
        assert answer.code == "OK", (way, answer)


def harmless(world, spec):
    """A request that may succeed: it changes nothing, or a record that nobody else needs."""
    wanted = request(spec, world.names[spec.name])
    if hasattr(wanted, "validate_only"):
        wanted.validate_only = True
    elif not spec.is_read:
        wanted = request(spec, world.home.in_state_for(spec, new=True))
    return wanted


@by_name(OPEN)
def test_what_is_open_is_for_whoever_has_the_link(world, client, spec):
    for way in WAYS:
        names = world.home.in_state_for(spec)
        answer = client.call(way, spec, request(spec, {**names, LINK: names[LINK][::-1]}))
        assert answer.code == "NOT_FOUND", (way, answer)
        answer = client.call(way, spec, request(spec, names))
        assert answer.code == "OK", (way, answer)


def part(token, number):
    """The header (0) or the claims (1) of a token."""
    encoded = token.split(".")[number]
    return json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))


def by_hand(head, said, sign=lambda body: b""):
    """A token as no library makes it."""
    parts = [json.dumps(each).encode() for each in (head, said)]
    body = b".".join(base64.urlsafe_b64encode(each).rstrip(b"=") for each in parts)
    return (body + b"." + base64.urlsafe_b64encode(sign(body)).rstrip(b"=")).decode()


# What is wrong with a token that would be good but for it, and why the service says that it refuses it.
BAD_TOKENS = {
    "none": "TOKEN_MISSING",
    "no token": "TOKEN_INVALID",
    "expired": "TOKEN_EXPIRED",
    "wrong key": "TOKEN_INVALID",
    "unknown key": "TOKEN_INVALID",
    "wrong audience": "TOKEN_AUDIENCE",
    "wrong issuer": "TOKEN_ISSUER",
    "no algorithm": "TOKEN_INVALID",
    "public key as secret": "TOKEN_INVALID",
    "claims of another": "TOKEN_INVALID",
}


@pytest.fixture(scope="module")
def bad_tokens(world, client, identity):
    good = world.home.admin
    head, said = part(good, 0), part(good, 1)
    forged = {name: ECKey.generate_key("P-256", {"kid": name}) for name in (head["kid"], "unknown")}
    (public,) = client.http.get("/.well-known/jwks.json").json()["keys"]
    secret = ECKey.import_key(public).as_pem(private=False)
    past = int(time.time()) - 1000
    return {
        "none": "",
        "no token": "nonsense",
        "expired": identity.sign({**said, "iat": past, "exp": past + 600}),
        "wrong key": jwt.encode(head, said, forged[head["kid"]]),
        "unknown key": jwt.encode({**head, "kid": "unknown"}, said, forged["unknown"]),
        "wrong audience": identity.sign({**said, "aud": "other"}),
        "wrong issuer": identity.sign({**said, "iss": "http://other.example"}),
        "no algorithm": by_hand({**head, "alg": "none"}, said),
        "public key as secret": by_hand(
            {**head, "alg": "HS256"}, said, lambda body: hmac.digest(secret, body, hashlib.sha256)
        ),
        "claims of another": f"{by_hand(head, {**said, 'tenant': world.other.id})}{good.rpartition('.')[2]}",
    }


def test_a_token_that_identity_signed_again_is_good(world, client, identity):
    """The control of the bad tokens: what is wrong with them is what they are called after."""
    token = identity.sign(part(world.home.admin, 1))
    spec = method("WhoAmI")
    assert codes(client.everywhere(spec, request(spec, {}), token)) == everywhere("OK")


@pytest.mark.usefixtures("nothing_changes")
class TestWithoutRight:
    @by_name(METHODS)
    @pytest.mark.parametrize("kind", BAD_TOKENS)
    def test_bad_token_is_refused(self, world, client, bad_tokens, spec, kind):
        answers = client.everywhere(spec, request(spec, world.names[spec.name]), bad_tokens[kind])
        assert codes(answers) == everywhere("UNAUTHENTICATED")
        assert answers[DIRECT].reason == BAD_TOKENS[kind]

    @by_name(PERMITTED)
    def test_missing_permission_is_refused(self, world, client, spec):
        token = world.lacking[spec.permission]
        answers = client.everywhere(spec, request(spec, world.names[spec.name]), token)
        assert codes(answers) == everywhere("PERMISSION_DENIED")
        assert {answer.metadata["permission"] for answer in answers.values()} == {spec.permission}

    @pytest.mark.parametrize("name", CREATES_TOO)
    def test_missing_permission_to_create_is_refused(self, world, client, name):
        spec = method(name)
        answers = client.everywhere(spec, request(spec, world.home.names), world.lacking[CREATES_TOO[name]])
        assert codes(answers) == everywhere("PERMISSION_DENIED")


@pytest.mark.usefixtures("nothing_changes")
class TestOtherTenant:
    """The administrator of another tenant may do everything there, and nothing here."""

    @by_name(spec for spec in METHODS if spec.name in OPERATORS)
    def test_what_operators_do_is_refused(self, world, client, spec):
        answers = client.everywhere(spec, request(spec, world.names[spec.name]), world.other.admin)
        assert codes(answers) == everywhere("PERMISSION_DENIED")

    @by_name(spec for spec in METHODS if target(spec) and spec.name not in OPERATORS)
    def test_a_record_of_ours_does_not_exist(self, world, client, spec):
        answers = client.everywhere(spec, request(spec, world.names[spec.name]), world.other.admin)
        assert codes(answers) == everywhere("NOT_FOUND")

    @by_name(filter(contract.is_finding, METHODS))
    def test_nothing_of_ours_is_found(self, world, client, spec):
        wanted = request(spec, world.home.names)
        ours = client.everywhere(spec, wanted, world.home.admin)
        theirs = client.everywhere(spec, wanted, world.other.admin)
        for way in WAYS:
            assert found(ours[way]), way
            assert theirs[way].code == "OK"
            assert not found(ours[way]) & found(theirs[way]), way

    @pytest.mark.parametrize("name", ABOUT_MODELS)
    def test_what_is_learned_of_ours_is_not_known(self, world, client, name):
        spec = method(name)
        answers = client.everywhere(spec, request(spec, world.other.names), world.other.admin)
        assert {answer.reason for answer in answers.values()} == {ABOUT_MODELS[name]}

    @by_name(
        spec for spec in METHODS if contract.is_creating(spec) and spec.name not in OPERATORS | ABOUT_MODELS.keys()
    )
    def test_what_is_created_is_theirs(self, world, client, spec):
        for way in WAYS:
            names = world.other.in_state_for(spec)
            answer = client.call(way, spec, request(spec, names), world.other.admin)
            assert answer.code == "OK", (way, answer)

    @pytest.mark.parametrize("name", CREATES_TOO)
    def test_the_key_of_a_record_of_ours_is_free(self, world, client, name):
        wanted = request(method(name), world.other.names)
        if hasattr(wanted, "external_id"):
            wanted.external_id.CopyFrom(world.keyed[name].external_id)
        else:
            wanted = world.keyed[name]
        assert client.do(method(name), wanted, world.other.admin).created

    @pytest.mark.parametrize(
        ("spec", "field"),
        [
            pytest.param(spec, field, id=f"{spec.name}-{field}")
            for spec in METHODS
            if contract.is_creating(spec) and spec.name.startswith("Create") and spec.name not in OPERATORS
            for field in contract.references(spec)
        ],
    )
    def test_a_record_of_ours_cannot_be_referred_to(self, world, client, spec, field):
        wanted = request(spec, world.other.in_state_for(spec))
        contract.refer(contract.record_in(wanted), field, world.home.names)
        answers = client.everywhere(spec, wanted, world.other.admin)
        assert codes(answers) == everywhere("INVALID_ARGUMENT")
        for answer in answers.values():
            assert [name.partition(".")[2].partition("[")[0] for name in answer.fields] == [field]


def kind_of(spec):
    """The type of resource that a method is about."""
    return f"{contract.service_of(spec)}.kontor/{spec.service.rpartition('.')[2].removesuffix('Service')}"


def found(answer):
    """The names of the records in an answer."""
    if contract.resource_type(answer.message.DESCRIPTOR):
        return {answer.message.name}
    rows = [row for _, value in answer.message.ListFields() if not isinstance(value, (str, int)) for row in value]
    return {(row if hasattr(row, "name") else contract.record_in(row)).name for row in rows}


NARROWED = [
    spec
    for spec in PERMITTED
    if not {kind_of(spec), target(spec)} & OF_THE_TENANT.keys() and spec.name not in TOLD_ELSEWHERE
]


@pytest.mark.usefixtures("nothing_changes")
class TestScopeOwn:
    """Somebody of the tenant whose permissions reach no further than the own records."""

    def owner(self, world, spec):
        return world.operator_owns if kind_of(spec) == TENANT else world.owns

    def seer(self, world, spec):
        return world.operator_sees if kind_of(spec) == TENANT else world.sees

    @by_name(filter(target, NARROWED))
    def test_what_cannot_be_seen_does_not_exist(self, world, client, spec):
        answers = client.everywhere(spec, request(spec, world.names[spec.name]), self.owner(world, spec))
        assert codes(answers) == everywhere("NOT_FOUND")

    @by_name(filter(target, NARROWED))
    def test_what_can_be_seen_cannot_be_changed(self, world, client, spec):
        answers = client.everywhere(spec, request(spec, world.names[spec.name]), self.seer(world, spec))
        refusal = "NOT_FOUND" if spec.name in FOR_THE_INVITED else "PERMISSION_DENIED"
        assert codes(answers) == everywhere("OK" if spec.is_read else refusal)

    @by_name(filter(contract.is_finding, NARROWED))
    def test_records_of_others_are_not_found(self, world, client, spec):
        wanted, ours = request(spec, world.home.names), world.home.names[kind_of(spec)]
        hidden = client.everywhere(spec, wanted, self.owner(world, spec))
        shown = client.everywhere(spec, wanted, self.seer(world, spec))
        assert {way: ours in found(answer) for way, answer in hidden.items()} == dict.fromkeys(WAYS, False)
        is_seen = spec.name not in OF_THE_ASKED
        assert {way: ours in found(answer) for way, answer in shown.items()} == dict.fromkeys(WAYS, is_seen)

    @by_name(filter(contract.is_creating, NARROWED))
    def test_nothing_is_created_for_others(self, world, client, spec):
        wanted = self.for_another(world, spec)
        assert codes(client.everywhere(spec, wanted, self.seer(world, spec))) == everywhere("PERMISSION_DENIED")

    @by_name(filter(contract.is_creating, NARROWED))
    def test_nothing_is_created_for_whom_one_cannot_see(self, world, client, spec):
        answers = client.everywhere(spec, self.for_another(world, spec), self.owner(world, spec))
        # The reference to whom it is for may be what is at fault.
        assert {answer.code for answer in answers.values()} <= {"INVALID_ARGUMENT", "PERMISSION_DENIED"}
        assert all(answer.fields for answer in answers.values() if answer.code == "INVALID_ARGUMENT")

    def for_another(self, world, spec):
        wanted = request(spec, world.names[spec.name])
        record = contract.record_in(wanted)
        if hasattr(record, "owner"):
            record.owner = world.home.names[USER]
        return wanted

    @pytest.mark.parametrize("name", [name for name in CREATES_TOO if method(name) in NARROWED])
    def test_a_record_of_others_is_not_changed_by_its_key(self, world, client, name):
        answers = client.everywhere(method(name), world.keyed[name], world.owns)
        assert codes(answers) == everywhere("PERMISSION_DENIED")


@by_name(spec for spec in PERMITTED if kind_of(spec) in OF_THE_TENANT)
def test_what_belongs_to_the_tenant_is_reached_by_every_scope(world, client, spec):
    token = world.sees if spec.name in SEES_MORE else world.owns
    for way in WAYS:
        answer = client.call(way, spec, harmless(world, spec), token)
        assert answer.code == "OK", (way, answer)


@pytest.mark.parametrize("name", [*sorted(ABOUT_TOTALS), "ShowBoard"])
def test_totals_are_made_of_what_can_be_read(world, client, name):
    def counted(token):
        answers = client.everywhere(method(name), request(method(name), world.names[name]), token)
        assert codes(answers) == everywhere("OK")
        return [sum(counts(answer.message)) for answer in answers.values()]

    everything = counted(world.home.admin)
    assert min(everything) > 0
    assert counted(world.sees) == everything
    assert sum(counted(world.owns)) == 0


def counts(message):
    """Every count in an answer, however deep, and 1 for each amount that is not 0."""
    for field, value in message.ListFields():
        if field.name.endswith("count"):
            yield value
        elif field.message_type is not None:
            for inner in value if field.is_repeated else [value]:
                is_money = field.message_type.full_name == "google.type.Money"
                yield from [bool(inner.units or inner.nanos)] if is_money else counts(inner)


@pytest.mark.parametrize("name", sorted(ABOUT_CUSTOMERS))
def test_what_is_about_a_customer_is_for_who_may_see_that_one(world, client, name):
    def asked(token):
        return client.everywhere(method(name), request(method(name), world.home.names), token)

    assert codes(asked(world.sees)) == everywhere("OK")
    for token in (world.owns, world.other.admin):
        answers = asked(token)
        assert codes(answers) == everywhere("INVALID_ARGUMENT")
        assert {answer.fields for answer in answers.values()} == {("account",)}


@pytest.mark.parametrize("name", sorted(ABOUT_LATER))
def test_what_comes_later_is_asked_by_every_scope(world, client, name):
    for token in (world.owns, world.sees, world.other.admin):
        assert codes(client.everywhere(method(name), request(method(name), {}), token)) == everywhere("OK")


@pytest.mark.parametrize("name", sorted(ABOUT_TIMES))
def test_times_are_those_of_the_own_tenant(world, client, name):
    def told(tenant):
        wanted = request(method(name), {USER: world.home.names[CALLER]})
        answers = client.everywhere(method(name), wanted, tenant.admin)
        assert codes(answers) == everywhere("OK")
        return [busy(answer.message) for answer in answers.values()]

    assert all(told(world.home))
    assert not any(told(world.other))


def busy(message):
    """Whether an answer has a time in it."""
    return b"FREEBUSY;" in message.data if hasattr(message, "data") else any(each.busy for each in message.calendars)


@by_name(METHODS)
def test_every_method_is_tried(spec):
    """Who adds a method that fits nowhere decides here what it means that another tenant or scope calls it."""
    told = spec.name in ABOUT_THE_CALLER | ABOUT_THE_LOG | TOLD_ELSEWHERE
    kinds = (bool(target(spec)), contract.is_finding(spec), contract.is_creating(spec) and not told, told)
    assert kinds.count(True) == 1
    assert (spec.permission == AUTHENTICATED) == (spec.name in ABOUT_THE_CALLER | ABOUT_THE_OWN)


class TestRowSecurity:
    """As the role that serves, without any condition in the statement."""

    @pytest.mark.parametrize("service", contract.services())
    def test_nothing_of_another_tenant_is_seen_or_written(self, world, client, service):
        platform, rows = client.platform, {}
        with (
            psycopg.connect(platform.database_url(service)) as owner,
            psycopg.connect(platform.database_url(service, "app")) as app,
        ):
            for table in tables(owner):
                rows[table] = self.count(owner, table, world.home.id)
                self.become(app, "")
                assert self.count(app, table) == 0, table
                self.become(app, world.other.id)
                assert self.count(app, table) == self.count(owner, table, world.other.id), table
                assert self.count(app, table, world.home.id) == 0, table
                self.become(app, world.home.id)
                assert self.count(app, table) == rows[table], table
                if rows[table]:
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        self.move(app, table, world.other.id)
                    app.rollback()
        # Those that have rows show that the others are not merely empty.
        assert sum(map(bool, rows.values())) >= 5

    @pytest.mark.parametrize("service", contract.services())
    def test_no_table_goes_without_a_tenant_unnoticed(self, client, service):
        with psycopg.connect(client.platform.database_url(service)) as owner:
            assert set(tables(owner, of_tenants=False)) == WITHOUT_TENANT[service]

    @staticmethod
    def become(connection, tenant):
        connection.execute("SELECT set_config('kontor.tenant_id', %s, false)", [tenant])

    @staticmethod
    def count(connection, table, tenant=None):
        query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
        if tenant:
            query += sql.SQL(" WHERE tenant_id = {}").format(sql.Literal(tenant))
        return connection.execute(query).fetchone()[0]

    @staticmethod
    def move(connection, table, tenant):
        connection.execute(sql.SQL("UPDATE {} SET tenant_id = %s").format(sql.Identifier(table)), [tenant])
